"""`make data-check`: which data are there and what was expected: tables, classes, images.
Without PROFILE, the data are those that LABELS or SEWERML_ROOT name."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from lib.data import image_check, labels, own_labels, sources
from lib.data.files import Images
from lib.data.image_check import Presence, some
from lib.simulator import frames
from lib.study import profiles
from lib.study.names import SOURCES, class_names
from lib.system import environment, paths
from lib.system.errors import DataError

# Rows, normal and defect images of Sewer-ML's tables.
PUBLISHED = {"train": (1_040_129, 552_820, 487_309), "val": (130_046, 68_681, 61_365)}
ACCESS = (
    "Access to Sewer-ML is by the form on its page of Aalborg University's Visual Analysis and "
    "Perception (VAP) group, which mails a password for the zips; licence CC BY-NC-SA 4.0."
)

Tables = dict[str, pd.DataFrame]  # split -> its whole table


def _show(title: str, rows: list[list[Any]], remarks: Sequence[str] = (), warnings=()) -> None:
    """Print a part of the report: a table below its title, its first column to the left, the others
    to the right, then remarks; and warnings."""
    texts = [[f"{c:,}" if isinstance(c, int) else str(c) for c in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    layout = "  ".join(f"{{:{'>' if i else '<'}{width}}}" for i, width in enumerate(widths))
    lines = [layout.format(*row).rstrip() for row in texts]
    print("\n  ".join([f"\n{title}", *lines, *dict.fromkeys(remarks)]), flush=True)
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr, flush=True)


def check(profile: str, scan: bool = False, workers: int = 1) -> list[str]:
    """Print what is there and what was expected; returns what is wrong, a sentence each. A `scan`
    decodes every image. Raises DataError where there is nothing to check."""
    data = profiles.load(profile)["data"]
    print(f"Profile {profile}: {SOURCES[data['source']].title} in {_root(data)}", flush=True)
    tables, wrong = _read(data)
    if tables:
        _rows(data, tables)
        _classes(tables)
        wrong += _images(data, tables)
    if data["source"] == "sewer-ml" and wrong:
        _show(ACCESS, [])
    if scan and tables:
        images = [(sources.images(data, s), list(t["Filename"])) for s, t in tables.items()]
        listing = paths.BUILD / profile / "data-check.txt"
        bad, contents = image_check.scan(images, workers, listing)
        wrong += bad
        if data["source"] in sources.OWN:
            path = sources.labels_csv(data)
            table, _ = sources.own(path, data["seed"])
            shown = [contents.get(name, "") for name in table["Filename"]]
            try:
                own_labels.warn(path, own_labels.copies(path, table, shown))
            except DataError as error:
                wrong.append(str(error))
    return wrong


def _root(data: dict[str, Any]) -> Path:
    root = sources.root(data)
    if data["source"] == "simulated":
        drawn = root, *(root / folder for folder, _, _ in frames.SPLITS.values())
        if absent := [folder for folder in drawn if not folder.is_dir()]:
            remedy = "`make data`, with the same PROFILE, draws the simulated images"
            raise DataError(f"{absent[0]} does not exist: {remedy}.")
    if root.is_dir():
        return root
    if data["source"] == "own" and not environment.images():
        raise DataError(f"{root} is no folder: set LABELS to your CSV.")
    variable = "IMAGES" if data["source"] == "own" else "SEWERML_ROOT"
    raise DataError(f"{root} is no folder: set {variable} to the one that holds the images.")


def _read(data: dict[str, Any]) -> tuple[Tables, list[str]]:
    """The tables that can be used, and what is wrong with those that cannot."""
    tables, wrong = {}, []
    for split in sources.TABLES:
        try:
            whole = sources.whole(data, split)
            sources.notes(data)  # refuses copies on both sides of the split
            tables[split] = whole
        except DataError as error:
            if str(error) not in wrong:  # both splits may be in one table
                wrong.append(str(error))
    names = [set(table["Filename"]) for table in tables.values()]
    if len(names) == 2 and (shared := set.intersection(*names)):
        both = f"{' and '.join(sources.TABLES.values())} ({some(shared)})"
        wrong.append(f"{len(shared):,} images are in both {both}: download the tables again.")
    return tables, wrong


def _rows(data: dict[str, Any], tables: Tables) -> None:
    """Show rows, normal and defect images of each table, and what was published."""
    rows, remarks, ours = [["", "rows", "normal", "defect"]], [], {"", *labels.SPELLINGS.values()}
    for split, table in tables.items():
        name, defect = sources.table(data, split).name, int(table["Defect"].sum())
        counts = len(table), len(table) - defect, defect
        rows.append([f"{name} ({split})", *counts])
        if data["source"] == "sewer-ml" and counts == PUBLISHED[split]:
            remarks.append(f"{name} has the published counts.")
        elif data["source"] == "sewer-ml":
            difference = (f"{a - b:+,}" for a, b in zip(counts, PUBLISHED[split], strict=True))
            rows += [["  as published", *PUBLISHED[split]], ["  difference", *difference]]
            remark = "differs from the published one: fine for a subset, else download it again."
            remarks.append(f"{name} {remark}")
        columns, *_ = labels.structure(sources.table(data, split))
        if others := ", ".join(column for column in columns if column not in ours):
            remarks.append(f"{name}: column(s) {others} are not read.")
    _show("Tables", rows, remarks, sources.notes(data))


def _classes(tables: Tables) -> None:
    """Show how many images each class has."""
    counts = pd.DataFrame({s: labels.class_flags(table).sum() for s, table in tables.items()})
    if counts.empty:
        return _show("No class columns: F2CIW is left out.", [])
    called = class_names(counts.index)
    named = counts.rename({k: f"{k} {name}" for k, name in called.items() if name != k})
    coded = all(labels.class_labels(table) is not None for table in tables.values())
    remarks = [] if coded else ["These are not Sewer-ML's 17 classes: F2CIW is left out."]
    _show("Images of each class", [["", *tables], *map(list, named.itertuples())], remarks)


def _images(data: dict[str, Any], tables: Tables) -> list[str]:
    """Show where the images are; returns what is wrong with them."""
    parts: dict[str, tuple[Images, list[str]]] = {}
    for split, table in tables.items():  # the splits of the user's own table are in one folder
        name = sources.table(data, split).name
        parts.setdefault(name, (sources.images(data, split), []))[1].extend(table["Filename"])
    groups = {name: Presence(*part) for name, part in parts.items()}
    rows, wrong = [["", "in the table", "found", "absent"]], []
    for name, group in groups.items():
        n, absent = len(group.names), len(group.absent)
        rows.append([name, n, n - absent, absent])
        rows += [[f"  {p}", "", count, ""] for p, count in group.count_by_place.items()]
        wrong += group.wrong()
    remarks = [group.zips() for group in groups.values() if group.zips()]
    notes = [group.stored.copies_note() for group in groups.values()]
    if len(tables) == len(sources.TABLES):
        used = set.union(*(group.used for group in groups.values()))
        if spare := set.union(*(group.all_files for group in groups.values())) - used:
            what = f"images are in no table and are not used ({some(spare)})"
            remarks.append(f"{len(spare):,} {what}.")
    _show("Images", rows, remarks, filter(None, notes))
    return wrong
