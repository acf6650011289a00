"""The paper's own numbers, as a reader who has the PDF filled them in: results/reference/paper.csv.

The file is committed with its header alone: no number of the paper is known here, none is to be
guessed. A row holds

    artefact          where the number is printed: table1 ... table5, fig1 ... fig10
    method, backbone  as lib.study.grid names them; empty where the artefact does not separate them
    train_share       share of defects in training, a fraction (0.01, not 1 %); empty: natural
    validation_share  the same of the validation images
    px                side of the input, pixels (Table 2)
    crop, jitter      smallest scale of the random crop, strength of the jitter (Figure 3)
    epoch             (Figures 6 to 8)
    metric            f1, f2ciw, f1_normal, precision, recall, auroc, ap; rankme, feature_mean,
                      feature_std, embedding_mean, embedding_std
    value             the number; the first seven metrics as fractions

and leaves empty what does not apply, for instance

    table1,byol,resnet18,0.01,,,,,,f1,<value>
"""

import csv
import math

import pandas as pd

from lib.measures import metrics
from lib.study import artefacts, names
from lib.system import paths

MONITORING = ("rankme", "feature_mean", "feature_std", "embedding_mean", "embedding_std")
NAMES = {
    "artefact": artefacts.ARTEFACTS,
    "method": names.METHODS,
    "backbone": names.BACKBONES,
    "metric": (*metrics.METRICS, *MONITORING),
}
SHARES = ("train_share", "validation_share")
WHICH = ("artefact", "method", "backbone", *SHARES, "px", "crop", "jitter", "epoch", "metric")
COLUMNS = (*WHICH, "value")
NUMBERS = [column for column in COLUMNS if column not in NAMES]


def values(artefact: str) -> pd.DataFrame:
    """The rows filled in for `artefact`, in `COLUMNS`; an empty name is "", an empty number NaN.

    Every row of the file is checked, whatever its artefact. Raises ValueError, with the file and
    the line, for another header, an unknown name (naming the nearest valid one), a number that is
    none, a share outside (0, 1) or a row that is there twice; for an unknown `artefact` too.
    """
    names.nearest(artefact, artefacts.ARTEFACTS, "artefact")
    path = paths.REFERENCE / "paper.csv"
    numbers: dict[tuple, float] = {}
    with path.open(newline="", encoding="utf-8-sig") as file:
        lines = csv.reader(file)
        header, expected = ",".join(next(lines, [])), ",".join(COLUMNS)
        if header != expected:
            raise ValueError(f"{path}: its first line is {header}, expected {expected}.")
        for cells in filter(any, lines):
            try:
                *which, value = _row(cells)
                if tuple(which) in numbers:
                    raise ValueError("this row is there twice, with or without another value.")
            except ValueError as error:
                raise ValueError(f"{path}, line {lines.line_num}: {error}") from None
            numbers[tuple(which)] = value
    rows = [(*which, value) for which, value in numbers.items() if which[0] == artefact]
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype(dict.fromkeys(NUMBERS, float))


def _row(cells: list[str]) -> list:
    """The cells of a line as names and numbers, None for a number that is left empty."""
    if len(cells) != len(COLUMNS):
        raise ValueError(f"{len(cells)} cells, expected {len(COLUMNS)}.")
    row = [_cell(column, cell.strip()) for column, cell in zip(COLUMNS, cells, strict=True)]
    *_, metric, value = row
    if metric in metrics.METRICS and not 0 <= value <= 1:
        raise ValueError(f"{metric} is {value:g}, expected a fraction between 0 and 1.")
    return row


def _cell(column: str, cell: str) -> str | float | None:
    if column in NAMES:
        optional = column in ("method", "backbone")
        return cell if optional and not cell else names.nearest(cell, NAMES[column], column)
    if cell == "" and column != "value":
        return None
    try:
        number = float(cell)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"{column} is '{cell}', expected a number.")
    if column in SHARES and not 0 < number < 1:
        expected = "a share between 0 and 1 (0.01 for 1 %), or nothing: natural"
        raise ValueError(f"{column} is {cell}, expected {expected}.")
    return number


def beside(reduced: pd.DataFrame, artefact: str) -> pd.DataFrame:
    """`reduced` (results.over_seeds) with a column `paper`: the paper's value of the row, or NaN.

    A row of the file belongs to a row of `reduced` that it equals in all of `WHICH` that both have.
    """
    keys = [column for column in WHICH if column in reduced]
    theirs = values(artefact)[[*keys, "value"]].rename(columns={"value": "paper"})
    ours = reduced.astype({key: float for key in keys if key in NUMBERS})[keys]
    pairs = ours.merge(theirs, how="left", on=keys, validate="m:1")
    return reduced.assign(paper=pairs["paper"].to_numpy())
