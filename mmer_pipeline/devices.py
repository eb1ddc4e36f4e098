"""Devices and processor cores."""

import os
import platform
from pathlib import Path

import torch

from mmer_pipeline.errors import UserError


def resolve_device(name: str) -> torch.device:
    """The device of that name; `auto` is the first CUDA device if there is one, else the CPU.

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
    """The number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def is_main_process() -> bool:
    """Whether this is the only process, or the first of those started by torchrun or `accelerate launch`."""
    return os.environ.get("RANK", "0") == "0"


def hardware(device: torch.device) -> str:
    """A description of the hardware: the name of the GPU, or of the processor with its cores and threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")  # on Linux
    if cpuinfo.is_file():
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
        name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), name)
    counts = (("core", usable_cores()), ("thread", torch.get_num_threads()))
    return ", ".join([name, *(f"{count} {unit}{'s' * (count != 1)}" for unit, count in counts)])
