"""The weights of a finished run, and its scores of new images.

make predict IMAGES=folder RUN=simclr-resnet18-d45-s42 [OUT=scores.csv]
"""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from lib import methods
from lib.data.files import Images
from lib.data.pixels import square
from lib.methods.base import Method
from lib.store import run_directory
from lib.store.stored import MissingRuns, Stored, load
from lib.study import grid
from lib.study.grid import Run
from lib.study.names import closest, label, nearest
from lib.system import torch_device
from lib.system.errors import DataError
from lib.training import probes
from lib.training.probes import Probe

EXAMPLE = "simclr-resnet18-d45-s42"
ENDINGS = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
SOURCES = {
    "simulated": "simulated frames, which are drawings",
    "sewer-ml": "Sewer-ML",
    "own": "your own images",
}
AUTOCAST = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}  # Lightning's names


def restore(run: Run | Stored) -> tuple[Method, Probe]:
    """The trained network of a complete run, in eval mode, and its converged probe, both in
    float32.

    The method's online probe is `probes.online(method)`. Raises MissingRuns, naming the command
    that trains it, for a run that is not complete or whose weights are not kept, and ValueError for
    an ablation, which keeps none.
    """
    wanted = run.run if isinstance(run, Stored) else run
    if wanted.study != "grid":
        raise ValueError(
            f"{wanted.id} is part of an ablation, which keeps no weights: take one of the grid, "
            f"like {EXAMPLE}."
        )
    path = _stored(run).checkpoint
    if not path.exists():
        raise MissingRuns(
            f"of {wanted.id}, profile {wanted.profile}, only scores are committed: "
            f"{_command(wanted)}."
        )
    checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    weights = {
        name: value.float() if value.is_floating_point() else value
        for name, value in checkpoint["method"].items()
    }
    method = methods.build(wanted, steps=1, steps_per_epoch=1, pos_weight=1.0)
    method.load_state_dict(weights)
    return method.eval(), Probe.of(checkpoint["converged"])


def _command(run: Run) -> str:
    return f"`make run PROFILE={run.profile} ID={run.id}` trains it"


def _stored(run: Run | Stored) -> Stored:
    """The run as it lies on disk. One trained on one's own images serves new ones wherever the old
    ones are now."""
    if isinstance(run, Stored):
        return run
    if run.data["source"] == "own" and (run_directory.folder(run) / "run.json").exists():
        return Stored(run, run_directory.folder(run), "fresh")
    if run.data["source"] == "own":
        raise MissingRuns(
            f"{run.id} was not trained in profile own: {_command(run)}, with your LABELS."
        )
    try:
        return load(run)
    except MissingRuns:
        raise MissingRuns(
            f"{run.id} is {run_directory.state(run)[0]} in profile {run.profile}: {_command(run)}."
        ) from None


def scores(
    images: Sequence[Path],
    run: Run | Stored,
    probe: str = "converged",
    skip: Callable[[DataError], None] | None = None,
) -> pd.DataFrame:
    """A row per image: Filename (the path as given), logit, predicted (logit > 0), as the `clean`
    evaluation has them.

    `probe` is "converged" or "online". Computed in the run's own precision where this machine has
    it, else in float32. An image that cannot be read raises DataError, unless `skip` takes the
    error: then it is left out.
    """
    nearest(probe, ("converged", "online"), "probe")
    method, converged = restore(run)
    stored = _stored(run)
    method.to(torch_device.device(), memory_format=torch.channels_last)  # as trained
    decide = converged if probe == "converged" else probes.online(method)
    view, side = probes.clean(stored.run.px), stored.run.data["cache"]
    names, logits = [], [np.empty(0, np.float32)]
    for start in range(0, len(images), probes.BATCH):
        batch = {path: _pixels(path, side, skip) for path in images[start : start + probes.BATCH]}
        batch = {path: pixels for path, pixels in batch.items() if pixels is not None}
        if batch:
            pixels = np.stack(list(batch.values()))
            with autocast(stored.record["precision"]):
                features = probes.features(method, pixels, np.arange(len(batch)), view)
            names += map(str, batch)
            logits.append(decide(features))
    logit = np.concatenate(logits)
    return pd.DataFrame({"Filename": names, "logit": logit, "predicted": logit > 0})


def _pixels(path: Path, side: int, skip: Callable[[DataError], None] | None) -> np.ndarray | None:
    """(side, side, 3) uint8, as the pixel cache holds it; None for an image that was skipped."""
    try:
        return square(Images(path.parent).read(path.name), side)
    except DataError as error:
        if skip is None:
            raise
        skip(error)
        return None


def autocast(precision: str):
    """Autocast as in a training of that precision, Lightning's name, where this machine would train
    so, too: emulated bf16 is tens of times slower."""
    return torch.autocast(
        torch_device.device(),
        AUTOCAST.get(precision),
        enabled=precision in AUTOCAST and precision == torch_device.precision(),
    )


def find(profile: str, run_id: str) -> Run:
    """The Run of an id; raises ValueError naming the nearest id of the profile's grid."""
    try:
        return grid.parse(profile, run_id)
    except ValueError:
        close = closest(run_id, [run.id for run in grid.cells(profile)])
        raise ValueError(
            f"unknown run '{run_id}' in profile {profile}: did you mean RUN={close}?"
        ) from None


def listed(folder: Path) -> list[Path]:
    """Every image file below `folder`, sorted; raises ValueError where there is no folder, or no
    image in it."""
    if not folder.is_dir():
        raise ValueError(f"there is no folder {folder}: set IMAGES to a folder of images.")
    images = sorted(p for p in folder.rglob("*") if p.suffix.lower() in ENDINGS and p.is_file())
    if not images:
        endings = ", ".join(ending[1:] for ending in ENDINGS)
        raise ValueError(f"{folder} holds no image ({endings}): set IMAGES to one that does.")
    return images


def _training_data(stored: Stored) -> str:
    """What the scores rest on."""
    run, counts = stored.run, stored.record["counts"]
    share = counts["defect"] / sum(counts.values())
    return (
        f"{label(run.method)} on {label(run.backbone)} was trained on "
        f"{SOURCES[run.data['source']]} "
        f"(profile {run.profile}, {sum(counts.values()):,} images, {share:.0%} with a defect), so "
        "its scores of any other kind of image are untested; a logit above 0 means a defect, the "
        "threshold of class-balanced training."
    )


def predict(folder: Path, run: Run, out: Path) -> None:
    """Score every image below `folder` into the CSV `out`; each that cannot be read is named on
    standard error.

    Raises ValueError without a folder or an image that can be read, and MissingRuns for a run
    without weights.
    """
    images = listed(folder)
    table = scores(
        images, run, skip=lambda error: print(f"skipped: {error}", file=sys.stderr, flush=True)
    )
    if table.empty:
        raise ValueError(
            f"none of the {len(images)} images below {folder} could be read: see the lines above."
        )
    table["Filename"] = [Path(name).relative_to(folder).as_posix() for name in table["Filename"]]
    out.parent.mkdir(parents=True, exist_ok=True)
    # Six significant digits, not places after the point: a small logit keeps its sign.
    table.assign(predicted=table["predicted"].astype(int)).to_csv(
        out, index=False, float_format="%.6g"
    )
    print(
        f"{out}: {len(table)} of {len(images)} images scored, "
        f"{table['predicted'].sum()} called defects."
    )
    print(_training_data(_stored(run)))
