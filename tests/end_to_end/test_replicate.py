"""The smoke replication from nothing, as `make replicate PROFILE=smoke` does it; then again, which
does nothing."""

import os
import subprocess
import sys
import time

import pandas as pd
import pytest

from lib.study import artefacts, names, profiles
from lib.system import paths

ENDINGS = dict.fromkeys(("table", "claims"), ("png", "pdf", "csv", "md", "tex")) | {
    "fig": ("png", "pdf", "csv")
}


def command(workspace, *arguments):
    """`python -m lib` in a process of its own, as `make` calls it."""
    environment = {**os.environ, "WORKSPACE": str(workspace), "PROFILE": "smoke"}
    return subprocess.run(
        [sys.executable, "-m", "lib", *arguments],
        env=environment,
        cwd=paths.ROOT,
        capture_output=True,
        text=True,
        timeout=1800,
        check=False,
    )


@pytest.fixture(scope="module")
def replica(tmp_path_factory):
    """A workspace after the smoke replication."""
    workspace = tmp_path_factory.mktemp("replica")
    done = command(workspace, "replicate")
    assert done.returncode == 0, done.stdout + done.stderr
    return workspace


def outputs(workspace):
    folder = workspace / "figures" / "smoke"
    return {f: f.stat().st_mtime_ns for f in folder.iterdir()}


def test_every_artefact_is_there_in_every_format(replica):
    made = {f.name for f in outputs(replica)}
    for name in artefacts.drawn():
        kind = name.rstrip("0123456789")
        assert {
            f"{name}.{ending}"
            for ending in ENDINGS.get(kind, ENDINGS["table" if name == "claims" else "fig"])
        } <= made
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
    page = (replica / "build" / "smoke" / "report" / "index.html").read_text()
    assert all(f"make {name}" in page for name in artefacts.drawn())
    assert "not rendered" not in page.lower()


def test_claims_are_judged_under_both_protocols_and_both_maes(replica):
    table = pd.read_csv(replica / "figures" / "smoke" / "claims.csv")
    assert len(table) == 14 * 2 * 2
    ran = table[table["verdict"] != "not run"]
    assert set(table["claim"]) - set(ran["claim"]) == {12}  # one epoch has no curve


def test_tables_hold_every_row_of_the_grid(replica):
    table = pd.read_csv(replica / "figures" / "smoke" / "table1.csv")
    text = table.astype(str).to_csv()
    for method in profiles.load("smoke")["methods"]:
        assert names.NAMES[method] in text or method in text
    assert "random" in text.lower()


def test_a_second_replication_does_nothing(replica):
    before = outputs(replica)
    started = time.time()
    done = command(replica, "replicate")
    spent = time.time() - started
    assert done.returncode == 0
    assert "all 84 runs are complete" in done.stdout
    assert outputs(replica) == before
    assert spent < 15, "under 4 s on a machine of its own; tests share theirs"


def test_a_deleted_figure_is_the_only_one_remade(replica):
    before = outputs(replica)
    gone = replica / "figures" / "smoke" / "fig2.png"
    content = gone.read_bytes()
    gone.unlink()
    assert command(replica, "render").returncode == 0
    after = outputs(replica)
    changed = {f.name.split(".")[0] for f in after if after[f] != before.get(f)}
    assert changed == {"fig2"}
    assert gone.read_bytes() == content  # the same inputs draw the same bytes
