"""What this machine has: cores, GPUs and its name. Does not import torch."""

import os
import platform
import re
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path

import psutil

from lib.system import environment

PROCESSES_PER_CORE = 2  # processes that may share a core
BYTES_PER_PROCESS = 1e9  # of memory, of one that trains


def cores() -> int:
    """Cores that this process may use: its affinity, and its container's quota if there is one."""
    possible = os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        possible = len(os.sched_getaffinity(0))
    # Control groups, version 2 and 1; "max" and -1 are no quota.
    for names in (["cpu.max"], ["cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us"]):
        with suppress(OSError, ValueError):
            files = [Path("/sys/fs/cgroup", name).read_text(encoding="utf-8") for name in names]
            quota, period = map(int, " ".join(files).split())
            possible = min(possible, quota // period) if quota > 0 else possible
    return max(1, possible)


def gpus() -> list[str]:
    """The GPUs that this process may use: those of CUDA_VISIBLE_DEVICES where it is set, else all;
    none under DEVICE=cpu."""
    if environment.device() == "cpu" or not shutil.which("nvidia-smi"):
        return []
    visible = environment.visible_gpus()
    if visible is not None:
        return visible
    listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False)
    return [str(i) for i, line in enumerate(listed.stdout.splitlines()) if line.startswith("GPU ")]


def memory() -> int:
    """Bytes that new processes may take: what is free, or its container's limit if that is less."""
    known = [psutil.virtual_memory().available]
    for limit in ("memory.max", "memory/memory.limit_in_bytes"):  # control groups, version 2 and 1
        with suppress(OSError, ValueError):  # "max" is no limit
            known.append(int(Path("/sys/fs/cgroup", limit).read_text(encoding="utf-8")))
    return min(known)


def capacity(devices: int = 1) -> tuple[int, str]:
    """How many runs of `devices` processes each this machine holds, and what limits them."""
    free = memory()
    held = min(PROCESSES_PER_CORE * cores(), int(free // BYTES_PER_PROCESS))
    return max(1, held // devices), f"{cores()} core(s) and {free / 1e9:.1f} GB of free memory"


def at_most(jobs: int, devices: int) -> int:
    """`jobs`, or as many as this machine holds, after a sentence that says so."""
    held, why = capacity(devices)
    if jobs > held:
        print(f"JOBS={jobs}: {why} hold {held} run(s) at a time, so {held} start.", flush=True)
    return min(jobs, held)


def jobs(gpus: list[str], devices: int = 1) -> int:
    """How many runs can train at once, each on `devices` of the GPUs, or of the cores if there are
    no GPUs. Raises ValueError where this machine does not hold one run."""
    if gpus and devices > len(gpus):
        what = f"DEVICES={devices}, but there are {len(gpus)} GPUs here"
        raise ValueError(f"{what}: choose {len(gpus)} or fewer, or set DEVICE=cpu.")
    held, why = capacity()
    if devices > max(2, held):
        raise ValueError(f"DEVICES={devices}, but {why} hold {held} process(es): choose fewer.")
    return max(1, min((len(gpus) or cores()) // devices, held // devices))


def machine(gpus: list[str]) -> str:
    """The GPUs, or the processor, by name."""
    if gpus:
        query = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader", f"--id={gpus[0]}"]
        name = subprocess.run(query, capture_output=True, text=True, check=False).stdout.strip()
        return f"{len(gpus)} x {name}"
    with suppress(OSError):
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
        if model := re.search(r"model name\s*: (.*)", text):
            return re.sub(r"\((R|TM)\)| (CPU|Processor)\b", "", model[1]).strip()
    return platform.processor() or platform.machine()
