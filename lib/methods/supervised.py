"""Supervised baseline: binary cross-entropy with positive weight n_neg / n_pos, one view an
image."""

import math

from lib.methods.base import Method, Step


class Supervised(Method):
    """The probe is the classifier here: its loss trains the backbone."""

    probe_reaches_backbone = True

    def loss(self, views, images) -> Step:
        (x,) = views
        h = self.gather(self.backbone(x))
        trivial = (
            2 * math.log(2) * self.pos_weight / (1 + self.pos_weight)
        )  # one logit for all, the best of which is 0
        return Step(h.new_zeros(()), [h], trivial=trivial)
