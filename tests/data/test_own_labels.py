"""The CSV of one's own images is read as it is written, or refused with its row; its images count
by their content."""

import builtins
import os
import shutil
import unicodedata

import numpy as np
import pytest
from PIL import Image

from lib.__main__ import main
from lib.data import contents, own_labels, pixels, sources
from lib.data.labels import structure
from lib.system.errors import DataError

DATA = {"source": "own", "train": 0, "val": 0, "seed": 1, "frame": 0, "fraction": 1.0, "cache": 16}
SHAPE = 24, 30, 3


@pytest.fixture
def folder(workspace, monkeypatch):
    """A folder with ten images, 0.bmp to 9.bmp, and LABELS in it."""
    folder = workspace / "mine"
    folder.mkdir()
    for i in range(10):
        save(folder / f"{i}.bmp", i)
    monkeypatch.delenv("IMAGES", raising=False)
    monkeypatch.setenv("LABELS", str(folder / "labels.csv"))
    return folder


def save(path, seed, **options):
    """An image of noise."""
    noise = np.random.default_rng(seed).integers(0, 256, SHAPE, dtype=np.uint8)
    Image.fromarray(noise).save(path, **options)


def write(folder, *rows, header="Filename,Defect,Split"):
    (folder / "labels.csv").write_text("\n".join([header, *rows]) + "\n")
    return folder / "labels.csv"


def four(folder, *more, first="0.bmp"):
    """A table of four images, two a side, and further rows."""
    rows = (f"{first},1,train", "1.bmp,0,train", "2.bmp,1,val", "3.bmp,0,val")
    return write(folder, *rows, *more)


# The file


def refused(folder, *rows, **options):
    path = write(folder, *rows, **options)
    with pytest.raises(DataError) as error:
        own_labels.read(path)
    text = str(error.value)
    assert text.startswith(str(path)) and text.endswith(".") and "\n" not in text
    return text.removeprefix(str(path))


@pytest.mark.parametrize("rows", [("a.png,1,g", "b.png,0,g,"), ("a.png,1,g,", "b.png,0,g")])
def test_a_row_with_a_comma_too_many_is_named(tmp_path, rows):
    row = 2 if rows[0].endswith(",") else 3
    assert refused(tmp_path, *rows, header="Filename,Defect,Group") == (
        f", row {row}: it has 4 fields, the header has 3 (1 such rows); quote a field that holds a "
        "comma, and remove commas at the end of a row."
    )


def test_rows_that_all_have_a_comma_too_many_do_not_shift_the_columns(tmp_path):
    text = refused(tmp_path, "0,a.png,1,", "0,b.png,0,", header="Defect,Filename,Other")
    assert ", row 2: it has 4 fields, the header has 3 (2 such rows)" in text


def test_a_row_with_a_field_too_few_is_named(tmp_path):
    text = refused(tmp_path, "a.png,1,g", "b.png,0", header="Filename,Defect,Class")
    assert text == (
        ", row 3: it has 2 fields, the header has 3 (1 such rows); add what is missing, or remove "
        "the row."
    )


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32", "latin-1"])
def test_a_table_in_another_encoding_is_no_csv_in_utf8(tmp_path, encoding):
    (tmp_path / "labels.csv").write_bytes("Filename,Defect\nröhre.png,1\n".encode(encoding))
    with pytest.raises(DataError, match=r"labels\.csv is no CSV in UTF-8 \(.*\): save it as one\."):
        own_labels.read(tmp_path / "labels.csv")


@pytest.mark.parametrize("name", ["x" * 300 + ".png", "a\0b.png", "y/" * 999 + "a.png", "."])
def test_a_name_that_no_file_can_have_is_an_absent_image(folder, name):
    four(folder, f"{name},1,train")
    with pytest.raises(DataError, match="is in the table, but not in"):
        pixels.prepare(DATA)


@pytest.mark.parametrize(
    "rows, row",
    [
        (('"a.png,1', "b.png,0", 'c.png",1', "d.png,0"), 2),
        (("a.png,1", '"b.png,0', "c.png,1"), 3),
        (("a.png,1", '"b".png,0', "c.png,1"), 3),
        (("a.png,1", 'b.png,"0', 'c.png,1"', "d.png,1"), 3),
    ],
)
def test_a_quote_that_does_not_close_in_its_row_swallows_no_row(tmp_path, rows, row):
    text = refused(tmp_path, *rows, header="Filename,Defect")
    assert text.startswith(f", row {row}: a quote that opens there does not close as it should (")


def test_quotes_that_close_are_read(tmp_path):
    path = write(tmp_path, '"a, b.png",1,"x ""y"""', "c.png,0,", header="Filename,Defect,Note")
    assert list(own_labels.read(path)["Filename"]) == ["a, b.png", "c.png"]


@pytest.mark.parametrize(
    "header, column",
    [
        ("Filename,Defect,Defect", "Defect"),
        ("Filename,Defect,defect ", "Defect"),
        ("Filename,Defect,File Name", "Filename"),
        ("Filename,Defect,Group,GROUP", "Group"),
        ("Filename,Defect,RO,ro", "RO"),
    ],
)
def test_a_known_column_that_comes_twice_is_refused(tmp_path, header, column):
    row = "a.png,1" + ",0" * (header.count(",") - 1)
    assert (
        refused(tmp_path, row, header=header)
        == f" has the column {column} 2 times: keep one of them."
    )


def test_other_columns_may_come_twice_and_stay_unread(tmp_path):
    path = write(tmp_path, "x,a.png,1,2,", header="note,Filename,Defect,note,")
    assert list(own_labels.read(path)) == ["Filename", "Defect"]


@pytest.mark.parametrize("first", ["sep=,", "sep=,\r", '"sep=,"', "\nsep=,\n\n"])
def test_the_first_line_of_spreadsheets_and_blank_lines_are_passed_over(tmp_path, first):
    path = write(tmp_path, "Filename,Defect", "a.png,1", "", "b.png,7", header=first)
    with pytest.raises(DataError) as error:
        own_labels.read(path)
    row = path.read_text().splitlines().index("b.png,7") + 1
    assert f"row {row} (b.png): labels must be 0 or 1, Defect is '7'" in str(error.value)


@pytest.mark.parametrize("title", ["Inspection 2024", "Results,,", "# made by hand"])
def test_a_title_above_the_columns_is_named(tmp_path, title):
    """The remedy was to add the columns."""
    assert refused(tmp_path, "", "Filename,Defect,Split", "a.png,1,train", header=title) == (
        " begins with other text, its columns are named in row 3: remove what stands above."
    )


def test_line_ends_of_every_system_are_read(tmp_path):
    path = write(tmp_path, "a.png,1,train", "b.png,0,val")
    before, text = own_labels.read(path), path.read_bytes()
    for end in (b"\r\n", b"\r", b"\r\r\n"):
        path.write_bytes(b"\xef\xbb\xbf" + text.replace(b"\n", end))
        assert own_labels.read(path).to_numpy().tolist() == before.to_numpy().tolist()


# Names and labels


@pytest.mark.parametrize(
    "header",
    [
        "filename,DEFECT,split,group",
        " File name , defect,Split ,\tGroup ",
        "FILENAME,Defect,SPLIT,GROUP",
    ],
)
def test_known_columns_have_any_case_and_blanks(tmp_path, header):
    table = own_labels.read(
        write(tmp_path, "a.png ,1 , train, 7 ", "b.png,0,Val,07", header=header)
    )
    assert list(table) == ["Filename", "Defect", "Split", "Group"]
    assert table.to_numpy().tolist() == [["a.png", 1, "train", "7"], ["b.png", 0, "val", "07"]]


def test_identifiers_are_text_as_written(tmp_path):
    groups = ["7", "07", "1.1", "1.10", "NA", "None", "nan", "1e3", "1000", "True", "x ", "x"]
    rows = [
        f"{name},{i % 2},{group}"
        for i, (name, group) in enumerate(
            zip(
                ["NA", "null", "3", "03", "4.0", "4", "5", "6", "7", "8", "9", "10"],
                groups,
                strict=True,
            )
        )
    ]
    table = own_labels.read(write(tmp_path, *rows, header="Filename,Defect,Group"))
    assert list(table["Group"]) == [*groups[:-2], "x", "x"]
    assert list(table["Filename"]) == [
        "NA",
        "null",
        "3",
        "03",
        "4.0",
        "4",
        "5",
        "6",
        "7",
        "8",
        "9",
        "10",
    ]


def test_groups_that_look_like_equal_numbers_are_not_merged(folder):
    rows = [
        f"{i}.bmp,{i % 2},{'train' if i < 6 else 'val'},{'7' if i < 6 else '07'}" for i in range(10)
    ]
    write(folder, *rows, header="Filename,Defect,Split,Group")
    assert sources.own(folder / "labels.csv", 1)[1] == ""
    write(folder, *rows, "10.bmp,1,train,07 ", header="Filename,Defect,Split, group")
    assert (
        "1 groups of labels.csv (07 ...) lie in both splits"
        in sources.own(folder / "labels.csv", 1)[1]
    )


def test_names_that_differ_in_their_unicode_form_alone_are_one(folder):
    """macOS writes accents as letters of their own (NFD), most editors do not (NFC)."""
    forms = [unicodedata.normalize(form, "tuyau fêlé") for form in ("NFC", "NFD")]
    rows = [f"{i}.bmp,{i % 2},{('train', 'val')[i > 5]},{forms[i > 5]},x" for i in range(10)]
    write(folder, *rows, header="Filename,Defect,Split,Group,Class")
    table, warning = sources.own(folder / "labels.csv", 1)
    assert set(table["Group"]) == {forms[0]}
    assert "1 groups of labels.csv (tuyau fêlé ...) lie in both splits" in warning


@pytest.mark.parametrize("value, label", [("1.0", 1), (" 0 ", 0), ("01", 1)])
def test_labels_are_numbers(tmp_path, value, label):
    assert own_labels.read(write(tmp_path, f"a.png,{value}", header="Filename,Defect"))[
        "Defect"
    ].tolist() == [label]


@pytest.mark.parametrize("again", ["./0.bmp", "x/../0.bmp", ".//0.bmp", " 0.bmp "])
def test_two_rows_that_name_one_file_are_refused(folder, again):
    with pytest.raises(DataError, match=r"row 6.*: it names .*0\.bmp twice, first in row 2"):
        sources.own(four(folder, f"{again},0,val"), 1)


def test_a_long_field_of_a_column_that_is_not_read_is_no_open_quote(tmp_path):
    path = write(tmp_path, f"a.png,1,{'x' * 200_000}", header="Filename,Defect,Thumbnail")
    assert own_labels.read(path)["Defect"].tolist() == [1]


# Content


@pytest.mark.parametrize("name", ["copy.bmp", "link.bmp", "0.BMP"])
def test_a_copy_on_the_other_side_is_refused_with_both_rows(folder, name):
    if name == "copy.bmp":
        shutil.copy(folder / "0.bmp", folder / name)
    if name == "link.bmp":
        (folder / name).symlink_to(folder / "0.bmp")
    four(folder, f"{name},1,val")
    with pytest.raises(DataError) as error:
        sources.identity(DATA)
    assert str(error.value) == (
        f"{folder / 'labels.csv'}, row 6 ({name}, val): it shows the same image as row 2 (0.bmp, "
        "train) (2 such rows lie in both splits); keep one row per image, or put copies on one "
        "side, by Split or by one Group."
    )


def test_a_copy_in_another_format_is_refused_when_the_images_are_decoded(folder):
    save(folder / "copy.png", 0)
    four(folder, "copy.png,1,val")
    sources.identity(DATA)  # the files differ
    with pytest.raises(
        DataError, match=r"row 6 \(copy\.png, val\): it shows the same image as row 2"
    ):
        pixels.prepare(DATA)


def test_a_scan_finds_copies_in_another_format(folder, capsys, monkeypatch):
    monkeypatch.setenv("SCAN", "1")
    save(folder / "copy.png", 0)
    for i in range(10, 220):
        save(folder / f"{i}.bmp", i)
    more = [f"{i}.bmp,0,{'train' if i < 115 else 'val'}" for i in range(10, 220)]
    four(folder, *more, "copy.png,1,train")
    assert main(["data-check"]) == 0
    assert "warning: 1 images of labels.csv are copies of others" in capsys.readouterr().err
    four(folder, *more, "copy.png,1,val")
    assert main(["data-check"]) == 1
    assert "row 216 (copy.png, val): it shows the same image as row 2" in capsys.readouterr().err


def test_images_that_differ_in_what_the_cache_loses_are_no_copies(folder):
    grey = np.full((400, 400, 3), 99, np.uint8)
    for name, shade in (("0.bmp", 99), ("2.bmp", 100)):
        grey[200, 200] = shade
        Image.fromarray(grey).save(folder / name)
    four(folder)
    pixels.prepare(DATA)
    parts = [pixels.load(DATA, split) for split in sources.TABLES]
    np.testing.assert_array_equal(parts[0].pixels[0], parts[1].pixels[0])


def test_copies_on_one_side_are_warned_of_with_their_number(folder, capsys):
    for name in ("a.bmp", "b.bmp"):
        shutil.copy(folder / "0.bmp", folder / name)
    save(folder / "c.png", 0)
    four(folder, "a.bmp,1,train", "b.bmp,0,train")
    pixels.prepare(DATA)
    told = (
        "warning: 2 images of labels.csv are copies of others (a.bmp of 0.bmp ...) on the same "
        "side of the split, each counted as an image; 3 of them contradict one another in Defect.\n"
    )
    assert capsys.readouterr().err.count(told) == 1
    four(folder, "a.bmp,1,train", "c.png,1,train")
    pixels.prepare(DATA)
    assert (
        "2 images of labels.csv are copies of others (a.bmp of 0.bmp ...)"
        in capsys.readouterr().err
    )


def same_size(folder):
    save(folder / "0.bmp", 100)


def same_size_and_time(folder):
    times = (folder / "0.bmp").stat()
    save(folder / "0.bmp", 100)
    os.utime(folder / "0.bmp", ns=(times.st_atime_ns, times.st_mtime_ns))


def replaced(folder):
    save(folder / "new.bmp", 100)
    (folder / "new.bmp").replace(folder / "0.bmp")


def exchanged(folder):
    (folder / "0.bmp").rename(folder / "x")
    (folder / "1.bmp").rename(folder / "0.bmp")
    (folder / "x").rename(folder / "1.bmp")


def gone(folder):
    (folder / "0.bmp").unlink()


@pytest.mark.parametrize("change", [same_size, same_size_and_time, replaced, exchanged, gone])
@pytest.mark.parametrize("settled", [0, 2e9])
def test_changed_images_are_other_data(folder, monkeypatch, change, settled):
    monkeypatch.setattr(contents, "SETTLED", settled)
    four(folder)
    before = sources.identity(DATA)
    assert sources.identity(DATA) == before
    change(folder)
    assert sources.identity(DATA) != before


def test_another_suffix_on_disk_and_another_folder_are_seen(folder, workspace, monkeypatch):
    four(folder, first="0.png")
    absent = sources.identity(DATA)
    save(folder / "0.PNG", 0)
    before = sources.identity(DATA)
    save(folder / "0.PNG", 100)
    assert len({absent, before, sources.identity(DATA)}) == 3
    other = workspace / "other"
    shutil.copytree(folder, other)
    save(other / "1.bmp", 100)
    here = sources.identity(DATA)
    monkeypatch.setenv("IMAGES", str(other))
    assert sources.identity(DATA) != here


def test_an_unchanged_file_is_read_once(folder, monkeypatch):
    monkeypatch.setattr(contents, "SETTLED", -1)
    read = []

    def noted(path, *mode):
        read.append(path.name)
        return builtins.open(path, *mode)

    monkeypatch.setattr(contents, "open", noted, raising=False)
    four(folder)
    before = sources.identity(DATA)
    assert sorted(read) == ["0.bmp", "1.bmp", "2.bmp", "3.bmp"]
    read.clear()
    assert sources.identity(DATA) == before and not read
    save(folder / "1.bmp", 100)
    assert sources.identity(DATA) != before and read == ["1.bmp"]


def test_an_image_that_may_not_be_read_is_named_without_a_scan(folder, monkeypatch):
    def refuse(path, *mode):
        if str(path).endswith(".bmp") and "0" not in path.name:
            raise PermissionError(13, "Permission denied", str(path))
        return builtins.open(path, *mode)

    monkeypatch.setattr(contents, "open", refuse, raising=False)
    four(folder)
    with pytest.raises(DataError) as error:
        sources.identity(DATA)
    assert str(error.value) == (
        f"{folder / '1.bmp'} cannot be read (Permission denied) (3 such images): check its "
        "permissions and the disk, or remove the row."
    )


@pytest.mark.parametrize("damage", [b"", b"\0" * 99, b"[1]", b"{", b"\xff"])
def test_damaged_notes_are_made_again(folder, workspace, monkeypatch, damage):
    monkeypatch.setattr(contents, "SETTLED", -1)
    four(folder)
    before, notes = sources.identity(DATA), workspace / "data" / "contents.json"
    whole = notes.read_text()
    notes.write_bytes(damage)
    assert sources.identity(DATA) == before and notes.read_text() == whole


def test_a_table_without_known_groups_is_told_so(folder):
    leak = sources.own(four(folder), 1)[1]
    assert leak == "labels.csv has no Group: that no group lies in both splits is not checked."


def test_unread_columns_keep_their_names(tmp_path):
    assert structure(write(tmp_path, header=" my note,FILENAME"))[0] == ["my note", "Filename"]


# Found later


@pytest.mark.parametrize(
    "name", ["labels.xz", "labels.zip", "labels.zst", "labels.tar", "labels.gz"]
)
def test_a_plain_csv_may_have_any_ending(folder, monkeypatch, name):
    """pandas took the ending for a compression: a traceback."""
    four(folder).rename(folder / name)
    assert len(own_labels.read(folder / name)) == 4


def test_blank_lines_of_any_kind_are_passed_over(folder):
    for blank in (b"\r", b"\r\r", b"\n\n", b"\r\n"):
        rows = (b"Filename,Defect", b"0.bmp,1", b"", b"1.bmp,0")
        (folder / "labels.csv").write_bytes(blank + b"\r".join(rows) + b"\r")
        table = own_labels.read(folder / "labels.csv")
        assert table["Filename"].tolist() == ["0.bmp", "1.bmp"] and table["Defect"].tolist() == [
            1,
            0,
        ]


def test_a_class_is_not_called_as_the_count_of_groups(folder):
    """Table 5 printed the images of the class as the number of groups."""
    header = "Filename,Defect,Split,Class"
    text = refused(folder, "0.bmp,1,train,Groups;crack", "1.bmp,0,train,", header=header)
    assert "give the class another name" in text


@pytest.mark.parametrize(("sizes", "told"), [((100, 100, *[4] * 8), True), ([10] * 10, False)])
def test_a_held_out_part_far_from_a_fifth_is_told(folder, sizes, told):
    rows, i = [], 0
    for group, size in enumerate(sizes):
        for _ in range(size):
            rows.append(f"{i}.bmp,{group % 2},g{group}")
            i += 1
    path = write(folder, *rows, header="Filename,Defect,Group")
    table, leak = sources.own(path, 1)
    held = (table["Split"] == "val").mean()
    assert (f"it holds {held:.0%} of the images" in leak) == told and (0.1 < held < 0.3) != told


def test_dots_after_a_link_lead_where_the_table_says(folder):
    """link/../0.bmp is 0.bmp, and never a file beside what the link leads to."""
    (folder.parent / "other" / "below").mkdir(parents=True)
    save(folder.parent / "other" / "99.bmp", 99)
    (folder / "link").symlink_to(folder.parent / "other" / "below")
    images = sources.images(DATA, "train")
    assert images.files("link/../0.bmp") == [folder / "0.bmp"]
    with pytest.raises(DataError, match=r"link/\.\./99\.bmp is in the table, but not in"):
        images.find("link/../99.bmp")
