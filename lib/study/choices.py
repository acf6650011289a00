"""What the user chooses for every command alike, checked together before anything slow."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lib.study import artefacts, names, profiles
from lib.system import environment, hardware

RUNS = ("methods", "backbones", "train_shares", "seeds")
LARGEST_SEED = 2**32 - 1  # that numpy takes


@dataclass(frozen=True)
class Choices:
    """Every choice is valid; what was left open is "" or None, and the profile `mini`,
    or `own` where LABELS is set."""

    profile: str
    artefacts: Sequence[str] = ()  # none: all that have a notebook
    protocol: str = ""
    methods: list[str] | None = None
    backbones: list[str] | None = None
    train_shares: list[float] | None = None
    seeds: list[int] | None = None
    jobs: int | None = None  # runs at a time; None for as many as this machine holds
    devices: int = 1  # that share a run

    @property
    def chosen(self) -> dict[str, list | None]:
        """What chooses runs of the grid, as lib.study.grid.runs takes it."""
        return {name: getattr(self, name) for name in RUNS}


def read(chosen_artefacts: Sequence[str] = ()) -> Choices:
    """The choices in the environment, and these artefacts.

    Raises ValueError for the first that is not valid, naming the nearest valid one, and for a name
    that stands twice. JOBS above what this machine holds is lowered, and a line says so.
    """
    default = "own" if environment.labels() else "mini"
    profile, protocol = environment.text("PROFILE", default), environment.text("PROTOCOL")
    devices = environment.number("DEVICES", 1, "how many devices share one run")
    jobs = environment.number("JOBS", None, "how many runs to train at once")
    chosen = {"DEVICE": environment.device(), "PRECISION": environment.precision()}
    if not environment.text("CLUSTER"):  # whose nodes are other machines
        for name, value in chosen.items():
            if value in ("cuda", "16-mixed") and not hardware.gpus():
                what = f"{name}={value} needs a GPU, and there is none that may be used here"
                raise ValueError(f"{what}: leave {name} unset.")
        if devices > 1:
            hardware.jobs(hardware.gpus(), devices)
        jobs = jobs and hardware.at_most(jobs, devices)
    named = [names.nearest(word, artefacts.ARTEFACTS, "artefact") for word in chosen_artefacts]
    return Choices(
        profile=names.nearest(profile, profiles.available(), "profile"),
        protocol=protocol and names.nearest(protocol, names.PROTOCOLS, "protocol"),
        methods=_names("METHODS", names.METHODS, "method"),
        backbones=_names("BACKBONES", names.BACKBONES, "backbone"),
        train_shares=_numbers("TRAIN_SHARES", _share),
        seeds=_numbers("SEEDS", _seed),
        artefacts=names.each_once(named, "ARTEFACT"),
        jobs=jobs,
        devices=devices,
    )


def _names(name: str, valid: Sequence[str], what: str) -> list[str] | None:
    """The names in the study's order: equal choices are written alike."""
    chosen = [names.nearest(word, valid, what) for word in environment.words(name)]
    return sorted(names.each_once(chosen, name), key=valid.index) or None


def _numbers(name: str, read: Callable[[str], float]) -> list | None:
    return sorted(names.each_once([read(word) for word in environment.words(name)], name)) or None


def _share(word: str) -> float:
    if not (re.fullmatch(r"0?\.[0-9]+", word) and profiles.is_share(float(word))):
        text = environment.text("TRAIN_SHARES")
        raise ValueError(f"TRAIN_SHARES={text}: a share is {profiles.SHARE}, found '{word}'.")
    return float(word)


def _seed(word: str) -> int:
    if not (word.isascii() and word.isdigit() and len(word) < 11 and int(word) <= LARGEST_SEED):
        what = f"seeds are whole numbers from 0 to {LARGEST_SEED}, separated by commas"
        raise ValueError(f"SEEDS={environment.text('SEEDS')}: {what}, found '{word}'.")
    return int(word)
