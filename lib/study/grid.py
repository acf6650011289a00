"""The study's grid: which runs exist, and which artefact needs which. Knows no torch.

>>> from lib import study
>>> [run.id for run in study.runs("table1", "mini")][:2]
['supervised-resnet18-d01-s42', 'supervised-resnet18-d02-s42']
"""

import re
from dataclasses import asdict, dataclass, field
from typing import Any

from lib.study import artefacts, names, profiles


@dataclass(frozen=True)
class Run:
    """One training, fully resolved: equal Runs give equal results.

    `settings` holds every number of the profile that this method reads, `data` what identifies its
    images.
    """

    profile: str
    method: str
    backbone: str
    share: float | None  # share of defects in the training subset; None: the table as it is
    seed: int
    study: str  # "grid", "augmentation" or "resolution"
    px: int  # side of the square input, pixels
    crop: float  # smallest scale of the random resized crop; 1: no crop
    jitter: float  # strength of brightness, contrast and saturation; hue is half of it
    settings: dict[str, Any] = field(hash=False)
    data: dict[str, Any] = field(hash=False)

    @property
    def id(self) -> str:
        """Readable and reversible name, e.g. `barlow-resnet18-d01-s42`."""
        share = "dnat" if self.share is None else f"d{round(100 * self.share):02d}"
        name = f"{self.method}-{self.backbone}-{share}-s{self.seed}"
        if self.study == "resolution":
            name += f"-px{self.px}"
        if self.study == "augmentation":
            name += f"-crop{self.crop:g}-jit{self.jitter:g}"
        return name

    def resolved(self) -> dict[str, Any]:
        """Everything as plain values, as written to run.json."""
        return asdict(self)


ID = re.compile(
    r"(?P<method>[a-z0-9_-]+?)-(?P<backbone>resnet18|vit_tiny)-d(?P<share>nat|\d\d)-s(?P<seed>\d+)"
    r"(?:-px(?P<px>\d+)|-crop(?P<crop>[\d.]+)-jit(?P<jitter>[\d.]+))?"
)


def run(
    name: str,
    method: str,
    backbone: str,
    share: float | None,
    seed: int,
    *,
    study: str = "grid",
    px: int | None = None,
    crop: float | None = None,
    jitter: float | None = None,
) -> Run:
    """The Run of one cell, every setting resolved from the profile `name`."""
    p = profiles.load(name)
    names.nearest(method, names.METHODS, "method")
    names.nearest(backbone, names.BACKBONES, "backbone")
    if not names.exists(method, backbone):
        raise ValueError(
            f"{method} needs the backbone vit_tiny (protocol: MAE only with ViT-Tiny), not {backbone}."
        )
    views = p["views"]
    settings = {**p["model"], **p["training"], **p["method"][method], "flip": views["flip"]}
    if method in names.ADDED:  # its line need not say what [added] does
        settings = p["added"] | settings
        settings.pop("title", None)
    if study != "grid":
        settings["epochs"] = p[study]["epochs"]
    settings["warmup_epochs"] = min(
        settings["warmup_epochs"], settings["epochs"] // 2
    )  # short ablations
    px = px or views["px"]
    data = {
        **p["data"],
        "cache": max(p["data"]["cache"], px),
    }  # Table 2 asks for inputs larger than the common cache
    if study != "grid":
        data["fraction"] = 1.0  # ablations use the full training table (docs/study.md, Artefacts)
    return Run(
        profile=name,
        method=method,
        backbone=backbone,
        share=share,
        seed=int(seed),
        study=study,
        px=px,
        crop=views["crop"] if crop is None else crop,
        jitter=views["jitter"] if jitter is None else jitter,
        settings=settings,
        data=data,
    )


def parse(name: str, run_id: str) -> Run:
    """The Run of a run id within profile `name`, the inverse of `Run.id`."""
    match = ID.fullmatch(run_id)
    if not match:
        shares = ", ".join(f"d{round(100 * s):02d}" for s in profiles.load(name)["train_shares"])
        raise ValueError(
            f"'{run_id}' is not a run id; they look like simclr-resnet18-d45-s42: a method ({', '.join(names.METHODS)}), "
            f"a backbone ({', '.join(names.BACKBONES)}), a share of defects ({shares}), a seed."
        )
    found = match.groupdict()
    options: dict[str, Any] = {}
    if found["px"]:
        options = {"study": "resolution", "px": int(found["px"]), "crop": 1.0, "jitter": 0.0}
    if found["crop"]:
        options = {
            "study": "augmentation",
            "crop": float(found["crop"]),
            "jitter": float(found["jitter"]),
        }
    share = names.NATURAL if found["share"] == "nat" else int(found["share"]) / 100
    return run(name, found["method"], found["backbone"], share, int(found["seed"]), **options)


def cells(
    name: str, study: str = "grid", *, methods=None, backbones=names.BACKBONES, seeds=None
) -> list[Run]:
    """Every Run of one part of the study, in the order of the paper's rows."""
    p = profiles.load(name)
    seeds = p["seeds"] if seeds is None else seeds
    asked = (
        p["methods"]
        if methods is None
        else [names.nearest(m, names.METHODS, "method") for m in methods]
    )
    methods = [m for m in names.METHODS if m in asked]
    if study == "grid":
        return [
            run(name, m, b, share, s)
            for m in methods
            for b in backbones
            if names.exists(m, b)
            for share in p["train_shares"]
            for s in seeds
        ]
    if "supervised" not in methods:
        return []
    if study == "augmentation":
        return [
            run(name, "supervised", b, names.NATURAL, s, study=study, crop=c, jitter=j)
            for b in backbones
            for c in p[study]["crops"]
            for j in p[study]["jitters"]
            for s in seeds
        ]
    if study == "resolution":
        return [
            run(name, "supervised", b, names.NATURAL, s, study=study, px=px, crop=1.0, jitter=0.0)
            for b in backbones
            for px in p[study]["px"]
            for s in seeds
        ]
    raise ValueError(f"unknown part of the study '{study}': grid, augmentation or resolution.")


def runs(artefact: str, profile: str = "mini", *, methods=None, seeds=None) -> list[Run]:
    """Every Run that `artefact` reads under `profile`; none where `methods` leaves out all that it
    shows.

    Raises ValueError, naming the nearest valid name, for an unknown artefact, profile or method.
    """
    found = artefacts.ARTEFACTS[names.nearest(artefact, artefacts.ARTEFACTS, "artefact")]
    if found.study is None:
        return [parse("walkthrough", name) for name in found.networks]
    every = cells(profile, found.study, methods=methods, backbones=found.backbones, seeds=seeds)
    return [run for run in every if run.method in found.methods]
