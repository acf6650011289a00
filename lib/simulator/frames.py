"""Simulated Sewer-ML: labels, frames and files of sewer inspections, each frame a function of
(seed, split, index).

Frames come from videos of FRAMES frames that share pipe, light, camera and overlay; the splits
share no video.
"""

import csv
import functools
import hashlib
import math
import shutil
import tempfile
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from lib.simulator import camera, distractors
from lib.simulator.damage import DRAW, SHAPE
from lib.simulator.pipe import MATERIALS, Scene, Spot
from lib.study.names import CLASSES
from lib.system import parallel

VERSION = 1  # bump when any pixel or label changes: it is part of the data's identity
FRAMES = 16  # frames a video
BLOCK = 50  # frames between which the quotas of defects and classes are exact
SPLITS = {
    "train": ("Train", "SewerML_Train.csv", 0),
    "val": ("Valid", "SewerML_Val.csv", 10_000_000),
}  # folder, table, first number
COLUMNS = ("Filename", "WaterLevel", "VA", *CLASSES, "ND", "Defect")
PNG = [
    cv2.IMWRITE_PNG_COMPRESSION,
    1,
    cv2.IMWRITE_PNG_FILTER,
    cv2.IMWRITE_PNG_FILTER_UP,
]  # quick to write
Box = tuple[str, int, int, int, int]  # class, x0, y0, x1, y1 in pixels, right and bottom exclusive

# Share of defect frames whose main class is this one: the order of Sewer-ML (joints, surface damage
# and cracks lead, lateral cuts and transitions trail), the tail lifted so that 1,800 frames hold at
# least 30 of each class.
MAIN = {
    "FS": 0.12,
    "OB": 0.10,
    "RB": 0.085,
    "AF": 0.08,
    "BE": 0.07,
    "GR": 0.06,
    "RO": 0.055,
    "PF": 0.045,
    "DE": 0.045,
    "IN": 0.044,
    "FO": 0.043,
    "PH": 0.043,
    "PB": 0.043,
    "IS": 0.043,
    "OK": 0.042,
    "OS": 0.041,
    "OP": 0.041,
}
# What is seen with it: (chance of one more, of two more), then which. Roots, water and seals enter
# at displaced joints.
MORE = (0.27, 0.07)
WITH = {
    "FS": "RO IN IS OB AF BE",
    "RB": "OB IN RO FS BE",
    "OB": "RB AF BE FS GR",
    "RO": "FS RB GR",
    "IN": "FS RB BE",
    "GR": "BE OB RB AF",
    "PH": "RB OB BE",
    "PB": "OB AF FS",
    "AF": "OB FS BE GR",
    "BE": "FS OB IN",
    "DE": "RB FS AF",
    "IS": "FS IN",
    "PF": "AF FS GR",
    "FO": "AF OB FS",
    "OS": "PF BE AF",
    "OP": "AF OB BE",
    "OK": "OB AF GR",
}
# Of each of these a frame holds one: together they would hide one another.
CLASH = [
    {"FS", "OP", "OK"},
    {"DE", "OP", "OK"},
    {"GR", "PH", "PB", "OS"},
    {"AF", "FO"},
    {"RO", "IS"},
    {"DE", "FS"},
]


def _rng(*key) -> np.random.Generator:
    digest = hashlib.blake2b(repr(key).encode(), digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest, "little")))


@functools.lru_cache(maxsize=4096)
def _block(seed: int, split: str, block: int, share: float) -> tuple[int, ...]:
    """For each frame of a block the running number of its defect, -1 when normal."""
    first, last = round(block * BLOCK * share), round((block + 1) * BLOCK * share)
    numbers = np.concatenate([np.arange(first, last), np.full(BLOCK - last + first, -1)])
    return tuple(int(i) for i in _rng(seed, split, "block", block).permutation(numbers))


@functools.lru_cache(maxsize=1 << 16)  # the table asks, then the drawing
def classes_of(seed: int, split: str, index: int, defect_share: float = 0.472) -> tuple[str, ...]:
    """Defect classes of a frame: the main one first; empty when normal. 0.472 is Sewer-ML's natural
    share."""
    number = _block(seed, split, index // BLOCK, defect_share)[index % BLOCK]
    if number < 0:
        return ()
    # golden-ratio steps: every class on quota in any run
    u = (number * 0.6180339887 + _rng(seed, split, "classes").random()) % 1
    names, edges = list(MAIN), np.cumsum(list(MAIN.values()))
    found = [names[min(int(np.searchsorted(edges / edges[-1], u, "right")), len(names) - 1)]]
    rng = _rng(seed, split, "more", index)
    draw = rng.random()
    for _ in range((draw < sum(MORE)) + (draw < MORE[1])):
        options = [
            k
            for k in WITH[found[0]].split()
            if k not in found and not any(k in c and c & set(found) for c in CLASH)
        ]
        if options:
            found.append(options[int(len(options) * rng.random() ** 1.4)])
    return tuple(found)


def video_of(split: str, index: int) -> str:
    return f"{split}{index // FRAMES:05d}"


@functools.lru_cache(maxsize=64)
def _video(seed: int, split: str, number: int) -> dict:
    """What the frames of a video share."""
    rng = _rng(seed, split, "video", number)
    u = rng.uniform
    material = list(MATERIALS)[int(rng.choice(3, p=(0.5, 0.2, 0.3)))]
    return {
        "material": material,
        "pan": 0.06 * rng.standard_normal(),
        "tilt": 0.06 * rng.standard_normal(),
        "roll": 0.05 * rng.standard_normal(),
        "zoom": u(0.95, 1.15),
        "eye": (0.05 * rng.standard_normal(), u(-0.05, 0.22)),
        "tint": 1 + 0.015 * rng.standard_normal(3),
        "lamp": u(-0.4, 0.4),
        "fall": u(1.7, 2.3),
        "exposure": u(1.25, 1.65),
        "water": max(0.0, u(-0.08, 0.24)),
        "murk": u(0.40, 0.75),
        "ripple": u(0.08, 0.22),
        "foam": u(0, 1) ** 3,
        "joint_width": u(0.025, 0.05),
        "spacing": u(1.4, 2.8),
        "texture": u(0, 200),
        "roughness": u(0.7, 1.4),
        "blur": u(0.35, 0.75),
        "grain": u(0.010, 0.028),
        "quality": int(u(45, 85)),
        "text": f"{rng.integers(1000, 9999)}-{rng.integers(10, 99)}",
        "corner": int(rng.integers(4)),
        "ink": int(u(185, 250)),
        "start": u(0, 60),
    }


def _place(rng, joint, eye, view, water) -> Spot:
    """A spot on the dry wall that a crop keeps and that shows at 64 px: not near the frame, not far
    down the pipe."""
    pan, tilt, _, zoom, _, _ = view
    for _ in range(20):
        phi, z = rng.uniform(-1, 1) * (2.3 - 1.5 * water), 1 / (zoom * rng.uniform(0.42, 0.66))
        x = (math.sin(phi) - eye[0]) / (z * zoom) - pan / zoom
        y = (-math.cos(phi) - eye[1]) / (z * zoom) + tilt / zoom
        if max(abs(x), abs(y)) < 0.60 and math.hypot(x, y) > 0.33:
            break
    return Spot(phi, z, joint)


def draw(
    seed: int, split: str, index: int, size=(96, 96), defect_share: float = 0.472, classes=None
) -> tuple[np.ndarray, list[Box]]:
    """One frame, uint8 RGB (h, w, 3), and where its defects are.

    `classes` draws these instead of the frame's own (() for none). Each defect has its own random
    stream, so leaving one out changes nothing else in the frame.
    """
    v = _video(seed, split, index // FRAMES)
    rng = _rng(seed, split, "frame", index)
    wanted = classes_of(seed, split, index, defect_share) if classes is None else classes
    eye = v["eye"][0] + 0.06 * rng.standard_normal(), v["eye"][1] + 0.04 * rng.standard_normal()
    pose = [v[k] + 0.05 * rng.standard_normal() for k in ("pan", "tilt", "roll")]
    view = (*pose, v["zoom"] * rng.uniform(0.97, 1.03), *eye)
    joint = rng.uniform(1.15, 2.1)  # of every frame: with or without a defect a joint is as near
    water = v["water"] * rng.uniform(0.8, 1.2) * (v["water"] > 0.01)
    streams = {k: _rng(seed, split, k, index) for k in DRAW if k in wanted}
    spots, contrast, shape = {}, {}, {}
    for k, stream in streams.items():
        contrast[k] = stream.uniform(0.15, 1.0)  # hard to easy
        spots[k] = _place(stream, joint, eye, view, water)
        if k in SHAPE:
            shape |= SHAPE[k](spots[k], stream, contrast[k])
    s = Scene(size, view, water, **shape)
    texture = v["texture"] + rng.uniform(0, 500)
    s.albedo = s.surface(v["material"], texture, v["roughness"])
    other = [m for m in MATERIALS if m != v["material"]][int(rng.integers(2))]
    if "OK" in streams:
        tone = streams["OK"].choice([0.62, 0.72, 1.25])
        s.albedo += s.beyond * (s.surface(other, texture + 50) * np.float32(tone) - s.albedo)
    s.albedo *= np.float32(v["tint"]).reshape(3, 1, 1)
    s.rings(joint, v["spacing"], v["joint_width"], rng.uniform(0.35, 0.85), rng.uniform(0.0, 0.25))
    distractors.scatter(s, _rng(seed, split, "clutter", index), joint)
    masks, poured = {}, not water
    light = (
        rng.uniform(0.85, 1.15),
        rng.uniform(-0.15, 0.15),
        rng.uniform(0, 99),
        rng.uniform(0.5, 1.5),
    )
    for k in (*streams, "end"):
        if not poured and k in (
            "AF",
            "FO",
            "RO",
            "IS",
            "end",
        ):  # these stand in the water or before it
            s.pour(
                np.float32([0.60, 0.53, 0.41]) * v["murk"],
                light[2],
                v["ripple"] * light[3],
                v["foam"],
            )
            poured = True
        if k in streams:
            masks[k] = DRAW[k](s, spots[k], streams[k], contrast[k])
    gloss = MATERIALS[v["material"]][3]
    image = s.expose(v["lamp"] + light[1], v["exposure"] * light[0], v["fall"], gloss)
    # white balance drifts as much within a video as between videos
    image *= np.float32(1 + 0.015 * rng.standard_normal(3)).reshape(3, 1, 1)
    return camera.record(image, v, rng), [box for k, m in masks.items() if (box := _box(k, m))]


def _box(name, mask) -> Box | None:
    rows, cols = np.flatnonzero(mask.max(1) > 0.35), np.flatnonzero(mask.max(0) > 0.35)
    if not len(rows) or not len(cols):
        return None
    return name, int(cols[0]), int(rows[0]), int(cols[-1]) + 1, int(rows[-1]) + 1


def water_percent(seed: int, split: str, index: int) -> int:
    """Water level of the frame's video in per cent of the pipe's height, in steps of 5 as
    inspectors note it."""
    return int(5 * round(20 * _video(seed, split, index // FRAMES)["water"]))


def filename(split: str, index: int) -> str:
    return f"{SPLITS[split][2] + index:08d}.png"


def labels(seed: int, split: str, n: int, defect_share: float = 0.472) -> pd.DataFrame:
    """Sewer-ML's table of a split's first n frames, and a last column Video; a longer one starts
    with a shorter."""
    rows = []
    for i in range(n):
        found = classes_of(seed, split, i, defect_share)
        level = water_percent(seed, split, i)
        rows.append(
            (
                filename(split, i),
                level,
                int(level > 0),
                *(int(k in found) for k in CLASSES),
                int(not found),
                int(bool(found)),
                video_of(split, i),
            )
        )
    return pd.DataFrame(rows, columns=[*COLUMNS, "Video"])


def _write_some(job) -> list[tuple]:
    folder, seed, split, indices, px, share = job
    cv2.setNumThreads(1)
    boxes = []
    for i in indices:
        image, found = draw(seed, split, i, (px, px), share)
        if not cv2.imwrite(str(folder / filename(split, i)), image[..., ::-1], PNG):
            raise OSError(
                f"{folder / filename(split, i)}: cv2.imwrite wrote nothing; is the disk full?"
            )
        boxes += [(filename(split, i), *box) for box in found]
    return boxes


def write(
    root: Path,
    seed: int,
    train: int,
    val: int,
    px: int,
    workers: int = 1,
    defect_share: float = 0.472,
) -> None:
    """Write both splits in Sewer-ML's layout, with Videos.csv and Boxes.csv beside; `root` appears
    when complete.

    Raises FileExistsError when root exists.
    """
    root = Path(root)
    if root.exists():
        raise FileExistsError(f"{root} exists: remove it to simulate again")
    root.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{root.name}-", dir=root.parent))
    try:
        tables, jobs = [], []
        for split, n in (("train", train), ("val", val)):
            folder, table, _ = SPLITS[split]
            (work / folder).mkdir()
            tables.append(labels(seed, split, n, defect_share))
            tables[-1][list(COLUMNS)].to_csv(work / table, index=False)
            jobs += [
                (work / folder, seed, split, range(i, min(i + 10 * FRAMES, n)), px, defect_share)
                for i in range(0, n, 10 * FRAMES)
            ]
        if workers == 1:
            boxes = [_write_some(job) for job in jobs]
        else:
            with parallel.pool(workers, "drew images") as pool:
                boxes = list(pool.map(_write_some, jobs))
        pd.concat(tables)[["Filename", "Video"]].to_csv(work / "Videos.csv", index=False)
        with open(work / "Boxes.csv", "w", newline="") as f:
            csv.writer(f, lineterminator="\n").writerows(
                [
                    ("Filename", "Class", "x0", "y0", "x1", "y1"),
                    *(b for some in boxes for b in some),
                ]
            )
        work.chmod(0o755)  # mkdtemp makes it private
        work.rename(root)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise
