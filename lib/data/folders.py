"""Images that lie in folders: one walk for `make predict` and `make labels`, and the table of
labels, as data sets lay them out.

    train/good, test/good, test/scratch    MVTec AD, VisA, BTAD; ImageFolder; 0 and 1
    MT_Free/Imgs, MT_Crack/Imgs            magnetic tiles, a mask beside each image
    kos01/Part0.jpg, Part0_label.bmp       KolektorSDD: a mask with a pixel above 0 is a defect

Where a folder is named like normals, each folder beside it is a class of defects, and masks are not
read. Elsewhere the masks decide. Folders whose names contradict one another are refused.
"""

import os
import re
import shlex
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from lib.data import decoding
from lib.data.decoding import ENDINGS
from lib.data.own_labels import SPLITS, TOTALS
from lib.system import atomic, progress
from lib.system.errors import DataError

NO_IMAGE = "not images"
MASKS = "masks"
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
NOT_NEGATED = r"(?!.*(?<![a-z])(no|not|non|never|ab|un)(?![a-z]))"
# good, OK, MT_Free, normal images, no_defect; not: no_good, not - ok, abnormal, nok.
NORMAL = re.compile(
    NOT_NEGATED + r"(.*[^a-z])?(good|ok|normals?|free)"
    r"([^a-z]*(images?|imgs?|samples?|parts?))?[^a-z]*|non?[^a-z]?(defects?|defective|anomal.*)"
)
# good_augmented, ok to check: neither the name of normals nor that of a defect.
UNCLEAR = re.compile(NOT_NEGATED + r"(.*[^a-z])?(good|ok|normals?)([^a-z].*)?")
UNLABELLED = re.compile(r"(.*[^a-z])?(private|un(labell?ed|known|sorted))([^a-z].*)?")
MASK = re.compile(r"[ _-](labels?|gt|masks?|ground_?truth)$", re.IGNORECASE)  # ends a mask's name
WRAPPERS = ("data", "image", "images", "img", "imgs", "jpegimages", "rgb")  # name nothing
SIDES = SPLITS | {"test": "val", "testing": "val"}
FEWEST = 5  # groups with normals, and with defects, of which a fifth can be held out
EMPTY, MARKED, NO_MASK = "empty mask", "mask with pixels above 0", "no mask: all masks show defects"
FULL = "mask without a pixel of 0, inverted?"

Passed = dict[str, list[Path]]  # why -> the entries that are passed over


def walk(folder: Path) -> tuple[list[Path], Passed]:
    """Every image file below `folder`, sorted, and every other entry by why it is passed over.
    Links to folders are followed after all else and lead to no folder twice. Raises ValueError
    where `folder` is none."""
    if folder.is_file():
        raise ValueError(f"{folder} is a file: name a folder; extract an archive into one.")
    if not folder.is_dir():
        raise ValueError(f"there is no folder {folder}: name one that holds images.")
    images, passed = [], defaultdict(list)
    seen, folders, links = set(folder.resolve().parents), [(folder, "")], []
    while folders or links:
        place, why = folders.pop() if folders else links.pop(0)
        if place.resolve() in seen:
            passed["reached twice by links"].append(place)
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


def write_labels(folder: Path, out: Path) -> None:
    """Write the labels of the images below `folder` to the CSV `out`, and print what was taken for
    what. Filenames start from `folder`. Raises DataError where no folder and no mask tells normal
    from defect images, and ValueError where `out` holds something else."""
    images, passed = walk(folder)
    passed["with names that are not UTF-8"] = [p for p in images if escaped(p) != str(p)]
    images = [path for path in images if escaped(path) == str(path)]
    passed["with line breaks in their names"] = [p for p in images if re.search(r"[\r\n]", str(p))]
    images = [path for path in images if not re.search(r"[\r\n]", str(path))]
    masks = _masks(images, passed, folder)
    taken = set(masks.values())
    passed.setdefault(MASKS, []).extend(path for path in images if path in taken)
    images = [path for path in images if path not in taken]
    rows = _by_folder(images, folder, numbered=not masks) or _by_mask(images, masks, folder, passed)
    if {row["Defect"] for row in rows} != {0, 1}:
        if not images:
            raise DataError(f"{folder} holds no image: name the folder that does.")
        names = sorted({path.parent.name for path in images})
        seen = f"found {', '.join(names[:5])}{' ...' * (len(names) > 5)}"
        raise DataError(
            f"{folder}: no folder of normals (good, ok, normal, free, 0) beside one of defects, "
            f"and no masks of both kinds of images, {seen}; rename the folder of normals to good."
        )
    used = {row["path"] for row in rows}
    passed["images without a label"] = [path for path in images if path not in used]
    table = pd.DataFrame(rows)
    notes = filter(None, [_groups(table), _split(table)])
    text = table.drop(columns=["path", "Taken"]).to_csv(index=False)
    atomic.claim(out, lambda path: path.read_bytes() == text.encode())
    atomic.put_text(out, text)
    counts = table["Defect"].value_counts()
    print(f"{folder}: {counts[0]:,} normal and {counts[1]:,} defect images")
    for (defect, taken), n in table.groupby(["Defect", "Taken"]).size().items():
        print(f"  {n:7,} {taken}: {'defect' if defect else 'normal'}")
    if skipped := list(account({why: paths for why, paths in passed.items() if paths})):
        print(f"Skipped: {'; '.join(skipped)}.")
    command = f"make data-check PROFILE=own LABELS={shlex.quote(str(out))}"
    if out.parent.resolve() != folder.resolve():
        command += f" IMAGES={shlex.quote(str(folder))}"
    print(*notes, f"{out}: {len(table):,} rows. Next: {command}", sep="\n")


def _parts(path: Path, folder: Path, dropped=(*WRAPPERS, *SIDES)) -> tuple[str, ...]:
    """The folders between `folder` and the file, without those `dropped`."""
    return tuple(p for p in path.relative_to(folder).parts[:-1] if p.lower() not in dropped)


def _masks(images: list[Path], passed: Passed, folder: Path) -> dict[Path, Path]:
    """Image -> its mask: of the same name with an ending such as _label, beside it or in a folder
    of masks, or of the very same name and drawn (`_is_drawn`)."""

    def key(path: Path) -> tuple:
        parts = [p.lower() for p in _parts(path, folder, ())]
        kept = [p for p in parts if p not in WRAPPERS and not PASSED[MASKS].fullmatch(p)]
        return *kept, MASK.sub("", path.stem)

    named = {key(path): path for path in passed.get(MASKS, ())}
    named |= {key(path): path for path in images if MASK.search(path.stem)}
    same = defaultdict(list)
    for path in images:
        same[path.with_suffix("")].append(path)
    for paths in same.values():
        drawn = [path for path in paths if len(paths) > 1 and _is_drawn(decoding.mask(path))]
        named |= {key(path): path for path in drawn if len(drawn) < len(paths)}
    pairs = {path: named[key(path)] for path in images if key(path) in named}
    return {path: mask for path, mask in pairs.items() if path != mask}


def _is_drawn(pixels: np.ndarray) -> bool:
    """Whether two values make up nine tenths of these pixels, as in a drawn mask, even with smooth
    edges. A mask of magnetic tiles has up to 216 values, of which two make up 97 % of it; in a
    photograph, two values make up 21 % at most."""
    counts = np.sort(np.unique(pixels, return_counts=True)[1])
    return bool(counts[-2:].sum() >= 0.9 * max(pixels.size, 1))


def _row(path: Path, folder: Path, defect: bool, taken: str, name: str, group: str) -> dict:
    filename = path.relative_to(folder).as_posix()
    if filename.startswith(FORMULA) or filename[0].isspace():  # blanks are not read
        filename = f"./{filename}"
    sides = [SIDES[p.lower()] for p in path.relative_to(folder).parts[:-1] if p.lower() in SIDES]
    name = "" if name.casefold() in TOTALS else name.replace(";", ",")  # ; separates classes
    row = {"Filename": filename, "Defect": int(defect), "Class": name, "Group": group}
    return row | {"Split": sides[0] if sides else "", "path": path, "Taken": taken}


def _by_folder(images: list[Path], folder: Path, numbered: bool) -> list[dict]:
    """Rows of the images in folders beside one of normals, which may be `numbered` 0 where no name
    says more. Raises DataError for names that are unclear or contradict one another."""
    parts = {path: _parts(path, folder) for path in images}
    every = {name for names in parts.values() for name in names}
    numbered = numbered and not any(NORMAL.fullmatch(name.lower()) for name in every)

    def normal(name: str) -> bool:
        return bool(NORMAL.fullmatch(name.lower())) or (numbered and name == "0")

    roots = {p[:i] for p in set(parts.values()) for i in range(len(p)) if normal(p[i])}
    real = {path.relative_to(folder).parts[:-1] for path in images}
    beside = {p[:i] for p in real for i in range(len(p)) if normal(p[i])}  # hold one of normals
    rows = []
    for path, names in parts.items():
        depths = [i for i in range(len(names)) if names[:i] in roots]
        if not depths or any(UNLABELLED.fullmatch(name.lower()) for name in names):
            continue
        name, *group = names[depths[-1] :]
        _check_outer(path, folder, beside, depths[-1], normal)
        if not normal(name) and UNCLEAR.fullmatch(name.lower()):
            what = f"{path.parent}: does {name} hold normals or defects"
            raise DataError(f"{what}? Rename it, to good or to the name of the defect.")
        row = not normal(name), f"in {name}", "" if normal(name) else name, "/".join(group)
        rows.append(_row(path, folder, *row))
    return rows


def _check_outer(path: Path, folder: Path, beside: set, depth: int, normal: Callable) -> None:
    """Raise DataError where an outer folder contradicts the deciding one (`_parts` at `depth`).
    Outer folders without one of normals beside them, such as dev, do not count."""
    real, inner = path.relative_to(folder).parts[:-1], _parts(path, folder)[depth]
    naming = [i for i, name in enumerate(real) if name.lower() not in (*WRAPPERS, *SIDES)]
    for i in naming[:depth]:
        if real[:i] in beside and normal(real[i]) != normal(inner):
            word = "normal" if normal(real[i]) else "defect"
            what = f"{real[i]} says {word}, {inner} the contrary"
            raise DataError(f"{path.parent}: {what}; rename one of the two.")


def _by_mask(images: list[Path], masks: Mapping[Path, Path], folder: Path, passed: Passed):
    """Rows of the images with a mask; of those without, as normals, where no mask is empty. Masks
    that cannot be read are `passed` over."""
    bar, unread = progress.Images("masks", len(masks), loud=True), set()
    taken: dict[Path, str] = {}
    for path, mask in masks.items():
        bar.advance(1)
        if (pixels := decoding.mask(mask)).size:
            taken[path] = FULL if pixels.all() else MARKED if pixels.any() else EMPTY
        else:
            unread.add(mask)
    bar.close()
    passed[MASKS] = [path for path in passed[MASKS] if path not in unread]
    passed["masks that cannot be read"] = sorted(unread)
    if EMPTY not in taken.values():
        taken |= {path: NO_MASK for path in images if path not in masks}
    return [
        _row(path, folder, why in (FULL, MARKED), why, "", "/".join(_parts(path, folder)))
        for path, why in sorted(taken.items())
    ]


def _groups(table: pd.DataFrame) -> str:
    """Drop `Group` unless all images have one and enough hold each label; returns what it is."""
    counts = [table["Group"][table["Defect"] == label].nunique() for label in (0, 1)]
    n = table["Group"].nunique()
    if "" in table["Group"].values or n < 2 or (min(counts) < FEWEST and table["Class"].any()):
        del table["Group"]
        return ""
    where = "below the class's" if table["Class"].any() else "of the image"
    return f"Group is the folder {where}: {n:,} groups."


def _split(table: pd.DataFrame) -> str:
    """Drop `Split` unless both sides hold normal and defect images; returns why."""
    sides = Counter(zip(table["Split"], table["Defect"], strict=True))
    both = all(sides[side, label] for side in ("train", "val") for label in (0, 1))
    if both and "" not in table["Split"].values:
        return "Split is the data set's own: train, and val for its folders val and test."
    del table["Split"]
    if sides["train", 0] and not sides["train", 1]:
        return (
            "No Split is written: the data set's own training part holds normal images only, and "
            "this study needs defects there. A fifth is held out instead."
        )
    return "No Split is written: a fifth is held out."
