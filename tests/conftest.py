"""What tests share: one thread, a workspace of their own, and what is built once a session.

The processes of pytest-xdist see one session folder, so that no two of them draw the same images or
train the same run. No test touches the user's runs.
"""

import hashlib
import os
import signal

# Before torch is imported: runs on a processor are one-threaded.
os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1")

import shutil

import pytest
from commands import CHOICES
from filelock import FileLock

from lib.system import paths

for name in CHOICES:
    os.environ.pop(name, None)

# Processes that tests start hear Ctrl-C, even where the tests run in the background of a shell.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Files that take longest, first, so that no process waits for the other at the end.
LONGEST = (
    *("test_replicate", "test_stepping", "test_jupyterlab", "test_ranks", "test_train"),
    *("test_added_method", "test_benchmark", "test_rehearsal", "test_classes", "test_plan"),
    "test_notebooks",
)


def pytest_collection_modifyitems(items):
    """Order files by how long they take; tests keep their order within a file."""
    rank = {name: i for i, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path.stem, len(LONGEST)))


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    """An empty WORKSPACE for this process; children get it through the environment."""
    monkeypatch.setenv("WORKSPACE", str(tmp_path))
    for name in ("DATA", "RUNS", "BUILD", "FIGURES"):
        monkeypatch.setattr(paths, name, tmp_path / name.lower())
    return tmp_path


@pytest.fixture(scope="session")
def session_folder(tmp_path_factory):
    """One folder for all processes of a session."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session")
def shared_data(session_folder):
    """A folder for simulated images that several tests read; whoever comes first draws them."""
    folder = session_folder / "shared-data"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def once(session_folder):
    """`once(name, build)`: a folder that `build(folder)` fills, in the process that asks first."""

    def built(name, build):
        folder = session_folder / "once" / name
        folder.parent.mkdir(exist_ok=True)
        with FileLock(f"{folder}.lock"):
            if not folder.exists():
                partial = folder.with_name(f"{name}.partial")
                shutil.rmtree(partial, ignore_errors=True)
                partial.mkdir()
                build(partial)
                partial.rename(folder)
        return folder

    return built


@pytest.fixture(scope="session")
def trained_run(once, shared_data):
    """`trained_run(run)`: trains `run` once a session; its own copy lies in the runs of the
    caller's workspace."""
    from lib.store import run_directory
    from lib.training import train

    def trained(run):
        def build(folder):
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(paths, "DATA", shared_data)
                train.train(run, store=folder)

        settings = hashlib.sha256(repr(run).encode()).hexdigest()[:12]
        source = once(f"{run.id}-{settings}", build) / run.id
        shutil.copytree(source, run_directory.folder(run))
        return run

    return trained


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
