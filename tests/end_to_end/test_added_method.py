"""Methods beyond the study: a file, a dataclass and a table of paper.toml each, in no grid unless
METHODS names them. One of the user's own, on images of the user's own, from a CSV to figures."""

import shutil

import numpy as np
import pandas as pd
import pytest
from commands import succeed
from small import build

from lib.analysis import results
from lib.report import style
from lib.simulator import frames
from lib.store.stored import Stored, load
from lib.study import grid, names, profiles, settings
from lib.system import paths
from lib.training import train

MADE_UP = '''"""Agreement of two views, made up for a test."""

from lib.methods.base import Method, Step


class MadeUp(Method):
    def loss(self, h1, h2):
        return Step(self.settings.strength * (h1 - h2).square().mean())
'''
SETTINGS = """\
@dataclass(frozen=True, kw_only=True)
class MadeUp(Settings):
    title, code = "Made Up", "lib.methods.made_up:MadeUp"

    strength: float


"""
LISTED = {
    "# The order of the rows": SETTINGS + "# The order of the rows",
    "ADDED = {": 'ADDED = {"made-up": MadeUp, ',
}
TABLE = """
[method.made-up]
strength = 0.5
"""


@pytest.mark.parametrize("profile", profiles.available())
def test_no_grid_holds_them_unless_they_are_named(profile):
    assert not {run.method for run in grid.cells(profile)} & set(names.ADDED)
    named = grid.cells(profile, methods=list(names.ADDED))
    assert {run.method for run in named} == set(names.ADDED)
    assert all(grid.parse(profile, run.id) == run for run in named)


def test_a_misspelt_one_is_met_with_its_name():
    with pytest.raises(ValueError, match="did you mean 'lejepa'"):
        grid.runs("table1", "mini", methods=["le-jepa"])


def test_a_table_says_what_differs_from_the_common_one_of_its_profile():
    for profile in ("paper", "mini", "smoke"):
        common = profiles.load(profile)["added"]
        for method in names.ADDED:
            own = profiles.load("paper")["method"][method]
            resolved = grid.run(profile, method, "resnet18", 0.45, 42).resolved()["settings"]
            assert resolved == resolved | common | own
            assert "title" not in resolved and "temperature" not in resolved
    assert grid.run("mini", "vicreg", "resnet18", 0.45, 42).settings.hidden == 512


def test_they_have_a_title_a_colour_of_their_own_and_stand_apart():
    colours = [style.PALETTE[method] for method in names.METHODS]
    assert len(set(colours)) == len(colours)
    assert names.label("lejepa") == "LeJEPA"
    assert set(names.NOT_IN_PAPER) == set(names.METHODS) - set(names.TRAINED)


def test_a_file_without_the_class_that_is_named_says_so(monkeypatch):
    monkeypatch.setattr(settings.VICReg, "code", "lib.methods.vicreg:Vicreg")
    with pytest.raises(AttributeError, match=r"lib/methods/vicreg.py has no class Vicreg"):
        build("vicreg")


@pytest.mark.parametrize("method", names.ADDED)
def test_they_train_and_are_scored_like_any_other(store, method):
    run = grid.run("smoke", method, "resnet18", 0.45, 42)
    train.train(run)
    stored = load(run)
    assert stored.history[["loss", "embedding_std", "rankme_batch"]].notna().all(axis=None)
    measured = results.measure([run], resamples=0).set_index("metric")["value"]
    assert 0 <= measured["auroc"] <= 1


def add_made_up(root):
    """A file, a dataclass, and a table."""
    (root / "lib" / "methods" / "made_up.py").write_text(MADE_UP)
    study = root / "lib" / "study"
    source = (study / "settings.py").read_text()
    for text, longer in LISTED.items():
        assert source.count(text) == 1
        source = source.replace(text, longer)
    (study / "settings.py").write_text(source)
    with (study / "profiles" / "paper.toml").open("a") as profile:
        profile.write(TABLE)


@pytest.fixture(scope="module")
def own_study(tmp_path_factory):
    """A copy of the sources with one method more, after it was trained and rendered on images of
    the user's own: without classes, at one train share, as small as smoke."""
    root = tmp_path_factory.mktemp("own-study")
    for name in ("lib", "notebooks"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(paths.ROOT / name, root / name, ignore=ignored)
    (root / "results" / "reference").mkdir(parents=True)
    shutil.copy(paths.REFERENCE / "paper.csv", root / "results" / "reference")
    add_made_up(root)
    own = root / "lib" / "study" / "profiles" / "own.toml"
    smaller = own.read_text().replace('base = "mini"', 'base = "smoke"\ntrain_shares = [0.45]')
    own.write_text(smaller)
    frames.write_tables(root / "drawn", 3, {"train": 80})
    frames.write_frames(root / "drawn", 3, "train", 80, 48)
    labels = pd.read_csv(root / "drawn" / "SewerML_Train.csv", dtype={"Filename": str})
    labels = labels.assign(Filename="drawn/Train/" + labels["Filename"])
    labels[["Filename", "Defect"]].to_csv(root / "labels.csv", index=False)
    chosen = {
        "PROFILE": "own",
        "METHODS": "made-up,random",
        "SEEDS": "42",
        "JOBS": "1",
        "LABELS": str(root / "labels.csv"),
        "WORKSPACE": str(root),
    }
    succeed("replicate", "table1", "fig4", root=root, **chosen)
    return root


def test_a_new_method_is_a_file_a_dataclass_and_a_table(own_study):
    """Its row appears in Table 1 with nothing else touched."""
    figures = next((own_study / "figures" / "own").glob("methods-*"))
    table = pd.read_csv(figures / "table1.csv")
    assert set(table["run"]) == {
        f"{method}-{b}-d45-s42" for method in ("made-up", "random") for b in names.BACKBONES
    }
    text = (figures / "table1.md").read_text()
    assert "| Made Up | ViT-Tiny |" in text and "Not in the paper: Made Up" in text


def test_without_classes_f2ciw_is_unknown_and_left_out(own_study, monkeypatch):
    """In tables and figures of images whose CSV names no classes."""
    figures = next((own_study / "figures" / "own").glob("methods-*"))
    text, table = (figures / "table1.md").read_text(), pd.read_csv(figures / "table1.csv")
    assert "F2CIW is left out: it needs Sewer-ML’s classes." in text
    assert "### F1" in text and "### F2CIW" not in text
    assert "nan" not in text
    by_metric, columns = table.set_index("metric"), ["value", "low", "high"]
    assert by_metric.loc["f2ciw", columns].isna().all(axis=None)  # unknown, and never 0
    others = by_metric.drop("f2ciw")
    assert others["value"].notna().all()
    assert others.loc[["f1", "f1_normal", "auroc"], columns].notna().all(axis=None)  # as drawn
    assert (figures / "fig4.png").exists()
    monkeypatch.setenv("LABELS", str(own_study / "labels.csv"))
    run = grid.run("own", "random", "resnet18", 0.45, 42)
    stored = Stored(run, own_study / "runs" / "own" / run.id, "fresh")
    assert np.isnan(results.f2ciw_maximum(stored))
