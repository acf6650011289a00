"""Images in folders or in the zips of Sewer-ML's archive: found where they lie."""

import os
import posixpath
import struct
import unicodedata
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath

import numpy as np

from lib.data.decoding import ENDINGS, ImageError, Place, decode
from lib.system.errors import DataError

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


class Listing:
    """The files in one folder. Raises DataError where it must not be listed."""

    def __init__(self, folder: Path):
        self.files: set[str] = set()
        try:
            with os.scandir(folder) as entries:
                self.files = {entry.name for entry in entries if entry.is_file()}
        except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: a zero byte
            pass
        except OSError as error:
            why = f"({error.strerror}): check its name and its permissions"
            raise DataError(f"the folder {folder} cannot be listed {why}.") from None

    def _images_by(self, equal: Callable[[str], str]) -> dict[str, str]:
        names = sorted(self.files, reverse=True)  # the first one stays
        return {equal(name): name for name in names if name.lower().endswith(ENDINGS)}

    @cached_property
    def by_key(self) -> dict[str, str]:
        """`key` -> name of every image."""
        return self._images_by(key)

    @cached_property
    def by_plain(self) -> dict[str, str]:
        """Plain name -> name of every image."""
        return self._images_by(_plain)


@dataclass(frozen=True)
class Images:
    """The images of one table: in `folders` below `root`, or in its zips that match `archives`."""

    root: Path
    folders: tuple[str, ...] = (".",)
    archives: str = ""

    # (the place used, another one) for each image found so far in two places.
    copies: list[tuple[Place, Place]] = field(default_factory=list, compare=False)
    _listings: dict[tuple[Path, str], Listing] = field(default_factory=dict, compare=False)

    @cached_property
    def zips(self) -> Zips:
        return Zips(self.root, self.archives)

    @cached_property
    def existing_folders(self) -> list[Path]:
        return [self.root / folder for folder in self.folders if (self.root / folder).is_dir()]

    def listing(self, folder: Path, parent: str) -> Listing:
        """The files in `parent`, a path from one of the folders; they are listed once."""
        if (folder, parent) not in self._listings:
            self._listings[folder, parent] = Listing(folder / parent)
        return self._listings[folder, parent]

    def found(self, name: str) -> list[tuple[Path, str]]:
        """Folder and file name of every match: the same name, or else the same `key`."""
        name = _normal(name)
        parent, slash, last = name.rpartition("/")
        lists = [(folder, self.listing(folder, parent)) for folder in self.existing_folders]
        same = [
            folder
            for folder, listing in lists
            if last in listing.files or os.path.isfile(folder / name)  # it may be new
        ]
        if same:
            return [(folder, name) for folder in same]
        similar = [(folder, listing.by_key.get(key(last))) for folder, listing in lists]
        return [(folder, f"{parent}{slash}{file}") for folder, file in similar if file]

    def files(self, name: str) -> list[Path]:
        """The files that are `found`."""
        return [folder / file for folder, file in self.found(name)]

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
        zips, folder = self.zips, "set IMAGES to their folder, " * (not self.archives)
        remedy = f"complete the images, {folder}or remove the row"
        both = f"neither under {self.root} nor in its zips ({self.archives})"
        looked = both if self.archives else f"not in {self.root}"
        for path in (folder / name for folder in self.existing_folders):
            if os.path.lexists(path):
                kind = "a folder" if path.is_dir() else "a link that leads to no file"
                return f"{looked}, where it is {kind}: {remedy}"
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
        parent, _, last = _normal(name.replace("\\", "/")).rpartition("/")
        for place in dict.fromkeys((parent, "")):
            for folder in self.existing_folders:
                if similar := self.listing(folder, place).by_plain.get(_plain(last)):
                    return posixpath.join(place, similar)
        return self._members.get(_plain(last), "")

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
    """The name without its ending, case-folded, its accents in one form (NFC)."""
    return unicodedata.normalize("NFC", name.rpartition(".")[0] or name).casefold()


def _normal(name: str) -> str:
    """The name as folders list it: ./a.png is a.png."""
    return posixpath.normpath(name) if "/" in name else name


def key(name: str) -> str:
    """A form of a name that is equal for all spellings of one file: a.PNG and ./a.png become a.png,
    and both Unicode forms of an accent (macOS has its own) become one."""
    stem, dot, suffix = _normal(name).rpartition(".")
    return unicodedata.normalize("NFC", f"{stem}{dot}{suffix.lower()}")


def in_ranges(names: Sequence[str], series: Sequence[str]) -> str:
    """Names of a series in its order, three and more in a row as "first to last"."""
    runs: list[list[str]] = []
    for name in names:
        if not runs or series.index(runs[-1][-1]) + 1 != series.index(name):
            runs.append([])
        runs[-1].append(name)
    return ", ".join(f"{run[0]} to {run[-1]}" if len(run) > 2 else ", ".join(run) for run in runs)
