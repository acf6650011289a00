"""Supervised baseline: binary cross-entropy with positive weight n_neg / n_pos, one view an image."""

from lib.methods.base import Method, Step


class Supervised(Method):
    """The probe is the classifier here: its loss trains the backbone."""

    probe_reaches_backbone = True

    def loss(self, views, images) -> Step:
        (x,) = views
        h = self.backbone(x)
        return Step(h.new_zeros(()), [h])
