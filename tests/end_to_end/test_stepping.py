"""A reader steps through each notebook on a fresh clone: from any folder, without training, to the
committed values."""

import json

import nbformat
import pandas as pd
import pytest
from commands import CHOICES
from jupyter_client.manager import start_new_kernel
from nbclient import NotebookClient

from lib.publish import notebooks, reference
from lib.study import artefacts
from lib.system import paths

BOOKS = sorted(paths.NOTEBOOKS.glob("*.ipynb"))


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    """Nothing trained and nothing drawn; shared, so that frames are drawn once."""
    return tmp_path_factory.mktemp("stepping")


@pytest.fixture(scope="module")
def kernel(workspace):
    """One kernel for all notebooks, so that it imports once; the replication gives each its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WORKSPACE", str(workspace))
        for name in CHOICES:
            patch.delenv(name, raising=False)
        manager, client = start_new_kernel(kernel_name="python3", startup_timeout=180)
    yield manager, client
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def artefact_of(book) -> str | None:
    """The artefact that the notebook makes with its parameters as they stand; None for `train_one`,
    a run's own."""
    own = notebooks.parameters(book).get("artefact")
    named = [name for name, a in artefacts.ARTEFACTS.items() if a.notebook == book.stem]
    return own or (named[0] if named else None)


@pytest.mark.parametrize("book", BOOKS, ids=lambda book: book.stem)
def test_steps_through_from_any_folder_without_training(book, workspace, kernel, tmp_path):
    manager, client = kernel
    client.execute(f"%reset -f\n%cd -q {tmp_path}", reply=True, timeout=60)
    stepped = nbformat.read(book, as_version=4)
    stepping = NotebookClient(stepped, timeout=600, km=manager)
    stepping.kc = client
    stepping.execute()
    assert not (workspace / "runs").exists(), "a notebook trained"
    assert not list(tmp_path.iterdir()), "a notebook wrote into the folder it was started in"
    made = list((workspace / "build").glob("*/stepped/*.png"))
    assert made
    artefact = artefact_of(book)
    if artefact is None:
        return
    (ours,) = (workspace / "build").glob(f"*/stepped/{artefact}.csv")
    here, committed = reference.read_values(ours), reference.values(artefact)
    near = (
        0.05 if artefact == "walkthrough" else 1e-4
    )  # its networks run here, in this processor's arithmetic
    tables = (t.drop(columns="origin", errors="ignore") for t in (here, committed))
    pd.testing.assert_frame_equal(*tables, rtol=near, atol=near)


def test_every_notebook_is_stepped_through():
    assert {json.loads(book.read_text())["nbformat"] for book in BOOKS} == {4}
    assert {a.notebook for a in artefacts.ARTEFACTS.values()} <= {book.stem for book in BOOKS}
