"""What the environment asks for: every variable is read and checked here. The command line
(`lib/__main__.py`) reads most variables, once, and passes their values on as arguments. Those below
with a function of their own also reach the processes that notebooks, worker pools and SLURM start,
which inherit them."""

import os
import shlex
from functools import partial
from itertools import takewhile
from pathlib import Path

# As `make help` lists them; a command that is printed for the user to repeat takes them along.
VARIABLES = ("PROFILE", "PROTOCOL", "SEEDS", "METHODS", "BACKBONES", "TRAIN_SHARES", "JOBS")
VARIABLES += ("DEVICE", "DEVICES", "PRECISION", "SEWERML_ROOT", "LABELS", "IMAGES", "FORCE")
VARIABLES += ("WORKSPACE", "PYTHON", "CLUSTER", "PARTITION", "TIME")
PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")  # Lightning's names


def text(name: str, default: str = "") -> str:
    """The variable's value, `default` where it is unset or empty."""
    return os.environ.get(name) or default


def flag(name: str) -> bool:
    """Whether the variable is set, and not to 0, no, off or false."""
    return text(name).strip().casefold() not in ("", "0", "no", "off", "false")


def number(name: str, default: int | None, what: str) -> int | None:
    """A whole number of 1 or more, `default` where it is unset; `what` says what it is. Raises
    ValueError for anything else."""
    value = text(name)
    if not value:
        return default
    if not (value.isascii() and value.isdigit() and value.strip("0")):
        raise ValueError(f"{name}={value}: {what}, a whole number of 1 or more.")
    return int(value)


def words(name: str) -> list[str]:
    """A list, separated by commas or blanks; empty where the variable is unset or blank. Raises
    ValueError where there are commas alone."""
    found = text(name).replace(",", " ").split()
    if text(name).strip() and not found:
        raise ValueError(f"{name}={text(name)}: it names nothing; leave it unset for all.")
    return found


def choice(name: str, valid: tuple[str, ...]) -> str:
    """One of the `valid` values, "" where the variable is unset. Raises ValueError for another."""
    value = text(name)
    if value and value not in valid:
        raise ValueError(f"{name}={value}: choose one of {', '.join(valid)}, or leave it unset.")
    return value


def path(name: str) -> Path | None:
    """A file or folder, None where the variable is unset."""
    return Path(text(name)).expanduser() if text(name) else None


def as_arguments() -> str:
    """The variables that are set, as `make` takes them."""
    return " ".join(f"{name}={shlex.quote(text(name))}" for name in VARIABLES if text(name))


def everything() -> dict[str, str]:
    """All variables, to be handed to a process that does not inherit them."""
    return dict(os.environ)


def replace(variables: dict[str, str]) -> None:
    """Replace the whole environment by these variables."""
    os.environ.clear()
    os.environ.update(variables)


def hand_down(variables: dict[str, str], keep: bool = False) -> None:
    """Set variables for this process and those that it starts; with `keep`, only unset ones."""
    os.environ.update({k: v for k, v in variables.items() if not (keep and k in os.environ)})


# Read by started processes, too
workspace = partial(path, "WORKSPACE")  # the folder that data, runs and renderings are written to
sewerml_root = partial(path, "SEWERML_ROOT")  # the folder with Sewer-ML's tables and images
labels = partial(path, "LABELS")  # the CSV of the user's own images
images = partial(path, "IMAGES")  # the folder of the user's own images
device = partial(choice, "DEVICE", ("cpu", "cuda"))  # "" leaves the choice to the machine
precision = partial(choice, "PRECISION", PRECISIONS)  # likewise


def visible_gpus() -> list[str] | None:
    """The GPUs of CUDA_VISIBLE_DEVICES, which CUDA itself reads up to the first negative number;
    None where it is unset."""
    value = os.environ.get("CUDA_VISIBLE_DEVICES")
    if value is None:
        return None
    every = (name.strip() for name in value.split(","))
    return list(takewhile(lambda name: name[:1] not in ("", "-"), every))
