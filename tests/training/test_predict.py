"""A finished run's weights come back as they were stored, and score new images as the run scored
its own."""

import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from lib.__main__ import main
from lib.data import folders, sources
from lib.publish import reference
from lib.store import run_directory
from lib.store.stored import MissingRuns, load
from lib.study import grid
from lib.system import paths
from lib.system.errors import DataError
from lib.training import predict, probes, train


@pytest.fixture(scope="module")
def run(shared_workspace):
    """A self-supervised run made here, of a profile that takes seconds."""
    run = grid.run("smoke", "simclr", "resnet18", 0.45, 42)
    train.train(run)
    return run


@pytest.fixture
def frames(run, tmp_path):
    """Six validation images in a folder with a subfolder, beside a file that is no image."""
    (tmp_path / "b").mkdir()
    names = sources.tables(run.data, "val")[0]["Filename"][:6]
    for i, name in enumerate(names):
        shutil.copyfile(
            sources.root(run.data) / "Valid" / name, tmp_path / ("b" if i < 3 else ".") / name
        )
    (tmp_path / "notes.txt").write_text("no image")
    return tmp_path


@pytest.fixture
def command(run, frames, monkeypatch):
    """What `make predict` sets; tests change it."""
    for name, value in {
        "PROFILE": "smoke",
        "IMAGES": str(frames),
        "RUN": run.id,
        "OUT": "",
    }.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def scored(images, run):
    """The rows of all images; one that cannot be read raises its error."""

    def refuse(error):
        raise error

    return pd.concat(predict.batches(images, run, refuse), ignore_index=True)


def stored_logits(run):
    rows = "split == 'val' and evaluation == 'clean' and probe == 'converged'"
    return load(run).scores.query(rows).set_index("Filename")["logit"]


def test_scores_are_those_of_the_clean_evaluation(run, frames):
    found = scored(folders.walk(frames)[0], run)
    names = [name.rpartition("/")[2] for name in found["Filename"]]
    stored = stored_logits(run).loc[names].to_numpy(np.float32)
    half = 2.0**-10  # a stored logit has 11 significant bits
    np.testing.assert_allclose(found["logit"], stored, rtol=half, atol=half)
    assert np.ptp(stored) > 10 * half  # the images are told apart
    assert (found["predicted"] == (found["logit"] > 0)).all()


def test_batches_do_not_matter(run, frames, monkeypatch):
    images = folders.walk(frames)[0]
    at_once = scored(images, run)["logit"]
    monkeypatch.setattr(probes, "BATCH", 4)
    np.testing.assert_allclose(
        scored(images, run)["logit"], at_once, rtol=1e-2, atol=1e-2
    )  # bf16, where used


def test_the_reference_holds_half_precision_and_comes_back_in_single(run, frames, monkeypatch):
    images = folders.walk(frames)[0]
    full = scored(images, run)["logit"]
    reference.write([load(run)], paths.REFERENCE / run.profile, weights=True)
    committed = reference.committed(run).checkpoint
    checkpoint = torch.load(committed, weights_only=True)
    assert torch.float32 not in {value.dtype for value in checkpoint["method"].values()}
    for name in ("mean", "std", "weight"):
        checkpoint["converged"][name] = checkpoint["converged"][name].half()
    torch.save(checkpoint, committed)
    monkeypatch.setattr(paths, "RUNS", paths.RUNS / "elsewhere")
    method, probe = predict.restore(run)
    assert not method.training
    assert {p.dtype for p in method.parameters()} == {torch.float32}
    assert probe.weight.dtype == np.float32
    np.testing.assert_allclose(scored(images, run)["logit"], full, rtol=0.05, atol=0.05)
    committed.unlink()
    with pytest.raises(
        MissingRuns, match=rf"only scores .*`make run PROFILE=smoke ID={run.id}` trains it"
    ):
        predict.restore(run)


def test_a_run_that_is_not_there_names_the_command_that_trains_it(run):
    absent = grid.run("smoke", "byol", "resnet18", 0.45, 42)
    with pytest.raises(
        MissingRuns, match=rf"missing .*`make run PROFILE=smoke ID={absent.id}` trains it"
    ):
        predict.restore(absent)
    ablation = grid.cells("smoke", "resolution")[0]
    with pytest.raises(ValueError, match="ablation, which keeps no weights"):
        predict.restore(ablation)


def test_an_unreadable_image_is_an_error_unless_skipped(run, frames):
    (frames / "a.png").write_bytes(b"not a png")
    images = folders.walk(frames)[0]
    with pytest.raises(DataError, match=r"a\.png cannot be decoded"):
        scored(images, run)
    skipped = []
    (found,) = predict.batches(images, run, skipped.append)
    assert len(found) == 6 and len(skipped) == 1 and "a.png" in str(skipped[0])


def test_the_command_scores_every_image_below_a_folder(run, frames, command, capsys):
    (frames / "b" / "broken.JPG").write_bytes(b"")
    Image.new("L", (50, 30), 128).save(frames / "grey.tif")
    assert main(["predict"]) == 0
    said = capsys.readouterr()
    out = paths.BUILD / "smoke" / "predictions.csv"
    table = pd.read_csv(out)
    assert list(table["Filename"]) == sorted(table["Filename"]) and "grey.tif" in set(
        table["Filename"]
    )
    assert (table["Filename"].str.startswith("b/")).sum() == 3 and len(table) == 7
    assert (table["predicted"] == (table["logit"] > 0)).all()
    assert said.out.startswith(
        f"{out}: 7 of 8 images scored, {table['predicted'].sum()} called defects."
    )
    assert (
        "SimCLR on ResNet-18 was trained on simulated frames" in said.out
        and "logit above 0" in said.out
    )
    assert "broken.JPG" in said.err and len(said.err.splitlines()) == 1


def test_every_file_is_accounted_for_and_every_name_can_be_written(frames, command, capsys):
    """Names that are no UTF-8, or formulas to a spreadsheet; folders that hold no photographs; a
    folder reached through a link, which is followed once, and through a circle of links."""
    spare = ["@eaDir/a.png", ".trash/a.png", "ground_truth/a.png", "__MACOSX/._a.png"]
    spare += [".ipynb_checkpoints/a.png", "b/thumbnails/a.png", "._a.png"]
    odd = ["=1+1.png", "+a.png", "-a.png", "@a.PNG", "b\udcf6.jpg", "line\nbreak.webp"]
    other = frames.parent / f"{frames.name}-other"
    other.mkdir()
    for path in [*(frames / name for name in (*spare, *odd)), other / "linked.png"]:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (50, 30), (9, 99, 199)).save(path)
    (frames / "link").symlink_to(other)
    (frames / "again").symlink_to(other)
    (frames / "circle").symlink_to(frames)
    (frames / "dead").symlink_to(frames / "nowhere")
    (frames / "b" / "cut.png").write_bytes(b"no")
    command.setattr(probes, "BATCH", 4)
    assert main(["predict"]) == 0
    out = paths.BUILD / "smoke" / "predictions.csv"
    names = set(pd.read_csv(out)["Filename"])
    expected = {"'=1+1.png", "'+a.png", "'-a.png", "'@a.PNG", "b\\xf6.jpg", "line\nbreak.webp"}
    assert expected | {"again/linked.png"} <= names and len(names) == 13
    line, _ = capsys.readouterr().out.splitlines()
    counts = line.partition("Not scored: ")[2].rstrip(".").split("; ")
    assert counts == [
        *("1 unreadable", "1 checkpoints", "1 hidden", "1 masks", "2 not images (.txt, dead)"),
        *("2 reached twice by links", "3 system files", "1 thumbnails"),
    ]
    assert line.startswith(f"{out}: 13 of 14 images scored, ")


def test_rows_are_written_as_they_come(frames, run, monkeypatch):
    monkeypatch.setattr(probes, "BATCH", 4)
    monkeypatch.setattr(predict, "decode", interrupted(predict.decode, after=5))
    with pytest.raises(KeyboardInterrupt):
        predict.predict(frames, run, frames / "scores.csv")
    assert len(pd.read_csv(frames / "scores.csv")) == 4


def interrupted(function, after):
    """`function`, interrupted by Ctrl-C at the call `after` so many."""
    calls = iter(range(after))

    def call(*arguments):
        if next(calls, None) is None:
            raise KeyboardInterrupt
        return function(*arguments)

    return call


def test_a_logit_next_to_0_keeps_its_sign_in_the_csv(run, frames, monkeypatch):
    """What is printed agrees with what is decided, however close to the threshold it is."""
    tiny = np.array([3e-5, -3e-5, 1e-9, -1e-9, 0, 12.34567], np.float32)
    monkeypatch.setattr(probes.Probe, "__call__", lambda self, features: tiny)
    predict.predict(frames, run, frames / "scores.csv")
    table = pd.read_csv(frames / "scores.csv")
    np.testing.assert_allclose(table["logit"], tiny, rtol=1e-5)
    assert table["predicted"].tolist() == [1, 0, 1, 0, 0, 1]
    assert (table["predicted"] == (table["logit"] > 0)).all()


def test_out_names_the_csv(frames, command):
    command.setenv("OUT", str(frames / "new" / "scores.csv"))
    assert main(["predict"]) == 0
    assert main(["predict"]) == 0  # its own scores are replaced
    assert len(pd.read_csv(frames / "new" / "scores.csv")) == 6


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("IMAGES", "", "set IMAGES to a folder of images"),
        ("IMAGES", "nowhere", "there is no folder nowhere"),
        ("IMAGES", "{frames}/bad/bad.png", "bad.png is a file: name a folder; extract an archive"),
        ("IMAGES", "{frames}/none", "holds no image"),
        ("OUT", "{frames}", "is a folder: name a file in it with OUT"),
        ("OUT", "{frames}/bad/mine.csv", "mine.csv exists and differs: name another file with OUT"),
        ("OUT", "{frames}/bad/bad.png/scores.csv", "bad.png is a file, no folder: name another"),
        ("IMAGES", "{frames}/bad", "none of the 1 images"),
        ("RUN", "", "set RUN to the id of a finished run"),
        ("RUN", "simclr-resnet-d45-s42", "did you mean RUN=simclr-resnet18-d45-s42?"),
        ("RUN", "simclrr-resnet18-d45-s42", "did you mean RUN=simclr-resnet18-d45-s42?"),
        (
            "RUN",
            "byol-resnet18-d45-s42",
            "`make run PROFILE=smoke ID=byol-resnet18-d45-s42` trains it",
        ),
        ("PROFILE", "smke", "unknown profile 'smke': did you mean 'smoke'?"),
    ],
)
def test_mistakes_are_one_sentence(frames, command, capsys, name, value, message):
    (frames / "none").mkdir()
    (frames / "bad").mkdir()
    (frames / "bad" / "bad.png").write_bytes(b"")
    (frames / "bad" / "mine.csv").write_text("Filename,Defect\n")
    command.setenv(name, value.format(frames=frames))
    assert main(["predict"]) == 2
    *_, last = capsys.readouterr().err.splitlines()
    assert last.startswith("error: ") and message in last and "Traceback" not in last


def test_a_run_on_ones_own_images_scores_new_ones_elsewhere(store, monkeypatch, capsys):
    """Neither the labels nor the old images are asked for, and IMAGES means the new ones."""
    run = grid.run("own", "random", "resnet18", 0.45, 42)
    monkeypatch.delenv("LABELS", raising=False)
    monkeypatch.setenv("IMAGES", str(store))
    with pytest.raises(
        MissingRuns, match=r"was not trained in profile own: `make run PROFILE=own ID=.*your LABELS"
    ):
        predict.restore(run)
    run_directory.folder(run).mkdir(parents=True)
    (run_directory.folder(run) / "run.json").write_text("{}")
    with pytest.raises(
        MissingRuns, match="only scores are committed"
    ):  # found, whatever LABELS says
        predict.restore(run)
