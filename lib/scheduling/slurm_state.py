"""What SLURM says: its partitions, and the states of the user's jobs."""

import math
import re
import subprocess
import time
from collections.abc import Iterable
from typing import NamedTuple

PATIENCE = 60.0  # seconds until a job's last note is seen here: NFS caches folders for as long
ARRAY = 1001  # SLURM's MaxArraySize where it does not say another
ENDED = {"BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL"}
ENDED |= {"OUT_OF_MEMORY", "PREEMPTED", "REVOKED", "TIMEOUT", "UNKNOWN"}
UNKNOWN = "UNKNOWN", ""  # state of a job that SLURM has forgotten, minutes after its end


def slurm(*command: str) -> str:
    """What a command of SLURM prints. Raises OSError with the first line of its complaint."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        reason, *_ = (done.stderr.strip() or "no reason given").splitlines()
        raise OSError(f"{command[0]} failed: {reason}")
    return done.stdout


class Partition(NamedTuple):
    """What SLURM says of one of its partitions."""

    name: str
    default: bool
    minutes: float  # a job's limit
    gpus: bool


def minutes(limit: str) -> float:
    """SLURM's [days-]hours:minutes:seconds, minutes:seconds or "infinite", in minutes."""
    if not limit[:1].isdigit():
        return math.inf
    days, _, clock = limit.rpartition("-")
    seconds = 0
    for part in clock.split(":"):
        seconds = 60 * seconds + int(part)
    return 1440 * int(days or 0) + seconds / 60


def partitions(names: str) -> list[Partition]:
    """These partitions (comma-separated; none: the default). Raises ValueError for unknown ones."""
    lines = slurm("sinfo", "--all", "--noheader", "--format=%P|%l|%G").splitlines()
    listed = [  # a partition with several kinds of nodes has several lines
        Partition(name.rstrip("*"), name.endswith("*"), minutes(limit), "gpu" in resources)
        for name, limit, resources in (line.split("|") for line in lines)
    ]
    chosen = [p for p in listed if (p.name in names.split(",") if names else p.default)]
    if not chosen or (names and {p.name for p in chosen} != set(names.split(","))):
        unknown, none = f"PARTITION={names}: no such partition", "SLURM has no default partition"
        present = ", ".join(sorted({p.name for p in listed}))
        raise ValueError(f"{unknown if names else none}; set PARTITION to one of {present}.")
    return chosen


def array_limit() -> int:
    """How many elements an array may have: indices lie below MaxArraySize."""
    found = re.search(r"^MaxArraySize\s*=\s*(\d+)", slurm("scontrol", "show", "config"), re.M)
    return int(found[1]) if found else ARRAY


def queue() -> dict[str, tuple[str, str]]:
    """Job, or element of an array -> (state, why it waits), of the jobs that SLURM remembers."""
    options = "--me", "--array", "--noheader", "--states=all", "--format=%i %T %r"
    rows = [line.split(maxsplit=2) for line in slurm("squeue", *options).splitlines()]
    return {name: (state, reason) for name, state, reason in rows}


def settled(jobs: Iterable[str]) -> dict[str, tuple[str, str]]:
    """`queue`, once none of these jobs may be about to end or, after a kill, to be queued again."""
    until, states = time.time() + PATIENCE, queue()
    while time.time() < until and any(states.get(j, UNKNOWN)[0] == "COMPLETING" for j in jobs):
        time.sleep(1.0)
        states = queue()
    return states
