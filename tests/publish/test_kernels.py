"""Kernels of renderings: nothing of the user's configuration reaches them, and they end with the
command that started them."""

import json
import os
import signal
import subprocess
import sys
import time

import nbformat
import pytest
from commands import python

from lib.publish import notebooks
from lib.system import paths

RUN = """
import sys
from pathlib import Path
from lib.__main__ import main
from lib.system import paths
paths.NOTEBOOKS = Path(sys.argv[1])
sys.exit(main(sys.argv[2:]))
"""


def write(path, *sources):
    """A small notebook with one parameter."""
    cells = [nbformat.v4.new_code_cell(source) for source in ("a = 1  # any", *sources)]
    cells[0]["metadata"]["tags"] = ["parameters"]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    return path


def test_nothing_of_the_users_configuration_reaches_a_rendering(tmp_path):
    start_up = tmp_path / "ipython" / "profile_default" / "startup"
    start_up.mkdir(parents=True)
    (start_up / "own.py").write_text("own = 1")
    (tmp_path / "start.py").write_text("own = 1")
    (tmp_path / "matplotlibrc").write_text("lines.marker: o\ntext.usetex: True\n")
    check = (
        "import os\nimport sys\nimport matplotlib\nfrom lib.report import style\n"
        "assert 'debugpy.server' not in sys.modules\n"  # half of a kernel's start
        "assert 'own' not in globals()\n"
        "assert matplotlib.rcParams['lines.marker'] == 'None'\n"
        "assert not matplotlib.rcParams['text.usetex']\n"
        f"assert os.getcwd() == {str(paths.ROOT)!r}"
    )
    draw = "import matplotlib.pyplot as plt\n_ = plt.plot([1])"
    book = write(tmp_path / "book.ipynb", check, draw)
    copy = tmp_path / "copy.ipynb"
    done = python(
        *("-m", "lib", "notebook", str(book), "--to", str(copy)),
        IPYTHONDIR=str(tmp_path / "ipython"),
        PYTHONSTARTUP=str(tmp_path / "start.py"),
        MATPLOTLIBRC=str(tmp_path),
        MPLBACKEND="agg",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (shown,) = json.loads(copy.read_text())["cells"][-1]["outputs"]
    assert "image/png" in shown["data"]


def test_a_kernel_that_dies_is_one_sentence(tmp_path):
    book = write(tmp_path / "book.ipynb", "import os\nos._exit(1)")
    with pytest.raises(notebooks.NotebookError, match=r"book\.ipynb: its kernel died"):
        notebooks.execute(book, {}, tmp_path / "copy.ipynb")


@pytest.fixture
def sleeping(tmp_path):
    """A folder with Figure 6's notebook, which writes its process's number and then sleeps."""
    book = json.loads((paths.NOTEBOOKS / "monitoring.ipynb").read_text())
    number = tmp_path / "number"
    lines = f"import os, time\nopen({str(number)!r}, 'w').write(str(os.getpid()))\ntime.sleep(600)"
    cell = {"cell_type": "code", "id": "sleep", "metadata": {}, "outputs": [], "source": lines}
    book["cells"].insert(0, cell | {"execution_count": None})
    folder = tmp_path / "notebooks"
    folder.mkdir()
    (folder / "monitoring.ipynb").write_text(json.dumps(book))
    return folder, number


def runs(number: int) -> bool:
    """Whether this process exists and is more than an entry that nobody has waited for."""
    done = subprocess.run(["ps", "-o", "stat=", "-p", str(number)], capture_output=True, text=True)
    return bool(done.stdout.strip()) and "Z" not in done.stdout


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_rendering_that_is_stopped_leaves_no_kernel(sleeping, tmp_path, how):
    folder, number = sleeping
    command = [sys.executable, "-c", RUN, str(folder), "render", "fig6"]
    process = subprocess.Popen(
        command,
        cwd=paths.ROOT,
        env=os.environ | {"WORKSPACE": str(tmp_path), "PYTHONPATH": str(paths.ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    while not (number.exists() and number.read_text()):
        assert process.poll() is None, process.stdout.read()
        time.sleep(0.1)
    process.send_signal(how)
    output, _ = process.communicate(timeout=300)
    if how == signal.SIGINT:
        assert process.returncode == 130
        assert output.splitlines()[-1].startswith("stopped; the same command continues")
        assert "Traceback" not in output
    until = time.monotonic() + 300  # half of what the kernel would sleep
    while runs(int(number.read_text())) and time.monotonic() < until:
        time.sleep(0.1)
    assert not runs(int(number.read_text()))
