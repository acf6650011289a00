"""Notebooks with checked parameters: run one, or render what is out of date. Nothing slow is
imported before there is something to render."""

import ast
import json
import multiprocessing
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from tqdm import tqdm

from lib.publish import renderings
from lib.study import choices, grid, names, profiles
from lib.study.artefacts import ARTEFACTS, of_profile
from lib.system import environment, fork_server, parallel, paths

# What nearly every notebook imports, and its kernel.
PRELOADED = (
    *("lib.publish.kernels", "ipykernel.kernelapp", "ipykernel.ipkernel"),
    *("matplotlib_inline.backend_inline", "matplotlib.pyplot", "pyarrow.dataset"),
    *("lib.analysis.provenance", "lib.report.saving", "lib.report.tables"),
)

# The user's start-up files and configuration of IPython do not reach a rendering.
ISOLATED = ("--InteractiveShellApp.exec_PYTHONSTARTUP=False",)


class NotebookError(RuntimeError):
    """A notebook that cannot be run as asked, or that failed; one sentence."""


def find(name: str) -> Path:
    """The notebook called `name`, or at that path; raises ValueError naming the nearest one."""
    if name.endswith(".ipynb") and Path(name).exists():
        return Path(name).resolve()
    stems = sorted(path.stem for path in paths.NOTEBOOKS.glob("*.ipynb"))
    return paths.NOTEBOOKS / f"{names.nearest(Path(name).stem, stems, 'notebook')}.ipynb"


def parameters(notebook: Path) -> dict[str, Any]:
    """Names and defaults in the one cell tagged `parameters`. Raises NotebookError where there is
    not exactly one, or where it holds anything but literals."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    sources = [c["source"] for c in cells if "parameters" in c["metadata"].get("tags", ())]
    if len(sources) != 1:
        what = f"{len(sources)} cells tagged 'parameters', expected one"
        raise NotebookError(f"{notebook.name} has {what}.")
    defaults = {}
    for line in ast.parse("".join(sources[0])).body:
        try:
            (target,) = line.targets
            defaults[target.id] = ast.literal_eval(line.value)
        except (AttributeError, ValueError):
            text = f"'{ast.unparse(line)}' in its parameters is not a literal"
            raise NotebookError(f"{notebook.name}: {text}.") from None
    return defaults


def check(notebook: Path, given: dict[str, Any]) -> None:
    """Raise ValueError unless each given name is a parameter, with a value of the right type."""
    defaults = parameters(notebook)
    for name, value in given.items():
        names.nearest(name, defaults, f"parameter of {notebook.name}")
        default = defaults[name]
        whole = isinstance(value, int) and isinstance(default, float)
        if default is not None and type(value) is not type(default) and not whole:
            expected = f"of type {type(default).__name__} like {default!r}"
            raise ValueError(f"{notebook.name}: '{name}' should be {expected}, found {value!r}.")


def literal(text: str) -> Any:
    """A command line's value: a Python literal if it is one, else the text itself."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def execute(notebook: Path, given: dict[str, Any], copy: Path) -> None:
    """Run `notebook` with the parameters `given` and keep the executed copy. Raises ValueError for
    a wrong parameter, before a kernel starts, and NotebookError with its error if a cell fails."""
    check(notebook, given)
    # This environment's kernel, not the user's.
    environment.hand_down({"JUPYTER_PREFER_ENV_PATH": "1"}, keep=True)
    fork_server.context(*PRELOADED)  # imports while this process does, too
    import papermill  # slow to import
    from nbclient.exceptions import DeadKernelError
    from traitlets.config import Config

    from lib.publish import kernels

    copy.parent.mkdir(parents=True, exist_ok=True)
    # Sockets that are files use no ports, so kernels that start together cannot collide.
    with tempfile.TemporaryDirectory(prefix="kernel-") as folder:
        sockets = Config(ConnectionFileMixin={"transport": "ipc", "ip": f"{folder}/ipc"})
        try:
            papermill.execute_notebook(
                notebook,
                copy,
                given,
                kernel_name="python3",
                kernel_manager_class=kernels.MANAGER,
                resources={"metadata": {"path": str(paths.ROOT)}},  # the kernel's folder
                extra_arguments=[f"--BaseIPythonApplication.ipython_dir={folder}", *ISOLATED],
                progress_bar=False,
                start_timeout=180,
                shutdown_kernel="immediate",  # nothing is left to wait for
                config=sockets,
            )
            return
        except papermill.PapermillExecutionError as error:
            why = f"{error.ename}: {error.evalue} (executed copy: {copy})"
        except DeadKernelError:
            why = "its kernel died (out of memory, or killed)"
    raise NotebookError(f"{notebook.name}: {why}")


def render(
    artefacts: list[str], profile: str, protocol: str = "", jobs: int = 1, **chosen: list | None
) -> list[str]:
    """Render the artefacts (all, if none is named) that are out of date, `jobs` at once; return why
    some failed, a sentence each, after printing it. `chosen` names runs as lib.study.grid.runs
    takes them. Where none is named, an artefact without any stored run is left out, provided that
    another one has its runs; else it counts as failed."""
    from lib.data import sources
    from lib.store.stored import find

    given = {
        "profile": profile,
        "protocol": protocol,
        **{name: chosen.get(name) or [] for name in choices.RUNS},
    }
    folder = renderings.folder(given)
    given["output"] = str(paths.FIGURES / folder)
    sources.warn(profiles.load(profile)["data"])
    pending, failures, reasons, absent, current = [], [], {}, [], 0

    def failed(error: object) -> None:
        failures.append(str(error))
        tqdm.write(f"error: {error}", file=sys.stderr)

    for name in artefacts or of_profile(profile):
        shown = grid.runs(name, profile, **chosen)
        if ARTEFACTS[name].study and not shown:
            print(f"{name}: left out, none of its methods and backbones is chosen", flush=True)
            continue
        own = given | ARTEFACTS[name].parameters
        stamp = paths.BUILD / folder / "stamps" / f"{name}.json"
        if not stamp.exists():
            fork_server.context(*PRELOADED)  # imports while this process reads the inputs
        try:
            now = renderings.inputs(name, own)
        except RuntimeError as error:
            if artefacts or any(map(find, shown)):
                failed(f"{name}: {error}")
            else:
                absent.append((name, error))
            continue
        current += bool(shown)
        if reason := renderings.outdated(stamp, now):
            reasons.setdefault(reason, []).append(name)
            pending.append((name, own, now, stamp))
    for name, error in absent:
        if current:
            print(f"{name}: left out, {error}", flush=True)
        else:
            failed(f"{name}: {error}")
    for reason, members in reasons.items():
        print(f"{reason}: {', '.join(members)}")
    pending.sort(key=lambda due: not ARTEFACTS[due[0]].networks)  # the longest first
    if total := len(pending):
        print(f"figures/{folder}: {total} to draw, {min(jobs, total)} at a time.", flush=True)
    bar = tqdm(total=total, unit=" drawn", disable=not (total and sys.stderr.isatty()))
    with bar, ThreadPoolExecutor(jobs) as pool:  # a thread waits for the kernel that it started
        try:
            for rendering in as_completed(pool.submit(_render, *due) for due in pending):
                try:
                    tqdm.write(rendering.result())
                    sys.stdout.flush()
                except (NotebookError, ValueError) as error:
                    failed(error)
                bar.update()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            parallel.end(multiprocessing.active_children())
            raise
    if not pending and not failures:
        print("Every table and figure is up to date.")
    return failures


def _render(artefact: str, given: dict[str, Any], now: dict[str, Any], stamp: Path) -> str:
    """Render one artefact, stamp it, and return a line that says so."""
    start, output = time.monotonic(), Path(given["output"])
    copy = stamp.parent.parent / "notebooks" / f"{artefact}.ipynb"
    try:
        execute(paths.NOTEBOOKS / f"{ARTEFACTS[artefact].notebook}.ipynb", given, copy)
    except NotebookError as error:
        raise NotebookError(f"{artefact}: {error}") from None
    files = sorted(p.relative_to(paths.WORKSPACE).as_posix() for p in output.glob(f"{artefact}.*"))
    endings = ", ".join(Path(file).suffix for file in files)
    if not files:
        raise NotebookError(f"{artefact}: the notebook ended without saving anything to {output}.")
    renderings.write(stamp, now, files)
    where = (output / artefact).relative_to(paths.WORKSPACE).as_posix()
    return f"{artefact}: {where} ({endings}; {time.monotonic() - start:.0f} s)"
