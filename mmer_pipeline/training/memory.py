"""Memory of a device: how much audio one forward and backward pass may hold, and the peak that was used."""

import resource
import sys
from collections.abc import Callable

import torch
from accelerate.utils.memory import should_reduce_batch_size

CPU_SECONDS = 16.0  # the fastest on a CPU: what is larger takes its memory anew from the system at each operation
PROBE_SECONDS = 32.0  # of audio in the pass that is measured on a GPU
SHARE = 0.85  # of the free memory: allocations leave gaps, and lengths differ


def is_exhausted(error: RuntimeError) -> bool:
    """Whether an error says that the device's memory did not suffice."""
    return isinstance(error, torch.OutOfMemoryError) or should_reduce_batch_size(error)


def seconds_that_fit(use: Callable[[float], float], device: torch.device, later_bytes: int, most: float) -> float:
    """Seconds of audio, padding included, of a micro-batch that the device's free memory holds; at most `most`.

    Args:
        use: runs a forward and backward pass of about so many seconds and returns how many they really were; it
            raises what `is_exhausted` knows where they do not fit.
        device: on a CPU nothing is tried.
        later_bytes: what is allocated once, after this.
        most: seconds of which more is never asked for.
    """
    if device.type != "cuda":
        return min(CPU_SECONDS, most)
    use(1.0)  # gradients are allocated, kernels chosen
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    seconds = use(min(PROBE_SECONDS, most))
    used = torch.cuda.max_memory_allocated(device) - before
    torch.cuda.empty_cache()
    free, _ = torch.cuda.mem_get_info(device)
    return bounded_seconds(used / seconds, free - later_bytes, most)


def bounded_seconds(bytes_per_second: float, free_bytes: float, most: float) -> float:
    """Whole seconds of audio that fit into the share of the free memory, from 1 to `most`."""
    return min(most, max(1.0, float(int(SHARE * free_bytes / bytes_per_second))))


def peak_gib(device: torch.device) -> float:
    """The most memory that was in use at a time, in GiB: what torch held of a GPU, or this process's on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device) / 2**30
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30
