"""Images are found in folders and zips and decoded; whatever is wrong with one is told with its
file and the remedy."""

import io
import shutil
import struct
import zipfile

import numpy as np
import pytest
from PIL import Image

from lib.data import decoding, files
from lib.data.files import Images
from lib.system.errors import DataError

NOISE = np.random.default_rng(0).integers(0, 256, (24, 30, 3), dtype=np.uint8)


def png(picture=NOISE, form="PNG", **options) -> bytes:
    """An image file's bytes; `picture` is an array or a Pillow image."""
    file = io.BytesIO()
    (picture if isinstance(picture, Image.Image) else Image.fromarray(picture)).save(
        file, form, **options
    )
    return file.getvalue()


def zipped(path, members, method=zipfile.ZIP_DEFLATED):
    """A zip of these members, name -> bytes; or a list of pairs, where a name comes twice."""
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in members.items() if isinstance(members, dict) else members:
            archive.writestr(name, data)


def lock(path):
    """Set the flag of encryption in every header of a zip, as one with a password has it."""
    data = bytearray(path.read_bytes())
    for signature, at in (
        (b"PK\x03\x04", 6),
        (b"PK\x01\x02", 8),
    ):  # of members, of the directory; bytes to the flags
        start = data.find(signature)
        while start >= 0:
            data[start + at] |= 1
            start = data.find(signature, start + 4)
    path.write_bytes(data)


def archive(root):
    """The training images of Sewer-ML below `root`, as lib.data.sources looks for them."""
    return Images(root, ("Train", "images", "."), "train*.zip")


# Where they are found


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("member", ["a.png", "a.PNG", "Train/deep/er/a.png"])
def test_a_zipped_image_is_read_in_place_in_whatever_folder_and_case(tmp_path, method, member):
    zipped(tmp_path / "train00.zip", {"notes.txt": b"x", member: png()}, method)
    np.testing.assert_array_equal(archive(tmp_path).read("a.png"), NOISE)


@pytest.mark.parametrize("place", ["Train/a.png", "images/a.png", "a.png", "Train/a.PNG"])
def test_a_file_is_found_in_every_folder_of_the_archive(tmp_path, place):
    (tmp_path / place).parent.mkdir(exist_ok=True)
    (tmp_path / place).write_bytes(png())
    np.testing.assert_array_equal(archive(tmp_path).read("a.png"), NOISE)


def test_what_the_macs_finder_adds_to_a_zip_is_no_image(tmp_path):
    zipped(
        tmp_path / "train00.zip",
        {
            "__MACOSX/._a.png": b"Mac",
            "__MACOSX/a.png": b"Mac",
            "x/._a.png": b"Mac",
            "x/a.png": png(),
        },
    )
    images = archive(tmp_path)
    np.testing.assert_array_equal(images.read("a.png"), NOISE)
    assert list(images.zips.members) == ["a.png"] and not images.copies


def test_a_place_is_decoded_without_an_open_zip(tmp_path):
    zipped(tmp_path / "train00.zip", {"b.png": png(NOISE[::-1]), "a.png": png()})
    with open(tmp_path / "train00.zip", "rb") as file:
        whole = file.read()
    (tmp_path / "train00.zip").write_bytes(
        b"a stub before the zip, as of a self-extracting one" + whole
    )
    place = archive(tmp_path).find("a.png")
    np.testing.assert_array_equal(decoding.decode(place), NOISE)


# What is absent


def message(root, name="a.png"):
    with pytest.raises(DataError) as error:
        archive(root).read(name)
    return str(error.value)


def test_absent_zips_are_named_by_their_numbers(tmp_path):
    for i in (*range(5), *range(7, 14)):
        zipped(tmp_path / f"train{i:02}.zip", {f"{i}.png": png()})
    assert message(tmp_path) == (
        f"a.png is in the table, but neither under {tmp_path} nor in its zips (train*.zip): of "
        "train00.zip to "
        f"train13.zip, train05.zip, train06.zip not there; put what is missing into {tmp_path}."
    )


@pytest.mark.parametrize(
    "numbers, ranges",
    [
        ([3], "train03.zip"),
        ([2, 3, 4], "train02.zip to train04.zip"),
        ([0, 2, 3, 13], "train00.zip, train02.zip, train03.zip, train13.zip"),
    ],
)
def test_three_zips_in_a_row_are_told_as_a_range(numbers, ranges):
    series = files.SERIES["train*.zip"]
    assert files.in_ranges([series[i] for i in numbers], series) == ranges


def test_an_image_that_no_zip_holds_is_told_so(tmp_path):
    assert "nor in its zips (train*.zip), of which there are none: complete" in message(tmp_path)
    for i in range(14):
        zipped(tmp_path / f"train{i:02}.zip", {f"{i}.png": png()})
    assert "of which 14 were read: complete the images, or remove the row." in message(tmp_path)


def test_a_zip_cut_short_is_named_and_the_others_are_read(tmp_path):
    for i in range(2):
        zipped(tmp_path / f"train0{i}.zip", {f"{i}.png": png()})
    cut = tmp_path / "train00.zip"
    cut.write_bytes(cut.read_bytes()[:-30])
    np.testing.assert_array_equal(archive(tmp_path).read("1.png"), NOISE)
    assert f"{cut} is not a complete zip (File is not a zip file); download it again." in message(
        tmp_path, "0.png"
    )


def test_a_zip_with_a_password_is_named_with_how_to_extract_it(tmp_path):
    path = tmp_path / "train03.zip"
    zipped(path, {"a.png": png(), "b.png": png()})
    lock(path)
    assert message(tmp_path) == (
        f"{path} is protected by a password (the one mailed by the VAP group): extract it, "
        "unzip -j -P PASSWORD "
        f"train03.zip -d {tmp_path / 'Train'} (or 7z e -pPASSWORD)."
    )
    assert archive(tmp_path).zips.locked == {path}
    (tmp_path / "Train").mkdir()
    (tmp_path / "Train" / "a.png").write_bytes(png())  # extracted, beside the zip
    np.testing.assert_array_equal(archive(tmp_path).read("a.png"), NOISE)


def test_a_damaged_member_is_named(tmp_path):
    path = tmp_path / "train00.zip"
    zipped(path, {"a.png": png(), "b.png": png()})
    data = bytearray(path.read_bytes())
    data[200:300] = bytes(100)
    path.write_bytes(data)
    assert message(tmp_path) == f"{path}, a.png is damaged in the zip: download train00.zip again."
    np.testing.assert_array_equal(archive(tmp_path).read("b.png"), NOISE)


def test_a_member_of_an_unknown_method_is_named(tmp_path):
    path = tmp_path / "train00.zip"
    zipped(path, {"a.png": png()}, zipfile.ZIP_LZMA)
    assert (
        "is compressed by method 14, expected 0 (stored) or 8 (deflate): extract train00.zip"
        in message(tmp_path)
    )


# Duplicates


def test_two_places_with_the_same_content_are_told_once_with_their_number(tmp_path):
    zipped(tmp_path / "train00.zip", {"a.png": png(), "b.png": png(), "c.png": png()})
    zipped(tmp_path / "train01.zip", {"b.png": png()})
    (tmp_path / "Train").mkdir()
    (tmp_path / "Train" / "a.png").write_bytes(png())
    images = archive(tmp_path)
    for name in "abc":
        np.testing.assert_array_equal(images.read(f"{name}.png"), NOISE)
    assert images.copies_note() == (
        f"2 images lie in two places with the same size ({tmp_path / 'Train' / 'a.png'} is used, "
        f"{tmp_path / 'train00.zip'}, a.png is not); remove one to save disk."
    )


def test_names_that_stand_for_two_different_images_are_refused(tmp_path):
    other = png(NOISE[::-1])
    zipped(tmp_path / "train00.zip", [("one/a.png", png()), ("two/a.png", other)])
    assert (
        f"a.png is in {tmp_path / 'train00.zip'}, one/a.png and, with other content, in "
        in message(tmp_path)
    )
    zipped(tmp_path / "train00.zip", {"a.png": png()}, zipfile.ZIP_STORED)
    zipped(tmp_path / "train01.zip", {"a.png": other})
    assert message(tmp_path).endswith(f"in {tmp_path / 'train01.zip'}, a.png: remove one.")
    (tmp_path / "train01.zip").unlink()
    (tmp_path / "a.png").write_bytes(
        png() + b" "
    )  # a file is compared by its size, so that it need not be read
    assert message(tmp_path).startswith(
        f"a.png is in {tmp_path / 'a.png'} and, with other content, in "
    )


# What is in the file


@pytest.mark.parametrize(
    "data, expected",
    [
        (png()[:900], "cannot be decoded, it is cut short or damaged (image file is truncated"),
        (png()[:20], "cannot be decoded"),
        (
            b"<html>404</html>",
            "cannot be decoded, it is no image that can be recognised: extract, download "
            "or save it again.",
        ),
        (b"", "cannot be decoded, it is an empty file: extract, download or save it again."),
    ],
)
def test_a_file_that_cannot_be_decoded_is_named_in_plain_words(tmp_path, data, expected):
    (tmp_path / "a.png").write_bytes(data)
    text = message(tmp_path)
    assert text.startswith(f"{tmp_path / 'a.png'} {expected}")
    assert "BytesIO" not in text


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "a.png").write_bytes(png())
    place = archive(tmp_path).find("a.png")
    (tmp_path / "a.png").unlink()
    with pytest.raises(
        DataError,
        match=r"a\.png cannot be read \(No such file or directory\): check its permissions",
    ):
        decoding.decode(place)


GREY = NOISE[..., 0]
CLEAR = np.dstack([NOISE, np.full_like(GREY, 255)])


@pytest.mark.parametrize(
    "picture, expected",
    [
        (Image.fromarray(GREY), np.dstack([GREY] * 3)),
        (Image.fromarray(GREY > 99), np.dstack([np.where(GREY > 99, 255, 0)] * 3)),
        (Image.fromarray(CLEAR), NOISE),
        (Image.fromarray(CLEAR[..., 2:]), np.dstack([CLEAR[..., 2]] * 3)),
        (
            Image.fromarray(NOISE).quantize(64),
            np.asarray(Image.fromarray(NOISE).quantize(64).convert("RGB")),
        ),
    ],
    ids=["grey", "black and white", "RGBA", "LA", "palette"],
)
def test_what_becomes_rgb_without_loss_is_accepted(tmp_path, picture, expected):
    (tmp_path / "a.png").write_bytes(png(picture))
    np.testing.assert_array_equal(archive(tmp_path).read("a.png"), expected)


def odd_resolution() -> bytes:
    """A JPEG that is to be turned and whose resolution is a text, on which Pillow stumbles."""
    tags = struct.pack("<HHIHH", 274, 3, 1, 6, 0) + struct.pack("<HHI4s", 282, 2, 3, b"72\0\0")
    exif = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 2) + tags + struct.pack("<I", 0)
    whole = png(Image.fromarray(NOISE), "JPEG")
    return whole[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + whole[2:]


def odd_page() -> bytes:
    """A TIFF whose second page would lie beyond its end."""
    whole = bytearray(png(Image.fromarray(NOISE), "TIFF"))
    (first,) = struct.unpack("<I", whole[4:8])
    (tags,) = struct.unpack("<H", whole[first : first + 2])
    struct.pack_into("<I", whole, first + 2 + 12 * tags, 9999999)
    return bytes(whole)


@pytest.mark.parametrize("content", [odd_resolution, odd_page])
def test_what_pillow_stumbles_over_is_named(tmp_path, content):
    (tmp_path / "a.png").write_bytes(content())
    assert "a.png cannot be decoded, it is cut short or damaged (" in message(tmp_path)


@pytest.mark.parametrize(
    "picture, form, options, mode",
    [
        (Image.fromarray(GREY.astype(np.uint16) * 200), "PNG", {}, "16-bit grey"),
        (Image.fromarray(GREY.astype(np.int32)), "TIFF", {}, "grey of more than 8 bits"),
        (Image.fromarray(GREY.astype(np.float32)), "TIFF", {}, "grey of 32-bit fractions"),
        (Image.fromarray(NOISE).convert("RGBX"), "TIFF", {}, "a TIFF of 4 bands"),
        (Image.fromarray(GREY), "TIFF", {"tiffinfo": {339: 2}}, "a TIFF of signed L"),
        (Image.fromarray(GREY), "PNG", {"transparency": 0}, "L with transparent pixels"),
        (Image.fromarray(NOISE).convert("CMYK"), "JPEG", {}, "CMYK"),
        (Image.fromarray(np.dstack([NOISE, GREY])), "PNG", {}, "RGBA with transparent pixels"),
        (
            Image.fromarray(NOISE).quantize(8),
            "PNG",
            {"transparency": 3},
            "P with transparent pixels",
        ),
    ],
)
def test_what_cannot_be_made_rgb_sensibly_is_refused(tmp_path, picture, form, options, mode):
    (tmp_path / "a.png").write_bytes(png(picture, form, **options))
    how = "save it as 8-bit RGB"
    if "bit" in mode:
        how = "save all images as 8-bit with one scale: 16-bit values / 257, 12-bit values / 16"
    assert message(tmp_path) == (
        f"{tmp_path / 'a.png'} is {mode}, expected 8-bit RGB or grey: {how}, or leave it out."
    )


def test_an_absurd_size_is_refused_by_name_before_it_is_decoded(tmp_path, monkeypatch):
    (tmp_path / "a.png").write_bytes(png(NOISE[:10]))
    limits = (
        "expected at least 16 px a side and at most 50 million px: replace it, or leave it out."
    )
    assert message(tmp_path) == f"{tmp_path / 'a.png'} has 30 x 10 px, {limits}"
    (tmp_path / "a.png").write_bytes(
        png(Image.new("1", (20_000, 10_000)))
    )  # Pillow would warn of a bomb
    assert message(tmp_path) == f"{tmp_path / 'a.png'} has 20000 x 10000 px, {limits}"


def test_images_of_ones_own_are_not_looked_for_in_zips(tmp_path):
    zipped(tmp_path / "train00.zip", {"a.png": png()})
    with pytest.raises(
        DataError,
        match=r"a\.png is in the table, but not in .*: extract train00\.zip there",
    ):
        Images(tmp_path).read("a.png")
    shutil.copy(tmp_path / "train00.zip", tmp_path / "a.png")
    with pytest.raises(DataError, match=r"is an archive, expected PNG, .*: convert it, or leave"):
        Images(tmp_path).read("a.png")
