"""The paper's own numbers, as a reader who has the PDF filled them in: results/reference/paper.csv.
Knows no torch.

The file is committed with its header alone: no number of the paper is known here, none is to be
guessed. A row holds

    artefact          where the number is printed: table1 ... table5, fig1 ... fig10
    method, backbone  as lib.study.grid names them; empty where the artefact does not tell them apart
    train_share       share of defects in training, a fraction (0.01, not 1 %); empty: the table's natural share
    validation_share  the same of the validation images; empty: the natural share
    px                side of the input, pixels (Table 2)
    crop, jitter      smallest scale of the random crop, strength of the jitter (Figure 3)
    epoch             (Figures 6 to 8)
    metric            f1, f2ciw, f1_normal, precision, recall, auroc, ap; rankme, feature_mean, feature_std,
                      embedding_mean, embedding_std
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

COLUMNS = (
    "artefact",
    "method",
    "backbone",
    "train_share",
    "validation_share",
    "px",
    "crop",
    "jitter",
    "epoch",
    "metric",
    "value",
)
MONITORING = ("rankme", "feature_mean", "feature_std", "embedding_mean", "embedding_std")
NAMES = {
    "artefact": artefacts.ARTEFACTS,
    "method": names.METHODS,
    "backbone": names.BACKBONES,
    "metric": (*metrics.METRICS, *MONITORING),
}
SHARES = ("train_share", "validation_share")


def values(artefact: str) -> pd.DataFrame:
    """The rows filled in for `artefact`, columns `COLUMNS`; an empty name is "", an empty number
    NaN.

    Every row of the file is checked, whatever its artefact. Raises ValueError, with the file and
    the line, for another header, an unknown name (naming the nearest valid one), a number that is
    none, a share outside (0, 1) or a row that is there twice; for an unknown `artefact` too.
    """
    names.nearest(artefact, artefacts.ARTEFACTS, "artefact")
    path = paths.REFERENCE / "paper.csv"
    found: dict[tuple, float] = {}
    with path.open(newline="", encoding="utf-8-sig") as file:
        lines = csv.reader(file)
        if (header := next(lines, [])) != list(COLUMNS):
            raise ValueError(
                f"{path}: its first line is {','.join(header)}, expected {','.join(COLUMNS)}."
            )
        for cells in lines:
            if not any(cells):
                continue
            try:
                row = _checked(cells)
                if row[:-1] in found:
                    raise ValueError("this row is there twice, with or without another value.")
            except ValueError as error:
                raise ValueError(f"{path}, line {lines.line_num}: {error}") from None
            found[row[:-1]] = row[-1]
    rows = [(*key, value) for key, value in found.items() if key[0] == artefact]
    numbers = [column for column in COLUMNS if column not in NAMES]
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype(dict.fromkeys(numbers, float))


def _checked(cells: list[str]) -> tuple:
    """The cells of a row as names and numbers, None where empty."""
    if len(cells) != len(COLUMNS):
        raise ValueError(f"{len(cells)} cells, expected {len(COLUMNS)}.")
    row = []
    for column, cell in zip(COLUMNS, map(str.strip, cells), strict=True):
        if column in NAMES:
            optional = cell == "" and column in ("method", "backbone")
            row.append(cell if optional else names.nearest(cell, NAMES[column], column))
        else:
            row.append(_number(column, cell))
    if row[-2] in metrics.METRICS and not 0 <= row[-1] <= 1:
        raise ValueError(f"{row[-2]} is {row[-1]:g}, expected a fraction between 0 and 1.")
    return tuple(row)


def _number(column: str, cell: str) -> float | None:
    if cell == "" and column != "value":
        return None
    try:
        number = float(cell)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"{column} is '{cell}', expected a number.")
    if column in SHARES and not 0 < number < 1:
        raise ValueError(
            f"{column} is {cell}, expected a share between 0 and 1 (0.01 for 1 %), or nothing: natural."
        )
    return number


def beside(reduced: pd.DataFrame, artefact: str) -> pd.DataFrame:
    """`reduced` (lib.analysis.results.over_seeds) with a column `paper`: the paper's value of the
    same row, else NaN.

    A row of the file belongs to a row of `reduced` that it equals in every one of `COLUMNS` that
    both have.
    """
    keys = [column for column in COLUMNS if column in reduced and column != "value"]
    theirs = values(artefact)[[*keys, "value"]].rename(columns={"value": "paper"})
    numbers = [key for key in keys if key not in NAMES]
    ours = reduced.astype(dict.fromkeys(numbers, float))[keys]
    return reduced.assign(
        paper=ours.merge(theirs, how="left", on=keys, validate="m:1")["paper"].to_numpy()
    )
