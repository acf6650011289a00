"""Images are read as they are meant, upright and whole, or refused in a sentence that says why."""

import struct
import subprocess
import sys
import zipfile
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image, PngImagePlugin
from test_files import NOISE, archive, message, png, zipped

from lib.data import image_check
from lib.data.decoding import Place
from lib.data.files import Images
from lib.data.image_check import Presence
from lib.system.errors import DataError

SMOOTH = cv2.resize(NOISE, (300, 240))
TURNED = {  # EXIF orientation -> how an upright image is stored
    1: lambda x: x,
    2: np.fliplr,
    3: lambda x: np.rot90(x, 2),
    4: np.flipud,
    5: lambda x: np.swapaxes(x, 0, 1),
    6: np.rot90,
    7: lambda x: np.rot90(np.swapaxes(x, 0, 1), 2),
    8: lambda x: np.rot90(x, -1),
}


def read(tmp_path, data, name="a.png"):
    (tmp_path / name).write_bytes(data)
    return Images(tmp_path).read(name)


def refused(tmp_path, data):
    """What is said of the file, without its name."""
    with pytest.raises(DataError) as error:
        read(tmp_path, data)
    return str(error.value).removeprefix(str(tmp_path / "a.png"))


# Orientation


@pytest.mark.parametrize("orientation", TURNED)
@pytest.mark.parametrize("form", ["PNG", "TIFF", "WEBP", "JPEG"])
def test_an_image_is_turned_as_its_exif_orientation_says(tmp_path, form, orientation):
    exif, lossless = Image.Exif(), {"WEBP": {"lossless": True}}.get(form, {})
    exif[0x0112] = orientation
    stored = np.ascontiguousarray(TURNED[orientation](SMOOTH))
    image = read(tmp_path, png(stored, form, exif=exif, **lossless))
    if form == "JPEG":
        assert image.shape == SMOOTH.shape and np.abs(image.astype(int) - SMOOTH).mean() < 5
    else:
        np.testing.assert_array_equal(image, SMOOTH)


def test_an_orientation_in_xmp_is_followed_and_damaged_exif_is_no_reason_to_refuse(tmp_path):
    xmp = PngImagePlugin.PngInfo()
    xmp.add_itxt("XML:com.adobe.xmp", '<x:xmpmeta><a tiff:Orientation="6"/></x:xmpmeta>')
    np.testing.assert_array_equal(read(tmp_path, png(np.rot90(NOISE), pnginfo=xmp)), NOISE)
    for exif in (b"garbage", b"MM\x00\x2a\x00\x00\x00\x08\xff\xff\x99", b"II*\0\xff\xff\xff\xff"):
        assert read(tmp_path, png(NOISE, "JPEG", exif=b"Exif\0\0" + exif)).shape == NOISE.shape


# Depth


def deep(channels, ending, bits=12):
    shape = (24, 30, channels)
    values = np.random.default_rng(0).integers(0, 2**bits, shape).astype(np.uint16)
    if channels == 4:
        values[..., 3] = 65535
    return cv2.imencode(ending, values)[1].tobytes()


@pytest.mark.parametrize("bits", [10, 12, 16])
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("ending", [".png", ".tif"])
def test_sixteen_bits_are_refused_and_never_halved(tmp_path, channels, ending, bits):
    text = refused(tmp_path, deep(channels, ending, bits))
    what = {1: "16-bit grey", 3: "RGB of 16 bits a channel", 4: "RGBA of 16 bits a channel"}
    assert text == (
        f" is {what[channels]}, expected 8-bit RGB or grey: save all images as 8-bit with one "
        "scale: 16-bit values / 257, 12-bit values / 16, or leave it out."
    )


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA"])
@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_eight_bits_and_less_are_read(tmp_path, mode, form):
    image = Image.fromarray(NOISE).convert(mode)
    found = read(tmp_path, png(image, form))
    np.testing.assert_array_equal(found, np.asarray(image.convert("RGB")))


# Pages and frames


@pytest.mark.parametrize("form", ["TIFF", "GIF", "PNG", "WEBP"])
def test_several_pages_or_frames_are_refused_with_their_number(tmp_path, form):
    others = [Image.fromarray(NOISE[::-1]), Image.fromarray(NOISE[:, ::-1])]
    text = refused(tmp_path, png(NOISE, form, save_all=True, append_images=others))
    assert text == (
        " holds 3 pages or frames, expected one: save each one that is needed as an image of its "
        "own."
    )


@pytest.mark.parametrize("form", ["TIFF", "GIF", "PNG", "WEBP"])
def test_one_page_or_frame_is_read(tmp_path, form):
    assert read(tmp_path, png(NOISE, form, save_all=True)).shape == NOISE.shape


def test_the_photograph_of_a_camera_that_adds_small_copies_is_read(tmp_path):
    data = png(NOISE, "MPO", save_all=True, append_images=[Image.fromarray(NOISE[:16, :20])])
    assert read(tmp_path, data).shape == NOISE.shape


# Damage that decoders forgive


def zeros(data, middle):
    data[middle : middle + 40] = bytes(40)


def text(data, middle):
    data[middle : middle + 200] = b"A" * 200


def cut(data, middle):
    del data[middle : middle + 300]


def doubled(data, middle):
    data[middle:middle] = data[middle - 300 : middle]


def without_end(data, middle):
    del data[-2:]


@pytest.mark.parametrize("damage", [zeros, text, cut, doubled, without_end])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_scan_finds_a_jpeg_with_damaged_bytes(tmp_path, capfd, damage, progressive):
    data = bytearray(png(SMOOTH, "JPEG", quality=95, progressive=progressive))
    place = Place(tmp_path / "a.jpg")
    place.path.write_bytes(data)
    assert [kind for _, kind, _ in image_check.examine([0], [place])] == [image_check.SHOWN]
    damage(data, len(data) // 2)
    place.path.write_bytes(data)
    ((row, kind, why),) = image_check.examine([7], [place])
    assert (row, kind) == (7, "damaged") and why.startswith(str(place.path))
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_scan_takes_an_intact_jpeg_with_flat_parts_and_zeros_in_its_metadata(
    tmp_path, progressive, orientation
):
    exif, picture = Image.Exif(), np.zeros((400, 330, 3), np.uint8)
    exif[0x0112], exif[0x927C] = orientation, bytes(500)
    picture[:240, :300] = SMOOTH
    options = {"optimize": True, "progressive": progressive, "exif": exif}
    place = Place(tmp_path / "a.jpg")
    for quality in (10, 50, 95):
        place.path.write_bytes(png(picture, "JPEG", quality=quality, **options))
        assert [kind for _, kind, _ in image_check.examine([0], [place])] == [image_check.SHOWN]
    place.path.write_bytes(png(SMOOTH, "JPEG", exif=exif))
    assert [kind for _, kind, _ in image_check.examine([0], [place])] == [image_check.SHOWN]


def test_what_is_written_after_a_scan_is_seen(tmp_path, capfd):
    (tmp_path / "a.jpg").write_bytes(png(SMOOTH, "JPEG"))
    image_check.examine([0], [Place(tmp_path / "a.jpg")])
    print("seen", file=sys.stderr, flush=True)
    assert capfd.readouterr().err.endswith("seen\n")


# Other kinds of file

EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 30 24\n%%EndComments\nshowpage\n"


@pytest.mark.parametrize(
    "data, kind",
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "a HEIC image"),
        (b"\0\0\0\x1cftypmif1\0\0\0\0mif1heic", "a HEIC image"),
        (b"\0\0\0\x1cftypavif\0\0\0\0mif1avif", "an AVIF image"),
        (b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom", "a video"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "a JPEG 2000 image"),
        (EPS, "a PostScript file"),
        (b"%PDF-1.7\n", "a PDF file"),
        (b"PK\x03\x04" + bytes(30), "an archive"),
        (b"P6\n30 24\n255\n" + bytes(30 * 24 * 3), "a PNM image"),
        (bytes(128) + b"DICM" + bytes(30), "a DICOM file"),
        (b"\x93NUMPY\x01\x00", "an array of NumPy"),
        (b'<?xml version="1.0"?>\n<svg xmlns="x"/>', "an SVG drawing"),
    ],
)
def test_a_file_of_another_kind_is_named_with_what_helps(tmp_path, data, kind):
    assert refused(tmp_path, data) == (
        f" is {kind}, expected PNG, JPEG, TIFF, BMP, WebP or GIF: convert it, or leave it out."
    )


def test_no_program_is_started_for_a_file_of_another_kind(tmp_path, monkeypatch):
    monkeypatch.setattr(subprocess, "Popen", None)
    monkeypatch.setattr(subprocess, "check_call", None)
    assert "a PostScript file" in refused(tmp_path, EPS)


# Absent, and what may be meant


@pytest.mark.parametrize(
    "name, there",
    [
        ("img\\a.png", "img/a.png"),
        ("img/a.png", "img/a.jpg"),
        ("img/a.png", "img/A.PNG"),
        ("a.PNG", "A.jpeg"),
        ("img/a.png", "a.png"),
        ("a", "a.png"),
    ],
)
def test_a_name_that_is_spelt_otherwise_is_suggested(tmp_path, name, there):
    (tmp_path / there).parent.mkdir(exist_ok=True)
    (tmp_path / there).write_bytes(png())
    with pytest.raises(DataError) as error:
        Images(tmp_path).read(name)
    assert str(error.value) == (
        f"{name} is in the table, but not in {tmp_path}: {there} is there, so write that as its "
        "Filename, or remove the row."
    )


@pytest.mark.parametrize(
    "name, there",
    [
        ("a.png", "a.Png"),
        ("a.JPG", "a.jPg"),
        ("caf\u00e9.png", "cafe\u0301.PNG"),
        ("e\u0301/a.png",) * 2,
    ],
)
def test_a_name_is_found_whatever_the_case_of_its_ending_and_its_form_in_unicode(
    tmp_path, name, there
):
    """The quick check found i00.Png, which training then refused."""
    (tmp_path / there).parent.mkdir(exist_ok=True)
    (tmp_path / there).write_bytes(png())
    assert Images(tmp_path).read(name).shape == NOISE.shape
    assert Presence(Images(tmp_path), [name]).wrong() == []


def test_names_that_differ_in_the_case_of_their_ending_are_two_where_both_are_there(tmp_path):
    for name in ("a.png", "a.PNG"):
        (tmp_path / name).write_bytes(png())
    both = Presence(Images(tmp_path), ["a.png", "a.PNG"])
    assert both.absent == [] and both.count_by_place.total() == 2 and both.wrong() == []
    one = Presence(Images(tmp_path), ["a.png"])
    assert one.wrong() == [] and one.all_files - one.used == {"a.PNG"}


@pytest.mark.parametrize("kind", ["folder", "link"])
def test_what_is_called_like_an_image_and_is_none_is_named(tmp_path, kind):
    """The remedy was to write a.png as its Filename."""
    path = tmp_path / "a.png"
    path.mkdir() if kind == "folder" else path.symlink_to(tmp_path / "gone.png")
    what = "a folder" if kind == "folder" else "a link that leads to no file"
    with pytest.raises(DataError) as error:
        Images(tmp_path).read("a.png")
    assert str(error.value) == (
        f"a.png is in the table, but not in {tmp_path}, where it is {what}: complete the images, "
        "set IMAGES to their folder, or remove the row."
    )
    assert Presence(Images(tmp_path), ["a.png"]).absent == ["a.png"]


def test_a_folder_that_must_not_be_listed_is_named(tmp_path, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("lib.data.files.os.scandir", refuse)
    with pytest.raises(DataError) as error:
        Images(tmp_path).read("a.png")
    why = "(Permission denied): check its name and its permissions"
    assert str(error.value) == f"the folder {tmp_path} cannot be listed {why}."


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def with_chunk(kind, data):
    """A PNG with this part after its header, which is 33 bytes long."""
    whole = png()
    return whole[:33] + chunk(kind, data) + whole[33:]


@pytest.mark.parametrize("kind, begin", [(b"zTXt", b"note\0\0"), (b"iTXt", b"note\0\1\0\0\0")])
def test_a_png_with_long_notes_is_read(tmp_path, kind, begin):
    """Pillow takes a text of more than 1 MB for a bomb."""
    text = begin + zlib.compress(b"a" * 3_000_000)
    (tmp_path / "a.png").write_bytes(with_chunk(kind, text))
    assert Images(tmp_path).read("a.png").shape == NOISE.shape


def test_damaged_exif_data_are_named_as_what_is_wrong(tmp_path):
    (tmp_path / "a.png").write_bytes(with_chunk(b"eXIf", b"zzzz"))
    assert message(tmp_path).startswith(
        f"the EXIF data of {tmp_path / 'a.png'}, which say which way is up, are damaged (not a TIFF"
    )
    assert message(tmp_path).endswith("): save it without them, or leave it out.")


def test_a_zip_of_jpegs_is_read_and_its_endings_are_told(tmp_path):
    zipped(tmp_path / "train00.zip", {"x/a.jpg": png(SMOOTH, "JPEG")}, zipfile.ZIP_STORED)
    assert archive(tmp_path).read("a.jpg").shape == SMOOTH.shape
    assert message(tmp_path) == (
        f"a.png is in the table, but neither under {tmp_path} nor in its zips (train*.zip): "
        f"{tmp_path / 'train00.zip'}, x/a.jpg is there, so write that as its Filename, or remove "
        "the row."
    )


def test_an_archive_of_ones_own_images_is_to_be_extracted(tmp_path):
    (tmp_path / "photos.ZIP").write_bytes(b"")
    (tmp_path / "more.tar").write_bytes(b"")
    with pytest.raises(DataError, match=r"extract more\.tar, photos\.ZIP there, or remove the row"):
        Images(tmp_path).read("a.png")
