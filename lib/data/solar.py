"""ELPV, photographs of solar cells in the package elpv-dataset, as a table of labels. 2,624 cells
of 44 modules in electroluminescence, 300 x 300 px (Deitsch et al. 2019; images CC BY-NC-SA 4.0).
The package is read where it is installed; none of its images is copied."""

import importlib.util
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd

from lib.data import splits
from lib.system import atomic, paths
from lib.system.errors import DataError

CELLS = 60  # of a module, as most have
DEFECT = 0.5  # a cell is defective from this probability on
HELD_OUT = 0.25  # share of the cells kept for validation, as the data's authors do
PROBABILITIES = ("0", "0.33", "0.67", "1")  # of a defect


def folder() -> Path:
    """The package's folder of images and labels; raises DataError where it is not installed."""
    package = importlib.util.find_spec("elpv_dataset")
    if package is None:
        what = "profile solar reads the package elpv-dataset (90 MB), which is not installed here"
        remedy = "`python -m pip install elpv-dataset` in this environment adds it"
        raise DataError(f"{what}: {remedy}.")
    return Path(package.origin).parent / "data"


def labels_csv() -> Path:
    """A CSV of `table` in the folder of data, as the user's own would be."""
    path = paths.DATA / "solar.csv"
    text = table(folder()).to_csv(index=False)
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic.put_text(path, text)
    return path


@lru_cache
def table(root: Path) -> pd.DataFrame:
    """One row per cell: Filename, Defect, Class (mono or poly, and the probability of a defect),
    Group, Split (whole modules).

    `Group` is the module, which the package does not name: cells of one module follow one another,
    hence runs of one type are cut into blocks of 60. What is left of a run is a module where it is
    over half of one. This gives the 18 modules of mono and 26 of poly cells that the authors count.
    """
    columns = ["Filename", "probability", "type"]
    cells = pd.read_csv(root / "labels.csv", sep=r"\s+", names=columns)
    number = (cells["type"] != cells["type"].shift()).cumsum()
    run = cells.groupby(number)["type"]
    last = (run.transform("size") / CELLS).round().clip(lower=1).astype(int)
    block = (run.cumcount() // CELLS + 1).clip(upper=last)
    third = (cells["probability"] * 3).round().astype(int)
    table = cells[["Filename"]].assign(
        Defect=(cells["probability"] >= DEFECT).astype(int),
        Class=cells["type"] + ";probability " + third.map(dict(enumerate(PROBABILITIES))),
        Group=cells["type"] + " " + number.astype(str) + "." + block.astype(str),
    )
    known = table.assign(Class=table["Class"].astype("category"), Video=table["Group"])
    held = splits.held_out(known, seed=0, share=HELD_OUT)
    return table.assign(Split=np.where(held, "val", "train"))
