"""The smoke replication from nothing, as `make replicate PROFILE=smoke` does it; then again, which
does nothing."""

import json
import os
import subprocess

import pandas as pd
import pytest
from commands import succeed

from lib.analysis import claim_parts, classes, judgement
from lib.study import artefacts, names, profiles
from lib.system import paths

ENDINGS = dict.fromkeys(("table", "claims"), ("png", "pdf", "csv", "md", "tex")) | {
    "fig": ("png", "pdf", "csv")
}


@pytest.fixture(scope="module")
def replica(tmp_path_factory):
    """A workspace after the smoke replication."""
    workspace = tmp_path_factory.mktemp("replica")
    succeed("replicate", PROFILE="smoke", WORKSPACE=str(workspace))
    return workspace


def outputs(workspace):
    folder = workspace / "figures" / "smoke"
    return {f: f.stat().st_mtime_ns for f in folder.iterdir() if f.is_file()}


def test_every_artefact_is_there_in_every_format(replica):
    files = {f.name for f in outputs(replica)}
    for name in artefacts.of_profile("smoke"):
        kind = name.rstrip("0123456789")
        endings = ENDINGS.get(kind, ENDINGS["fig"])
        assert {f"{name}.{ending}" for ending in endings} <= files
    assert all(f.stat().st_size > 200 for f in outputs(replica))


@pytest.mark.parametrize(
    "target, expected", [("replicate", "replicate"), ("fig2", "replicate fig2")]
)
def test_make_calls_this_command(target, expected):
    done = subprocess.run(
        ["make", "-n", target, "PYTHON=python"], cwd=paths.ROOT, capture_output=True, text=True
    )
    assert done.stdout.splitlines() == [f"python -m lib {expected}"]


def test_the_report_shows_every_artefact(replica):
    report = replica / "build" / "smoke" / "report"
    page = (report / "index.html").read_text()
    for name in artefacts.of_profile("smoke"):
        assert f'href="{name}.html"' in page
        assert f"make {name} PROFILE=smoke" in (report / f"{name}.html").read_text()
    assert "not rendered" not in page.lower()


def test_claims_are_judged_under_both_protocols_and_both_maes(replica):
    table = pd.read_csv(replica / "figures" / "smoke" / "claims.csv")
    # 14 claims on two metrics, three of them (5, 12, 14) on one; claims 9, 11 have two lines
    assert len(table) == (14 * 2 - 3 + 4) * 2 * 2
    assert set(table["verdict"]) <= {*claim_parts.PLACES, *judgement.OPEN}  # one seed
    ran = table[table["verdict"] != "not run"]
    assert set(table["claim"]) - set(ran["claim"]) == {12}  # one epoch has no curve


def test_every_picture_of_a_notebook_is_shown_once_and_without_warnings(replica):
    for notebook in (replica / "build" / "smoke" / "notebooks").glob("*.ipynb"):
        cells = json.loads(notebook.read_text())["cells"]
        shown = [out for cell in cells for out in cell.get("outputs", ())]
        pictures = [str(o["data"]["image/png"]) for o in shown if "image/png" in o.get("data", {})]
        assert pictures or notebook.stem.startswith("table"), notebook.name
        assert len(set(pictures)) == len(pictures), notebook.name
        assert not [o["text"] for o in shown if o.get("name") == "stderr"], notebook.name


def test_tables_hold_every_row_of_the_grid(replica):
    table = pd.read_csv(replica / "figures" / "smoke" / "table1.csv")
    text = table.astype(str).to_csv()
    for method in profiles.load("smoke")["methods"]:
        assert names.NAMES[method] in text or method in text
    assert "random" in text.lower()


def cpu_seconds() -> float:
    """Processor time of the commands that have ended."""
    times = os.times()
    return times.children_user + times.children_system


def test_a_second_replication_does_nothing(replica):
    before, began = outputs(replica), cpu_seconds()
    output = succeed("replicate", PROFILE="smoke", WORKSPACE=str(replica))
    spent = cpu_seconds() - began  # however busy the machine is
    assert "all 58 runs are complete" in output
    assert outputs(replica) == before
    assert spent < 15, "4 s on a machine of its own"


def test_a_deleted_figure_is_the_only_one_remade(replica):
    before = outputs(replica)
    deleted = replica / "figures" / "smoke" / "fig2.png"
    content = deleted.read_bytes()
    deleted.unlink()
    succeed("render", PROFILE="smoke", WORKSPACE=str(replica))
    after = outputs(replica)
    changed = {f.name.split(".")[0] for f in after if after[f] != before.get(f)}
    assert changed == {"fig2"}
    assert deleted.read_bytes() == content  # the same inputs draw the same bytes


def test_classes_of_the_random_backbone_alone(replica):
    before = outputs(replica)
    succeed("render", "classes", PROFILE="smoke", METHODS="random", WORKSPACE=str(replica))
    assert outputs(replica) == before  # what is chosen lies in a folder that says so
    figures = replica / "figures" / "smoke" / "methods-random"
    assert (figures / "classes.png").exists()
    table = pd.read_csv(figures / "classes.csv")
    recall = table[table["metric"] == "recall"]
    assert len(recall) == 3 * (len(names.CLASSES) + 2)
    assert recall["value"].isna().equals(recall["validation"] == 0)
    by = recall.set_index(["class", "train_share"])["training"]
    assert by[classes.NORMAL].nunique() == 1
    assert by[classes.ANY].is_monotonic_increasing
