"""How things are measured: two ways of doing a thing in turn, a child process and its peak of memory, the machine."""

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
_ROOT = str(Path(__file__).resolve().parents[1])  # where children find the benchmarks too
_ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join([_ROOT, *filter(None, [os.environ.get("PYTHONPATH")])])}


@dataclass(frozen=True)
class Bench:
    """What a benchmark is asked to do."""

    device: torch.device
    sizes: tuple[str, ...]  # names in `shapes.SIZES`
    rounds: int  # each way is measured so often; the median counts
    quick: bool  # a few utterances, to see that it runs: its figures say nothing
    directory: Path  # to work in; pictures and tables go to `output`
    output: Path

    def count(self, full: int, quick: int) -> int:
        """How many of something."""
        return quick if self.quick else full


@dataclass(frozen=True)
class Figure:
    """One line of the table."""

    what: str
    size: str  # of the model or of the corpus
    value: float  # median
    unit: str
    plain: float | None = None  # the plain alternative, in the same unit, of the same run
    ratio: float | None = None  # how many times as good as the plain alternative; median over the rounds
    target: str = ""  # what issue and README promise
    met: bool | None = None  # whether it is
    note: str = ""


@dataclass(frozen=True)
class Pair:
    """Two ways, measured in turn."""

    ours: float  # seconds, median
    plain: float  # seconds, median
    ratio: float  # plain / ours, median over the rounds


def in_turn(ours: Callable[[], Any], plain: Callable[[], Any], bench: Bench) -> Pair:
    """Median seconds of both, A B A B …, so that a machine that drifts does so under both; one of each first."""
    seconds: dict[str, list[float]] = {"ours": [], "plain": []}
    for number in range(bench.rounds + 1):
        for name, do in (("plain", plain), ("ours", ours)):
            took = timed(do, bench.device)
            if number:  # the first warms up
                seconds[name].append(took)
    ratios = [b / a for a, b in zip(seconds["ours"], seconds["plain"], strict=True)]
    return Pair(statistics.median(seconds["ours"]), statistics.median(seconds["plain"]), statistics.median(ratios))


def timed(do: Callable[[], Any], device: torch.device) -> float:
    """Seconds until the device is done with it."""
    synchronise(device)
    began = time.perf_counter()
    do()
    synchronise(device)
    return time.perf_counter() - began


def synchronise(device: torch.device) -> None:
    """Wait for the device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@dataclass(frozen=True)
class Process:
    """A process that has ended."""

    seconds: float  # from its start
    peak_bytes: int  # of resident memory
    output: str  # on standard output


# A small process in between: a child's peak counts from the memory of the process that started it.
_LAUNCHER = """
import os, subprocess, sys, time
began = time.perf_counter()
child = subprocess.Popen(sys.argv[2:])
_, status, usage = os.wait4(child.pid, 0)
with open(sys.argv[1], "w") as report:
    print(time.perf_counter() - began, usage.ru_maxrss, os.waitstatus_to_exitcode(status), file=report)
"""


def process(*command: str) -> Process:
    """Run a Python command line (`-m module …`) and account for it alone.

    Raises:
        RuntimeError: it failed.
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
    """The median of several runs, after one that warms up; the peak is the highest."""
    process(*command)
    runs = sorted((process(*command) for _ in range(rounds)), key=lambda run: run.seconds)
    middle = runs[len(runs) // 2]
    return Process(middle.seconds, max(run.peak_bytes for run in runs), middle.output)


def machine(device: torch.device) -> dict[str, Any]:
    """What the figures were measured on."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB
    return {
        **environment(str(device)),
        "hardware": hardware(device),
        "cpu": hardware(torch.device("cpu")),
        "memory_gib": round(memory, 1),
        "system": platform.system(),
        "dask": version("dask"),
    }
