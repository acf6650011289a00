"""SimCLR (Chen et al. 2020)."""

import math

from lightly.loss import NTXentLoss
from torch import nn

from lib.methods.base import Method, Step


class SimCLR(Method):
    """L = -log exp(sim(z_i, z_j) / t) / sum_{k != i} exp(sim(z_i, z_k) / t), equation 1, over both
    views."""

    def __init__(self, run, **options):
        super().__init__(run, **options)
        s = self.settings
        self.projector = nn.Sequential(
            nn.Linear(self.backbone.features, s["hidden"]),
            nn.ReLU(),
            nn.Linear(s["hidden"], s["embedding"]),
        )
        self.nt_xent = NTXentLoss(temperature=s["temperature"])

    def loss(self, views, images) -> Step:
        h1, h2 = (self.gather(self.backbone(x)) for x in views)
        z1, z2 = self.projector(h1), self.projector(h2)
        with self.full_precision():
            loss = self.nt_xent(z1.float(), z2.float())
        return Step(loss, [h1, h2], [z1, z2], trivial=math.log(2 * len(z1) - 1))  # every pair alike
