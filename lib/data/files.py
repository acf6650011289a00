"""Images in folders or in the zips of Sewer-ML's archive: found, and decoded where they lie.

A `Place` is all that another process needs to decode an image: no open file is shared.
"""

import io
import struct
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError

from lib.system.errors import DataError

# The archive's zips, by the pattern that finds them (Haurum and Moeslund 2021).
SERIES = {
    "train*.zip": tuple(f"train{i:02}.zip" for i in range(14)),
    "valid*.zip": tuple(f"valid{i:02}.zip" for i in range(2)),
}
# zipfile raises all of these for a file that is cut short or damaged.
NOT_A_ZIP = (zipfile.BadZipFile, OSError, NotImplementedError, ValueError, struct.error)
SMALLEST = 16  # px a side: the smallest input of a profile is 32, and no inspection frame is near
LARGEST = 50_000_000  # px: Sewer-ML's frames have under 1 million, the largest cameras under 50
Image.MAX_IMAGE_PIXELS = None  # Pillow would warn at 89 million; `decode` refuses above LARGEST
PLAIN = ("RGB", "L", "1")  # modes that become 8-bit RGB without loss
TRANSPARENT = ("RGBA", "LA", "P", "PA", "La", "RGBa")  # these do where nothing is transparent


class ImageError(DataError):
    """One image that cannot be used; `kind` is a word or two by which summaries count."""

    def __init__(self, kind: str, message: str):
        super().__init__(kind, message)  # both, so that it can be pickled
        self.kind = kind

    def __str__(self) -> str:
        return self.args[1]


class Place(NamedTuple):
    """Where the bytes of an image lie: in a file of its own, or in a stretch of a zip."""

    path: Path
    member: str = ""  # name inside the zip
    offset: int = 0  # of the member's local header
    stored: int = 0  # bytes in the zip
    length: int = 0  # bytes of the image's file
    method: int = zipfile.ZIP_STORED
    crc: int | None = None

    def __str__(self) -> str:
        return f"{self.path}, {self.member}" if self.member else str(self.path)

    def differs(self, other: "Place") -> bool:
        """Whether the contents differ, as far as that is known without reading them."""
        both_zipped = None not in (self.crc, other.crc)
        return self.length != other.length or (both_zipped and self.crc != other.crc)


class Zips:
    """The zips in a folder that match a pattern ("": none), and the images that they list.

    One zip is opened at a time; its directory, about 1 kB an image, is not kept.
    """

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
            if name.suffix.lower() != ".png" or of_finder:  # macOS adds attributes to every file
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

    @cached_property
    def zips(self) -> Zips:
        return Zips(self.root, self.archives)

    @cached_property
    def copies(self) -> list[tuple[Place, Place]]:
        """(the place used, another one) for each image found so far in two places."""
        return []

    @cached_property
    def existing_folders(self) -> list[Path]:
        return [self.root / folder for folder in self.folders if (self.root / folder).is_dir()]

    def files(self, name: str) -> list[Path]:
        """The files of that name in the folders, else with the suffix in the other case (.PNG)."""
        stem, dot, suffix = name.rpartition(".")
        for spelling in dict.fromkeys((name, key(name), f"{stem}{dot}{suffix.upper()}")):
            paths = [folder / spelling for folder in self.existing_folders]
            if files := [path for path in paths if path.is_file()]:
                return files
        return []

    def find(self, name: str) -> Place:
        """Where the image is read from: a folder first, then the zips in order.
        Raises ImageError where it is absent, in a locked zip, or in two places and different."""
        places = [Place(path, length=path.stat().st_size) for path in self.files(name)]
        places += self.zips.members.get(key(name), [])
        if not places:
            raise ImageError("absent", f"{name} is in the table, but {self._where_looked()}.")
        first, *others = places
        for other in others:
            if first.differs(other):
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

    def _where_looked(self) -> str:
        """Where an absent image was looked for, and the remedy."""
        zips, remedy = self.zips, "complete the images, or remove the row"
        if not self.archives:
            return f"not in {self.root}: {remedy}"
        looked = f"neither under {self.root} nor in its zips ({self.archives})"
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


def key(name: str) -> str:
    """The name with its suffix in lower case: a.PNG is a.png."""
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


def decode(place: Place) -> np.ndarray:
    """(h, w, 3) uint8 RGB of the image; grey becomes RGB. Raises ImageError where that fails."""
    data = _bytes(place)
    remedy = "download the zip again" if place.member else "extract or download it again"
    try:
        with Image.open(io.BytesIO(data)) as image:
            _check_size(place, image)
            return np.asarray(_rgb(place, image))
    except ImageError:
        raise
    except UnidentifiedImageError:
        what = "is no image that can be recognised" if data else "is an empty file"
        kind = "no image"
    except (OSError, SyntaxError, EOFError, ValueError, struct.error, zlib.error) as error:
        what, kind = f"is cut short or damaged ({error})", "damaged"  # Pillow raises all of these
    raise ImageError(kind, f"{place} cannot be decoded, it {what}: {remedy}.")


def _check_size(place: Place, image: Image.Image) -> None:
    width, height = image.size
    if min(image.size) < SMALLEST or width * height > LARGEST:
        limits = f"at least {SMALLEST} px a side and at most {LARGEST / 1e6:.0f} million px"
        what = f"{width} x {height} px, expected {limits}"
        raise ImageError("wrong size", f"{place} has {what}: replace it, or remove the row.")


def _rgb(place: Place, image: Image.Image) -> Image.Image:
    """The image as 8-bit RGB. Raises ImageError where the conversion would lose something."""
    if image.mode in PLAIN:
        return image.convert("RGB")
    mode = {"I;16": "16-bit grey", "I": "grey of more than 8 bits"}.get(image.mode, image.mode)
    if image.mode in TRANSPARENT:
        whole = image.convert("RGBA")
        if whole.getextrema()[3][0] == 255:  # the least opaque pixel
            return whole.convert("RGB")
        mode = f"{image.mode} with transparent pixels"
    remedy = "save it as 8-bit RGB, or remove the row"
    raise ImageError("wrong mode", f"{place} is {mode}, expected 8-bit RGB or grey: {remedy}.")


def _bytes(place: Place) -> bytes:
    """The image's file. Raises ImageError where it cannot be read or its zip is damaged."""
    try:
        return _unzip(place) if place.member else place.path.read_bytes()
    except OSError as error:
        why = f"({error.strerror or error}): check its rights and the disk."
        raise ImageError("unreadable", f"{place.path} cannot be read {why}") from None


def _unzip(place: Place) -> bytes:
    """A member's bytes, checked by CRC-32. Its local header is 30 bytes long, then come a name and
    extra fields, whose lengths are its last 4 bytes (PKWARE's APPNOTE 4.3.7)."""
    if place.method not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        what = f"compressed by method {place.method}, expected 0 (stored) or 8 (deflate)"
        raise ImageError("zip method", f"{place} is {what}: extract {place.path.name} with 7z.")
    with open(place.path, "rb") as file:
        file.seek(place.offset)
        header = file.read(30)
        if header[:4] == b"PK\x03\x04" and len(header) == 30:
            file.seek(sum(struct.unpack("<HH", header[26:])), io.SEEK_CUR)
            data = file.read(place.stored)
            try:
                data = zlib.decompress(data, -zlib.MAX_WBITS) if place.method else data
            except zlib.error:
                data = b""
            if len(data) == place.length and zlib.crc32(data) == place.crc:
                return data
    remedy = f"download {place.path.name} again"
    raise ImageError("damaged zip", f"{place} is damaged in the zip: {remedy}.")
