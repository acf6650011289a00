"""Files and folders appear whole, and a failure leaves what was there."""

import pytest

from lib.system import atomic


def test_a_failed_write_leaves_the_old_file_and_nothing_beside_it(tmp_path):
    path = atomic.put_text(tmp_path / "a.json", "old")

    def write(beside):
        beside.write_text("ha")
        assert path.read_text() == "old"
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        atomic.put(path, write)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
    assert atomic.put_text(path, "ü").read_text(encoding="utf-8") == "ü"


@pytest.mark.parametrize("left_over", [False, True])
def test_a_folder_takes_the_place_of_an_old_one(tmp_path, left_over):
    old, new = tmp_path / "run", tmp_path / "run.partial"
    for folder in (old, new):
        folder.mkdir()
        (folder / folder.name).touch()
    if left_over:  # of a kill between two renamings
        (tmp_path / "run.old").mkdir()
        (tmp_path / "run.old" / "a").touch()
    assert atomic.put_folder(new, old) == old
    assert [f.name for f in old.iterdir()] == ["run.partial"]
    assert list(tmp_path.iterdir()) == [old]


def test_a_folder_may_be_new(tmp_path):
    (tmp_path / "new").mkdir()
    assert atomic.put_folder(tmp_path / "new", tmp_path / "run").is_dir()
