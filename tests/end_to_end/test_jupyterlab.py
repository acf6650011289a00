"""A reader opens JupyterLab with `make lab`, runs notebooks by Run All Cells and sees figures and
tables; a wrong parameter ends in one sentence, which is in view. In a real browser."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from urllib.parse import urlsplit

import browser
import pytest
from commands import CHOICES

from lib.system import paths

pytestmark = pytest.mark.skipif(
    browser.binary() is None, reason="no Chromium (apt-get install chromium)"
)
HANGS = 3600  # seconds; ends a wait for what will never come, on however busy a machine
# What JupyterLab writes to the console because the machine is busy, and requests that it ends.
BUSY = re.compile(r"Plugin \S+ .* to activate\.|did not appear within")
ENDED = "failed to load: net::ERR_ABORTED"
SETTLES = 300  # seconds in which a page shows what it has

READY = "window.jupyterapp?.shell.currentWidget?.context?.path == 'walkthrough.ipynb'"
OPEN = """window.book = null;
jupyterapp.commands.execute('docmanager:open', {path: '%s'}).then(async opened => {
  await opened.context.ready;
  await opened.sessionContext.ready;
  window.book = opened;
}); 0"""
CHANGE = """(([old, changed]) => {
  const cells = book.content.widgets.map(w => w.model.sharedModel);
  const cell = cells.find(c => c.getMetadata('tags')?.includes('parameters'));
  if (cell.source.split(old).length != 2) throw Error(old);
  cell.setSource(cell.source.replace(old, changed))})"""
RUN_ALL = """window.ended = null;
jupyterapp.commands.execute('notebook:run-all-cells').then(well => { window.ended = [well] }); 0"""
IDLE = "ended && book.sessionContext.session?.kernel?.status == 'idle'"
# A triple a code cell: whether it ran, its errors, what it wrote to the standard error stream.
CELLS = """book.content.model.toJSON().cells.filter(c => c.cell_type == 'code').map(c => [
  c.execution_count != null,
  c.outputs.filter(o => o.output_type == 'error').map(o => `${o.ename}: ${o.evalue}`),
  c.outputs.filter(o => o.name == 'stderr').map(o => o.text)])"""
PICTURES = """[...book.node.querySelectorAll('.jp-OutputArea img')].map(
  i => i.naturalWidth * i.offsetWidth)"""
# Whether the last element, once scrolled to, is what shows in its middle.
LAST_IS_SHOWN = """(elements => {
  const last = elements[elements.length - 1];
  last.scrollIntoView({block: 'center'});
  const {left, top, width, height} = last.getBoundingClientRect();
  return last.contains(document.elementFromPoint(left + width / 2, top + height / 2))
})(book.node.querySelectorAll('.jp-OutputArea %s'))"""
# The last line of an error that is in view, without any scrolling.
SENTENCE = """[...book.node.querySelectorAll('[data-mime-type$="jupyter.stderr"] pre')].map(e => {
  const {left, bottom} = e.getBoundingClientRect();
  const seen = document.elementFromPoint(left + 40, bottom - 8);
  return e.contains(seen) && e.innerText.trim().split('\\n').pop()})[0]"""
MESSAGES = "[...document.querySelectorAll('.Toastify__toast, .jp-Dialog')].map(e => e.innerText)"
CLOSE = "book.sessionContext.shutdown().then(() => book.dispose())"


def processes(folder) -> list[str]:
    """Command lines that name this folder."""
    listed = subprocess.run(["ps", "-A", "-ww", "-o", "args="], capture_output=True, text=True)
    return [line for line in listed.stdout.splitlines() if str(folder) in line]


@pytest.fixture(scope="module")
def server(tmp_path_factory, shared_data):
    """What `make lab` says of its server, of copies of the notebooks and without the user's
    configuration; at the end neither it nor a kernel is left."""
    folder = tmp_path_factory.mktemp("lab").resolve()
    shutil.copytree(paths.NOTEBOOKS, folder / "notebooks")
    (folder / "data").symlink_to(shared_data)
    first = os.path.relpath(folder / "notebooks" / "walkthrough", paths.NOTEBOOKS.resolve())
    own = {name: value for name, value in os.environ.items() if name not in CHOICES}
    own |= {"WORKSPACE": str(folder), "PYTHONPATH": str(paths.ROOT)}
    for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR"):
        own[name] = str(folder / name.lower())
    for name in ("SETTINGS", "WORKSPACES"):
        own[f"JUPYTERLAB_{name}_DIR"] = str(folder / name.lower())
    arguments = "--no-browser --LabApp.expose_app_in_browser=True"
    command = ["make", "lab", f"PYTHON={sys.executable}", f"NB={first}", f"ARGS={arguments}"]
    log = folder / "log.txt"
    with log.open("w") as written:
        process = subprocess.Popen(
            command,
            cwd=paths.ROOT,
            env=own,
            stdin=subprocess.DEVNULL,
            stdout=written,
            stderr=subprocess.STDOUT,
        )
    facts = {}
    try:
        while not (found := list((folder / "jupyter_runtime_dir").glob("jpserver-*.json"))):
            assert process.poll() is None, log.read_text()
            time.sleep(0.1)
        facts = json.loads(found[0].read_text())
        assert facts["root_dir"] == str(folder / "notebooks")
        yield facts | {"folder": folder, "process": process, "log": log}
    finally:
        os.kill(facts.get("pid", process.pid), signal.SIGTERM)  # it ends its kernels, then itself
        process.wait(HANGS)
        until = time.monotonic() + 60
        while (left := processes(folder)) and time.monotonic() < until:
            time.sleep(0.1)
    assert left == []


class Lab:
    """JupyterLab in one page of a browser, and one open notebook."""

    def __init__(self, page: browser.Browser, server: dict):
        self.page, self.server = page, server

    def wait(self, script: str, limit: int = HANGS):
        """The value of a script once it is true, for as long as the server and the kernel live."""
        until = time.monotonic() + limit
        while not (value := self.page.run(script)):
            assert self.server["process"].poll() is None, self.server["log"].read_text()
            status = self.page.run("window.book?.sessionContext?.session?.kernel?.status")
            assert status not in ("dead", "autorestarting"), self.server["log"].read_text()
            assert time.monotonic() < until, (script, self.server["log"].read_text())
            time.sleep(0.2)
        return value

    def run_all(self, name: str, *change: str) -> list:
        """Open a notebook, replace a literal of its parameters, and Run All Cells: what is to be
        known of its code cells."""
        self.page.run(OPEN % f"{name}.ipynb")
        self.wait("window.book?.sessionContext.session?.kernel?.status == 'idle'")
        if change:
            self.page.run(f"{CHANGE}({json.dumps(change)})")
        self.page.run(RUN_ALL)
        self.wait(IDLE)
        return self.page.run(CELLS)


@pytest.fixture(scope="module")
def opened(server):
    """The page that `make lab` opens."""
    with browser.Browser() as page:
        page.show(1280, "light")
        page.open(f"{server['url']}lab/tree/walkthrough.ipynb?token={server['token']}")
        lab = Lab(page, server)
        lab.wait(READY)
        yield lab


@pytest.fixture
def lab(opened):
    """JupyterLab, which closes its notebook unsaved and ends the kernel after each test. Nothing
    asks the reader anything, the console is silent, and nothing comes from another host."""
    yield opened
    page = opened.page
    messages = page.run(MESSAGES)
    page.run(CLOSE)
    complaints = [c for c in page.complaints if c != ENDED and not BUSY.search(c)]
    hosts = {urlsplit(url).hostname for url in page.asked if url.startswith("http")}
    page.complaints.clear()
    assert (messages, complaints) == ([], [])
    assert hosts <= {urlsplit(opened.server["url"]).hostname}


@pytest.mark.parametrize(
    "name, change, shown, pictures",
    [
        ("walkthrough", (), "img", 5),
        ("table1", (), "td", 0),
        ("val_imbalance", (), "img", 1),
        ("train_one", ('"mini"', '"smoke"'), "img", 2),  # the smallest profile; nothing is stored
    ],
)
def test_run_all_cells_ends_in_what_the_notebook_shows(lab, name, change, shown, pictures):
    cells = lab.run_all(name, *change)
    assert len(cells) > 5
    assert cells == [[True, [], []]] * len(cells)
    sizes = lab.page.run(PICTURES)
    assert len(sizes) >= pictures
    assert all(sizes)
    lab.wait(LAST_IS_SHOWN % shown, SETTLES)
    workspace = lab.server["folder"]
    assert not (workspace / "runs").exists()
    if name == "train_one":
        assert len(list(workspace.glob("build/smoke/train_one/*/run.json"))) == 1


@pytest.mark.parametrize(
    "name, change, sentence",
    [
        (
            "table1",
            ('"mini"', '"minni"'),
            "ValueError: unknown profile 'minni': did you mean 'mini'? Valid: ",
        ),
        (
            "train_one",
            ('"supervised"', '"supervized"'),
            "ValueError: unknown method 'supervized': did you mean 'supervised'? Valid: ",
        ),
    ],
)
def test_a_wrong_parameter_ends_in_one_sentence_that_is_in_view(lab, name, change, sentence):
    cells = lab.run_all(name, *change)
    (error,) = [error for _, errors, _ in cells for error in errors]
    assert error.startswith(sentence)
    ran = [has_run for has_run, _, _ in cells]
    assert ran == [True] * 3 + [False] * (len(cells) - 3)  # imports, parameters, what reads them
    assert lab.wait(SENTENCE, SETTLES) == error
