"""LeJEPA (Balestriero and LeCun 2025), with two global views."""

import torch
from lightly.loss.lejepa_loss import SIGReg, lejepa_invariance_loss
from torch import nn

from lib.methods.base import Method, Step


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
        self.sigreg = SIGReg(num_vectors=s["slices"])

    def loss(self, views, images) -> Step:
        h1, h2 = (self.gather(self.backbone(x)) for x in views)
        z1, z2 = self.projector(h1), self.projector(h2)
        weight = self.settings["gaussian"]
        with self.full_precision(), torch.random.fork_rng([z1.device] if z1.is_cuda else []):
            torch.manual_seed(
                10**6 * self.run.seed + self.global_step
            )  # the same on every rank, and resumed
            z = torch.stack([z1.float(), z2.float()])
            loss = (1 - weight) * lejepa_invariance_loss(
                all_proj=z, global_proj=z
            ) + weight * self.sigreg(z)
        return Step(loss, [h1, h2], [z1, z2])
