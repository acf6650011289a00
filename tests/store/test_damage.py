"""What is read back is whole, or it is named and counts as missing: files of a run, measurements,
checkpoints, stamps and the committed tables."""

import pickle
import re
import zipfile

import numpy as np
import pandas as pd
import pytest
import torch

from lib.publish import renderings
from lib.scheduling import plan
from lib.store import committed, fingerprints, measured, run_directory
from lib.store.stored import MissingRuns, Stored, load
from lib.study import grid
from lib.system import atomic, paths
from lib.system.errors import DataError
from lib.training import predict
from lib.training import train as train_module

RUN = grid.run("smoke", "simclr", "resnet18", 0.45, 42)
FILES = {
    "history.csv": b"epoch,loss\n0,1.5\n1,0.25\n",
    "scores.parquet": bytes(range(256)) * 20,
    "checkpoint.pt": bytes(range(1, 256)) * 20_000,  # larger than what a checksum reads
}


def cut(path):
    path.write_bytes(path.read_bytes()[: 2 * path.stat().st_size // 3])


def zero(path):
    path.write_bytes(bytes(path.stat().st_size))


def zero_the_end(path):
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2] + bytes(len(content) - len(content) // 2))


def lengthen(path):
    path.write_bytes(path.read_bytes() + b"x")


def change_a_digit(path):
    path.write_bytes(path.read_bytes()[:-3] + b"7" + path.read_bytes()[-2:])


def empty(path):
    path.write_bytes(b"")


def delete(path):
    path.unlink()


def make_a_folder(path):
    path.unlink()
    path.mkdir()


DAMAGE = [cut, zero, zero_the_end, lengthen, change_a_digit, empty, delete, make_a_folder]
BROKEN_JSON = ["", "{", "[]", "null", "3", '"a"', "\0\0\0\0", "\xff", "[" * 100_000, "{}{}"]


@pytest.fixture
def run(workspace):
    """A run directory as training leaves it, measured."""
    folder = run_directory.folder(RUN)
    folder.mkdir(parents=True)
    for name, content in FILES.items():
        (folder / name).write_bytes(content)
    record = {"inputs": fingerprints.inputs(RUN), "fingerprint": fingerprints.fingerprint(RUN)}
    record["files"] = {name: atomic.checksum(folder / name) for name in FILES}
    atomic.put_json(folder / "run.json", record)
    table = pd.DataFrame({"Filename": ["a"], "knn, normals": np.float16([1])})
    measured.write(table, {"fits": {"knn, normals": {}}}, Stored(RUN, folder, "fresh"))
    assert run_directory.state(RUN) == ("complete", "")
    return folder


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_run_with_a_damaged_file_is_missing_and_the_file_named(run, damage, name):
    damage(run / name)
    assert run_directory.state(RUN) == ("missing", f"{name} is damaged or gone")
    with pytest.raises(
        MissingRuns, match=rf"{RUN.id} is missing .*make run PROFILE=smoke ID={RUN.id}"
    ):
        load(RUN)


@pytest.mark.parametrize("damage", DAMAGE[:-2])
def test_a_damaged_record_is_no_run_and_explain_survives_it(run, damage, capsys):
    damage(run / "run.json")
    assert run_directory.state(RUN) == ("missing", "run.json is damaged")
    plan.explain(plan.Request("smoke", ["fig2"]))
    assert f"1 missing, run.json is damaged: {RUN.id}" in capsys.readouterr().out


@pytest.mark.parametrize("content", BROKEN_JSON)
def test_what_is_no_record_is_read_as_none(tmp_path, content):
    path = tmp_path / "a.json"
    path.write_bytes(content.encode("latin-1"))
    assert atomic.read_json(path) is None


@pytest.mark.parametrize("name", ["measured.parquet", "measured.json"])
@pytest.mark.parametrize("damage", DAMAGE[:-1])
def test_a_damaged_measurement_is_measured_again(run, damage, name):
    stored = Stored(RUN, run, "fresh")
    assert measured.state(stored) == ("complete", "")
    damage(run / name)
    assert measured.state(stored) == ("missing", "not measured")
    assert run_directory.state(RUN)[0] == "complete"


def test_json_comes_back_as_it_was_written(tmp_path):
    content = {"b": [1.5, None], "a": {"x": "ü"}, 3: (1, 2)}
    path = atomic.put_json(tmp_path / "a.json", content)
    assert atomic.read_json(path) == {"b": [1.5, None], "a": {"x": "ü"}, "3": [1, 2]}
    path.write_text('{"without": "a checksum"}')
    assert atomic.read_json(path) == {"without": "a checksum"}


def test_a_checksum_covers_a_small_file_and_samples_a_large_one(tmp_path):
    path, content = tmp_path / "a", bytearray(np.random.default_rng(0).bytes(100_000))

    def of(content, most=2**20):
        path.write_bytes(content)
        return atomic.checksum(path, most)

    whole = of(content)
    for place in (0, 1, 50_000, 99_999):
        changed = content.copy()
        changed[place] ^= 1
        assert of(changed) != whole
    content *= 100
    sampled = of(content)
    for start in range(0, len(content), len(content) // 32):  # each hole holds a block
        changed = content.copy()
        changed[start : start + len(content) // 32] = bytes(len(content) // 32)
        assert of(changed) != sampled


# Checkpoints


class Runs:
    """Unpickling it runs code."""

    def __reduce__(self):
        return (open, ("ran", "w"))


def checkpoint(path, kind):
    """A checkpoint that cannot be gone on from, unless it is whole."""
    content = {"state_dict": {"a": torch.arange(5000)}, "history": []}
    if kind == "list":
        content = [torch.arange(3)]
    torch.save(content | {"hostile": Runs()} if kind == "hostile" else content, path)
    if kind == "pickle":
        path.write_bytes(pickle.dumps(Runs()))
    elif kind == "text":
        path.write_text("no checkpoint")
    elif kind == "zip of something else":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a", "b")
    elif kind in ("cut", "zero", "empty"):
        globals()[kind](path)
    elif kind == "bit":  # torch itself reads it without a word
        whole = bytearray(path.read_bytes())
        whole[len(whole) // 2] ^= 1
        path.write_bytes(whole)


KINDS = [
    "list",
    "hostile",
    "pickle",
    "text",
    "zip of something else",
    "cut",
    "zero",
    "empty",
    "bit",
]


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_or_hostile_checkpoint_runs_nothing_and_the_run_begins_again(
    run, kind, monkeypatch, capsys
):
    monkeypatch.chdir(paths.RUNS)
    partial = run.with_name(f"{RUN.id}.partial")
    path = partial / "checkpoint.ckpt"
    train_module._begin(RUN, partial, path)
    checkpoint(path, "whole")
    assert train_module._begin(RUN, partial, path)[1]
    checkpoint(path, kind)
    with pytest.raises(DataError, match=rf"{path} is damaged, or no checkpoint of plain tensors"):
        predict.read_weights(path)
    torch.save({"another": 1}, path) if kind == "list" else None
    _, resume = train_module._begin(RUN, partial, path)
    assert not resume and not path.exists()
    word = "not of a training" if kind == "list" else "damaged"
    assert f"checkpoint.ckpt is {word}" in capsys.readouterr().err
    assert not (paths.RUNS / "ran").exists()


@pytest.mark.parametrize("kind", ["whole", "hostile", "cut"])
def test_weights_that_are_not_the_runs_are_refused_with_the_remedy(run, kind):
    checkpoint(run / "checkpoint.pt", kind)
    remedy = f"make run PROFILE=smoke ID={RUN.id} FORCE=1` trains it again"
    with pytest.raises(DataError, match=f"does not hold the weights of {RUN.id} .*{remedy}"):
        predict.restore(Stored(RUN, run, "fresh"))


def test_nothing_that_is_read_may_run_code():
    """torch.load without weights_only=True, pickles in files, and arrays of objects."""
    for file in (paths.ROOT / "lib").rglob("*.py"):
        text = file.read_text(encoding="utf-8")
        assert "weights_only=False" not in text and "allow_pickle" not in text, file
        assert not re.search(r"read_pickle|pickle\.load\(|joblib|shelve", text), file
        for call in re.findall(r"torch\.load\((.*)\)", text):
            assert "weights_only=True" in call, file


# Stamps and the committed tables


@pytest.mark.parametrize("damage", DAMAGE[:-1])
@pytest.mark.parametrize("name", ["figures/smoke/fig2.csv", "build/smoke/notebooks/fig2.ipynb"])
def test_a_rendering_that_is_not_as_it_was_made_is_made_again(workspace, monkeypatch, damage, name):
    monkeypatch.setattr(paths, "WORKSPACE", workspace)
    for file in ("figures/smoke/fig2.csv", "build/smoke/notebooks/fig2.ipynb"):
        (workspace / file).parent.mkdir(parents=True)
        (workspace / file).write_text("content")
    stamp = paths.BUILD / "smoke" / "stamps" / "fig2.json"
    renderings.write(stamp, {"a": 1}, ["figures/smoke/fig2.csv"])
    assert renderings.outdated(stamp, {"a": 1}) == ""
    damage(workspace / name)
    word = "gone" if damage is delete else "damaged or edited"
    assert renderings.outdated(stamp, {"a": 1}) == f"{name} is {word}"


@pytest.mark.parametrize("damage", DAMAGE[:-2])
def test_a_damaged_stamp_is_named(workspace, damage):
    stamp = paths.BUILD / "smoke" / "stamps" / "fig2.json"
    renderings.write(stamp, {"a": 1}, [])
    damage(stamp)
    assert renderings.outdated(stamp, {"a": 1}) == "fig2.json is damaged"


def test_a_stamp_of_an_earlier_version_is_not_current(workspace):
    stamp = workspace / "fig2.json"
    stamp.write_text('{"inputs": {"a": 1}, "files": ["fig2.csv"]}', encoding="utf-8")
    assert renderings.outdated(stamp, {"a": 1}) == "rendered by an earlier version"


@pytest.mark.parametrize("damage", [cut, zero, zero_the_end, empty])
def test_a_damaged_table_of_the_reference_is_named_and_its_runs_are_missing(
    tmp_path, damage, capsys
):
    folder = tmp_path / damage.__name__
    folder.mkdir()
    path = folder / "runs.parquet"
    frame = {"run": [RUN.id], "record": ['{"inputs": {}}'], "measured": [None], "history": [["a"]]}
    pd.DataFrame(frame).to_parquet(path)
    assert committed.record(folder, RUN.id) == {"inputs": {}}
    damage(path)
    assert committed.record(folder, RUN.id) is None
    assert committed.record(folder, "another") is None
    warning = capsys.readouterr().err
    assert warning.startswith(f"warning: {path} is damaged (") and len(warning.splitlines()) == 1
    assert f"`git checkout -- {path}` restores it" in warning
    for name in ("histories.parquet", "scores.parquet"):
        (folder / name).write_bytes(path.read_bytes())
    with pytest.raises(DataError, match=r"histories.parquet is damaged .*git checkout"):
        committed.history(folder, RUN.id)
    with pytest.raises(DataError, match=r"scores.parquet is damaged .*git checkout"):
        committed.scores(folder / "scores.parquet", RUN.id)
