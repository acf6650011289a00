"""Shared set-up: one thread, and a workspace of the tests' own, so that no test touches the user's
runs."""

import os

os.environ.update(
    OMP_NUM_THREADS="1", MKL_NUM_THREADS="1"
)  # before torch is imported: runs are one-threaded on CPU

import pytest

from lib.system import paths


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    """An empty WORKSPACE for this process; children get it through the environment."""
    monkeypatch.setenv("WORKSPACE", str(tmp_path))
    for name in ("DATA", "RUNS", "BUILD", "FIGURES"):
        monkeypatch.setattr(paths, name, tmp_path / name.lower())
    return tmp_path


@pytest.fixture(scope="session")
def shared_data(tmp_path_factory):
    """A folder for simulated images that several tests read."""
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def shared_workspace(tmp_path_factory, shared_data):
    """A workspace for the runs that the tests of a module share, its images those of all tests."""
    folder = tmp_path_factory.mktemp("workspace")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paths, "DATA", shared_data)
        for name in ("RUNS", "BUILD", "REFERENCE"):
            patch.setattr(paths, name, folder / name.lower())
        yield folder


@pytest.fixture
def store(workspace, shared_data, monkeypatch):
    """A workspace whose images are shared between tests."""
    monkeypatch.setattr(paths, "DATA", shared_data)
    return workspace
