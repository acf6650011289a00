"""Commands of the suite, each in a process of its own and without a terminal."""

import os
import subprocess
import sys
from pathlib import Path

from lib.system import paths

# Variables that choose what a command does. A make around the tests may have set them.
CHOICES = (
    *("PROFILE", "PROTOCOL", "SEEDS", "METHODS", "JOBS", "DEVICES", "LABELS", "IMAGES", "RUN"),
    *(
        "OUT",
        "FORCE",
        "SCAN",
        "YES",
        "TRAIN",
        "VAL",
        "SEWERML_ROOT",
        "CLUSTER",
        "PARTITION",
        "TIME",
    ),
)
# Until `python -m lib` is there: its commands, and the modules that hold them.
MODULES = {
    "run": [("scheduling.plan", "run"), ("scheduling.measuring",)],
    "explain": [("scheduling.plan", "explain")],
    "render": [("publish.notebooks", "render")],
    "report": [("publish.pages",)],
}


def _calls(words: tuple[str, ...], root: Path) -> list[list[str]]:
    """Arguments of `python`, one list a process."""
    if (root / "lib" / "__main__.py").exists():
        return [["-m", "lib", *words]]
    if words[0] == "replicate":
        steps = ("run", "render") if words[1:] else ("run", "render", "report")
        return [call for step in steps for call in _calls((step, *words[1:]), root)]
    modules = MODULES[words[0]][:1] if "--id" in words else MODULES[words[0]]
    return [["-m", f"lib.{module}", *verb, *words[1:]] for module, *verb in modules]


def python(*arguments: str, root: Path = paths.ROOT, **environment: str):
    """`python ARGUMENTS` on the sources in `root`, with these variables beside this process's."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=root,
        env=os.environ | {"PYTHONPATH": str(root)} | environment,
        capture_output=True,
        text=True,
        timeout=900,
        stdin=subprocess.DEVNULL,
        check=False,
    )


def command(*words: str, root: Path = paths.ROOT, **environment: str):
    """`python -m lib WORDS`, as `make` calls it: exit status, output and errors."""
    output = errors = ""
    for call in _calls(words, root):
        done = python(*call, root=root, **environment)
        output, errors = output + done.stdout, errors + done.stderr
        if done.returncode:
            break
    return subprocess.CompletedProcess(words, done.returncode, output, errors)


def succeed(*words: str, **options) -> str:
    """The output of `command`, which must end well."""
    done = command(*words, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
