"""What is chosen with make: the folder of its renderings, the command that notebooks name for
missing runs, and what they refuse."""

import json
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from lib.__main__ import main
from lib.publish import notebooks, pages, renderings
from lib.store.stored import MissingRuns
from lib.study import artefacts
from lib.system import paths

READERS = sorted({a.notebook for a in artefacts.ARTEFACTS.values()} - {"data", "walkthrough"})


@pytest.mark.parametrize(
    ("chosen", "folder"),
    [
        ({}, "mini"),
        ({"methods": [], "seeds": None, "protocol": ""}, "mini"),
        ({"protocol": "paper"}, "mini/protocol-paper"),
        ({"methods": ["byol", "simclr"]}, "mini/methods-byol,simclr"),
        ({"backbones": ["vit_tiny"], "seeds": [1, 42]}, "mini/backbones-vit_tiny_seeds-1,42"),
        ({"train_shares": [0.05, 0.45]}, "mini/train-shares-0.05,0.45"),
    ],
)
def test_what_is_chosen_has_a_folder_that_says_so(chosen, folder):
    assert renderings.folder({"profile": "mini", **chosen}) == folder


def test_folders_of_many_choices_have_names_that_a_disk_takes():
    many = [list(range(10**9, 10**9 + n)) for n in (100, 101)]
    folders = {renderings.folder({"profile": "mini", "seeds": seeds}) for seeds in many}
    assert len(folders) == 2 and all(len(folder) < 160 for folder in folders)
    assert all(
        re.fullmatch(r"[\w/.,-]+", folder) for folder in folders
    )  # a shell takes it as it is


def test_what_is_chosen_never_overwrites_what_was_rendered_without(workspace, monkeypatch):
    monkeypatch.setattr(paths, "WORKSPACE", workspace)
    monkeypatch.setattr(renderings, "inputs", lambda artefact, given: {"given": given})

    def execute(book, given, copy):
        copy.parent.mkdir(parents=True, exist_ok=True)
        for file in (copy, Path(given["output"]) / "table5.csv"):
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(str(given["protocol"]))

    monkeypatch.setattr(notebooks, "execute", execute)
    for protocol in ("", "paper", ""):
        assert notebooks.render(["table5"], "smoke", protocol) == []
    usual, chosen = workspace / "figures/smoke", workspace / "figures/smoke/protocol-paper"
    assert [(f / "table5.csv").read_text() for f in (usual, chosen)] == ["", "paper"]
    build = workspace / "build/smoke"
    for folder in (build, build / "protocol-paper"):
        assert (folder / "notebooks/table5.ipynb").exists()
        assert renderings.outdated(folder / "stamps/table5.json", {}) == ""


@pytest.mark.parametrize("terminal", [True, False])
def test_drawing_says_how_much_there_is(workspace, monkeypatch, capsys, terminal):
    monkeypatch.setattr(renderings, "inputs", lambda artefact, given: {"runs": artefact})
    monkeypatch.setattr(notebooks, "_render", lambda artefact, *_: f"{artefact}: drawn")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    assert notebooks.render(["fig2", "fig4"], "smoke", "paper", jobs=4) == []
    said = capsys.readouterr()
    lines = said.out.splitlines()
    assert lines[0] == "not rendered yet: fig2, fig4"
    assert lines[1] == "figures/smoke/protocol-paper: 2 to draw, 2 at a time."
    assert sorted(line for line in lines if "drawn" in line) == ["fig2: drawn", "fig4: drawn"]
    assert ("2/2" in said.err) == terminal


@pytest.mark.parametrize("chosen", [{"METHODS": "byol"}, {"PROTOCOL": "paper"}, {"SEEDS": "42"}])
def test_what_is_chosen_has_a_report_of_its_own(workspace, monkeypatch, chosen):
    for name, value in {"PROFILE": "smoke", **chosen}.items():
        monkeypatch.setenv(name, value)
    reported = []
    monkeypatch.setattr(pages, "renew", reported.append)
    assert main(["report"]) == 0
    (name, value) = next(iter(chosen.items()))
    assert reported == [f"smoke/{name.lower()}-{value}"]


def first_cells(book, until, **given):
    """The names that the cells of `book` have defined up to the one that holds `until`, with the
    parameters `given`."""
    defined = {}
    for cell in json.loads(notebooks.find(book).read_text())["cells"]:
        source = "".join(cell["source"]) if cell["cell_type"] == "code" else ""
        exec(source, defined)
        if "parameters" in cell["metadata"].get("tags", ()):
            defined |= given
        if until in source:
            return defined
    raise AssertionError(until)


CHOSEN = {"backbones": ["resnet18"], "train_shares": [0.05], "seeds": [7]}


@pytest.mark.parametrize("book", READERS)
def test_the_command_for_missing_runs_repeats_every_choice(book):
    default = notebooks.parameters(notebooks.find(book)).get("artefact")
    target = default or next(n for n, a in artefacts.ARTEFACTS.items() if a.notebook == book)
    methods = ["supervised", "simclr"]
    chosen = {"protocol": "paper", "methods": methods, **CHOSEN}
    command = (
        f"`make {target} PROFILE=mini PROTOCOL=paper METHODS=supervised,simclr BACKBONES=resnet18"
        " TRAIN_SHARES=0.05 SEEDS=7`"
    )
    with pytest.raises(MissingRuns, match=command):
        first_cells(book, "require(", **chosen)


def test_curves_are_drawn_from_the_first_step():
    drawn = []
    shown = SimpleNamespace(update=drawn.append)
    defined = first_cells("train_one", "class Live", profile="smoke", method="simclr")
    defined["display"] = lambda *_, **__: shown
    live = defined["Live"]()
    live(0.01, {"epochs": 0.25, "step_loss": np.float32(3.5)})
    text, figure = drawn
    assert text == "1%"
    assert [line.get_xydata().tolist() for line in figure.axes[0].lines] == [[[0.25, 3.5]]]
    live.drawn = 0
    live(0.9, {"epoch": 1, "loss": 2.0, "val_f1": 0.5, "epochs": 1.0, "step_loss": np.float32(2)})
    steps, means = drawn[-1].axes[0].lines
    assert len(steps.get_xdata()) == 2 and means.get_xydata().tolist() == [[1.0, 2.0]]


@pytest.mark.parametrize(
    ("book", "wrong", "near"),
    [
        (book, "fig22", near)
        for book, near in (("val_imbalance", "fig2"), ("monitoring", "fig"), ("rankme", "fig"))
    ]
    + [("data", "table1", "table5"), ("detectors", "detector-shares", "detectors-shares")]
    + [("detectors", "gallery", "detectors-gallery"), ("val_imbalance", "table5", "table")],
)
def test_an_unknown_artefact_is_refused(book, wrong, near):
    message = f"unknown artefact of {book}.ipynb '{wrong}': did you mean '{near}"
    with pytest.raises(ValueError, match=message):
        first_cells(book, "artefacts.named(", artefact=wrong)
