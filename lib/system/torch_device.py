"""The device and the precision that a training uses on this machine."""

import os

import torch


def device() -> str:
    """The machine's "cuda" or "cpu", or what DEVICE forces."""
    asked = os.environ.get("DEVICE") or ("cuda" if torch.cuda.is_available() else "cpu")
    if asked == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            "DEVICE=cuda, but torch finds no GPU here: unset DEVICE or install a CUDA build."
        )
    return asked


def precision() -> str:
    """Lightning's name for the precision: 16-bit mixed on a GPU [C], bf16 on CPUs that have it
    natively, else fp32.

    Emulated bf16 is tens of times slower than fp32.
    """
    if device() == "cuda":
        return "16-mixed"
    able = torch.cpu.get_capabilities()
    return "bf16-mixed" if able.get("avx512_bf16") or able.get("amx_bf16") else "32-true"
