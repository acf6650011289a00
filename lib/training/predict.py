"""The weights of a finished run, and its scores of new images.

make predict IMAGES=folder RUN=simclr-resnet18-d45-s42 [OUT=scores.csv]
"""

import io
import pickle
import struct
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from lib import methods
from lib.data import folders
from lib.data.decoding import Place, decode
from lib.data.pixels import square
from lib.methods.base import Method
from lib.store import run_directory
from lib.store.stored import MissingRuns, Stored, load
from lib.study import grid
from lib.study.grid import Run
from lib.study.names import SOURCES, closest, label
from lib.system import atomic, progress, torch_device
from lib.system.errors import DataError
from lib.training import probes
from lib.training.probes import Probe

# What zipfile and torch raise for a file that is cut short, damaged or something else.
UNREADABLE = (zipfile.BadZipFile, pickle.UnpicklingError, zlib.error, struct.error, OSError)
UNREADABLE += (ValueError, RuntimeError, EOFError, LookupError, TypeError, AttributeError)
COLUMNS = ("Filename", "logit", "predicted")  # of the CSV of scores
AUTOCAST = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}  # Lightning's names


def restore(run: Run | Stored) -> tuple[Method, Probe]:
    """The trained network of a complete run, in eval mode, and its converged probe, in float32.

    The method's online probe is `probes.online(method)`. Raises MissingRuns, naming the command
    that trains it, for a run that is not complete or whose weights are not kept, and ValueError for
    an ablation, which keeps none.
    """
    wanted = run.run if isinstance(run, Stored) else run
    if wanted.study != "grid":
        what = f"{wanted.id} is part of an ablation, which keeps no weights"
        raise ValueError(f"{what}: take one of the grid, like simclr-resnet18-d45-s42.")
    path = _stored(run).checkpoint
    if not path.exists():
        what = f"of {wanted.id}, profile {wanted.profile}, only scores are committed"
        committed = "PROFILE=walkthrough RUN=simclr-resnet18-d45-s42 is a committed network"
        raise MissingRuns(f"{what}: {_command(wanted)}; {committed}.")
    method = methods.build(wanted, steps=1, steps_per_epoch=1, pos_weight=1.0)
    try:
        checkpoint = read_weights(path)
        # the reference's half precision becomes float32
        method.load_state_dict(checkpoint["method"])
        return method.eval(), Probe.of(checkpoint["converged"])
    except (DataError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        what = f"{path} does not hold the weights of {wanted.id}"
        why = str(error).splitlines()[0].rstrip(".:")
        again = f"`make run PROFILE={wanted.profile} ID={wanted.id} FORCE=1` trains it again"
        raise DataError(f"{what} ({why}): {again}.") from None


def write_weights(content: dict, path: Path) -> None:
    """A checkpoint as torch writes it. Raises OSError for a full disk, where torch would not."""
    whole = io.BytesIO()
    torch.save(content, whole)
    path.write_bytes(whole.getbuffer())


def read_weights(path: Path) -> dict:
    """A checkpoint of plain tensors, on the CPU; no code in it is run. Raises DataError where it is
    damaged, by the checksums of its parts, which torch does not read, or holds anything else."""
    content = None
    with suppress(*UNREADABLE), zipfile.ZipFile(path) as archive:
        if archive.testzip() is None:
            content = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(content, dict):
        raise DataError(f"{path} is damaged, or no checkpoint of plain tensors.")
    return content


def _command(run: Run) -> str:
    return f"`make run PROFILE={run.profile} ID={run.id}` trains it"


def _stored(run: Run | Stored) -> Stored:
    """The stored run. One trained on the user's own images is read without them or LABELS."""
    if isinstance(run, Stored):
        return run
    if run.data["source"] == "own":
        stored = Stored(run, run_directory.folder(run), "fresh")
        if stored.record is not None:
            return stored
        what = f"{run.id} was not trained in profile own"
        raise MissingRuns(f"{what}: {_command(run)}, with your LABELS.")
    return load(run)


def batches(
    images: Sequence[Path], run: Run | Stored, skip: Callable[[DataError], None]
) -> Iterator[pd.DataFrame]:
    """One row per image, as the converged probe reads it in the `clean` evaluation, batch by batch:
    Filename (as given), logit, predicted (> 0). Computed in the run's own precision where this
    machine has it, else in float32. `skip` takes the error of an image that cannot be read."""
    method, decide = restore(run)
    stored = _stored(run)
    method.to(torch_device.device(), memory_format=torch.channels_last)  # as trained
    view, side = probes.clean(stored.run.px), stored.run.data["cache"]
    for start in range(0, len(images), probes.BATCH):
        batch = {}
        for path in images[start : start + probes.BATCH]:
            try:
                batch[str(path)] = square(decode(Place(path)), side)
            except DataError as error:
                skip(error)
        if batch:
            pixels = np.stack(list(batch.values()))
            with autocast(stored.record["precision"]):
                features = probes.features(method, pixels, np.arange(len(batch)), view)
            logit = decide(features)
            names = pd.Series(list(batch), dtype=object)  # a name may be no UTF-8, no pandas text
            yield pd.DataFrame(dict(zip(COLUMNS, (names, logit, logit > 0), strict=True)))


def autocast(precision: str):
    """Autocast as in a training of that precision, Lightning's name, where this machine would train
    so, too: emulated bf16 is tens of times slower."""
    enabled = precision in AUTOCAST and precision == torch_device.precision()
    return torch.autocast(torch_device.device(), AUTOCAST.get(precision), enabled=enabled)


def find(profile: str, run_id: str) -> Run:
    """The Run of an id; raises ValueError naming the nearest id of the profile's grid."""
    try:
        return grid.parse(profile, run_id)
    except ValueError:
        close = closest(run_id, [run.id for run in grid.cells(profile)])
        what = f"unknown run '{run_id}' in profile {profile}"
        raise ValueError(f"{what}: did you mean RUN={close}?") from None


def _training_data(stored: Stored) -> str:
    """What the scores rest on."""
    run, counts = stored.run, stored.record["counts"]
    n, source = sum(counts.values()), SOURCES[run.data["source"]].title
    return (
        f"{label(run.method)} on {label(run.backbone)} was trained on {source} (profile "
        f"{run.profile}, {n:,} images, {counts['defect'] / n:.0%} with a defect), so its scores of "
        "any other kind of image are untested; a logit above 0 means a defect, the threshold of "
        "class-balanced training."
    )


def predict(folder: Path, run: Run, out: Path) -> None:
    """Score every image below `folder` into the CSV `out`, a batch at a time; standard error names
    unreadable ones, and the last line but one accounts for every file.

    Raises ValueError without a readable image, or where `out` is any other file than the scores of
    an earlier call, and MissingRuns for a run without weights.
    """
    images, passed = folders.walk(folder)
    if not images:
        rest = "; ".join(folders.account(passed)) or "it is empty"
        raise ValueError(f"{folder} holds no image ({rest}): set IMAGES to one that does.")
    atomic.claim(out, lambda path: path.read_bytes().startswith(",".join(COLUMNS).encode()))
    unreadable: list[DataError] = []
    bar, rows, defects = progress.Images("scores", len(images), loud=True), 0, 0

    def skip(error: DataError) -> None:
        unreadable.append(error)
        tqdm.write(f"skipped: {error}", file=sys.stderr)

    for batch in batches(images, run, skip):
        batch["Filename"] = [_cell(Path(name).relative_to(folder)) for name in batch["Filename"]]
        batch["predicted"] = batch["predicted"].astype(int)
        # Six significant digits, not places after the point: a small logit keeps its sign.
        how = {"index": False, "float_format": "%.6g"}
        batch.to_csv(out, mode="a" if rows else "w", header=not rows, **how)
        rows, defects = rows + len(batch), defects + batch["predicted"].sum()
        bar.advance(rows + len(unreadable) - bar.done)
    bar.close()
    if not rows:
        none = f"none of the {len(images)} images below {folder} could be read"
        raise ValueError(f"{none}: see the lines above.")
    counts = f"{rows:,} of {len(images):,} images scored, {defects:,} called defects"
    rest = "; ".join([f"{len(unreadable):,} unreadable", *folders.account(passed)])
    print(f"{out}: {counts}. Not scored: {rest}.")
    print(_training_data(_stored(run)))


def _cell(path: Path) -> str:
    """A file's name as a CSV holds it: in UTF-8, and quoted where a spreadsheet would compute."""
    name = folders.escaped(path.as_posix())
    return f"'{name}" if name.startswith(folders.FORMULA) else name
