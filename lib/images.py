"""Images in a folder or in the zips of Sewer-ML's archive, decoded once into a cache of square pixels."""

import io
import shutil
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError


class DataError(ValueError):
    """The images or tables are not what they should be; the message names the file and the remedy."""


@dataclass(frozen=True)
class Images:
    """The images of one table: below `root` in one of `folders`, or in zips that match `archives`, read in place."""

    root: Path
    folders: tuple[str, ...] = (".",)
    archives: str = ""

    @cached_property
    def _members(self) -> dict[str, tuple[zipfile.ZipFile, str]]:
        """Where each zipped image lies: base name -> (archive, member)."""
        found = {}
        for path in sorted(self.root.glob(self.archives)) if self.archives else ():
            try:
                archive = zipfile.ZipFile(path)
            except zipfile.BadZipFile as error:
                raise DataError(f"{path} is not a complete zip ({error}): download it again.") from None
            found |= {Path(m).name: (archive, m) for m in archive.namelist() if m.lower().endswith(".png")}
        return found

    @cached_property
    def _folders(self) -> list[Path]:
        return [self.root / f for f in self.folders if (self.root / f).is_dir()]

    def read(self, name: str) -> np.ndarray:
        """(h, w, 3) uint8 RGB. Raises DataError for an absent, truncated or otherwise unreadable image."""
        source, data = self._bytes(name)
        try:
            with Image.open(io.BytesIO(data)) as image:
                return np.asarray(image.convert("RGB"))
        except (UnidentifiedImageError, OSError, SyntaxError) as error:
            raise DataError(f"{source} cannot be decoded ({error}): extract or download it again.") from None

    def _bytes(self, name: str) -> tuple[Path, bytes]:
        for folder in self._folders:
            path = folder / name
            if path.is_file():
                return path, path.read_bytes()
        if name in self._members:
            archive, member = self._members[name]
            try:
                return Path(archive.filename) / member, archive.read(member)
            except RuntimeError as error:  # zipfile's word for a missing password
                raise DataError(f"{archive.filename} is password-protected ({error}): extract it first.") from None
            except zipfile.BadZipFile as error:
                raise DataError(f"{archive.filename}, {member} is damaged ({error}): download it again.") from None
        where = (
            f"neither under {self.root} nor in its zips ({self.archives})" if self.archives else f"not in {self.root}"
        )
        raise DataError(f"{name} is in the table, but {where}: complete the images, or remove the row.")


def decode(images: Images, names: Sequence[str], side: int, path: Path) -> None:
    """Write (n, side, side, 3) uint8 to `path`; beside it first, so that no partial file counts.

    Raises DataError for the first image that cannot be read, after all were tried, and where the disk is too full.
    """
    size = len(names) * side * side * 3
    free = shutil.disk_usage(path.parent).free
    if size > 0.95 * free:
        raise DataError(
            f"the pixel cache needs {size / 1e9:.1f} GB and {path.parent} has {free / 1e9:.1f} GB free: "
            "free some, or set WORKSPACE to a larger disk."
        )
    beside = path.with_suffix(".partial.npy")
    cache = np.lib.format.open_memmap(beside, "w+", np.uint8, (len(names), side, side, 3))
    bad = []
    for i, name in enumerate(names):
        try:
            cache[i] = square(images.read(name), side)
        except DataError as error:
            bad.append(str(error))
    if bad:
        beside.unlink()
        more = f" ({len(bad)} such images)" if len(bad) > 1 else ""
        raise DataError(bad[0] + more)
    cache.flush()
    del cache
    beside.replace(path)


def square(image: np.ndarray, side: int) -> np.ndarray:
    """(side, side, 3) uint8: the whole frame, resized with antialiasing, aspect not kept (as the released code)."""
    if image.shape[:2] == (side, side):
        return image
    return np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC))
