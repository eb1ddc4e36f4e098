"""Progress of a cross-validation: a line per job; on a terminal also a bar for each running job, and one for all."""

import time
from collections.abc import Sequence
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from mmer_pipeline.crossval import Job, Outcome
from mmer_pipeline.runs import read_metrics
from stages.options import Common, interactive
from stages.progress import StopRequest, duration

SECONDS_UNTIL_REPORTED = 3.0  # a job that was done before gets no line for its beginning


class CrossValidationProgress(StopRequest):
    """The observer of `crossval` that a terminal shows; bars are read from the running jobs' metrics.jsonl."""

    def __init__(self, common: Common, runs: Path, jobs: Sequence[Job]) -> None:
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

    def __enter__(self) -> "CrossValidationProgress":
        super().__enter__()
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()
        super().__exit__()

    def stop_is_asked(self) -> bool:
        """As `crossval.Observer`."""
        return self.asked

    def started(self, job: Job) -> None:
        """As `crossval.Observer`."""
        self.running[job] = self.bar.add_task(f"  {self._name(job)}", total=job.settings.epochs, note="")
        self.begun[job] = time.monotonic()

    def waiting(self, job: Job) -> None:
        """As `crossval.Observer`."""
        self._remove(job)
        if job not in self.told:
            self.told.add(job)
            self._line(f"{self._name(job)}  another process works on it: later")

    def ended(self, outcome: Outcome) -> None:
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
            long_ago = time.monotonic() - SECONDS_UNTIL_REPORTED
            for job in [job for job, began in self.begun.items() if began < long_ago]:
                del self.begun[job]
                self._line(f"{self._name(job)}  has begun")
            return
        for job, task in self.running.items():
            epochs = read_metrics(job.paths(self.runs).metrics)
            note = f"held-out WA {100 * epochs[-1]['held_out']['wa']:.2f}" if epochs else ""
            self.bar.update(task, completed=len(epochs), note=note)

    def _remove(self, job: Job) -> None:
        if job in self.running:
            self.bar.remove_task(self.running.pop(job))
            self.begun.pop(job, None)

    def _name(self, job: Job) -> str:
        return "  ".join(part.ljust(width) for part, width in zip(_job_parts(job), self.widths, strict=True))

    def _line(self, text: str) -> None:
        if self.quiet:
            return
        if self.bar.disable:
            click.echo(text, err=True)
        else:
            self.bar.console.print(text, markup=False, highlight=False, soft_wrap=True)


def _job_parts(job: Job) -> tuple[str, str, str]:
    return job.name, f"seed {job.settings.seed}", f"fold {job.settings.fold}"


def _how(outcome: Outcome) -> str:
    if outcome.done is None:
        return f"FAILED: {outcome.message.splitlines()[0]}"
    scores = f"WA {100 * outcome.done.wa:.2f}  UA {100 * outcome.done.ua:.2f}"
    return f"{scores}  {f'in {duration(outcome.done.seconds)}' if outcome.done.computed else 'was done already'}"
