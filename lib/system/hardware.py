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
    """Cores that this process may use: its affinity, and the container's quota where there is
    one."""
    found = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    with suppress(OSError, ValueError):
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        found = min(found, max(1, int(quota) // int(period)))
    with suppress(OSError, ValueError):
        quota = int(Path("/sys/fs/cgroup/cpu/cpu.cfs_quota_us").read_text())
        period = int(Path("/sys/fs/cgroup/cpu/cpu.cfs_period_us").read_text())
        found = min(found, max(1, quota // period)) if quota > 0 else found
    return found


def gpus() -> list[str]:
    """The GPUs this process may use: CUDA_VISIBLE_DEVICES where set, else all; none under
    DEVICE=cpu."""
    if os.environ.get("DEVICE") == "cpu" or not shutil.which("nvidia-smi"):
        return []
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        return [d for d in os.environ["CUDA_VISIBLE_DEVICES"].split(",") if d]
    listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False)
    return [str(i) for i, line in enumerate(listed.stdout.splitlines()) if line.startswith("GPU ")]


def devices_a_run(gpus: list[str]) -> int:
    """Devices that share one run: DEVICES, else 1. Raises ValueError where it is no whole number,
    or above the GPUs."""
    asked = environment.number("DEVICES", 1, "how many devices share one run")
    if gpus and asked > len(gpus):
        raise ValueError(
            f"DEVICES={asked}, but there are {len(gpus)} GPUs here: ask for no more, or set DEVICE=cpu."
        )
    return asked


def jobs(found: list[str]) -> int:
    """Runs to train at once: JOBS, else one per DEVICES of the GPUs in `found`, else of the
    cores."""
    shared = devices_a_run(found)
    return environment.number(
        "JOBS", max(1, (len(found) or cores()) // shared), "how many runs to train at once"
    )


def machine(gpus: list[str]) -> str:
    """The GPUs, or the processor, by name."""
    if gpus:
        asked = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader", f"--id={gpus[0]}"]
        return f"{len(gpus)} x {subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()}"
    with suppress(OSError):
        if model := re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text()):
            return model[1].strip()
    return platform.processor() or platform.machine()
