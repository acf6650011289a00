"""MAE (He et al. 2022), as the paper describes it and as its released code trains it."""

import torch
from lightly.models.utils import patchify
from torch import nn

from lib.data.views import uniforms
from lib.methods import backbones
from lib.methods.base import Method, Step

MASKS = 1000  # the "view" of `uniforms` that masks are drawn from


def normalise_patches(target: torch.Tensor) -> torch.Tensor:
    """Each patch less its own mean, over its own deviation ("norm_pix_loss", section 4)."""
    variance, mean = torch.var_mean(target, dim=-1, keepdim=True)
    return (target - mean) / (variance + 1e-6).sqrt()


def random_mask(u: torch.Tensor, ratio: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Kept and masked positions, (n, 1 + kept) and (n, masked), from uniforms `u` (n, patches).

    Position 0 is the cls token, never masked; patches count from 1.
    """
    kept = int(u.shape[1] * (1 - ratio))
    order = u.argsort(dim=1) + 1
    cls = order.new_zeros(len(u), 1)
    return torch.cat([cls, order[:, :kept]], 1), order[:, kept:]


class MAE(Method):
    """Mean squared error of the masked patches' normalised pixels.

    The probe sees whole images, which is our choice.
    """

    def __init__(self, run, **options):
        super().__init__(run, **options)
        self.decoder = backbones.Decoder(self.settings, run.px, self.backbone.features)

    def make_backbone(self) -> nn.Module:
        encoder = backbones.MaskedEncoder(self.settings, self.run.px)
        # Only the decoder's mask token is used, and several devices wait for every gradient.
        encoder.mask_token.requires_grad_(False)
        return encoder

    def mask(self, images, device) -> tuple[torch.Tensor, torch.Tensor]:
        """Kept and masked positions in this epoch for the image ids (n,), a tensor or an array."""
        if isinstance(images, torch.Tensor):
            images = images.cpu().numpy()
        patches = (self.run.px // self.settings.patch) ** 2
        u = uniforms(self.run.seed, self.current_epoch, images, MASKS, patches)
        return random_mask(torch.as_tensor(u, device=device), self.settings.mask)

    def step(self, views, images) -> Step:
        (x,) = views
        keep, masked = self.mask(images, x.device)
        prediction = self.decoder(self.backbone.encode(x, idx_keep=keep), keep)
        target = normalise_patches(patchify(x, self.settings.patch))
        error = (prediction.float() - target).square().mean(-1)
        grey = target.square().mean(-1)  # the error of predicting every patch's own mean
        loss, trivial = (self.gather(e.gather(1, masked - 1)).mean() for e in (error, grey))
        with torch.no_grad():
            features = self.gather(self.backbone(x))
        return Step(loss, trivial=trivial, features=[features])


class ReleasedMAE(MAE):
    """The encoder as initialised, the probe trained on 75 % masked images.

    In the public code (commit 27d9b36) the classification step overwrites the decoder's output
    before the loss is taken, so that one executed step leaves no gradient in encoder or decoder.
    What ran for the paper is unknown.
    """

    def __init__(self, run, **options):
        super().__init__(run, **options)
        self.backbone.requires_grad_(False)
        self.decoder.requires_grad_(False)

    def step(self, views, images) -> Step:
        (x,) = views
        with torch.no_grad():
            features = self.gather(self.masked_features(x, images))
        return Step(features.new_zeros(()), features=[features])

    def masked_features(self, x: torch.Tensor, images) -> torch.Tensor:
        """(n, d) features of the visible quarter of each image."""
        keep, _ = self.mask(images, x.device)
        return self.backbone(x, idx_keep=keep)
