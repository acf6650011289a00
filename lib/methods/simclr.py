"""SimCLR (Chen et al. 2020)."""

import math

from lightly.loss import NTXentLoss

from lib.methods.base import Method, Step, in_float32, mlp


class SimCLR(Method):
    """L = -log exp(sim(z_i, z_j) / t) / sum_{k != i} exp(sim(z_i, z_k) / t), equation 1, over both
    views."""

    def __init__(self, run, **options):
        super().__init__(run, **options)
        s = self.settings
        self.projector = mlp(self.backbone.features, s.hidden, s.embedding, norm=False)
        self.nt_xent = NTXentLoss(temperature=s.temperature)

    def loss(self, h1, h2) -> Step:
        z1, z2 = self.projector(h1), self.projector(h2)
        trivial = math.log(2 * len(z1) - 1)  # every pair alike
        return Step(in_float32(self.nt_xent, z1, z2), [z1, z2], trivial)
