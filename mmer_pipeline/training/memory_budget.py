"""Memory of a device: how much audio fits into one forward and backward pass, and the peak usage."""

import resource
import sys
from collections.abc import Callable

import torch
from accelerate.utils.memory import should_reduce_batch_size

CPU_SECONDS = 16.0  # fastest on a CPU: larger batches request memory from the system in every operation
PROBE_SECONDS = 32.0  # audio in the pass that is measured on a GPU
SHARE = 0.85  # share of the free memory to use: allocations leave gaps, and lengths differ


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether an error means that the device ran out of memory."""
    return isinstance(error, torch.OutOfMemoryError) or should_reduce_batch_size(error)


def seconds_that_fit(
    run_pass: Callable[[float], float], device: torch.device, later_bytes: int, max_seconds: float
) -> float:
    """Find how many seconds of audio, padding included, a micro-batch may contain to fit into the device's free memory.

    Args:
        run_pass: runs a forward and backward pass on about this many seconds and returns their exact number; raises an
            error that satisfies `is_out_of_memory` if they do not fit.
        device: on a CPU, nothing is measured.
        later_bytes: memory that will be allocated once, later.
        max_seconds: upper limit of the result.
    """
    if device.type != "cuda":
        return min(CPU_SECONDS, max_seconds)
    run_pass(1.0)  # allocates gradients and selects kernels
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    seconds = run_pass(min(PROBE_SECONDS, max_seconds))
    used = torch.cuda.max_memory_allocated(device) - before
    torch.cuda.empty_cache()
    free, _ = torch.cuda.mem_get_info(device)
    return bounded_seconds(used / seconds, free - later_bytes, max_seconds)


def bounded_seconds(bytes_per_second: float, free_bytes: float, max_seconds: float) -> float:
    """Whole seconds of audio that fit into the usable share of the free memory, from 1 to `max_seconds`."""
    return min(max_seconds, max(1.0, float(int(SHARE * free_bytes / bytes_per_second))))


def peak_gib(device: torch.device) -> float:
    """Peak memory in GiB: reserved by torch on a GPU, or used by this process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device) / 2**30
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30
