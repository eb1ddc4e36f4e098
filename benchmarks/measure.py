"""Time two implementations alternately, measure a child process's peak memory, and describe the machine."""

import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from mmer_pipeline.devices import hardware
from mmer_pipeline.runs import environment

GIB = 2**30
_ROOT = str(Path(__file__).resolve().parents[1])  # so that child processes find the benchmarks
_ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join([_ROOT, *filter(None, [os.environ.get("PYTHONPATH")])])}


@dataclass(frozen=True)
class Bench:
    """The settings of a benchmark."""

    device: torch.device
    sizes: tuple[str, ...]  # names in `shapes.SIZES`
    rounds: int  # number of measurements, of which the median is reported
    quick: bool  # use a few utterances, only to test that everything runs
    directory: Path  # for temporary files
    output: Path  # for pictures and tables

    def count(self, full: int, quick: int) -> int:
        """`full`, or `quick` in a quick run."""
        return quick if self.quick else full


@dataclass(frozen=True)
class Figure:
    """One row of the table."""

    what: str
    size: str  # of the model or the corpus
    value: float  # median
    unit: str
    baseline: float | None = None  # the straightforward implementation in the same run, in the same unit
    ratio: float | None = None  # how many times better than the baseline; median over the rounds
    target: str = ""
    met: bool | None = None  # whether the target is met
    note: str = ""


@dataclass(frozen=True)
class Pair:
    """The times of two implementations, measured alternately."""

    ours: float  # seconds, median
    baseline: float  # seconds, median
    ratio: float  # baseline / ours, median over the rounds


def in_turn(ours: Callable[[], Any], baseline: Callable[[], Any], bench: Bench) -> Pair:
    """Alternate between the two (A B A B …) so that a drift of the machine affects both; a first round warms up."""
    seconds: dict[str, list[float]] = {"ours": [], "baseline": []}
    for number in range(bench.rounds + 1):
        for name, do in (("baseline", baseline), ("ours", ours)):
            took = timed(do, bench.device)
            if number:  # the first warms up
                seconds[name].append(took)
    ratios = [b / a for a, b in zip(seconds["ours"], seconds["baseline"], strict=True)]
    return Pair(statistics.median(seconds["ours"]), statistics.median(seconds["baseline"]), statistics.median(ratios))


def timed(do: Callable[[], Any], device: torch.device) -> float:
    """Seconds until the device has finished."""
    synchronise(device)
    began = time.perf_counter()
    do()
    synchronise(device)
    return time.perf_counter() - began


def synchronise(device: torch.device) -> None:
    """Wait until the device has finished."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@dataclass(frozen=True)
class Process:
    """A finished process."""

    seconds: float  # from its start
    peak_bytes: int  # of resident memory
    output: str  # on standard output


# A small process in between: the peak memory of a child includes that of the process that started it.
_LAUNCHER = """
import os, subprocess, sys, time
began = time.perf_counter()
child = subprocess.Popen(sys.argv[2:])
_, status, usage = os.wait4(child.pid, 0)
with open(sys.argv[1], "w") as report:
    print(time.perf_counter() - began, usage.ru_maxrss, os.waitstatus_to_exitcode(status), file=report)
"""


def process(*command: str) -> Process:
    """Run a Python command line (`-m module …`) and measure its time and memory separately from this process.

    Raises:
        RuntimeError: the command failed.
    """
    with tempfile.NamedTemporaryFile() as report:
        launcher = [sys.executable, "-S", "-c", _LAUNCHER, report.name, sys.executable, *command]
        ran = subprocess.run(launcher, capture_output=True, text=True, env=_ENVIRONMENT, check=True)
        seconds, peak, code = report.read().decode().split()
    if int(code):
        raise RuntimeError(f"{' '.join(command)} ended with {code}:\n{ran.stderr}")
    unit = 1 if sys.platform == "darwin" else 1024
    return Process(float(seconds), int(peak) * unit, ran.stdout)


def median_process(command: Sequence[str], rounds: int) -> Process:
    """The median of several runs, after one to warm up, with the highest peak memory."""
    process(*command)
    runs = sorted((process(*command) for _ in range(rounds)), key=lambda run: run.seconds)
    middle = runs[len(runs) // 2]
    return Process(middle.seconds, max(run.peak_bytes for run in runs), middle.output)


def machine(device: torch.device) -> dict[str, Any]:
    """A description of the machine."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB
    return {
        **environment(str(device)),
        "hardware": hardware(device),
        "cpu": hardware(torch.device("cpu")),
        "memory_gib": round(memory, 1),
        "system": platform.system(),
        "dask": version("dask"),
    }
