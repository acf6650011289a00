"""An image file's bytes and what they show: 8-bit RGB, upright, or a sentence on why not."""

import io
import re
import struct
import warnings
import zipfile
import zlib
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps, PngImagePlugin, UnidentifiedImageError

from lib.system.errors import DataError

# The formats that are read, by Pillow's names; it knows others, some of which start programs.
FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "WEBP", "GIF")
ENDINGS = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", ".gif")
# How files of other kinds begin: an offset, the bytes there, and the kind.
OTHERS = (
    (4, b"ftyp(heic|heix|hevc|heim|heis|mif1|msf1)", "a HEIC image"),
    (4, b"ftypavi[fs]", "an AVIF image"),
    (4, b"ftyp|moov|mdat", "a video"),
    (0, rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51", "a JPEG 2000 image"),
    (0, rb"\0\0\0\x0cJXL |\xff\x0a", "a JPEG XL image"),
    (0, rb"8BPS", "a Photoshop file"),
    (0, rb"%!PS|\xc5\xd0\xd3\xc6", "a PostScript file"),
    (0, rb"%PDF", "a PDF file"),
    (0, rb"PK\x03\x04|7z\xbc\xaf|Rar!|\x1f\x8b", "an archive"),
    (0, rb"\x93NUMPY", "an array of NumPy"),
    (0, rb"P[1-7]\s", "a PNM image"),
    (0, rb"\x89HDF|SIMPLE  =", "an array of measurements"),
    (128, rb"DICM", "a DICOM file"),
    (0, rb"II\*\0|MM\0\*", "a TIFF that is damaged or of a kind that is not read"),
    (0, rb"\xff\xd8\xff", "a JPEG that is damaged or of a kind that is not read"),
    (0, rb"\s*(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)?<svg", "an SVG drawing"),
)
SMALLEST = 16  # px a side: the smallest input of a profile is 32, and no inspection frame is near
LARGEST = 50_000_000  # px: Sewer-ML's frames have under 1 million, the largest cameras under 50
PngImagePlugin.MAX_TEXT_CHUNK = 2**26  # bytes of a text in a PNG: notes of a microscope, or worse
Image.MAX_IMAGE_PIXELS = None  # Pillow would warn at 89 million; `decode` refuses above LARGEST
# What Pillow raises for files and for metadata that are damaged.
BROKEN = (OSError, SyntaxError, EOFError, ValueError, TypeError, LookupError, AttributeError)
BROKEN += (OverflowError, struct.error, zlib.error)
PLAIN = ("RGB", "L", "1")  # modes that become 8-bit RGB without loss
TRANSPARENT = ("RGBA", "LA", "P", "PA", "La", "RGBa")  # without loss where nothing is transparent


class ImageError(DataError):
    """One image that cannot be used; `kind` is a word or two by which summaries count."""

    def __init__(self, kind: str, message: str):
        super().__init__(kind, message)  # both, so that it can be pickled
        self.kind = kind

    def __str__(self) -> str:
        return self.args[1]


class Place(NamedTuple):
    """Where the bytes of an image lie, for any process: in a file of its own, or within a zip."""

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


def decode(place: Place) -> np.ndarray:
    """(h, w, 3) uint8 RGB of the image, turned as its EXIF orientation says; grey becomes RGB.
    Raises ImageError where that fails, or would lose something."""
    data = read_bytes(place)
    remedy = "download the zip again" if place.member else "extract, download or save it again"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of tags that are damaged and not needed
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                _check(place, image)
                _check_exif(place, image)
                return np.asarray(_rgb(place, ImageOps.exif_transpose(image)))
    except ImageError:
        raise
    except UnidentifiedImageError:
        for at, begin, other in OTHERS:
            if re.match(begin, data[at:500], re.DOTALL):
                what = f"{place} is {other}, expected PNG, JPEG, TIFF, BMP, WebP or GIF"
                message = f"{what}: convert it, or leave it out."
                raise ImageError("other format", message) from None
        what = "is no image that can be recognised" if data else "is an empty file"
        kind = "no image"
    except BROKEN as error:
        what, kind = f"is cut short or damaged ({error})", "damaged"
    raise ImageError(kind, f"{place} cannot be decoded, it {what}: {remedy}.")


def mask(path: Path) -> np.ndarray:
    """The values of a mask, of any bits and size, 0 where it is transparent; empty where it cannot
    be read, is larger than any image may be, or has several pages."""
    with suppress(*BROKEN), Image.open(path, formats=FORMATS) as image:
        if image.width * image.height <= LARGEST and getattr(image, "n_frames", 1) == 1:
            if image.mode in TRANSPARENT or "transparency" in image.info:
                pixels = np.asarray(image.convert("RGBA"))
                return pixels[..., :3] * (pixels[..., 3:] > 0)
            return np.asarray(image)
    return np.array([], np.uint8)


def _check(place: Place, image: Image.Image) -> None:
    """Raise ImageError for an absurd size, for several pages (Pillow reads the first), and for
    16-bit colours (Pillow keeps the upper 8 bits). A camera's JPEG may hold small copies (MPO)."""
    width, height = image.size
    if min(image.size) < SMALLEST or width * height > LARGEST:
        limits = f"at least {SMALLEST} px a side and at most {LARGEST / 1e6:.0f} million px"
        what = f"{width} x {height} px, expected {limits}"
        raise ImageError("wrong size", f"{place} has {what}: replace it, or leave it out.")
    pages = getattr(image, "n_frames", 1)
    if pages > 1 and image.format != "MPO":
        what = f"{place} holds {pages} pages or frames, expected one"
        remedy = "save each one that is needed as an image of its own"
        raise ImageError("several pages", f"{what}: {remedy}.")
    raw = str(image.tile[0].args) if image.tile else ""  # as in 'RGB;16B'
    bits = image.tag_v2.get(258, (8,)) if image.format == "TIFF" else (8,)
    if image.format == "TIFF":  # Pillow takes the first bands for RGB, signed for unsigned
        bands, formats = image.tag_v2.get(277, 1), image.tag_v2.get(339, 1)
        if bands != len(image.getbands()):
            raise _wrong_mode(place, f"a TIFF of {bands} bands")
        if image.mode in PLAIN and {*np.atleast_1d(formats)} != {1}:
            raise _wrong_mode(place, f"a TIFF of signed {image.mode}")
    if image.mode in PLAIN + TRANSPARENT and (re.search(";16[BLN]", raw) or max(bits) > 8):
        raise _wrong_mode(place, f"{image.mode} of 16 bits a channel")


def _check_exif(place: Place, image: Image.Image) -> None:
    """Raise ImageError for EXIF data that cannot be read: they say which way is up."""
    image.load()  # what is cut short has no end to its data
    try:
        image.getexif()
    except BROKEN as error:
        what = f"the EXIF data of {place}, which say which way is up, are damaged ({error})"
        raise ImageError("damaged", f"{what}: save it without them, or leave it out.") from None


def _rgb(place: Place, image: Image.Image) -> Image.Image:
    """The image as 8-bit RGB. Raises ImageError where the conversion would lose something."""
    if image.mode in PLAIN and "transparency" not in image.info:
        return image.convert("RGB")
    deep = {"I": "grey of more than 8 bits", "F": "grey of 32-bit fractions"}
    mode = "16-bit grey" if image.mode[:4] == "I;16" else deep.get(image.mode, image.mode)
    if image.mode in PLAIN + TRANSPARENT:
        whole = image.convert("RGBA")
        if whole.getextrema()[3][0] == 255:  # the least opaque pixel
            return whole.convert("RGB")
        mode = f"{image.mode} with transparent pixels"
    raise _wrong_mode(place, mode)


def _wrong_mode(place: Place, mode: str) -> ImageError:
    how = "save it as 8-bit RGB"
    if "bit" in mode:  # a file does not say how many of its 16 bits are used
        how = "save all images as 8-bit with one scale: 16-bit values / 257, 12-bit values / 16"
    what = f"{place} is {mode}, expected 8-bit RGB or grey"
    return ImageError("wrong mode", f"{what}: {how}, or leave it out.")


def read_bytes(place: Place) -> bytes:
    """The image's file. Raises ImageError where it cannot be read or its zip is damaged."""
    try:
        return _unzip(place) if place.member else place.path.read_bytes()
    except OSError as error:
        why = f"({error.strerror or error}): check its permissions and the disk."
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
