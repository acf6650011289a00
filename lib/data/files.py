"""Images in folders or in the zips of Sewer-ML's archive: found, and decoded where they lie.

A `Place` is all that another process needs to decode an image: no open file is shared.
"""

import io
import struct
import sys
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

# The archive's zips by the pattern that finds them (Haurum and Moeslund 2021).
SERIES = {
    "train*.zip": tuple(f"train{i:02}.zip" for i in range(14)),
    "valid*.zip": tuple(f"valid{i:02}.zip" for i in range(2)),
}
SMALLEST = (
    16  # px a side; the smallest input of any profile is 32, and no inspection frame comes near
)
LARGEST = (
    50_000_000  # px; Sewer-ML's frames have under 1 million, the largest cameras' pictures under 50
)
Image.MAX_IMAGE_PIXELS = None  # Pillow's warning at 89 million; ours is an error, below
PLAIN = ("RGB", "L", "1")  # modes that become 8-bit RGB without loss
TRANSPARENT = ("RGBA", "LA", "P", "PA", "La", "RGBa")  # likewise, where nothing is transparent


class ImageError(DataError):
    """One image that cannot be used; `kind` says in a word or two why, so that a summary can
    count."""

    def __init__(self, kind: str, message: str):
        super().__init__(kind, message)
        self.kind = kind

    def __str__(self) -> str:
        return self.args[1]


class Place(NamedTuple):
    """Where the bytes of an image lie: in a file of its own, or in a stretch of a zip (`member` is
    its name there)."""

    path: Path
    member: str = ""
    offset: int = 0  # of the member's local header
    stored: int = 0  # bytes in the zip
    length: int = 0  # bytes of the image's file
    method: int = zipfile.ZIP_STORED
    crc: int | None = None

    def __str__(self) -> str:
        return f"{self.path}, {self.member}" if self.member else str(self.path)


@dataclass(frozen=True)
class Images:
    """The images of one table: below `root` in one of `folders`, or in zips that match `archives`,
    read in place."""

    root: Path
    folders: tuple[str, ...] = (".",)
    archives: str = ""

    @cached_property
    def zips(self) -> list[Path]:
        """The zips that are there."""
        return sorted(self.root.glob(self.archives)) if self.archives else []

    @cached_property
    def missing_zips(self) -> list[str]:
        """The zips of Sewer-ML's archive that are not there."""
        there = {path.name for path in self.zips}
        return [name for name in SERIES.get(self.archives, ()) if name not in there]

    @cached_property
    def copies(self) -> list[tuple[Place, Place]]:
        """Of the images asked for so far that lie in two places with the same size: (the one used,
        another)."""
        return []

    @cached_property
    def damaged(self) -> dict[Path, str]:
        """The zips that cannot be opened, and why."""
        return self._index[1]

    @cached_property
    def locked(self) -> set[Path]:
        """The zips that need a password."""
        return self._index[2]

    @property
    def members(self) -> dict[str, list[Place]]:
        """Every zipped image: its name, whatever folder it lies in -> its places."""
        return self._index[0]

    @cached_property
    def _index(self) -> tuple[dict[str, list[Place]], dict[Path, str], set[Path]]:
        """Members, damaged zips, locked zips: one zip at a time, its directory (about 1 kB an
        image) let go after."""
        found: dict[str, list[Place]] = {}
        damaged, locked = {}, set()
        for path in self.zips:
            try:
                with zipfile.ZipFile(path) as archive:
                    directory = archive.infolist()
            except (
                zipfile.BadZipFile,
                OSError,
                NotImplementedError,
                ValueError,
                struct.error,
            ) as error:
                damaged[path] = str(error)
                continue
            for entry in directory:
                member = PurePosixPath(entry.filename)
                if (
                    member.suffix.lower() != ".png"
                    or member.name.startswith("._")
                    or "__MACOSX" in member.parts
                ):
                    continue  # the Mac's finder adds a file of attributes to every file
                if entry.flag_bits & 1:
                    locked.add(path)
                place = Place(
                    path,
                    entry.filename,
                    entry.header_offset,
                    entry.compress_size,
                    entry.file_size,
                    entry.compress_type,
                    entry.CRC,
                )
                found.setdefault(key(member.name), []).append(place)
        return found, damaged, locked

    @cached_property
    def there(self) -> list[Path]:
        """Those of the folders that are there."""
        return [self.root / f for f in self.folders if (self.root / f).is_dir()]

    def files(self, name: str) -> list[Path]:
        """The files of that name in the folders; a suffix in the other case (.PNG) serves where
        there is none."""
        for spelt in (name, _other_case(name)):
            found = [path for folder in self.there if (path := folder / spelt).is_file()]
            if found:
                return found
        return []

    def find(self, name: str) -> Place:
        """Where the image is read from: a folder first, then the zips in order.

        Raises ImageError for one that is absent, in a zip with a password, or in two places with
        different content.
        """
        places = [Place(path, length=path.stat().st_size) for path in self.files(name)]
        places += self.members.get(key(name), [])
        if not places:
            raise ImageError("absent", f"{name} is in the table, but {self._nowhere()}.")
        first, *others = places
        for other in others:
            if other.length != first.length or (
                None not in (other.crc, first.crc) and other.crc != first.crc
            ):
                raise ImageError(
                    "duplicate",
                    f"{name} is in {first} and, with other content, in {other}: remove one.",
                )
        if others:
            self.copies.append((first, others[0]))
        if first.path in self.locked and first.member:
            folder = self.root / self.folders[0]
            raise ImageError(
                "zip with a password",
                f"{first.path} is protected by a password (the one mailed by the VAP group): extract it, "
                f"unzip -j -P PASSWORD {first.path.name} -d {folder} (or 7z e -pPASSWORD).",
            )
        return first

    def _nowhere(self) -> str:
        """Where an absent image was looked for, and the remedy."""
        if not self.archives:
            return f"not in {self.root}: complete the images, or remove the row"
        looked = f"neither under {self.root} nor in its zips ({self.archives})"
        remedy = "complete the images, or remove the row"
        if self.damaged:
            path, why = next(iter(self.damaged.items()))
            more = f", nor are {len(self.damaged) - 1} others" if len(self.damaged) > 1 else ""
            return f"{looked}: {path} is not a complete zip ({why}){more}; download it again"
        if self.zips and self.missing_zips:
            series = SERIES[self.archives]
            absent = in_ranges(self.missing_zips, series)
            return f"{looked}: of {series[0]} to {series[-1]}, {absent} not there; put what is missing into {self.root}"
        if self.zips:
            return f"{looked}, of which {len(self.zips)} were read: {remedy}"
        return f"{looked}, of which there are none: {remedy}"

    def warn_of_copies(self) -> None:
        """Say on standard error how many images were found in two places with the same size."""
        if self.copies:
            used, other = self.copies[0]
            print(
                f"warning: {len(self.copies):,} images lie in two places with the same size ({used} is used, "
                f"{other} is not); remove one to save disk.",
                file=sys.stderr,
                flush=True,
            )

    def read(self, name: str) -> np.ndarray:
        """(h, w, 3) uint8 RGB. Raises ImageError for an absent, truncated or otherwise unusable
        image."""
        return decode(self.find(name))


def key(name: str) -> str:
    """The name with its suffix in lower case: a.PNG is a.png."""
    stem, dot, suffix = name.rpartition(".")
    return f"{stem}{dot}{suffix.lower()}"


def in_ranges(names: Sequence[str], series: Sequence[str]) -> str:
    """Names of a series in its order, three and more in a row as "first to last"."""
    told: list[list[str]] = []
    for name in names:
        if told and series.index(told[-1][-1]) + 1 == series.index(name):
            told[-1].append(name)
        else:
            told.append([name])
    return ", ".join(f"{run[0]} to {run[-1]}" if len(run) > 2 else ", ".join(run) for run in told)


def _other_case(name: str) -> str:
    stem, dot, suffix = name.rpartition(".")
    return f"{stem}{dot}{suffix.upper() if suffix.islower() else suffix.lower()}"


def decode(place: Place) -> np.ndarray:
    """(h, w, 3) uint8 RGB of the image there; grey becomes RGB. Raises ImageError for one that
    cannot be used."""
    data = _bytes(place)
    again = "download the zip again" if place.member else "extract or download it again"
    try:
        with Image.open(io.BytesIO(data)) as image:
            _check_size(place, image)
            return np.asarray(_rgb(place, image))
    except UnidentifiedImageError:
        what = "is an empty file" if not data else "is no image that can be recognised"
        raise ImageError("no image", f"{place} cannot be decoded, it {what}: {again}.") from None
    except ImageError:
        raise
    except (
        OSError,
        SyntaxError,
        EOFError,
        ValueError,
        struct.error,
        zlib.error,
    ) as error:  # all of them Pillow's
        message = f"{place} cannot be decoded, it is cut short or damaged ({error}): {again}."
        raise ImageError("damaged", message) from None


def _check_size(place: Place, image: Image.Image) -> None:
    width, height = image.size
    if min(image.size) < SMALLEST or width * height > LARGEST:
        limits = f"at least {SMALLEST} px a side and at most {LARGEST / 1e6:.0f} million px"
        message = (
            f"{place} has {width} x {height} px, expected {limits}: replace it, or remove the row."
        )
        raise ImageError("wrong size", message)


def _rgb(place: Place, image: Image.Image) -> Image.Image:
    """As 8-bit RGB, where that loses nothing but depth beyond 8 bits a channel of colour."""
    if image.mode in PLAIN:
        return image.convert("RGB")
    if image.mode in TRANSPARENT:
        whole = image.convert("RGBA")
        if whole.getextrema()[3][0] == 255:
            return whole.convert("RGB")
        found = f"{image.mode} with transparent pixels"
    else:
        found = {"I;16": "16-bit grey", "I": "grey of more than 8 bits"}.get(image.mode, image.mode)
    message = (
        f"{place} is {found}, expected 8-bit RGB or grey: save it as 8-bit RGB, or remove the row."
    )
    raise ImageError("wrong mode", message)


def _bytes(place: Place) -> bytes:
    """The image's file. Raises ImageError where it cannot be read or its zip is damaged."""
    try:
        return _unzip(place) if place.member else place.path.read_bytes()
    except OSError as error:
        why = error.strerror or error
        raise ImageError(
            "unreadable", f"{place.path} cannot be read ({why}): check its rights and the disk."
        ) from None


def _unzip(place: Place) -> bytes:
    """A member's bytes, checked by CRC-32 (PKWARE's APPNOTE 4.3.7: a header of 30 bytes, the name,
    the extras)."""
    if place.method not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        found = f"compressed by method {place.method}, expected 0 (stored) or 8 (deflate)"
        raise ImageError("zip method", f"{place} is {found}: extract {place.path.name} with 7z.")
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
    raise ImageError(
        "damaged zip", f"{place} is damaged in the zip: download {place.path.name} again."
    )
