"""The methods as lightly's documentation puts them together: its transforms, heads, losses and
momentum utilities.

In plain PyTorch, which costs least. Backbones, the sizes of heads and the batch are the run's; blur
is left out as in the documentation's examples of small images, and DINO's local crops, so that the
work is that of the protocol.
"""

import copy
import warnings

import torch
import torch.nn.functional as F
from lightly import loss as losses
from lightly import transforms
from lightly.models import utils
from lightly.models.modules import (
    MaskedVisionTransformerDecoderTIMM,
    MaskedVisionTransformerTIMM,
    heads,
)
from lightly.utils.lars import LARS
from lightly.utils.scheduler import cosine_schedule
from torch import nn
from torch.utils.data import DataLoader

from benchmarks import inputs, measure
from lib.methods import backbones
from lib.study.grid import Run
from lib.system import torch_device


class Supervised(nn.Module):
    def __init__(self, run: Run, backbone: nn.Module):
        super().__init__()
        self.net = nn.Sequential(backbone, nn.Linear(backbone.features, 1))

    def loss(self, x: list[torch.Tensor], labels: torch.Tensor) -> torch.Tensor:
        return F.binary_cross_entropy_with_logits(self.net(x[0])[:, 0], labels)


class TwoViews(nn.Module):
    """SimCLR and Barlow Twins: one network, a loss of both views' projections."""

    def __init__(self, run: Run, backbone: nn.Module):
        super().__init__()
        s = run.settings
        barlow = run.method == "barlow"
        head = heads.BarlowTwinsProjectionHead if barlow else heads.SimCLRProjectionHead
        self.net = nn.Sequential(backbone, head(backbone.features, s.hidden, s.embedding))
        self.criterion = (
            losses.BarlowTwinsLoss(s.redundancy) if barlow else losses.NTXentLoss(s.temperature)
        )

    def loss(self, x: list[torch.Tensor], labels: torch.Tensor) -> torch.Tensor:
        return self.criterion(self.net(x[0]), self.net(x[1]))


class BYOL(nn.Module):
    def __init__(self, run: Run, backbone: nn.Module):
        super().__init__()
        s = run.settings
        self.net = nn.Sequential(
            backbone, heads.BYOLProjectionHead(backbone.features, s.hidden, s.embedding)
        )
        self.predict = heads.BYOLPredictionHead(s.embedding, s.hidden, s.embedding)
        self.momentum = copy.deepcopy(self.net)
        utils.deactivate_requires_grad(self.momentum)
        self.criterion = losses.NegativeCosineSimilarity()

    def loss(self, x: list[torch.Tensor], labels: torch.Tensor) -> torch.Tensor:
        utils.update_momentum(self.net, self.momentum, cosine_schedule(0, 10, 0.996, 1))
        p0, p1 = (self.predict(self.net(view)) for view in x)
        with torch.no_grad():
            z0, z1 = (self.momentum(view) for view in x)
        return 0.5 * (self.criterion(p0, z1) + self.criterion(p1, z0))


class DINO(nn.Module):
    def __init__(self, run: Run, backbone: nn.Module):
        super().__init__()
        s = run.settings
        sizes = backbone.features, s.hidden, s.bottleneck, s.prototypes
        self.net = nn.Sequential(backbone, heads.DINOProjectionHead(*sizes, freeze_last_layer=1))
        self.momentum = nn.Sequential(copy.deepcopy(backbone), heads.DINOProjectionHead(*sizes))
        utils.deactivate_requires_grad(self.momentum)
        self.criterion = losses.DINOLoss(
            s.prototypes, warmup_teacher_temp_epochs=s.teacher_warmup_epochs
        )

    def loss(self, x: list[torch.Tensor], labels: torch.Tensor) -> torch.Tensor:
        utils.update_momentum(self.net, self.momentum, cosine_schedule(0, 10, 0.996, 1))
        with torch.no_grad():
            teacher = [self.momentum(view) for view in x]
        return self.criterion(teacher, [self.net(view) for view in x], epoch=0)

    def before_step(self, optimiser) -> None:
        self.net[1].cancel_last_layer_gradients(current_epoch=0)


class MAE(nn.Module):
    def __init__(self, run: Run, backbone: nn.Module):
        super().__init__()
        s, self.patch, self.ratio = run.settings, run.settings.patch, run.settings.mask
        self.encoder = MaskedVisionTransformerTIMM(backbone)
        self.embed = nn.Linear(backbone.features, s.decoder_width)
        self.decoder = MaskedVisionTransformerDecoderTIMM(
            (run.px // s.patch) ** 2, s.decoder_width, s.decoder_depth, s.decoder_heads
        )
        self.predict = nn.Linear(s.decoder_width, 3 * s.patch**2)

    def loss(self, x: list[torch.Tensor], labels: torch.Tensor) -> torch.Tensor:
        size = len(x[0]), self.encoder.sequence_length
        keep, masked = utils.random_token_mask(size, self.ratio, device=x[0].device)
        encoded = self.embed(self.encoder.encode(x[0], idx_keep=keep))
        tokens = utils.repeat_token(self.decoder.mask_token, size).to(encoded.dtype)
        decoded = self.decoder(utils.set_at_index(tokens, keep, encoded))
        predicted = self.predict(utils.get_at_index(decoded, masked))
        target = utils.get_at_index(
            utils.patchify(x[0], self.patch), masked - 1
        )  # without the class token
        return F.mse_loss(predicted, target)


MODULES = {
    "supervised": Supervised,
    "simclr": TwoViews,
    "barlow": TwoViews,
    "byol": BYOL,
    "dino": DINO,
    "mae": MAE,
}


def transform(run: Run):
    """lightly's transform of the method at the run's size; torchvision's for supervised
    training."""
    px = run.px
    if run.method == "supervised":
        return inputs.conventional(run)
    if run.method == "mae":
        return transforms.MAETransform(px)
    if run.method == "dino":
        return transforms.DINOTransform(px, n_local_views=0, gaussian_blur=(0.0, 0.0, 0.0))
    if run.method == "byol":
        one, other = transforms.BYOLView1Transform, transforms.BYOLView2Transform
        return transforms.BYOLTransform(one(px, gaussian_blur=0.0), other(px, gaussian_blur=0.0))
    return transforms.SimCLRTransform(px, gaussian_blur=0.0)


class Training:
    """The reference's training of a run's system: `step()` loads a batch from image files and
    descends once."""

    def __init__(self, run: Run, files: list, labels, precision: str, processes: int = 0):
        s, self.device = run.settings, torch_device.device()
        backbone = backbones.build(run.backbone, s, run.px)
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", FutureWarning
            )  # DINO's head uses torch's old weight norm
            self.module = MODULES[run.method](run, backbone).to(self.device).train()
        build = LARS if s.optimiser == "lars" else torch.optim.AdamW
        self.optimiser = build(measure.parameters(self.module), lr=1e-3)
        self.arithmetic = measure.Arithmetic(precision)
        frames = inputs.Frames(files, labels, transform(run))
        self.loader = DataLoader(
            frames, s.batch, shuffle=True, drop_last=True, num_workers=processes
        )
        self.batches = iter(())

    def step(self) -> None:
        try:
            x, labels = next(self.batches)
        except StopIteration:
            self.batches = iter(self.loader)
            x, labels = next(self.batches)
        x, labels = [view.to(self.device) for view in x], labels.to(self.device)
        with self.arithmetic.context():
            loss = self.module.loss(x, labels)
        self.arithmetic.descend(loss, self.optimiser, getattr(self.module, "before_step", None))
