"""Which device, and how many cores."""

import os

import torch

from mmer_pipeline.errors import UserError


def resolve_device(name: str) -> torch.device:
    """The device of that name; `auto` is the first CUDA device where there is one, else the CPU.

    Raises:
        UserError: there is no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        found = f"{torch.cuda.device_count()} CUDA devices" if torch.cuda.is_available() else "no CUDA device"
        reason = str(error).splitlines()[0]
        raise UserError(f"No device {name!r}: {reason}. Found: the CPU and {found}.") from None
    return device


def usable_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
