"""Barlow Twins (Zbontar et al. 2021)."""

from lightly.loss import BarlowTwinsLoss
from torch import nn

from lib.methods.base import Method, Step


class BarlowTwins(Method):
    """L = sum_i (1 - C_ii)^2 + lambda sum_{i != j} C_ij^2, equation 1, with C the cross-correlation
    of the two views.

    The released code multiplies the loss by `scale`.
    """

    def __init__(self, run, **options):
        super().__init__(run, **options)
        s = self.settings
        d, hidden, embedding = self.backbone.features, s["hidden"], s["embedding"]
        self.projector = nn.Sequential(
            nn.Linear(d, hidden),
            nn.BatchNorm1d(hidden),
            nn.ReLU(),
            nn.Linear(hidden, hidden),
            nn.BatchNorm1d(hidden),
            nn.ReLU(),
            nn.Linear(hidden, embedding),
        )
        self.barlow = BarlowTwinsLoss(lambda_param=s["redundancy"])

    def loss(self, views, images) -> Step:
        h1, h2 = (self.gather(self.backbone(x)) for x in views)
        z1, z2 = self.projector(h1), self.projector(h2)
        with self.full_precision():
            loss = self.settings["scale"] * self.barlow(z1.float(), z2.float())
        trivial = self.settings["scale"] * self.settings["embedding"]  # C = 0: constant embeddings
        return Step(loss, [h1, h2], [z1, z2], trivial)
