"""Images in folders or in the zips of Sewer-ML's archive: found where they lie."""

import os
import posixpath
import struct
import unicodedata
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath

import numpy as np

from lib.data.decoding import ENDINGS, ImageError, Place, decode

# The archive's zips, by the pattern that finds them (Haurum and Moeslund 2021).
SERIES = {
    "train*.zip": tuple(f"train{i:02}.zip" for i in range(14)),
    "valid*.zip": tuple(f"valid{i:02}.zip" for i in range(2)),
}
PACKED = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar")
# zipfile raises all of these for a file that is cut short or damaged.
NOT_A_ZIP = (zipfile.BadZipFile, OSError, NotImplementedError, ValueError, struct.error)


class Zips:
    """The zips in a folder that match a pattern ("": none), and the images that they list. Their
    directories, about 1 kB an image, are not kept."""

    def __init__(self, folder: Path, pattern: str):
        self.paths = sorted(folder.glob(pattern)) if pattern else []
        names = {path.name for path in self.paths}
        self.series = SERIES.get(pattern, ())
        self.missing = [name for name in self.series if name not in names]
        self.members: dict[str, list[Place]] = {}  # `key` of the name without folder -> places
        self.damaged: dict[Path, str] = {}  # zips that cannot be opened -> why
        self.locked: set[Path] = set()  # zips that need a password
        for path in self.paths:
            try:
                with zipfile.ZipFile(path) as archive:
                    self._list(path, archive.infolist())
            except NOT_A_ZIP as error:
                self.damaged[path] = str(error)

    def _list(self, path: Path, entries: Sequence[zipfile.ZipInfo]) -> None:
        for entry in entries:
            name = PurePosixPath(entry.filename)
            of_finder = name.name.startswith("._") or "__MACOSX" in name.parts
            if name.suffix.lower() not in ENDINGS or of_finder:  # macOS adds one to every file
                continue
            if entry.flag_bits & 1:
                self.locked.add(path)
            stretch = entry.header_offset, entry.compress_size, entry.file_size
            place = Place(path, entry.filename, *stretch, entry.compress_type, entry.CRC)
            self.members.setdefault(key(name.name), []).append(place)


@dataclass(frozen=True)
class Images:
    """The images of one table: in `folders` below `root`, or in its zips that match `archives`."""

    root: Path
    folders: tuple[str, ...] = (".",)
    archives: str = ""

    # (the place used, another one) for each image found so far in two places.
    copies: list[tuple[Place, Place]] = field(default_factory=list, compare=False)
    # Folder -> plain name -> name of its images, for each folder that was listed.
    _listings: dict[Path, dict[str, str]] = field(default_factory=dict, compare=False)

    @cached_property
    def zips(self) -> Zips:
        return Zips(self.root, self.archives)

    @cached_property
    def existing_folders(self) -> list[Path]:
        return [self.root / folder for folder in self.folders if (self.root / folder).is_dir()]

    def files(self, name: str) -> list[Path]:
        """The files of that name in the folders, else with the suffix in the other case (.PNG)."""
        stem, dot, suffix = name.rpartition(".")
        for spelling in dict.fromkeys((name, key(name), f"{stem}{dot}{suffix.upper()}")):
            paths = [folder / spelling for folder in self.existing_folders]
            if files := [path for path in paths if os.path.isfile(path)]:  # False if too long
                return files
        return []

    def find(self, name: str) -> Place:
        """Where the image is read from: a folder first, then the zips in order.
        Raises ImageError where it is absent, in a locked zip, or in two places and different."""
        places = [Place(path, length=path.stat().st_size) for path in self.files(name)]
        places += self.zips.members.get(key(name), [])
        if not places:
            raise ImageError("absent", f"{name} is in the table, but {self._where_looked(name)}.")
        first, *others = places
        for other in filter(first.differs, others):
            where = f"{first} and, with other content, in {other}"
            raise ImageError("duplicate", f"{name} is in {where}: remove one.")
        if others:
            self.copies.append((first, others[0]))
        if first.path in self.zips.locked:
            archive, folder = first.path, self.root / self.folders[0]
            why = f"{archive} is protected by a password (the one mailed by the VAP group)"
            how = f"unzip -j -P PASSWORD {archive.name} -d {folder} (or 7z e -pPASSWORD)"
            raise ImageError("zip with a password", f"{why}: extract it, {how}.")
        return first

    def _where_looked(self, name: str) -> str:
        """Where an absent image was looked for, and the remedy."""
        zips, remedy = self.zips, "complete the images, or remove the row"
        both = f"neither under {self.root} nor in its zips ({self.archives})"
        looked = both if self.archives else f"not in {self.root}"
        if similar := self._similar(name):
            return f"{looked}: {similar} is there, so write that as its Filename, or remove the row"
        if not self.archives:
            packed = sorted(p.name for p in self.root.glob("*") if p.suffix.lower() in PACKED)
            if packed:  # archives, which are not read
                remedy = f"extract {', '.join(packed[:3])} there, or remove the row"
            return f"{looked}: {remedy}"
        if zips.damaged:
            path, why = next(iter(zips.damaged.items()))
            more = f", nor are {len(zips.damaged) - 1} others" if len(zips.damaged) > 1 else ""
            return f"{looked}: {path} is not a complete zip ({why}){more}; download it again"
        if not zips.paths:
            return f"{looked}, of which there are none: {remedy}"
        if not zips.missing:
            return f"{looked}, of which {len(zips.paths)} were read: {remedy}"
        absent = f"of {zips.series[0]} to {zips.series[-1]}, {in_ranges(zips.missing, zips.series)}"
        return f"{looked}: {absent} not there; put what is missing into {self.root}"

    def _similar(self, name: str) -> str:
        """An image whose name has another ending, case, separator or folder, "" without one."""
        path = PurePosixPath(name.replace("\\", "/"))
        for parent in dict.fromkeys((path.parent, PurePosixPath())):
            for folder in self.existing_folders:
                if similar := self._listed(folder / parent).get(_plain(path.name)):
                    return str(parent / similar)
        return self._members.get(_plain(path.name), "")

    def _listed(self, folder: Path) -> dict[str, str]:
        """Plain name -> name of every image in the folder, which is listed once."""
        if folder not in self._listings:
            names = os.listdir(folder) if os.path.isdir(folder) else []
            self._listings[folder] = {_plain(n): n for n in names if n.lower().endswith(ENDINGS)}
        return self._listings[folder]

    @cached_property
    def _members(self) -> dict[str, str]:
        """Plain name -> where it lies, of every image in the zips."""
        return {_plain(name): str(places[0]) for name, places in self.zips.members.items()}

    def copies_note(self) -> str:
        """How many of the images found so far lie in two places with the same size, "" if none."""
        if not self.copies:
            return ""
        first = "{} is used, {} is not".format(*self.copies[0])
        what = f"{len(self.copies):,} images lie in two places with the same size"
        return f"{what} ({first}); remove one to save disk."

    def read(self, name: str) -> np.ndarray:
        """(h, w, 3) uint8 RGB. Raises ImageError for an image that cannot be used."""
        return decode(self.find(name))


def _plain(name: str) -> str:
    """What is left of a name without its ending, case, and way to write accents."""
    return unicodedata.normalize("NFC", name.rpartition(".")[0] or name).casefold()


def key(name: str) -> str:
    """The name as folders list it, with its suffix in lower case: a.PNG and ./a.png are a.png."""
    name = posixpath.normpath(name) if "/" in name else name
    stem, dot, suffix = name.rpartition(".")
    return f"{stem}{dot}{suffix.lower()}"


def in_ranges(names: Sequence[str], series: Sequence[str]) -> str:
    """Names of a series in its order, three and more in a row as "first to last"."""
    runs: list[list[str]] = []
    for name in names:
        if not runs or series.index(runs[-1][-1]) + 1 != series.index(name):
            runs.append([])
        runs[-1].append(name)
    return ", ".join(f"{run[0]} to {run[-1]}" if len(run) > 2 else ", ".join(run) for run in runs)
