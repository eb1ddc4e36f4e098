"""What a person sees of long work: rich bars on a terminal, plain lines elsewhere; always on standard error."""

import logging
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from mmer_pipeline.errors import UserError
from mmer_pipeline.runs import read_metrics
from stages.options import Common, interactive, say

if TYPE_CHECKING:  # Dask, which the other commands do without
    from mmer_pipeline.crossval import Job, Outcome

SECONDS_BETWEEN_LINES = 10.0
SECONDS_UNTIL_TOLD = 3.0  # a job that was done before gets no line for its beginning


def quiet_libraries() -> None:
    """Switch off the progress bars and load reports of transformers; its errors still raise."""
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    logging.getLogger("distributed").setLevel(logging.ERROR)


class Stopped(UserError):  # noqa: N818 (it is a state of things, no defect)
    """The user asked for a stop."""


class StopRequest:
    """Ctrl-C (or SIGTERM, as a batch system sends) asks for a stop at the next good moment; a second one forces it."""

    def __init__(self) -> None:
        self.asked = False

    def __enter__(self) -> "StopRequest":
        self.before = {number: signal.signal(number, self._ask) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def _ask(self, _number: int, _frame: object) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True


class RateColumn(ProgressColumn):
    """Units a second."""

    def render(self, task: Task) -> Text:
        """As text, empty while nothing is done."""
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
    """Progress of one piece of work, counted in some unit."""

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
        """Say that `done` of `total` units are done."""
        if self.bar and self.task is not None:
            self.bar.update(self.task, completed=done, total=total, description=self.description)
        now = time.monotonic()
        if self.lines and done and (now - self.last >= SECONDS_BETWEEN_LINES or (done == total and not self.transient)):
            self.last = now
            rate = done / max(now - self.began, 1e-9)
            click.echo(f"{self.description}: {done}/{total} {self.unit}, {rate:.1f} a second", err=True)


class ExtractionConsole(Work):
    """Progress of an extraction."""

    def __init__(self, common: Common, description: str) -> None:
        super().__init__(common, description)
        self.done = 0
        self.stop = StopRequest()

    def __enter__(self) -> "ExtractionConsole":
        self.stop.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        super().__exit__()
        self.stop.__exit__()

    def progress(self, more: int, total: int) -> None:
        """`more` utterances were written, of `total` to write."""
        if self.bar and not self.bar.live.is_started and total:
            self.bar.start()  # an extraction with nothing to do shows no bar
        self.done += more
        self.show(self.done, total)
        if self.stop.asked and self.done < total:
            raise Stopped(f"Stopped. {self.done} utterances are kept; the same command goes on from there.")


class TrainingConsole:
    """Progress of a fold: a bar within the epoch, a line an epoch."""

    def __init__(self, common: Common, fold: int) -> None:
        self.common, self.fold = common, fold
        self.work: Work | None = None
        self.epoch_seconds: list[float] = []
        self.epoch_began = time.monotonic()
        self.stop = StopRequest()

    def __enter__(self) -> "TrainingConsole":
        self.stop.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._end_bar()
        self.stop.__exit__()

    def stop_is_asked(self) -> bool:
        """As `training.Observer`."""
        return self.stop.asked

    def _end_bar(self) -> None:
        if self.work:
            self.work.__exit__()
            self.work = None

    def step(self, progress: Any, steps: int, epochs: int) -> None:
        """As `training.Observer`."""
        if self.work is None:
            self.work = Work(self.common, "", transient=True).__enter__()
        seen = max(1, progress.utterances)
        ce, ctc = progress.ce_sum / seen, progress.ctc_sum / seen
        self.work.description = f"Fold {self.fold}, epoch {progress.epoch}/{epochs}: CE {ce:.3f}, CTC {ctc:.1f}"
        self.work.show(progress.utterances, round(progress.utterances * steps / max(1, progress.step)))

    def less_memory(self, max_seconds: float) -> None:
        """As `training.Observer`."""
        self._end_bar()
        say(
            self.common,
            f"Fold {self.fold}: memory ran out; going on with micro-batches of at most {max_seconds:.1f} s of audio.",
        )

    def epoch(self, record: dict[str, Any], epochs: int) -> None:
        """As `training.Observer`."""
        self._end_bar()
        now = time.monotonic()
        self.epoch_seconds.append(now - self.epoch_began)
        self.epoch_began = now
        if self.common.quiet:
            return
        train, held_out, validation = record["train"], record["held_out"], record["validation"]
        ctc = f"  CTC {train['ctc']:7.2f}" if train["ctc"] is not None else ""
        chosen = f"  validation WA {validation['wa']:.4f}" if validation else ""
        left = sum(self.epoch_seconds) / len(self.epoch_seconds) * (epochs - record["epoch"])
        click.echo(
            f"Fold {self.fold}  epoch {record['epoch']:>{len(str(epochs))}}/{epochs}  CE {train['ce']:.4f}{ctc}"
            f"  held-out WA {held_out['wa']:.4f}  UA {held_out['ua']:.4f}{chosen}"
            f"  {record['speed']['utterances_per_second']:.1f} utt/s  {_duration(left)} left in this fold",
            err=True,
        )
        if record["epoch"] == epochs:
            speed = record["speed"]
            click.echo(
                f"Fold {self.fold}  {_duration(sum(self.epoch_seconds))} in all, peak memory "
                f"{speed['peak_memory_gib']:.2f} GiB in micro-batches of at most {speed['max_batch_seconds']:.0f} s",
                err=True,
            )


class CrossValidationConsole(StopRequest):
    """One line a job; on a terminal also a bar for each that runs, read from its metrics.jsonl, and one for all."""

    def __init__(self, common: Common, runs: Path, jobs: "Sequence[Job]") -> None:
        super().__init__()
        self.runs, self.total = runs, len(jobs)
        self.quiet = common.quiet
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            console=Console(stderr=True),
            disable=common.quiet or not interactive(),
        )
        self.all = self.bar.add_task("all jobs", total=self.total, note="")
        self.running: dict[Job, TaskID] = {}
        self.begun: dict[Job, float] = {}  # running jobs of which no line has told, where lines are shown
        self.said_stopping = False
        self.told: set[Job] = set()  # that another process works on them
        widths = [[len(part) for part in _job_parts(job)] for job in jobs]
        self.widths = [max(column) for column in zip(*widths, strict=True)]

    def __enter__(self) -> "CrossValidationConsole":
        super().__enter__()
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()
        super().__exit__()

    def stop_is_asked(self) -> bool:
        """As `crossval.Observer`."""
        return self.asked

    def started(self, job: "Job") -> None:
        """As `crossval.Observer`."""
        self.running[job] = self.bar.add_task(f"  {self._name(job)}", total=job.settings.epochs, note="")
        self.begun[job] = time.monotonic()

    def waiting(self, job: "Job") -> None:
        """As `crossval.Observer`."""
        self._remove(job)
        if job not in self.told:
            self.told.add(job)
            self._line(f"{self._name(job)}  another process works on it: later")

    def ended(self, outcome: "Outcome") -> None:
        """As `crossval.Observer`."""
        self._remove(outcome.job)
        if outcome.state != "stopped":
            self.bar.advance(self.all)
            self._line(f"{self._name(outcome.job)}  {_how(outcome)}")

    def tick(self) -> None:
        """As `crossval.Observer`."""
        if self.asked and not self.said_stopping:
            self.said_stopping = True
            self._line("Stopping: running jobs save their state …")
        if self.bar.disable:
            long_ago = time.monotonic() - SECONDS_UNTIL_TOLD
            for job in [job for job, began in self.begun.items() if began < long_ago]:
                del self.begun[job]
                self._line(f"{self._name(job)}  has begun")
            return
        for job, task in self.running.items():
            epochs = read_metrics(job.paths(self.runs).metrics)
            note = f"held-out WA {100 * epochs[-1]['held_out']['wa']:.2f}" if epochs else ""
            self.bar.update(task, completed=len(epochs), note=note)

    def _remove(self, job: "Job") -> None:
        if job in self.running:
            self.bar.remove_task(self.running.pop(job))
            self.begun.pop(job, None)

    def _name(self, job: "Job") -> str:
        return "  ".join(part.ljust(width) for part, width in zip(_job_parts(job), self.widths, strict=True))

    def _line(self, text: str) -> None:
        if self.quiet:
            return
        if self.bar.disable:
            click.echo(text, err=True)
        else:
            self.bar.console.print(text, markup=False, highlight=False, soft_wrap=True)


def _job_parts(job: "Job") -> tuple[str, str, str]:
    return job.name, f"seed {job.settings.seed}", f"fold {job.settings.fold}"


def _how(outcome: "Outcome") -> str:
    if outcome.done is None:
        return f"FAILED: {outcome.message.splitlines()[0]}"
    scores = f"WA {100 * outcome.done.wa:.2f}  UA {100 * outcome.done.ua:.2f}"
    return f"{scores}  {f'in {_duration(outcome.done.seconds)}' if outcome.done.computed else 'was done already'}"


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}"
