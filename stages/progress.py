"""Progress of long-running work on standard error: bars on a terminal, plain lines elsewhere."""

import logging
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from mmer_pipeline import files, paths
from mmer_pipeline.errors import Busy, UserError
from stages.shared_options import Common, interactive, say

Result = TypeVar("Result")

SECONDS_BETWEEN_LINES = 10.0
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def quiet_libraries() -> None:
    """Silence the progress bars and warnings of transformers and the log of Dask; errors are still raised."""
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    for name in ("distributed", "distributed.client"):  # Dask gives the client a level apart
        logging.getLogger(name).setLevel(logging.CRITICAL)


class Stopped(UserError):  # noqa: N818 (a state, not a fault)
    """The user requested a stop."""


class StopRequest:
    """Turns Ctrl-C, SIGTERM (sent by batch systems) or SIGHUP (a terminal was closed) into a request to stop.

    A second signal, if it is not SIGHUP, interrupts at once; not under torchrun, which passes on a signal that its
    processes may have had already, and kills them half a minute later. After nohup, SIGHUP is ignored as before.
    """

    def __init__(self) -> None:
        self.requested = False

    def __enter__(self) -> "StopRequest":
        numbers = [number for number in STOP_SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
        self.handlers = {number: signal.signal(number, self._handle) for number in numbers}
        self.terminals = [number for number in (1, 2) if os.isatty(number)]
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self.handlers.items():
            signal.signal(number, handler)

    def _handle(self, number: int, _frame: object) -> None:
        if number == signal.SIGHUP:
            self._leave_terminals()
        elif self.requested and "TORCHELASTIC_RUN_ID" not in os.environ:
            raise KeyboardInterrupt
        self.requested = True

    def _leave_terminals(self) -> None:
        """Send to nowhere what is said from now on: to write to a terminal that is gone would be an error."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for number in self.terminals:
            os.dup2(nowhere, number)
        os.close(nowhere)


class RateColumn(ProgressColumn):
    """Shows units per second."""

    def render(self, task: Task) -> Text:
        """The rate as text; empty until something has been done."""
        speed = task.finished_speed or task.speed
        return Text(f"{speed:.1f}/s" if speed else "", style="progress.data.speed")


def _bar(transient: bool) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        RateColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=transient,
    )


class Work:
    """Shows the progress of one piece of work, counted in `unit`."""

    def __init__(self, common: Common, description: str, *, unit: str = "utterances", transient: bool = False) -> None:
        self.description, self.unit, self.transient = description, unit, transient
        self.bar = _bar(transient) if interactive() and not common.quiet else None
        self.lines = not interactive() and not common.quiet
        self.task = self.bar.add_task(description, total=None) if self.bar else None
        self.began = self.last = time.monotonic()

    def __enter__(self) -> "Work":
        if self.bar:
            self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar:
            self.bar.stop()

    def show(self, done: int, total: int) -> None:
        """Show that `done` of `total` units have been completed."""
        if self.bar and self.task is not None:
            self.bar.update(self.task, completed=done, total=total, description=self.description)
        now = time.monotonic()
        if self.lines and done and (now - self.last >= SECONDS_BETWEEN_LINES or (done == total and not self.transient)):
            self.last = now
            rate = done / max(now - self.began, 1e-9)
            click.echo(f"{self.description}: {done}/{total} {self.unit}, {rate:.1f} per second", err=True)


class ExtractionProgress(Work):
    """Shows the progress of an extraction, and stops it on request."""

    def __init__(self, common: Common, description: str) -> None:
        super().__init__(common, description)
        self.done = 0
        self.stop = StopRequest()

    def __enter__(self) -> "ExtractionProgress":
        self.stop.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        super().__exit__()
        self.stop.__exit__()

    def report(self, text: str) -> None:
        """Show a message above the bar."""
        if self.bar:
            self.bar.console.print(text, markup=False, highlight=False, soft_wrap=True)
        elif self.lines:
            click.echo(text, err=True)

    def progress(self, more: int, total: int) -> None:
        """Record that `more` of `total` utterances have been written.

        Raises:
            Stopped: a stop was requested.
        """
        if self.bar and not self.bar.live.is_started and total:
            self.bar.start()  # an extraction without missing rows shows no bar
        self.done += more
        self.show(self.done, total)
        if self.stop.requested and self.done < total:
            raise Stopped(
                f"Stopped. {self.done} of {total} utterances are complete; the same command continues from there."
            )


def when_free(common: Common, path: Path, work: Callable[[], Result]) -> Result:
    """Do work that writes the file at `path`; while another process is writing it, wait.

    Raises:
        UserError: as `work`, except `Busy`.
    """
    while True:
        try:
            return work()
        except Busy:
            say(common, f"Another process is writing {path}; waiting for it …")
            with files.locked(paths.lock_of(path), wait=True):
                pass


def duration(seconds: float) -> str:
    """Format seconds as hours, minutes and seconds: 4210 → "1:10:10"."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}"
