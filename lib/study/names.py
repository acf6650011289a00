"""Names of the study: defect classes, methods, backbones, metrics, and how they are printed.

Beside them stand the two protocols by which stored scores are read.
"""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from lib.study import settings

# Defect classes in the column order of Sewer-ML's tables (Haurum and Moeslund 2021).
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
CLASSES = tuple(CLASS_NAMES)


def class_names(classes: Iterable[str]) -> dict[str, str]:
    """Class -> its printed name: the meaning of each of Sewer-ML's 17 codes. The user's own classes
    keep their names, even where one equals such a code."""
    classes = list(classes)
    known = CLASS_NAMES if set(CLASSES) <= set(classes) else {}
    return {name: known.get(name, name) for name in classes}


# The study's rows, in the order of tables. Added methods and untrained backbones are not in the
# paper.
TRAINED, ADDED, UNTRAINED = map(tuple, (settings.TRAINED, settings.ADDED, settings.UNTRAINED))
METHODS = tuple(settings.METHODS)
NOT_IN_PAPER = (*ADDED, *UNTRAINED)
BACKBONES = settings.BACKBONES
NAMES = {name: kind.title for name, kind in settings.METHODS.items()} | {
    "resnet18": "ResNet-18",
    "vit_tiny": "ViT-Tiny",
}
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

NATURAL = None  # the share of the table as it is, without resampling


@dataclass(frozen=True)
class Source:
    """How texts call a profile's data set, its images and their groups (both in the plural)."""

    title: str
    images: str
    groups: str


SOURCES = {
    "sewer-ml": Source("Sewer-ML", "frames", "videos"),
    "simulated": Source("simulated frames", "frames", "videos"),
    "own": Source("images of your own", "images", "groups"),
    "solar": Source("photographs of solar cells (ELPV)", "cells", "modules"),
}


@dataclass(frozen=True)
class Protocol:
    """How stored scores are read: docs/study.md, quirks 2 and 3."""

    probe: str  # "online" or "converged"
    table: str  # evaluation behind Table 1 and the ablations
    imbalance: str  # evaluation behind the validation shares
    sampling: str  # "subsample" draws defects, "weights" weights them


PROTOCOLS = {
    "paper": Protocol(probe="online", table="augmented", imbalance="flip", sampling="subsample"),
    "clean": Protocol(probe="converged", table="clean", imbalance="clean", sampling="weights"),
}


def nearest(name: str, valid: Iterable, what: str) -> str:
    """`name`, if it is valid; else ValueError, which says what it is and names the nearest one."""
    valid = [str(v) for v in valid]
    if name in valid:
        return name
    guess = f"did you mean '{closest(name, valid)}'?"
    raise ValueError(f"unknown {what} '{name}': {guess} Valid: {', '.join(valid)}.")


def each_once(values: list, what: str) -> list:
    """The values; raises ValueError for one that stands twice."""
    for value in values:
        if values.count(value) > 1:
            raise ValueError(f"{what} names {value} more than once: name each once.")
    return values


def closest(name: str, valid: list[str]) -> str:
    """The valid name that is spelt most like `name`, whatever its case."""
    by_case = {one.casefold(): one for one in valid}
    return by_case[difflib.get_close_matches(str(name).casefold(), by_case, n=1, cutoff=0.0)[0]]


def protocol(name: str) -> Protocol:
    """The protocol of that name; raises ValueError naming the nearest one for an unknown name."""
    return PROTOCOLS[nearest(name, PROTOCOLS, "protocol")]


def exists(method: str, backbone: str) -> bool:
    """Whether the study has this system; MAE needs ViT-Tiny (docs/study.md, Question and grid)."""
    return backbone in settings.METHODS[method].backbones


def share(value: float | None) -> str:
    """A share as the tables print it: `1 %`, or `natural`."""
    return "natural" if value is None or np.isnan(value) else f"{100 * value:g} %"


def label(part: Any) -> str:
    """The printed name of a method, a backbone, a share, or anything else."""
    return share(part) if part is None or isinstance(part, float) else NAMES.get(part, str(part))
