"""What this machine has: cores, GPUs and its name. Knows no torch."""

import os
import platform
import re
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path

from lib.system import environment


def cores() -> int:
    """Cores that this process may use: its affinity, and its container's quota if there is one."""
    affinity = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    quotas = [affinity]
    with suppress(OSError, ValueError):  # control groups, version 2; "max" is no quota
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="utf-8").split()
        quotas.append(int(quota) // int(period))
    with suppress(OSError, ValueError):  # version 1; -1 is no quota
        quota = int(Path("/sys/fs/cgroup/cpu/cpu.cfs_quota_us").read_text(encoding="utf-8"))
        period = int(Path("/sys/fs/cgroup/cpu/cpu.cfs_period_us").read_text(encoding="utf-8"))
        quotas.append(quota // period if quota > 0 else affinity)
    return max(1, min(quotas))


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


def jobs(gpus: list[str], devices: int = 1) -> int:
    """How many runs can train at once, each on `devices` of the GPUs, or of the cores if there are
    no GPUs.

    Raises ValueError where one run would need more GPUs than there are.
    """
    if gpus and devices > len(gpus):
        raise ValueError(
            f"DEVICES={devices}, but there are {len(gpus)} GPUs here: "
            "ask for no more, or set DEVICE=cpu."
        )
    return max(1, (len(gpus) or cores()) // devices)


def machine(gpus: list[str]) -> str:
    """The GPUs, or the processor, by name."""
    if gpus:
        query = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader", f"--id={gpus[0]}"]
        name = subprocess.run(query, capture_output=True, text=True, check=False).stdout.strip()
        return f"{len(gpus)} x {name}"
    with suppress(OSError):
        if model := re.search(
            r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text(encoding="utf-8")
        ):
            return model[1].strip()
    return platform.processor() or platform.machine()
