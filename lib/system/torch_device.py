"""The device and the precision that a training uses on this machine."""

import torch

from lib.system import environment


def device() -> str:
    """The machine's "cuda" or "cpu", or what DEVICE forces."""
    name = environment.device() or ("cuda" if torch.cuda.is_available() else "cpu")
    if name == "cuda" and not torch.cuda.is_available():
        what = "DEVICE=cuda, but torch finds no GPU here"
        raise ValueError(f"{what}: unset DEVICE or install a CUDA build.")
    return name


def precision() -> str:
    """Lightning's name for the precision: what PRECISION forces, else 16-bit mixed on a GPU,
    bf16 on processors that have it natively, else fp32: emulated bf16 is tens of times slower.
    Raises ValueError for 16-mixed on a processor."""
    forced = environment.precision()
    if forced == "16-mixed" and device() == "cpu":
        what = "PRECISION=16-mixed needs a GPU"
        raise ValueError(f"{what}: a processor trains in 32-true or bf16-mixed.")
    if forced:
        return forced
    if device() == "cuda":
        return "16-mixed"
    able = torch.cpu.get_capabilities()
    return "bf16-mixed" if able.get("avx512_bf16") or able.get("amx_bf16") else "32-true"
