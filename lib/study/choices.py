"""What the user chooses for every command alike, checked together before anything slow."""

from collections.abc import Sequence
from dataclasses import dataclass

from lib.study import artefacts, names, profiles
from lib.system import environment, hardware

LARGEST_SEED = 2**32 - 1  # that numpy takes


@dataclass(frozen=True)
class Choices:
    """Every choice is valid; what was left open is "" or None, and the profile `mini`."""

    profile: str
    protocol: str
    methods: list[str] | None
    backbones: list[str] | None
    seeds: list[int] | None
    artefacts: list[str]
    jobs: int | None  # runs at a time, as many as this machine holds
    devices: int  # that share a run


def read(chosen_artefacts: Sequence[str] = ()) -> Choices:
    """The choices in the environment, and these artefacts.

    Raises ValueError for the first that is not valid, naming the nearest valid one, and for a name
    that stands twice. More JOBS than this machine holds become as many as it does, in a sentence.
    """
    profile, protocol = environment.text("PROFILE", "mini"), environment.text("PROTOCOL")
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
    methods = [names.nearest(word, names.METHODS, "method") for word in _words("METHODS")]
    backbones = [names.nearest(word, names.BACKBONES, "backbone") for word in _words("BACKBONES")]
    named = [names.nearest(word, artefacts.ARTEFACTS, "artefact") for word in chosen_artefacts]
    return Choices(
        profile=names.nearest(profile, profiles.available(), "profile"),
        protocol=protocol and names.nearest(protocol, names.PROTOCOLS, "protocol"),
        methods=names.each_once(methods, "METHODS") or None,
        backbones=names.each_once(backbones, "BACKBONES") or None,
        seeds=names.each_once([_seed(word) for word in _words("SEEDS")], "SEEDS") or None,
        artefacts=names.each_once(named, "ARTEFACT"),
        jobs=jobs,
        devices=devices,
    )


def _words(name: str) -> list[str]:
    words = environment.words(name)
    if environment.text(name).strip() and not words:
        raise ValueError(
            f"{name}={environment.text(name)}: it names nothing; leave it unset for all."
        )
    return words


def _seed(word: str) -> int:
    if not (word.isascii() and word.isdigit() and len(word) < 11 and int(word) <= LARGEST_SEED):
        what = f"seeds are whole numbers from 0 to {LARGEST_SEED}, separated by commas"
        raise ValueError(f"SEEDS={environment.text('SEEDS')}: {what}, found '{word}'.")
    return int(word)
