"""The weights of a finished run, and its scores of new images.

    IMAGES=folder RUN=simclr-resnet18-d45-s42 python -m lib.training.predict

PROFILE (default mini), OUT (the CSV), DEVICE and, for the profile `own`, LABELS come from the
environment.
"""

import os
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
from lib.study import grid, profiles
from lib.study.grid import Run
from lib.study.names import closest, label, nearest
from lib.system import paths, torch_device
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
    asked = run.run if isinstance(run, Stored) else run
    if asked.study != "grid":
        raise ValueError(
            f"{asked.id} is part of an ablation, which keeps no weights: take one of the grid, like {EXAMPLE}."
        )
    stored = _stored(run)
    path = stored.path / "checkpoint.pt"
    if not path.exists():
        raise MissingRuns(
            f"of {asked.id}, profile {asked.profile}, only scores are committed: {_command(asked)}."
        )
    held = torch.load(
        path, map_location="cpu", weights_only=False
    )  # written by lib.training.train: holds NumPy arrays
    weights = {k: v.float() if v.is_floating_point() else v for k, v in held["method"].items()}
    method = methods.build(asked, steps=1, steps_per_epoch=1, pos_weight=1.0)
    method.load_state_dict(weights)
    fitted = {
        k: v.astype(np.float32) if isinstance(v, np.ndarray) else v
        for k, v in held["converged"].items()
    }
    return method.eval(), Probe(**fitted)


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
    names, logits = [], []
    for start in range(0, len(images), probes.BATCH):
        read = {
            path: _pixels(path, stored.run.data["cache"], skip)
            for path in images[start : start + probes.BATCH]
        }
        kept = {path: pixels for path, pixels in read.items() if pixels is not None}
        if kept:
            with autocast(stored):
                view = probes.clean(stored.run.px)
                found = probes.features(
                    method, np.stack(list(kept.values())), np.arange(len(kept)), view
                )
            names += map(str, kept)
            logits.append(decide(found))
    logit = np.concatenate(logits) if logits else np.empty(0, np.float32)
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


def autocast(stored: Stored):
    """Autocast as in training, where this machine would train so, too: emulated bf16 is tens of
    times slower."""
    name = stored.record["precision"]
    return torch.autocast(
        torch_device.device(),
        AUTOCAST.get(name),
        enabled=name in AUTOCAST and name == torch_device.precision(),
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
    found = sorted(p for p in folder.rglob("*") if p.suffix.lower() in ENDINGS and p.is_file())
    if not found:
        raise ValueError(
            f"{folder} holds no image ({', '.join(e[1:] for e in ENDINGS)}): set IMAGES to one that does."
        )
    return found


def _told(stored: Stored) -> str:
    """What the scores rest on."""
    run, counts = stored.run, stored.record["counts"]
    share = counts["defect"] / sum(counts.values())
    return (
        f"{label(run.method)} on {label(run.backbone)} was trained on {SOURCES[run.data['source']]} "
        f"(profile {run.profile}, {sum(counts.values()):,} images, {share:.0%} with a defect), so its scores of any "
        "other kind of image are untested; a logit above 0 means a defect, the threshold of class-balanced training."
    )


def predict(folder: Path, run: Run, out: Path) -> None:
    """Score every image below `folder` into the CSV `out`; each that cannot be read is named on
    standard error.

    Raises ValueError without a folder or an image that can be read, and MissingRuns for a run
    without weights.
    """
    found = listed(folder)
    table = scores(
        found, run, skip=lambda error: print(f"skipped: {error}", file=sys.stderr, flush=True)
    )
    if table.empty:
        raise ValueError(
            f"none of the {len(found)} images below {folder} could be read: see the lines above."
        )
    table["Filename"] = [Path(name).relative_to(folder).as_posix() for name in table["Filename"]]
    out.parent.mkdir(parents=True, exist_ok=True)
    table.assign(predicted=table["predicted"].astype(int)).to_csv(
        out, index=False, float_format="%.4f"
    )
    print(
        f"{out}: {len(table)} of {len(found)} images scored, {table['predicted'].sum()} called defects."
    )
    print(_told(_stored(run)))


def main() -> int:
    """The command line; a mistake gives one sentence and the exit status 2."""
    profile, out = os.environ.get("PROFILE") or "mini", os.environ.get("OUT")
    try:
        nearest(profile, profiles.available(), "profile")
        for name, example in (
            ("IMAGES", "a folder of images"),
            ("RUN", f"the id of a finished run, like {EXAMPLE}"),
        ):
            if not os.environ.get(name):
                raise ValueError(
                    f"set {name} to {example}: make predict IMAGES=folder RUN={EXAMPLE}."
                )
        run = find(profile, os.environ["RUN"])
        out = Path(out).expanduser() if out else paths.BUILD / profile / "predictions.csv"
        predict(Path(os.environ["IMAGES"]).expanduser(), run, out)
    except (ValueError, OSError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
