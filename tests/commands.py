"""Commands of the suite, each in a process of its own and without a terminal."""

import os
import subprocess
import sys
from pathlib import Path

from lib.system import paths

# Variables that choose what a command does, and make's own, which make a make within it print more.
# A make around the tests may have set them.
CHOICES = (
    *("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES"),
    *("PROFILE", "PROTOCOL", "SEEDS", "METHODS", "BACKBONES", "TRAIN_SHARES", "JOBS"),
    *(
        "DEVICES",
        "SEWERML_ROOT",
        "LABELS",
        "IMAGES",
        "FOLDER",
        "RUN",
        "OUT",
        "FORCE",
        "SCAN",
        "YES",
        "TRAIN",
        "VAL",
    ),
    *("CLUSTER", "PARTITION", "TIME"),
)


def python(*arguments: str, root: Path = paths.ROOT, **environment: str):
    """`python ARGUMENTS` on the sources in `root`, with these variables beside this process's."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=root,
        env=os.environ | {"PYTHONPATH": str(root)} | environment,
        capture_output=True,
        text=True,
        timeout=3600,  # ends a command that hangs, on however busy a machine
        stdin=subprocess.DEVNULL,
        check=False,
    )


def command(*words: str, **options):
    """`python -m lib WORDS`, as `make` calls it."""
    return python("-m", "lib", *words, **options)


def succeed(*words: str, **options) -> str:
    """The output of `command`, which must end well."""
    done = command(*words, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
