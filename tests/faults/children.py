"""Commands in children that are forked from a process in which every library has been imported already."""

import contextlib
import ctypes
import importlib
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from faults.shim import Control

HEAVY = (
    "torch", "transformers", "accelerate", "distributed", "h5py", "sklearn.metrics", "matplotlib.figure",
    "statsmodels.stats.multitest", "stages.cli", "mmer_pipeline.features.workers", "mmer_pipeline.training.fold",
    "mmer_pipeline.training.evaluation", "mmer_pipeline.report.build_report", "mmer_pipeline.report.write_report",
    "mmer_pipeline.report.report_plots", "mmer_pipeline.prediction.packing", "mmer_pipeline.prediction.recognizer",
    "mmer_pipeline.cross_validation", "mmer_pipeline.cluster", "mmer_pipeline.features.extraction",
    "transformers.models.roberta.modeling_roberta", "transformers.models.wav2vec2.modeling_wav2vec2",
    "transformers.models.roberta.tokenization_roberta",
)  # fmt: skip
LIMIT_SECONDS = 240  # a command that takes longer hangs
_STOPS = (signal.SIGTERM, signal.SIGHUP)
_DIE_WITH_PARENT = 1  # of prctl


@dataclass(frozen=True)
class Ended:
    """How a child ended."""

    code: int  # the exit status; negative: the signal that killed it; -1000: it hung
    output: str  # what it printed on both streams
    seconds: float

    @property
    def was_killed(self) -> bool:
        """Whether a SIGKILL ended it."""
        return self.code == -signal.SIGKILL

    @property
    def has_traceback(self) -> bool:
        """Whether it printed more than a message."""
        return "Traceback (most recent call last)" in self.output or self.code == 99


def import_everything() -> None:
    """Import what the commands import, so that no child has to."""
    for name in HEAVY:
        importlib.import_module(name)
    import dask
    import torch

    dask.config.set({"distributed.worker.multiprocessing-method": "fork"})  # a worker starts at once, too
    torch.set_num_threads(1)  # threads do not survive a fork


class Child:
    """A function in a forked child with its own process group; its output goes to a file."""

    def __init__(self, work: Callable[[], int], control: Control, directory: Path, output: Path) -> None:
        self.output, self.began = output, time.monotonic()
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            code = 99
            try:
                os.setsid()
                die_with_parent()
                for number in _STOPS:
                    if signal.getsignal(number) is signal.default_int_handler:
                        signal.signal(number, signal.SIG_DFL)
                code = _run(work, control, directory, output)
            finally:
                os._exit(code)

    def wait(self, *, kill_after: float | None = None, whole_group: bool = True) -> Ended:
        """Wait until it ends; kill it after so many seconds, alone or with the processes that it started."""
        try:
            return self._wait(kill_after, whole_group)
        except BaseException:  # the harness is stopped
            self.end_group()
            raise

    def _wait(self, kill_after: float | None, whole_group: bool) -> Ended:
        deadline = self.began + (LIMIT_SECONDS if kill_after is None else kill_after)
        code = None
        while code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                code = os.waitstatus_to_exitcode(status)
            elif time.monotonic() > deadline:
                _kill(self.pid, group=whole_group or kill_after is None)
                status = os.waitpid(self.pid, 0)[1]
                code = -1000 if kill_after is None else os.waitstatus_to_exitcode(status)
            else:
                time.sleep(0.002)
        return self._ended(code)

    def wait_for(self, seconds: float) -> Ended | None:
        """Wait for so many seconds at most; None if it has not ended."""
        time.sleep(seconds)
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        return self._ended(os.waitstatus_to_exitcode(status)) if pid else None

    def _ended(self, code: int) -> Ended:
        return Ended(code, self.output.read_text(errors="replace"), time.monotonic() - self.began)

    def end_group(self) -> None:
        """Kill what it started and left, and wait until that is dead."""
        _kill(self.pid, group=True)
        while _is_alive(self.pid):
            time.sleep(0.005)


def stop_by_signals() -> None:
    """Let SIGTERM and SIGHUP stop the harness as Ctrl-C does, so that it can remove what it made."""
    for number in _STOPS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler)


def die_with_parent() -> None:
    """Let this process be killed when the one that forked it ends, however that ends."""
    ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)


def _kill(pid: int, *, group: bool) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        (os.killpg if group else os.kill)(pid, signal.SIGKILL)


def _is_alive(group: int) -> bool:
    """Whether a process of a group lives."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has ended
            state, _, its_group = path.read_text().rpartition(")")[2].split()[:3]
            if int(its_group) == group and state not in "ZX":
                return True
    return False


def _run(work: Callable[[], int], control: Control, directory: Path, output: Path) -> int:
    stream = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    for descriptor in (1, 2):
        os.dup2(stream, descriptor)
    os.chdir(directory)
    control.attach()
    try:
        code = work()
    except BaseException:
        traceback.print_exc()
        code = 99
    sys.stdout.flush()
    sys.stderr.flush()
    return code


def command(arguments: list[str]) -> Callable[[], int]:
    """A function that runs an `mmer-pipe` command and returns its exit status."""

    def work() -> int:
        from stages.cli import main

        try:
            main.main(arguments, prog_name="mmer-pipe")
        except SystemExit as end:
            return end.code if isinstance(end.code, int) else int(bool(end.code))
        return 0

    return work
