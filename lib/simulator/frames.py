"""Simulated Sewer-ML: labels, frames and files of sewer inspections, each frame a function of
(seed, split, index).

FRAMES frames in a row are one video: they share pipe, light, camera and overlay. Two splits share
no video.
"""

import functools
import math
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd

from lib.simulator import camera, damage, distractors, junctions
from lib.simulator.class_mix import DEFECT_SHARE, classes_of, stream
from lib.simulator.pipe import MATERIALS, Scene, Spot, View
from lib.study.names import CLASSES
from lib.system import atomic, parallel

VERSION = 2  # part of the data's identity: bump it when any pixel or label changes
FRAMES = 16  # frames a video
SPLITS = {  # folder, table, first number
    "train": ("Train", "SewerML_Train.csv", 0),
    "val": ("Valid", "SewerML_Val.csv", 10_000_000),
}
COLUMNS = ("Filename", "WaterLevel", "VA", *CLASSES, "ND", "Defect")
PNG = [cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP]  # quick
Box = tuple[str, int, int, int, int]  # class, x0, y0, x1, y1 in pixels, right and bottom exclusive

# One drawing for each of the 17 Sewer-ML classes. `DRAW[class](s, spot, rng, c)` paints a defect
# into the scene s and returns its mask (h, w). `spot` is a place on the wall with the depth of the
# frame's joint, c in 0..1 the contrast (1: an easy example). FS, DE, OP and OK bend the pipe
# itself: `SHAPE[class](spot, rng, c)` gives the scene's geometry first. The drawings' docstrings
# say what an engineer sees. Lengths are in pipe radii, angles in radians; a drawing spans 15 to 60
# pixels of 96.
SHAPE = {
    "DE": damage.shape_deformation,
    "FS": junctions.shape_joint,
    "OP": junctions.shape_transition,
    "OK": junctions.shape_change,
}
DRAW = {  # in painting order: the pipe, its wall, then what stands in front of it
    "OK": junctions.construction_change,
    "OP": junctions.transition,
    "DE": damage.deformation,
    "FS": junctions.displaced_joint,
    "OB": damage.surface_damage,
    "PF": damage.production_error,
    "GR": junctions.branch,
    "PH": junctions.chiselled,
    "PB": junctions.drilled,
    "OS": junctions.lateral_cut,
    "RB": damage.cracks,
    "BE": damage.attached_deposits,
    "IN": damage.infiltration,
    "AF": damage.settled_deposits,
    "FO": damage.obstacle,
    "RO": damage.roots,
    "IS": junctions.intruding_seal,
}
IN_FRONT = ("AF", "FO", "RO", "IS")  # these stand in the water or before it


@functools.lru_cache(maxsize=64)
def _video(seed: int, split: str, number: int) -> dict[str, Any]:
    """What the frames of a video share."""
    rng = stream(seed, split, "video", number)
    uniform, normal = rng.uniform, rng.standard_normal
    return {
        "material": list(MATERIALS)[int(rng.choice(3, p=(0.5, 0.2, 0.3)))],
        "pan": 0.06 * normal(),  # radians
        "tilt": 0.06 * normal(),
        "roll": 0.05 * normal(),
        "zoom": uniform(0.95, 1.15),
        "eye": (0.05 * normal(), uniform(-0.05, 0.22)),  # the camera's x and y in the pipe
        "tint": 1 + 0.015 * normal(3),
        "lamp": uniform(-0.4, 0.4),
        "fall": uniform(1.7, 2.3),
        "exposure": uniform(1.25, 1.65),
        "water": max(0.0, uniform(-0.08, 0.24)),  # share of the pipe's height
        "murk": uniform(0.40, 0.75),
        "ripple": uniform(0.08, 0.22),
        "foam": uniform(0, 1) ** 3,
        "joint_width": uniform(0.025, 0.05),
        "spacing": uniform(1.4, 2.8),  # of the joints
        "texture": uniform(0, 200),
        "roughness": uniform(0.7, 1.4),
        "blur": uniform(0.35, 0.75),
        "grain": uniform(0.010, 0.028),
        "quality": int(uniform(45, 85)),  # of the JPEG
        "text": f"{rng.integers(1000, 9999)}-{rng.integers(10, 99)}",
        "corner": int(rng.integers(4)),
        "ink": int(uniform(185, 250)),
        "start": uniform(0, 60),  # metres
    }


def _place(rng: np.random.Generator, joint: float, view: View, water: float) -> Spot:
    """A spot on the dry wall that a crop keeps and that shows at 64 px: neither at the edge of the
    frame nor far down the pipe."""
    for _ in range(20):
        phi = rng.uniform(-1, 1) * (2.3 - 1.5 * water)
        z = 1 / (view.zoom * rng.uniform(0.42, 0.66))
        x = (math.sin(phi) - view.x) / (z * view.zoom) - view.pan / view.zoom
        y = (-math.cos(phi) - view.y) / (z * view.zoom) + view.tilt / view.zoom
        if max(abs(x), abs(y)) < 0.60 and math.hypot(x, y) > 0.33:
            break
    return Spot(phi, z, joint)


def draw(
    seed: int,
    split: str,
    index: int,
    size: tuple[int, int] = (96, 96),
    classes: Sequence[str] | None = None,
) -> tuple[np.ndarray, list[Box]]:
    """One frame, uint8 RGB (h, w, 3), and where its defects are.

    `classes` are drawn instead of the frame's own (() for none). Each defect has its own random
    stream, so that leaving one out changes nothing else in the frame.
    """
    video = _video(seed, split, index // FRAMES)
    rng = stream(seed, split, "frame", index)
    if classes is None:
        classes = classes_of(seed, split, index)
    x, y = video["eye"]
    eye = x + 0.06 * rng.standard_normal(), y + 0.04 * rng.standard_normal()
    turn = [video[axis] + 0.05 * rng.standard_normal() for axis in ("pan", "tilt", "roll")]
    view = View(*turn, video["zoom"] * rng.uniform(0.97, 1.03), *eye)
    joint = rng.uniform(1.15, 2.1)  # as near in frames without a defect as in those with one
    water = video["water"] * rng.uniform(0.8, 1.2) * (video["water"] > 0.01)
    streams = {name: stream(seed, split, name, index) for name in DRAW if name in classes}
    spots, contrast, shape = {}, {}, {}
    for name, own in streams.items():
        contrast[name] = own.uniform(0.15, 1.0)  # hard to easy
        spots[name] = _place(own, joint, view, water)
        if name in SHAPE:
            shape |= SHAPE[name](spots[name], own, contrast[name])
    scene = Scene(size, view, water, **shape)
    _paint_wall(scene, video, rng, streams.get("OK"))
    spacing, width = video["spacing"], video["joint_width"]
    scene.rings(joint, spacing, width, rng.uniform(0.35, 0.85), rng.uniform(0.0, 0.25))
    distractors.scatter(scene, stream(seed, split, "clutter", index), joint)
    exposure, lamp = video["exposure"] * rng.uniform(0.85, 1.15), rng.uniform(-0.15, 0.15)
    waves, ripple = rng.uniform(0, 99), video["ripple"] * rng.uniform(0.5, 1.5)
    masks = {}
    for in_front in (False, True):
        if in_front and water:
            murky = np.float32([0.60, 0.53, 0.41]) * video["murk"]
            scene.pour(murky, waves, ripple, video["foam"])
        for name in streams:
            if (name in IN_FRONT) == in_front:
                masks[name] = DRAW[name](scene, spots[name], streams[name], contrast[name])
    gloss = MATERIALS[video["material"]][3]
    image = scene.expose(video["lamp"] + lamp, exposure, video["fall"], gloss)
    # The white balance drifts as much within a video as between videos.
    image *= np.float32(1 + 0.015 * rng.standard_normal(3)).reshape(3, 1, 1)
    boxes = [box for name, mask in masks.items() if (box := _box(name, mask))]
    return camera.record(image, video, rng), boxes


def _paint_wall(scene: Scene, video: dict[str, Any], rng, change) -> None:
    """Paint the wall. Where the construction changes (OK), the pipe beyond the step is of another
    material; `change` is that defect's random stream."""
    texture = video["texture"] + rng.uniform(0, 500)
    scene.albedo = scene.surface(video["material"], texture, video["roughness"])
    others = [material for material in MATERIALS if material != video["material"]]
    other = others[int(rng.integers(2))]
    if change:
        tone = np.float32(change.choice([0.62, 0.72, 1.25]))
        scene.albedo += scene.beyond * (scene.surface(other, texture + 50) * tone - scene.albedo)
    scene.albedo *= np.float32(video["tint"]).reshape(3, 1, 1)


def _box(name: str, mask: np.ndarray) -> Box | None:
    rows, columns = (np.flatnonzero(mask.max(axis) > 0.35) for axis in (1, 0))
    if not len(rows) or not len(columns):
        return None
    return name, int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def filename(split: str, index: int) -> str:
    return f"{SPLITS[split][2] + index:08d}.png"


def labels(seed: int, split: str, n: int, defect_share: float = DEFECT_SHARE) -> pd.DataFrame:
    """Sewer-ML's table of a split's first n frames, and a last column Video. A longer table starts
    with the shorter one."""
    rows = []
    for i in range(n):
        classes = classes_of(seed, split, i, defect_share)
        video, defect = i // FRAMES, int(bool(classes))
        # In per cent of the pipe's height, in steps of 5 as inspectors note it.
        water = int(5 * round(20 * _video(seed, split, video)["water"]))
        flags = (int(name in classes) for name in CLASSES)
        row = filename(split, i), water, int(water > 0), *flags, 1 - defect, defect
        rows.append((*row, f"{split}{video:05d}"))
    return pd.DataFrame(rows, columns=[*COLUMNS, "Video"])


def _write_some(job) -> list[tuple]:
    """Write some frames of a split; returns the rows of its Boxes.csv."""
    folder, seed, split, indices, px = job
    cv2.setNumThreads(1)
    rows = []
    for i in indices:
        image, boxes = draw(seed, split, i, (px, px))
        path = folder / filename(split, i)
        _, data = cv2.imencode(".png", image[..., ::-1], PNG)
        path.write_bytes(data)  # raises OSError where the disk is full, as cv2.imwrite would not
        rows += [(path.name, *box) for box in boxes]
    return rows


def is_whole(folder: Path) -> bool:
    """Whether the tables in `folder`, of labels or of boxes beside drawn frames, are as they were
    written."""
    sums = atomic.read_json(folder / "checksums.json") or {}
    return bool(sums) and all(atomic.checksum(folder / name) == sums[name] for name in sums)


def write_tables(root: Path, seed: int, sizes: dict[str, int]) -> None:
    """Write the tables of splits of these sizes in Sewer-ML's format, and Videos.csv; `root`, a new
    folder, appears when they are complete."""
    with atomic.new_folder(root) as work:
        tables = {split: labels(seed, split, n) for split, n in sizes.items()}
        for split, table in tables.items():
            table[list(COLUMNS)].to_csv(work / SPLITS[split][1], index=False)
        pd.concat(tables.values())[["Filename", "Video"]].to_csv(work / "Videos.csv", index=False)
        _put_checksums(work)


def write_frames(root: Path, seed: int, split: str, n: int, px: int, workers: int = 1) -> None:
    """Draw the n frames of a split into its folder in `root`, with Boxes.csv; the folder, a new
    one, appears when they are complete."""
    parts = [range(start, min(start + 10 * FRAMES, n)) for start in range(0, n, 10 * FRAMES)]
    with atomic.new_folder(root / SPLITS[split][0]) as work:
        jobs = [(work, seed, split, indices, px) for indices in parts]
        if workers == 1:
            boxes = [_write_some(job) for job in jobs]
        else:
            with parallel.pool(workers, "drew images") as pool:
                boxes = parallel.results(pool, _write_some, jobs)
        names = ["Filename", "Class", "x0", "y0", "x1", "y1"]
        pd.DataFrame(chain(*boxes), columns=names).to_csv(work / "Boxes.csv", index=False)
        _put_checksums(work)


def _put_checksums(folder: Path) -> None:
    sums = {table.name: atomic.checksum(table) for table in folder.glob("*.csv")}
    atomic.put_json(folder / "checksums.json", sums)
