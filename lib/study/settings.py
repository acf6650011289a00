"""Every method of the study: its title, its code, and the settings that it reads.

A method is a dataclass here, a file in lib/methods, and a table [method.<name>] in
profiles/paper.toml for the settings that are the method's own. `METHODS` at the end lists them.
"""

from dataclasses import dataclass
from typing import ClassVar

BACKBONES = ("resnet18", "vit_tiny")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Every number that a run reads; this class holds what all methods share.

    Learning rates are those of a batch of 256. profiles/paper.toml gives the source of each value.
    """

    title: ClassVar[str]  # as tables print it
    code: ClassVar[str]  # "module:class"
    backbones: ClassVar[tuple[str, ...]] = BACKBONES

    width: float  # multiplies the channels of the backbone
    depth: int  # blocks of ViT-Tiny
    patch: int  # side of its patches, pixels
    bn_updates: int  # updates of batch norm's running statistics a view
    views_per_image: int
    flip: float  # probability of a horizontal flip

    epochs: int
    batch: int
    optimiser: str  # "lars" or "adamw"
    lr: float
    weight_decay: float
    warmup_start: float  # learning rate of the first step
    warmup_epochs: int
    final_lr: float
    probe_lr: float
    labels_overflow: bool  # pos_weight as the released code has it (docs/study.md, quirk 4)
    validate_every: int  # epochs


@dataclass(frozen=True, kw_only=True)
class Projected(Settings):
    """A method whose loss reads embeddings: a projector stands on the backbone."""

    hidden: int  # width of the projector's hidden layers
    embedding: int  # width of its output


@dataclass(frozen=True, kw_only=True)
class Supervised(Settings):
    title, code = "Supervised", "lib.methods.supervised:Supervised"


@dataclass(frozen=True, kw_only=True)
class BYOL(Projected):
    title, code = "BYOL", "lib.methods.byol:BYOL"

    tau_start: float  # momentum of the momentum encoder, at the first step
    tau_end: float  # and at the last


@dataclass(frozen=True, kw_only=True)
class BarlowTwins(Projected):
    title, code = "Barlow Twins", "lib.methods.barlow:BarlowTwins"

    redundancy: float  # weight lambda of the off-diagonal terms
    scale: float  # multiplies the loss


@dataclass(frozen=True, kw_only=True)
class SimCLR(Projected):
    title, code = "SimCLR", "lib.methods.simclr:SimCLR"

    temperature: float


@dataclass(frozen=True, kw_only=True)
class DINO(Settings):
    title, code = "DINO", "lib.methods.dino:DINO"

    hidden: int
    bottleneck: int
    prototypes: int
    student_temperature: float
    teacher_temperature_start: float
    teacher_temperature: float  # from the end of its warm-up on
    teacher_warmup_epochs: int
    centre_momentum: float
    frozen_epochs: int  # in which the prototypes do not change
    clip: float  # largest gradient norm of a parameter of the backbone
    tau_start: float
    tau_end: float


@dataclass(frozen=True, kw_only=True)
class MAE(Settings):
    title, code = "MAE", "lib.methods.mae:MAE"
    backbones = ("vit_tiny",)

    heads: int  # attention heads of the encoder
    mask: float  # share of the patches that is masked
    decoder_width: int
    decoder_depth: int
    decoder_heads: int


@dataclass(frozen=True, kw_only=True)
class ReleasedMAE(MAE):
    title, code = "MAE (as released)", "lib.methods.mae:ReleasedMAE"


@dataclass(frozen=True, kw_only=True)
class Untrained(Settings):
    title, code = "Untrained backbone", "lib.methods.untrained:Untrained"


@dataclass(frozen=True, kw_only=True)
class VICReg(Projected):
    title, code = "VICReg", "lib.methods.vicreg:VICReg"

    invariance: float  # weights of the three terms
    variance: float
    covariance: float


@dataclass(frozen=True, kw_only=True)
class LeJEPA(Projected):
    title, code = "LeJEPA", "lib.methods.lejepa:LeJEPA"

    gaussian: float  # weight lambda of SIGReg
    slices: int  # random directions a step


# The order of the rows in tables. Methods that were added come between trained and untrained ones;
# they are trained only where METHODS names them.
TRAINED = {
    "supervised": Supervised,
    "byol": BYOL,
    "barlow": BarlowTwins,
    "simclr": SimCLR,
    "dino": DINO,
    "mae": MAE,
}
ADDED = {"vicreg": VICReg, "lejepa": LeJEPA}
UNTRAINED = {"mae-released": ReleasedMAE, "random": Untrained}
METHODS: dict[str, type[Settings]] = TRAINED | ADDED | UNTRAINED
