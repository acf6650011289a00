"""Methods beyond the study: a file and a line of paper.toml each, in no grid unless METHODS names
them."""

import os
import shutil
import subprocess
import sys

import pandas as pd
import pytest
from small import build

from lib import methods
from lib.analysis import results
from lib.report import style
from lib.store.stored import load
from lib.study import grid, names, profiles
from lib.system import paths
from lib.training import train

MADE_UP = '''"""Agreement of two views, made up for a test."""

from lib.methods.base import Method, Step


class MadeUp(Method):
    def loss(self, views, images):
        h1, h2 = (self.gather(self.backbone(x)) for x in views)
        return Step((h1 - h2).square().mean(), [h1, h2])
'''


@pytest.mark.parametrize("profile", profiles.available())
def test_no_grid_holds_them_unless_they_are_named(profile):
    assert not {run.method for run in grid.cells(profile)} & set(names.ADDED)
    named = grid.cells(profile, methods=list(names.ADDED))
    assert {run.method for run in named} == set(names.ADDED)
    assert all(grid.parse(profile, run.id) == run for run in named)


def test_a_misspelt_one_is_met_with_its_name():
    with pytest.raises(ValueError, match="did you mean 'lejepa'"):
        grid.runs("table1", "mini", methods=["le-jepa"])


def test_a_line_says_what_differs_from_the_common_table_of_its_profile():
    for profile in ("paper", "mini", "smoke"):
        common = profiles.load(profile)["added"]
        for method in names.ADDED:
            own = {
                k: v for k, v in profiles.load("paper")["method"][method].items() if k != "title"
            }
            settings = grid.run(profile, method, "resnet18", 0.45, 42).settings
            assert settings == settings | common | own
            assert "title" not in settings and "temperature" not in settings
    assert grid.run("mini", "vicreg", "resnet18", 0.45, 42).settings["hidden"] == 512


def test_they_have_a_title_a_colour_of_their_own_and_stand_apart():
    colours = [style.PALETTE[method] for method in names.METHODS]
    assert len(set(colours)) == len(colours)
    assert names.label("lejepa") == "LeJEPA"
    assert set(names.APART) == set(names.METHODS) - set(names.TRAINED)


def test_a_file_without_the_titles_class_is_named(monkeypatch):
    monkeypatch.setitem(methods.CLASSES, "vicreg", ("vicreg", "Vicreg"))
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


def test_a_new_method_is_a_file_and_a_line(tmp_path):
    """In a copy of the sources, at one train share: its row appears in Table 1 with nothing else
    touched."""
    for name in ("lib", "notebooks"):
        shutil.copytree(
            paths.ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__")
        )
    (tmp_path / "results" / "reference").mkdir(parents=True)
    shutil.copy(paths.REFERENCE / "paper.csv", tmp_path / "results" / "reference")
    (tmp_path / "lib" / "methods" / "made_up.py").write_text(MADE_UP)
    with (tmp_path / "lib" / "study" / "profiles" / "paper.toml").open("a") as profile:
        profile.write('made-up = { title = "Made Up" }\n')
    smoke = tmp_path / "lib" / "study" / "profiles" / "smoke.toml"
    smoke.write_text(
        "train_shares = [0.45]\n" + smoke.read_text()
    )  # for the test's sake: two runs instead of ten
    environment = {
        k: v for k, v in os.environ.items() if k not in ("WORKSPACE", "SEEDS", "PROTOCOL")
    }
    environment |= {
        "PROFILE": "smoke",
        "METHODS": "made-up",
        "JOBS": "1",
        "PYTHONPATH": str(tmp_path),
    }
    done = subprocess.run(
        [sys.executable, "-m", "lib", "replicate", "table1"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    figures = tmp_path / "figures" / "smoke"
    table = pd.read_csv(figures / "table1.csv")
    assert set(table["run"]) == {f"made-up-{b}-d45-s42" for b in names.BACKBONES}
    text = (figures / "table1.md").read_text()
    assert "| Made Up | ViT-Tiny |" in text and "Not in the paper: Made Up." in text
