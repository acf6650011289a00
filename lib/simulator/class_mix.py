"""Which defect classes a frame shows: a function of (seed, split, index), with nearly the same
shares of the classes in any stretch of frames."""

import functools
import hashlib

import numpy as np

BLOCK = 50  # frames: every block holds exactly its share of defects
DEFECT_SHARE = 0.472  # Sewer-ML's natural share

# Class -> (share of the defect frames whose main class it is, classes seen with it, likeliest
# first). The shares keep Sewer-ML's order, from joints, surface damage and cracks to cut laterals
# and transitions; the rare ones are raised so that 1,800 frames hold at least 30 of each class.
# Roots, water and seals come with displaced joints, where they enter.
MAIN = {
    "FS": (0.12, "RO IN IS OB AF BE"),
    "OB": (0.10, "RB AF BE FS GR"),
    "RB": (0.085, "OB IN RO FS BE"),
    "AF": (0.08, "OB FS BE GR"),
    "BE": (0.07, "FS OB IN"),
    "GR": (0.06, "BE OB RB AF"),
    "RO": (0.055, "FS RB GR"),
    "PF": (0.045, "AF FS GR"),
    "DE": (0.045, "RB FS AF"),
    "IN": (0.044, "FS RB BE"),
    "FO": (0.043, "AF OB FS"),
    "PH": (0.043, "RB OB BE"),
    "PB": (0.043, "OB AF FS"),
    "IS": (0.043, "FS IN"),
    "OK": (0.042, "OB AF GR"),
    "OS": (0.041, "PF BE AF"),
    "OP": (0.041, "AF OB BE"),
}
ONE_MORE, TWO_MORE = 0.27, 0.07  # chances that one class, or two, are seen with the main class
CLASH = (  # classes that would hide one another: a frame holds one of each set
    {"FS", "OP", "OK"},
    {"DE", "OP", "OK"},
    {"GR", "PH", "PB", "OS"},
    {"AF", "FO"},
    {"RO", "IS"},
    {"DE", "FS"},
)


def stream(*key: int | str) -> np.random.Generator:
    """Random numbers of their own for every key."""
    digest = hashlib.blake2b(repr(key).encode(), digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest, "little")))


@functools.lru_cache(maxsize=4096)
def _block(seed: int, split: str, block: int, share: float) -> tuple[int, ...]:
    """For each frame of a block the running number of its defect, -1 for a normal frame."""
    first, last = round(block * BLOCK * share), round((block + 1) * BLOCK * share)
    numbers = np.concatenate([np.arange(first, last), np.full(BLOCK - last + first, -1)])
    return tuple(int(i) for i in stream(seed, split, "block", block).permutation(numbers))


@functools.lru_cache(maxsize=1 << 16)  # asked by the table, then by the drawing
def classes_of(
    seed: int, split: str, index: int, defect_share: float = DEFECT_SHARE
) -> tuple[str, ...]:
    """Defect classes of a frame, the main one first; empty for a normal frame."""
    number = _block(seed, split, index // BLOCK, defect_share)[index % BLOCK]
    if number < 0:
        return ()
    # Steps of the golden ratio spread evenly, so that every run of frames has its share of a class.
    u = (number * 0.6180339887 + stream(seed, split, "classes").random()) % 1
    names, edges = list(MAIN), np.cumsum([share for share, _ in MAIN.values()])
    main = names[min(int(np.searchsorted(edges / edges[-1], u, "right")), len(names) - 1)]
    classes = [main]
    rng = stream(seed, split, "more", index)
    draw = rng.random()
    for _ in range((draw < ONE_MORE + TWO_MORE) + (draw < TWO_MORE)):
        excluded = set(classes).union(*(clash for clash in CLASH if clash & set(classes)))
        options = [name for name in MAIN[main][1].split() if name not in excluded]
        if options:
            classes.append(options[int(len(options) * rng.random() ** 1.4)])
    return tuple(classes)
