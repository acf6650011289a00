"""Notebooks with checked parameters: run one, or render the tables and figures that are out of
date.

    python -m lib render [ARTEFACT...]
    python -m lib notebook NOTEBOOK [-p NAME VALUE]... [--to COPY]

Nothing slow is imported before there is something to render.
"""

import ast
import json
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from lib.publish import renderings
from lib.study import grid, names, profiles, protocols
from lib.study.artefacts import ARTEFACTS, drawn
from lib.system import environment, paths



class NotebookError(RuntimeError):
    """A notebook that cannot be run as asked, or that failed; one sentence."""


def find(name: str) -> Path:
    """The notebook called `name`, or at that path; raises ValueError naming the nearest one."""
    if name.endswith(".ipynb") and Path(name).exists():
        return Path(name).resolve()
    known = sorted(p.stem for p in paths.NOTEBOOKS.glob("*.ipynb"))
    return paths.NOTEBOOKS / f"{names.nearest(Path(name).stem, known, 'notebook')}.ipynb"


def parameters(notebook: Path) -> dict[str, Any]:
    """Names and defaults in the one cell tagged `parameters`.

    Raises NotebookError where there is not exactly one, or where it holds anything but literals.
    """
    cells = json.loads(notebook.read_text())["cells"]
    tagged = [
        c
        for c in cells
        if c["cell_type"] == "code" and "parameters" in c["metadata"].get("tags", ())
    ]
    if len(tagged) != 1:
        raise NotebookError(
            f"{notebook.name} has {len(tagged)} cells tagged 'parameters', expected one."
        )
    found = {}
    for line in ast.parse("".join(tagged[0]["source"])).body:
        try:
            (target,) = line.targets
            found[target.id] = ast.literal_eval(line.value)
        except (AttributeError, ValueError):
            raise NotebookError(
                f"{notebook.name}: '{ast.unparse(line)}' in its parameters is not a literal."
            ) from None
    return found


def check(notebook: Path, given: dict[str, Any]) -> None:
    """Raise ValueError unless every given name is a parameter of the notebook and of its default's
    type."""
    defaults = parameters(notebook)
    for name, value in given.items():
        names.nearest(name, defaults, f"parameter of {notebook.name}")
        default = defaults[name]
        number = isinstance(value, int) and isinstance(default, float)
        if default is not None and type(value) is not type(default) and not number:
            wanted = type(default).__name__
            raise ValueError(
                f"{notebook.name}: '{name}' should be of type {wanted} like {default!r}, found {value!r}."
            )


def literal(text: str) -> Any:
    """A command line's value: a Python literal if it is one, else the text itself."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def execute(notebook: Path, given: dict[str, Any], copy: Path) -> None:
    """Run `notebook` with the parameters `given` and keep the executed copy.

    Raises ValueError for a wrong parameter, before a kernel starts, and NotebookError with its
    error if a cell fails.
    """
    check(notebook, given)
    import papermill  # slow to import
    from traitlets.config import Config

    kernels = {
        "OMP_NUM_THREADS": "1",  # several kernels share the cores
        "JUPYTER_PREFER_ENV_PATH": "1",  # this environment's kernel, not the user's
        "PYTHONWARNINGS": "ignore:IProgress",  # tqdm misses a widget; the copy would say so
    }
    environment.hand_down(kernels, keep=True)
    copy.parent.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(
            prefix="kernel-"
        ) as folder:  # sockets in files: no ports, no collisions
            sockets = Config(ConnectionFileMixin={"transport": "ipc", "ip": f"{folder}/ipc"})
            papermill.execute_notebook(
                notebook,
                copy,
                given,
                kernel_name="python3",
                cwd=paths.ROOT,
                progress_bar=False,
                start_timeout=180,
                config=sockets,
            )
    except papermill.PapermillExecutionError as error:
        raise NotebookError(
            f"{notebook.name}: {error.ename}: {error.evalue} (executed copy: {copy})"
        ) from None


def _render(artefact: str, given: dict[str, Any], now: dict[str, Any], stamp: Path) -> str:
    """Render one artefact in a process of its own, stamp it, and return a line that says so."""
    began, output = time.monotonic(), Path(given["output"])
    copy = stamp.parent.parent / "notebooks" / f"{artefact}.ipynb"
    options = [part for name, value in given.items() for part in ("-p", name, repr(value))]
    command = [
        sys.executable,
        "-m",
        "lib",
        "notebook",
        ARTEFACTS[artefact].notebook,
        "--to",
        str(copy),
    ]
    done = subprocess.run([*command, *options], cwd=paths.ROOT, capture_output=True, text=True)
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if line.strip()] or [
            f"exit status {done.returncode}"
        ]
        raise NotebookError(f"{artefact}: {errors[-1].removeprefix('error: ')}")
    files = sorted(p.relative_to(paths.WORKSPACE).as_posix() for p in output.glob(f"{artefact}.*"))
    if not files:
        raise NotebookError(f"{artefact}: the notebook ended without saving anything to {output}.")
    renderings.write(stamp, now, files)
    return f"{artefact}: {', '.join(files)} ({time.monotonic() - began:.0f} s)"


def render(
    artefacts: list[str],
    profile: str,
    protocol: str = "",
    methods: list[str] | None = None,
    seeds: list[int] | None = None,
    jobs: int = 1,
) -> int:
    """Render the artefacts (all, if none is named) that are out of date; return how many failed,
    after saying why.

    Raises ValueError, before anything runs, for an unknown artefact, profile, protocol or method.
    """
    given = {
        "profile": names.nearest(profile, profiles.available(), "profile"),
        "protocol": protocol,
        "methods": methods or [],
        "seeds": seeds or [],
        "output": str(paths.FIGURES / profile),
    }
    if protocol:
        names.nearest(protocol, protocols.PROTOCOLS, "protocol")
    waiting, failed = [], 0
    for artefact in [names.nearest(a, ARTEFACTS, "artefact") for a in artefacts] or drawn():
        own = given | ARTEFACTS[artefact].parameters
        stamp = paths.BUILD / profile / "stamps" / f"{artefact}.json"
        if ARTEFACTS[artefact].study and not grid.runs(
            artefact, profile, methods=methods, seeds=seeds
        ):
            print(f"{artefact}: left out, METHODS names nothing that it shows", flush=True)
            continue
        try:
            now = renderings.inputs(artefact, own)
        except RuntimeError as error:
            failed += _failure(f"{artefact}: {error}")
            continue
        if reason := renderings.outdated(stamp, now):
            print(f"{artefact}: {reason}", flush=True)
            waiting.append((artefact, own, now, stamp))
    with ThreadPoolExecutor(jobs) as pool:
        for future in [pool.submit(_render, *job) for job in waiting]:
            try:
                print(future.result(), flush=True)
            except NotebookError as error:
                failed += _failure(error)
    if not waiting and not failed:
        print("Every table and figure is up to date.")
    return failed


def _failure(error: object) -> int:
    print(f"error: {error}", file=sys.stderr, flush=True)
    return 1
