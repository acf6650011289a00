"""The study's grid: which runs exist, and which artefact needs which. Knows no torch.

>>> from lib import study
>>> [run.id for run in study.runs("table1", "mini")][:2]
['supervised-resnet18-d01-s42', 'supervised-resnet18-d02-s42']
"""

import difflib
import re
import tomllib
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from typing import Any

from lib import paths

# Defect classes in the column order of Sewer-ML's tables (Haurum and Moeslund 2021).
CLASSES = ("RB", "OB", "PF", "DE", "FS", "IS", "RO", "IN", "AF", "BE", "FO", "GR", "PH", "PB", "OS", "OP", "OK")
CLASS_NAMES = {
    "RB": "cracks, breaks, collapses", "OB": "surface damage", "PF": "production error", "DE": "deformation",
    "FS": "displaced joint", "IS": "intruding sealing material", "RO": "roots", "IN": "infiltration",
    "AF": "settled deposits", "BE": "attached deposits", "FO": "obstacle", "GR": "branch pipe",
    "PH": "chiselled connection", "PB": "drilled connection", "OS": "lateral reinstatement cuts",
    "OP": "connection with transition profile", "OK": "connection with construction changes",
}  # fmt: skip

# The study's rows; between them those that a line of [method] in paper.toml adds, name -> title.
TRAINED, UNTRAINED = ("supervised", "byol", "barlow", "simclr", "dino", "mae"), ("mae-released", "random")
LISTED = tomllib.loads((paths.PROFILES / "paper.toml").read_text())["method"]
ADDED = {name: row.get("title", name) for name, row in LISTED.items() if name not in TRAINED + UNTRAINED}
METHODS = (*TRAINED, *ADDED, *UNTRAINED)
BACKBONES = ("resnet18", "vit_tiny")
VIT_ONLY = ("mae", "mae-released")
NAMES = {
    "supervised": "Supervised", "byol": "BYOL", "barlow": "Barlow Twins", "simclr": "SimCLR", "dino": "DINO",
    "mae": "MAE", "mae-released": "MAE (as released)", "random": "Random backbone",
    "resnet18": "ResNet-18", "vit_tiny": "ViT-Tiny",
} | ADDED  # fmt: skip

NATURAL = None  # the share of the table as it is, without resampling


@dataclass(frozen=True)
class Protocol:
    """How stored scores are read: protocol.md, quirks 2 and 3."""

    probe: str  # "online" or "converged"
    table: str  # evaluation behind Table 1 and the ablations
    imbalance: str  # evaluation behind the validation shares
    sampling: str  # "subsample" draws defects, "weights" weights them


PROTOCOLS = {
    "paper": Protocol(probe="online", table="augmented", imbalance="flip", sampling="subsample"),
    "clean": Protocol(probe="converged", table="clean", imbalance="clean", sampling="weights"),
}


@dataclass(frozen=True)
class Artefact:
    """A table or figure: a notebook and its parameters, and the part of the grid that it reads."""

    title: str
    notebook: str
    parameters: dict[str, Any] = field(default_factory=dict, hash=False)
    study: str | None = "grid"  # "grid", "augmentation", "resolution", or None where no run of the profile is read
    backbones: tuple[str, ...] = BACKBONES
    methods: tuple[str, ...] = METHODS
    networks: tuple[str, ...] = ()  # runs of the profile `walkthrough`, whatever the profile asked for
    frozen: bool = False  # reads what lib.frozen keeps beside the runs, too


EVERY = ["f1", "f2ciw", "f1_normal", "precision", "recall"]


def _imbalance(name: str, title: str, backbone: str, metrics: list[str]) -> Artefact:
    parameters = {"artefact": name, "backbone": backbone, "metrics": metrics}
    return Artefact(f"{title}, {NAMES[backbone]}", "val_imbalance", parameters, backbones=(backbone,))


def _monitoring(name: str, method: str) -> Artefact:
    parameters = {"artefact": name, "method": method}
    return Artefact(f"Monitoring metrics of {NAMES[method]} by epoch", "monitoring", parameters, methods=(method,))


def _detectors(name: str, title: str, **parameters: str) -> Artefact:
    return Artefact(f"Detectors without labels: {title}", "detectors", {"artefact": name, **parameters}, frozen=True)


ARTEFACTS = {
    "table1": Artefact("Detection at the natural validation share", "table1"),
    "table2": Artefact("Supervised detection by input resolution", "resolution", study="resolution"),
    "table3": _imbalance("table3", "Train share by validation share", "resnet18", EVERY),
    "table4": _imbalance("table4", "Train share by validation share", "vit_tiny", EVERY),
    "table5": Artefact("Images of every defect class", "data", {"artefact": "table5"}, study=None),
    "fig1": Artefact("Frames and their classes", "data", {"artefact": "fig1"}, study=None),
    "fig2": _imbalance("fig2", "F1 under imbalance", "resnet18", ["f1"]),
    "fig3": Artefact("Augmentation ablation, supervised", "augmentation", study="augmentation"),
    "fig4": _imbalance("fig4", "F1, F2CIW and F1Normal under imbalance", "resnet18", ["f1", "f2ciw", "f1_normal"]),
    "fig5": _imbalance("fig5", "Precision, recall and F1 under imbalance", "resnet18", ["precision", "recall", "f1"]),
    "fig6": _monitoring("fig6", "simclr"),
    "fig7": _monitoring("fig7", "byol"),
    "fig8": _monitoring("fig8", "dino"),
    "fig9": Artefact("Train F1 against RankMe", "rankme", {"artefact": "fig9"}),
    "fig10": Artefact("Validation F1 against RankMe", "rankme", {"artefact": "fig10"}),
    "claims": Artefact("The paper's claims, tested", "claims", frozen=True),
    "protocol": Artefact("What the released code's protocol does to the results", "protocol"),
    "classes": Artefact("Recall by class, ResNet-18", "classes", {"backbone": "resnet18"}, backbones=("resnet18",)),
    "detectors": _detectors("detectors", "fitted on normals", setting="normals"),
    "detectors-unlabelled": _detectors("detectors-unlabelled", "fitted on the whole subset", setting="unlabelled"),
    "detectors-shares": _detectors("detectors-shares", "AUROC by train share"),
    "detectors-gallery": _detectors("detectors-gallery", "where they err"),
    "labelfree": Artefact("Which label-free measure tells a good representation", "labelfree", frozen=True),
    "walkthrough": Artefact("From one image to a verdict", "walkthrough", study=None,
                            networks=("simclr-resnet18-d45-s42", "mae-vit_tiny-d45-s42")),
}  # fmt: skip


@dataclass(frozen=True)
class Run:
    """One training, fully resolved: equal Runs give equal results.

    `settings` holds every number of the profile that this method reads, `data` what identifies its images.
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


def nearest(name: str, valid, what: str) -> str:
    """Return `name` if it is valid; else raise ValueError naming the nearest valid one."""
    valid = [str(v) for v in valid]
    if name in valid:
        return name
    close = difflib.get_close_matches(str(name), valid, n=1, cutoff=0.0)
    raise ValueError(f"unknown {what} '{name}': did you mean '{close[0]}'? Valid: {', '.join(valid)}.")


def _merge(base: dict, change: dict, where: str) -> dict:
    """`base` with `change` over it; a key or a type that `base` lacks is an error."""
    merged = dict(base)
    for key, value in change.items():
        nearest(key, base, f"key in {where}")
        if isinstance(base[key], dict):
            if not isinstance(value, dict):
                raise ValueError(f"{where}: '{key}' is a table, found {value!r}.")
            merged[key] = _merge(base[key], value, f"{where} [{key}]")
            continue
        number = (int, float)
        same = isinstance(value, type(base[key])) or (isinstance(value, number) and isinstance(base[key], number))
        if not same or isinstance(value, bool) != isinstance(base[key], bool):
            expected = type(base[key]).__name__
            raise ValueError(f"{where}: '{key}' should be of type {expected} as in paper.toml, found {value!r}.")
        merged[key] = value
    return merged


def profiles() -> list[str]:
    """Names of the profiles, sorted."""
    return sorted(p.stem for p in paths.PROFILES.glob("*.toml"))


@lru_cache
def profile(name: str) -> dict[str, Any]:
    """The profile as nested dicts: its `base` (default: paper.toml) with the profile's own differences over it.

    Raises ValueError for an unknown profile or key (naming the nearest valid one) and for a wrong type.
    """
    nearest(name, profiles(), "profile")
    own = tomllib.loads((paths.PROFILES / f"{name}.toml").read_text())
    if name == "paper":
        return own
    return _merge(profile(own.pop("base", "paper")), own, f"lib/profiles/{name}.toml")


def exists(method: str, backbone: str) -> bool:
    """Whether the study has this system: MAE only with ViT-Tiny (protocol.md, Question and grid)."""
    return backbone == "vit_tiny" or method not in VIT_ONLY


def run(name: str, method: str, backbone: str, share: float | None, seed: int, *, study: str = "grid",
        px: int | None = None, crop: float | None = None, jitter: float | None = None) -> Run:  # fmt: skip
    """The Run of one cell, every setting resolved from the profile `name`."""
    p = profile(name)
    nearest(method, METHODS, "method")
    nearest(backbone, BACKBONES, "backbone")
    if not exists(method, backbone):
        raise ValueError(f"{method} needs the backbone vit_tiny (protocol: MAE only with ViT-Tiny), not {backbone}.")
    views = p["views"]
    settings = {**p["model"], **p["training"], **p["method"][method], "flip": views["flip"]}
    if method in ADDED:  # its line need not say what [added] does
        settings = p["added"] | settings
        settings.pop("title", None)
    if study != "grid":
        settings["epochs"] = p[study]["epochs"]
    settings["warmup_epochs"] = min(settings["warmup_epochs"], settings["epochs"] // 2)  # short ablations
    px = px or views["px"]
    data = {**p["data"], "cache": max(p["data"]["cache"], px)}  # Table 2 asks for inputs larger than the common cache
    if study != "grid":
        data["fraction"] = 1.0  # ablations use the full training table (protocol.md, Artefacts)
    return Run(
        profile=name, method=method, backbone=backbone, share=share, seed=int(seed), study=study,
        px=px, crop=views["crop"] if crop is None else crop,
        jitter=views["jitter"] if jitter is None else jitter, settings=settings, data=data,
    )  # fmt: skip


def parse(name: str, run_id: str) -> Run:
    """The Run of a run id within profile `name`, the inverse of `Run.id`."""
    match = ID.fullmatch(run_id)
    if not match:
        shares = ", ".join(f"d{round(100 * s):02d}" for s in profile(name)["train_shares"])
        raise ValueError(
            f"'{run_id}' is not a run id; they look like simclr-resnet18-d45-s42: a method ({', '.join(METHODS)}), "
            f"a backbone ({', '.join(BACKBONES)}), a share of defects ({shares}), a seed."
        )
    found = match.groupdict()
    options: dict[str, Any] = {}
    if found["px"]:
        options = {"study": "resolution", "px": int(found["px"]), "crop": 1.0, "jitter": 0.0}
    if found["crop"]:
        options = {"study": "augmentation", "crop": float(found["crop"]), "jitter": float(found["jitter"])}
    share = NATURAL if found["share"] == "nat" else int(found["share"]) / 100
    return run(name, found["method"], found["backbone"], share, int(found["seed"]), **options)


def grid(name: str, study: str = "grid", *, methods=None, backbones=BACKBONES, seeds=None) -> list[Run]:
    """Every Run of one part of the study, in the order of the paper's rows."""
    p = profile(name)
    seeds = p["seeds"] if seeds is None else seeds
    asked = p["methods"] if methods is None else [nearest(m, METHODS, "method") for m in methods]
    methods = [m for m in METHODS if m in asked]
    if study == "grid":
        return [
            run(name, m, b, share, s)
            for m in methods for b in backbones if exists(m, b)
            for share in p["train_shares"] for s in seeds
        ]  # fmt: skip
    if "supervised" not in methods:
        return []
    if study == "augmentation":
        return [
            run(name, "supervised", b, NATURAL, s, study=study, crop=c, jitter=j)
            for b in backbones for c in p[study]["crops"] for j in p[study]["jitters"] for s in seeds
        ]  # fmt: skip
    if study == "resolution":
        return [
            run(name, "supervised", b, NATURAL, s, study=study, px=px, crop=1.0, jitter=0.0)
            for b in backbones for px in p[study]["px"] for s in seeds
        ]  # fmt: skip
    raise ValueError(f"unknown part of the study '{study}': grid, augmentation or resolution.")


def runs(artefact: str, profile: str = "mini", *, methods=None, seeds=None) -> list[Run]:
    """Every Run that `artefact` reads under `profile`; none where `methods` leaves out all that it shows.

    Raises ValueError, naming the nearest valid name, for an unknown artefact, profile or method.
    """
    found = ARTEFACTS[nearest(artefact, ARTEFACTS, "artefact")]
    if found.study is None:
        return [parse("walkthrough", name) for name in found.networks]
    every = grid(profile, found.study, methods=methods, backbones=found.backbones, seeds=seeds)
    return [run for run in every if run.method in found.methods]


def artefacts() -> list[str]:
    """The artefacts whose notebook exists, in the paper's order."""
    return [name for name, a in ARTEFACTS.items() if (paths.NOTEBOOKS / f"{a.notebook}.ipynb").exists()]
