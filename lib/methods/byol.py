"""BYOL (Grill et al. 2020)."""

import torch
import torch.nn.functional as F

from lib.methods.base import Method, Step, mlp, momentum_copy


def byol_loss(p: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
    """2 - 2 cos(p, z), the mean over the batch of equation 2: p (n, e) predictions, z (n, e)
    targets."""
    return 2 - 2 * F.cosine_similarity(p, z.detach(), dim=1).mean()


class BYOL(Method):
    """The online network predicts the momentum network's projection of the other view.

    The BYOL paper sums the two directions; the released code averages them, and so do we.
    """

    def __init__(self, run, **options):
        super().__init__(run, **options)
        s = self.settings
        self.projector = mlp(self.backbone.features, s.hidden, s.embedding)
        self.predictor = mlp(s.embedding, s.hidden, s.embedding)
        self.momentum_backbone = momentum_copy(self.backbone)
        self.momentum_projector = momentum_copy(self.projector)

    def loss(self, h1, h2, m1, m2) -> Step:
        z1, z2 = self.projector(h1), self.projector(h2)
        p1, p2 = self.predictor(z1), self.predictor(z2)
        with torch.no_grad():
            t1, t2 = self.momentum_projector(m1), self.momentum_projector(m2)
        loss = (byol_loss(p1.float(), t2.float()) + byol_loss(p2.float(), t1.float())) / 2
        return Step(loss, [z1, z2])
