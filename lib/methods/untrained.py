"""The floor: a backbone as initialised, which every method must beat."""

from lib.methods.base import Method, Step


class Untrained(Method):
    """Nothing but the probe trains. Batch-norm statistics stay as initialised; updated
    ones make a weaker baseline."""

    def __init__(self, run, **options):
        super().__init__(run, **options)
        self.train()  # a new module is in training mode, and Lightning leaves modes as they are

    def make_backbone(self):
        return super().make_backbone().requires_grad_(False)

    def train(self, mode: bool = True):
        super().train(mode)
        self.backbone.eval()
        return self

    def loss(self, h) -> Step:
        return Step(h.new_zeros(()))
