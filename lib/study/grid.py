"""The study's grid: which runs exist, and which artefact needs which.

>>> from lib.study import grid
>>> [run.id for run in grid.runs("table1", "mini")][:2]
['supervised-resnet18-d01-s42', 'supervised-resnet18-d02-s42']
"""

import re
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from lib.study import artefacts, names, profiles, settings


@dataclass(frozen=True)
class Run:
    """One training, fully resolved: equal Runs give equal results.

    `settings` holds every number of the profile that this method reads; it is of the method's own
    class in lib.study.settings. `data` identifies the images.
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
    settings: settings.Settings
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

    @property
    def cell(self) -> "Run":
        """What the runs of several seeds have in common: this run with seed 0."""
        return replace(self, seed=0)

    def with_settings(self, **changes) -> "Run":
        """This run, some of its settings changed."""
        return replace(self, settings=replace(self.settings, **changes))

    def resolved(self) -> dict[str, Any]:
        """Everything as plain values, as written to run.json."""
        return asdict(self)


ID = re.compile(
    r"(?P<method>[a-z0-9_-]+?)-(?P<backbone>resnet18|vit_tiny)-d(?P<share>nat|\d\d)-s(?P<seed>\d+)"
    r"(?:-px(?P<px>\d+)|-crop(?P<crop>[\d.]+)-jit(?P<jitter>[\d.]+))?"
)


def run(name, method, backbone, share, seed, *, study="grid", **view) -> Run:
    """The Run of one cell, every setting resolved from the profile `name`; see `Run` for the types.
    An ablation's `view` has what differs of px, crop and jitter.

    Raises ValueError, naming the nearest valid name, and for a system that the study does not have.
    """
    p = profiles.load(name)
    names.nearest(method, names.METHODS, "method")
    names.nearest(backbone, names.BACKBONES, "backbone")
    if not names.exists(method, backbone):
        needed = "needs the backbone vit_tiny (protocol: MAE only with ViT-Tiny)"
        raise ValueError(f"{method} {needed}, not {backbone}.")
    network = p["backbone"][backbone]
    view = {"px": network["px"], "crop": p["views"]["crop"], "jitter": p["views"]["jitter"]} | view
    # Table 2 asks for inputs larger than the common cache.
    data = p["data"] | {"cache": max(p["data"]["cache"], view["px"])}
    if study != "grid":
        data["fraction"] = 1.0  # ablations use the full training table (docs/study.md, Artefacts)
    return Run(
        profile=name,
        method=method,
        backbone=backbone,
        share=share,
        seed=int(seed),
        study=study,
        **view,
        settings=_settings(name, method, backbone, study),
        data=data,
    )


def _settings(name: str, method: str, backbone: str, study: str) -> settings.Settings:
    """What the profile `name` says of a method; its own table has the last word."""
    p, kind = profiles.load(name), settings.METHODS[method]
    values = p["model"] | p["training"] | {"flip": p["views"]["flip"]}
    values["width"] = p["backbone"][backbone]["width"]
    if method in names.ADDED:
        values |= {f.name: p["added"][f.name] for f in fields(kind) if f.name in p["added"]}
    values |= p["method"].get(method, {})
    if study != "grid":
        values["epochs"] = p[study]["epochs"]
    # An ablation may be shorter than the warm-up.
    values["warmup_epochs"] = min(values["warmup_epochs"], values["epochs"] // 2)
    return profiles.typed(kind, values, f"{method}, profile {name}")


def parse(name: str, run_id: str) -> Run:
    """The Run of a run id within profile `name`, the inverse of `Run.id`."""
    match = ID.fullmatch(run_id)
    if not match:
        shares = ", ".join(f"d{round(100 * s):02d}" for s in profiles.load(name)["train_shares"])
        raise ValueError(
            f"'{run_id}' is not a run id; they look like simclr-resnet18-d45-s42: "
            f"a method ({', '.join(names.METHODS)}), a backbone ({', '.join(names.BACKBONES)}), "
            f"a share of defects ({shares}), a seed."
        )
    part = match.groupdict()
    options: dict[str, Any] = {}
    if part["px"]:
        options = {"study": "resolution", "px": int(part["px"]), "crop": 1.0, "jitter": 0.0}
    if part["crop"]:
        crop, jitter = float(part["crop"]), float(part["jitter"])
        options = {"study": "augmentation", "crop": crop, "jitter": jitter}
    share = names.NATURAL if part["share"] == "nat" else int(part["share"]) / 100
    if share is not names.NATURAL and not profiles.is_share(share):
        raise ValueError(f"'{run_id}': a share of defects is {profiles.SHARE}.")
    return run(name, part["method"], part["backbone"], share, int(part["seed"]), **options)


def cells(
    name: str, study: str = "grid", *, methods=None, backbones=None, train_shares=None, seeds=None
) -> list[Run]:
    """Every Run of one part of the study, in the order of the paper's rows; of the profile's
    methods, train shares and seeds and all backbones where none are named."""
    p = profiles.load(name)
    seeds, backbones = seeds or p["seeds"], backbones or names.BACKBONES
    chosen = [names.nearest(m, names.METHODS, "method") for m in methods or p["methods"]]
    backbones = [names.nearest(b, names.BACKBONES, "backbone") for b in backbones]
    for what, values in (("methods", chosen), ("backbones", backbones), ("seeds", list(seeds))):
        names.each_once(values, what)
    for value in names.each_once(list(train_shares or []), "train_shares"):
        if not profiles.is_share(value):
            raise ValueError(f"train_shares: a share is {profiles.SHARE}, found {value!r}.")
    shares, views = [names.NATURAL], [{}]
    if study == "grid":
        shares = sorted(train_shares or p["train_shares"])
    elif study == "augmentation":
        views = [{"crop": c, "jitter": j} for c in p[study]["crops"] for j in p[study]["jitters"]]
    elif study == "resolution":
        views = [{"px": px, "crop": 1.0, "jitter": 0.0} for px in p[study]["px"]]
    else:
        raise ValueError(f"unknown part of the study '{study}': grid, augmentation or resolution.")
    return [
        run(name, method, backbone, share, seed, study=study, **view)
        for method in (names.METHODS if study == "grid" else ["supervised"])
        for backbone in names.BACKBONES
        if method in chosen and backbone in backbones and names.exists(method, backbone)
        for share in shares
        for view in views
        for seed in seeds
    ]


def runs(artefact: str, profile: str = "mini", **chosen) -> list[Run]:
    """Every Run that `artefact` reads under `profile`, of the `chosen` methods, backbones, train
    shares and seeds, as `cells` takes them; none where it shows none of them.

    Raises ValueError, naming the nearest valid name, for an unknown artefact, profile, method or
    backbone.
    """
    shown = artefacts.ARTEFACTS[names.nearest(artefact, artefacts.ARTEFACTS, "artefact")]
    if shown.study is None:
        return [parse("walkthrough", name) for name in shown.networks]
    every = cells(profile, shown.study, **chosen)
    return [run for run in every if run.method in shown.methods and run.backbone in shown.backbones]
