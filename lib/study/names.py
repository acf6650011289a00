"""Names of the study: defect classes, methods, backbones, metrics, and how they are printed. Knows
no torch."""

import difflib
import tomllib
from typing import TYPE_CHECKING, Any

import numpy as np

from lib.system import paths

# Defect classes in the column order of Sewer-ML's tables (Haurum and Moeslund 2021).
CLASSES = (
    "RB",
    "OB",
    "PF",
    "DE",
    "FS",
    "IS",
    "RO",
    "IN",
    "AF",
    "BE",
    "FO",
    "GR",
    "PH",
    "PB",
    "OS",
    "OP",
    "OK",
)
CLASS_NAMES = {
    "RB": "cracks, breaks, collapses",
    "OB": "surface damage",
    "PF": "production error",
    "DE": "deformation",
    "FS": "displaced joint",
    "IS": "intruding sealing material",
    "RO": "roots",
    "IN": "infiltration",
    "AF": "settled deposits",
    "BE": "attached deposits",
    "FO": "obstacle",
    "GR": "branch pipe",
    "PH": "chiselled connection",
    "PB": "drilled connection",
    "OS": "lateral reinstatement cuts",
    "OP": "connection with transition profile",
    "OK": "connection with construction changes",
}

# The study's rows; between them those that a line of [method] in paper.toml adds, name -> title.
TRAINED, UNTRAINED = (
    ("supervised", "byol", "barlow", "simclr", "dino", "mae"),
    ("mae-released", "random"),
)
LISTED = tomllib.loads((paths.PROFILES / "paper.toml").read_text())["method"]
ADDED = {
    name: row.get("title", name) for name, row in LISTED.items() if name not in TRAINED + UNTRAINED
}
METHODS = (*TRAINED, *ADDED, *UNTRAINED)
BACKBONES = ("resnet18", "vit_tiny")
VIT_ONLY = ("mae", "mae-released")
NAMES = {
    "supervised": "Supervised",
    "byol": "BYOL",
    "barlow": "Barlow Twins",
    "simclr": "SimCLR",
    "dino": "DINO",
    "mae": "MAE",
    "mae-released": "MAE (as released)",
    "random": "Random backbone",
    "resnet18": "ResNet-18",
    "vit_tiny": "ViT-Tiny",
} | ADDED

NATURAL = None  # the share of the table as it is, without resampling


def nearest(name: str, valid, what: str) -> str:
    """Return `name` if it is valid; else raise ValueError naming the nearest valid one."""
    valid = [str(v) for v in valid]
    if name in valid:
        return name
    close = difflib.get_close_matches(str(name), valid, n=1, cutoff=0.0)
    raise ValueError(
        f"unknown {what} '{name}': did you mean '{close[0]}'? Valid: {', '.join(valid)}."
    )


def exists(method: str, backbone: str) -> bool:
    """Whether the study has this system: MAE only with ViT-Tiny (docs/study.md, Question and
    grid)."""
    return backbone == "vit_tiny" or method not in VIT_ONLY


if TYPE_CHECKING:
    pass
APART = (*ADDED, *UNTRAINED)  # rows of ours, not of the paper: set off from the others
METRIC_NAMES = {
    "f1": "F1",
    "f2ciw": "F2CIW",
    "f1_normal": "F1Normal",
    "precision": "Precision",
    "recall": "Recall",
    "auroc": "AUROC",
    "ap": "AP",
    "recall_at_5": "Recall at 5 % false alarms",
}


def share(value: float | None) -> str:
    """A share as the tables print it: `1 %`, or `natural`."""
    return "natural" if value is None or np.isnan(value) else f"{100 * value:g} %"


def label(part: Any) -> str:
    """The printed name of a method, a backbone, a share, or anything else."""
    return share(part) if part is None or isinstance(part, float) else NAMES.get(part, str(part))
