"""LeJEPA (Balestriero and LeCun 2025), with two global views."""

import torch
from lightly.loss.lejepa_loss import SIGReg, lejepa_invariance_loss

from lib.methods.base import Method, Step, in_float32, mlp


class LeJEPA(Method):
    """L = (1 - lambda) |z_v - mean_v z|^2 + lambda SIGReg(z_v), means over views, images and
    dimensions.

    SIGReg compares the embeddings' distribution along random directions ("slices") with the
    standard normal's, by their characteristic functions (Epps and Pulley 1983). The paper's small
    local views are left out: the study has two views of one size.
    """

    def __init__(self, run, **options):
        super().__init__(run, **options)
        s = self.settings
        self.projector = mlp(self.backbone.features, s.hidden, s.hidden, s.embedding)
        self.sigreg = SIGReg(num_vectors=s.slices)

    def loss(self, h1, h2) -> Step:
        z1, z2 = self.projector(h1), self.projector(h2)
        return Step(in_float32(self.lejepa, z1, z2), [z1, z2])

    def lejepa(self, z1: torch.Tensor, z2: torch.Tensor) -> torch.Tensor:
        z, weight = torch.stack([z1, z2]), self.settings.gaussian
        with torch.random.fork_rng([z.device] if z.is_cuda else []):
            # The directions are the same on every rank, and in a run that was resumed.
            torch.manual_seed(10**6 * self.run.seed + self.global_step)
            invariance = lejepa_invariance_loss(all_proj=z, global_proj=z)
            return (1 - weight) * invariance + weight * self.sigreg(z)
