"""VICReg (Bardes et al. 2022)."""

from lightly.loss import VICRegLoss

from lib.methods.base import Method, Step, in_float32, mlp

EPS = 1e-4  # beside a dimension's variance, section 4.1


class VICReg(Method):
    """L = lambda s(Z, Z') + mu [v(Z) + v(Z')] + nu [c(Z) + c(Z')], equation 6: invariance,
    variance, covariance.

    s is the mean over dimensions, too, and mu is halved, as in the authors' code; the paper's
    equations have neither. The expander is as wide as the study's other heads, not 8192.
    """

    def __init__(self, run, **options):
        super().__init__(run, **options)
        s = self.settings
        self.projector = mlp(self.backbone.features, s.hidden, s.hidden, s.embedding)
        self.vicreg = VICRegLoss(s.invariance, s.variance, s.covariance, eps=EPS)

    def loss(self, h1, h2) -> Step:
        z1, z2 = self.projector(h1), self.projector(h2)
        trivial = self.settings.variance * (1 - EPS**0.5)  # constant embeddings
        return Step(in_float32(self.vicreg, z1, z2), [z1, z2], trivial)
