"""The paper's profile for one epoch, on a simulated tree laid out as Sewer-ML's archive: zips,
frames of two sizes."""

import zipfile
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from commands import succeed
from PIL import Image

from lib.__main__ import main
from lib.analysis import provenance, results
from lib.data import archive, sources
from lib.simulator import frames
from lib.study import grid, profiles
from lib.system import paths

TRAIN, VAL = 64, 16  # of 64 frames, 11 are left to train on: both classes, several of each


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """SEWERML_ROOT; its parent is the WORKSPACE of the commands below."""
    root = tmp_path_factory.mktemp("rehearsal") / "sewer-ml"
    archive.write(root, TRAIN, VAL)
    return root


def on(tree) -> dict[str, str]:
    """The environment of a command on the tree."""
    folders = {"SEWERML_ROOT": str(tree), "WORKSPACE": str(tree.parent)}
    return folders | {"PROFILE": "rehearsal", "DEVICE": "cpu"}


def test_the_rehearsal_is_the_papers_profile_but_for_its_epochs():
    paper, rehearsal = profiles.load("paper"), profiles.load("rehearsal")
    expected = {**paper, "title": rehearsal["title"]}
    for part in ("training", "augmentation", "resolution"):
        expected[part] = paper[part] | {"epochs": 1}
    expected["method"] = paper["method"] | {
        name: paper["method"][name] | {"epochs": 1} for name in ("supervised", "mae")
    }
    assert rehearsal == expected
    for run in grid.cells("rehearsal"):
        theirs = grid.run("paper", run.method, run.backbone, run.share, run.seed)
        assert run.settings == replace(theirs.settings, epochs=1, warmup_epochs=0)
        assert (run.data, run.px, run.crop, run.jitter) == (
            theirs.data,
            theirs.px,
            theirs.crop,
            theirs.jitter,
        )


def test_the_tree_is_laid_out_as_the_archive(tree):
    assert sorted(p.name for p in tree.iterdir()) == [
        "SIMULATED.txt",
        "SewerML_Train.csv",
        "SewerML_Val.csv",
        "train00.zip",
        "train01.zip",
        "valid00.zip",
        "valid01.zip",
    ]
    for split, part, n in (("train", "train", TRAIN), ("val", "valid", VAL)):
        table = pd.read_csv(tree / sources.TABLES[split])
        assert list(table.columns) == list(frames.COLUMNS) and len(table) == n
        members = []
        for path in sorted(tree.glob(f"{part}*.zip")):
            with zipfile.ZipFile(path) as zipped:
                assert zipped.testzip() is None
                members += zipped.namelist()
                assert all(m.startswith(f"{path.stem}/") for m in zipped.namelist())
        assert [m.split("/")[1] for m in members] == table["Filename"].tolist()
    last = frames.FRAMES * 3 - 1
    with (
        zipfile.ZipFile(tree / "train01.zip") as zipped,
        zipped.open(f"train01/{frames.filename('train', last)}") as f,
    ):
        frame = np.asarray(Image.open(f))
    assert frame.shape == (288, 352, 3) and archive.size(0) == (576, 720)
    assert np.array_equal(frame, frames.draw(archive.SEED, "train", last, (288, 352))[0])


def test_footers_tell_its_frames_from_real_ones(tree, monkeypatch):
    """They said "Data: Sewer-ML" of drawings."""
    data = profiles.load("rehearsal")["data"]
    monkeypatch.setenv("SEWERML_ROOT", str(tree))
    assert provenance._data_name(data) == "simulated Sewer-ML"
    monkeypatch.setenv("SEWERML_ROOT", str(tree.parent))
    assert provenance._data_name(data) == "Sewer-ML"


def test_a_folder_that_holds_anything_is_refused_and_left_alone(tree, monkeypatch, capsys):
    before = {p: p.stat().st_mtime_ns for p in tree.iterdir()}
    for given, expected in [
        ({"SEWERML_ROOT": str(tree)}, f"error: {tree} is not empty, and real images may lie there"),
        ({"SEWERML_ROOT": str(tree / "SewerML_Val.csv")}, "is not empty"),
        ({"SEWERML_ROOT": ""}, "error: set SEWERML_ROOT to a new folder: make archive"),
        (
            {"SEWERML_ROOT": f"{tree}2", "VAL": "few"},
            "error: VAL=few: how many frames to draw, a whole number",
        ),
    ]:
        for name, value in given.items():
            monkeypatch.setenv(name, value)
        assert main(["archive"]) == 2
        assert expected in capsys.readouterr().err
    assert {p: p.stat().st_mtime_ns for p in tree.iterdir()} == before
    assert not (tree.parent / "sewer-ml2").exists()


def test_an_empty_folder_is_filled(tmp_path):
    (tmp_path / "new").mkdir()
    archive.write(tmp_path / "new", 1, 1)
    assert len(list((tmp_path / "new").iterdir())) == 7


def test_the_papers_settings_train_from_zips_and_are_read_back(tree, monkeypatch):
    """224 px, full width, LARS, batch 256 or all there are: from the archive to a stored run and
    its F1."""
    run = grid.parse("rehearsal", "barlow-vit_tiny-d45-s42")
    output = succeed("run", "--id", run.id, YES="1", **on(tree))
    assert "Barlow Twins, ViT-Tiny, 224 px" in output and "core-hours" in output
    assert "1/1 runs, 100 %" in output
    folder = tree.parent / "runs" / "rehearsal" / run.id
    history, scores = (
        pd.read_csv(folder / "history.csv"),
        pd.read_parquet(folder / "scores.parquet"),
    )
    assert len(history) == 1 and np.isfinite(history[["loss", "probe_loss", "rankme"]]).all(
        axis=None
    )
    assert (
        scores.query("split == 'val'")["Filename"].nunique() == VAL
        and np.isfinite(scores["logit"]).all()
    )
    assert scores.query("split == 'train'")["Filename"].nunique() <= TRAIN / 2
    weights = torch.load(folder / "checkpoint.pt", weights_only=False)["method"]
    assert weights["backbone.pos_embed"].shape == (1, 1 + (224 // 16) ** 2, 192)
    assert (
        weights["projector.0.weight"].shape[0]
        == profiles.load("paper")["method"]["barlow"]["hidden"]
    )
    again = succeed("run", "--id", run.id, **on(tree))  # nothing to train: nothing to ask
    assert "all 1 runs are complete" in again
    monkeypatch.setenv("SEWERML_ROOT", str(tree))
    for name in ("DATA", "RUNS"):
        monkeypatch.setattr(paths, name, tree.parent / name.lower())
    values = results.measure([run], "paper", resamples=5).set_index("metric")["value"]
    assert 0 <= values["f1"] <= 1
