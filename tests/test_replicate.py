"""The smoke replication from nothing, as `make replicate PROFILE=smoke` does it; then again, which does nothing."""

import os
import subprocess
import sys
import time

import pandas as pd
import pytest

from lib import paths, study

ENDINGS = {"table": ("png", "pdf", "csv", "md", "tex"), "fig": ("png", "pdf", "csv")}


def step(module, command, workspace, *arguments):
    environment = {**os.environ, "WORKSPACE": str(workspace), "PROFILE": "smoke"}
    return subprocess.run(
        [sys.executable, "-m", f"lib.{module}", command, *arguments], env=environment, cwd=paths.ROOT,
        capture_output=True, text=True, timeout=900, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def replica(tmp_path_factory):
    """A workspace after the smoke replication."""
    workspace = tmp_path_factory.mktemp("replica")
    for module, command in (("workers", "run"), ("notebooks", "render")):
        done = step(module, command, workspace)
        assert done.returncode == 0, done.stdout + done.stderr
    return workspace


def outputs(workspace):
    folder = workspace / "figures" / "smoke"
    return {f: f.stat().st_mtime_ns for f in folder.iterdir()}


def test_every_artefact_is_there_in_every_format(replica):
    made = {f.name for f in outputs(replica)}
    for name in study.artefacts():
        kind = name.rstrip("0123456789")
        assert {f"{name}.{ending}" for ending in ENDINGS.get(kind, ENDINGS["fig"])} <= made
    assert all(f.stat().st_size > 200 for f in outputs(replica))


def test_tables_hold_every_row_of_the_grid(replica):
    table = pd.read_csv(replica / "figures" / "smoke" / "table1.csv")
    text = table.astype(str).to_csv()
    for method in study.METHODS:
        assert study.NAMES[method] in text or method in text
    assert "random" in text.lower()


def test_a_second_replication_does_nothing(replica):
    before = outputs(replica)
    started = time.time()
    runs, notebooks = step("workers", "run", replica), step("notebooks", "render", replica)
    spent = time.time() - started
    assert runs.returncode == notebooks.returncode == 0
    assert "all 70 runs are complete" in runs.stdout
    assert outputs(replica) == before
    assert spent < 15, "5 s on a machine of its own; tests share theirs"


def test_a_deleted_figure_is_the_only_one_remade(replica):
    before = outputs(replica)
    gone = replica / "figures" / "smoke" / "fig2.png"
    content = gone.read_bytes()
    gone.unlink()
    assert step("notebooks", "render", replica).returncode == 0
    after = outputs(replica)
    changed = {f.name.split(".")[0] for f in after if after[f] != before.get(f)}
    assert changed == {"fig2"}
    assert gone.read_bytes() == content  # the same inputs draw the same bytes
