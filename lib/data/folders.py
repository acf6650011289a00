"""The image files below a folder: one walk for `make predict` and `make labels`."""

import os
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from lib.data.decoding import ENDINGS

NO_IMAGE = "not images"
MASKS = "masks"
TWICE = "reached twice by links"
# What is passed over, by the name of a file or of a folder around it, in any case.
PASSED = {
    MASKS: re.compile(r"ground[ _-]?truths?|gt|masks"),
    "checkpoints": re.compile(r"\.?(ipynb_)?checkpoints?"),
    "thumbnails": re.compile(r"\.?_?thumb(nail)?s?"),
    "system files": re.compile(r"@eadir|[@#$]recycle(\.bin)?|__macosx|lost\+found|\._.*"),
    "hidden": re.compile(r"\..*"),
}
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # a spreadsheet takes what begins so for a formula
THUMBNAIL = re.compile(r"^thumb(nail)?[ _-]|[ _-]thumb(nail)?$")

Passed = dict[str, list[Path]]  # why -> the entries that are passed over


def walk(folder: Path) -> tuple[list[Path], Passed]:
    """Every image file below `folder`, sorted, and every other entry by why it is passed over.

    Links to folders are followed after all else and lead to no folder twice. Raises ValueError
    where `folder` is none.
    """
    if not folder.is_dir():
        raise ValueError(f"there is no folder {folder}: name one that holds images.")
    images, passed = [], defaultdict(list)
    seen, folders, links = set(folder.resolve().parents), [(folder, "")], []
    while folders or links:
        place, why = folders.pop() if folders else links.pop(0)
        if place.resolve() in seen:
            passed[TWICE].append(place)
            continue
        seen.add(place.resolve())
        try:
            entries = sorted(os.listdir(place))
        except OSError:
            passed["folders that cannot be opened"].append(place)
            continue
        stems = {Path(name).stem.lower() for name in entries}
        for path in (place / name for name in entries):
            reason = why or _passed(path.name.lower())
            small = THUMBNAIL.sub("", path.stem.lower())
            if os.path.isdir(path):  # False, not an error, where a folder is locked
                (links if path.is_symlink() else folders).append((path, reason))
            elif reason:
                passed[reason].append(path)
            elif not os.path.isfile(path) or path.suffix.lower() not in ENDINGS:
                passed[NO_IMAGE].append(path)
            elif small != path.stem.lower() and small in stems:
                passed["thumbnails"].append(path)
            else:
                images.append(path)
    return sorted(images), dict(passed)


def _passed(name: str) -> str:
    """Why a file or folder of that name is passed over, "" if it is not."""
    return next((why for why, pattern in PASSED.items() if pattern.fullmatch(name)), "")


def account(passed: Passed) -> Iterator[str]:
    """What is passed over, counted by why; of files that are no images, their endings, too."""
    for why, paths in sorted(passed.items()):
        kinds = sorted({escaped(path.suffix.lower() or path.name) for path in paths})
        what = f" ({', '.join(kinds[:5])}{' ...' * (len(kinds) > 5)})" * (why == NO_IMAGE)
        yield f"{len(paths):,} {why}{what}"


def escaped(name: str | Path) -> str:
    """The name in UTF-8; bytes that are not are written as \\xf6."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")
