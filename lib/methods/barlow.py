"""Barlow Twins (Zbontar et al. 2021)."""

from lightly.loss import BarlowTwinsLoss

from lib.methods.base import Method, Step, in_float32, mlp


class BarlowTwins(Method):
    """L = sum_i (1 - C_ii)^2 + lambda sum_{i != j} C_ij^2, equation 1, with C the cross-correlation
    of the two views.

    The released code multiplies the loss by `scale`.
    """

    def __init__(self, run, **options):
        super().__init__(run, **options)
        s = self.settings
        self.projector = mlp(self.backbone.features, s.hidden, s.hidden, s.embedding)
        self.barlow = BarlowTwinsLoss(lambda_param=s.redundancy)

    def loss(self, h1, h2) -> Step:
        z1, z2 = self.projector(h1), self.projector(h2)
        loss = self.settings.scale * in_float32(self.barlow, z1, z2)
        trivial = self.settings.scale * self.settings.embedding  # C = 0: constant embeddings
        return Step(loss, [z1, z2], trivial)
