"""Progress of a cross-validation: one line per job; on a terminal also a bar for each running job, and one for all."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from mmer_pipeline.cross_validation import Job, Outcome
from mmer_pipeline.errors import UserError
from mmer_pipeline.runs import read_metrics
from stages.progress import StopRequest, duration
from stages.shared_options import Common, interactive

SECONDS_UNTIL_REPORTED = 3.0  # jobs that end sooner, because they were complete, get no line when they start


class CrossValidationProgress(StopRequest):
    """Shows a `cross_validation.CrossValidation` on a terminal; bars follow the running jobs' metrics.jsonl."""

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
        self.unreported: dict[Job, float] = {}  # running jobs without a line so far, and when they started
        self.stop_reported = False
        self.busy_reported: set[Job] = set()  # jobs on which another process was working
        widths = [[len(part) for part in _job_parts(job)] for job in jobs]
        self.widths = [max(column) for column in zip(*widths, strict=True)]

    def __enter__(self) -> "CrossValidationProgress":
        super().__enter__()
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()
        super().__exit__()

    def stop_requested(self) -> bool:
        """See `cross_validation.Observer`."""
        return self.requested

    def started(self, job: Job) -> None:
        """See `cross_validation.Observer`."""
        self._remove(job)  # a worker that had it was lost
        self.running[job] = self.bar.add_task(f"  {self._name(job)}", total=job.settings.epochs, note="")
        self.unreported[job] = time.monotonic()

    def waiting(self, job: Job) -> None:
        """See `cross_validation.Observer`."""
        self._remove(job)
        if job not in self.busy_reported:
            self.busy_reported.add(job)
            self._line(f"{self._name(job)}  another process is working on this fold; will retry later")

    def ended(self, outcome: Outcome) -> None:
        """See `cross_validation.Observer`."""
        self._remove(outcome.job)
        if outcome.state != "stopped":
            self.bar.advance(self.all)
            self._line(f"{self._name(outcome.job)}  {_result_text(outcome)}")

    def message(self, text: str) -> None:
        """See `cross_validation.Observer`."""
        self._line(text)

    def tick(self) -> None:
        """See `cross_validation.Observer`."""
        if self.requested and not self.stop_reported:
            self.stop_reported = True
            self._line("Stopping; running jobs are saving their state …")
        if self.bar.disable:
            latest = time.monotonic() - SECONDS_UNTIL_REPORTED
            for job in [job for job, started in self.unreported.items() if started < latest]:
                del self.unreported[job]
                self._line(f"{self._name(job)}  started")
            return
        for job, task in self.running.items():
            try:
                epochs = read_metrics(job.paths(self.runs).metrics)
            except UserError:  # the job itself fails with this message
                continue
            self.bar.update(task, completed=len(epochs), note=epoch_note(epochs[-1]) if epochs else "")

    def _remove(self, job: Job) -> None:
        if job in self.running:
            self.bar.remove_task(self.running.pop(job))
            self.unreported.pop(job, None)

    def _name(self, job: Job) -> str:
        return "  ".join(part.ljust(width) for part, width in zip(_job_parts(job), self.widths, strict=True))

    def _line(self, text: str) -> None:
        if self.quiet:
            return
        if self.bar.disable:
            click.echo(text, err=True)
        else:
            self.bar.console.print(text, markup=False, highlight=False, soft_wrap=True)


def epoch_note(record: Mapping[str, Any]) -> str:
    """The losses of an epoch, and its validation score if it has one; the held-out part is shown when a job ends."""
    train, validation = record["train"], record["validation"]
    ctc = f", CTC {train['ctc']:.1f}" if train["ctc"] is not None else ""
    return f"CE {train['ce']:.3f}{ctc}" + (f", validation WA {100 * validation['wa']:.2f}" if validation else "")


def _job_parts(job: Job) -> tuple[str, str, str]:
    return job.name, f"seed {job.settings.seed}", f"fold {job.settings.fold}"


def _result_text(outcome: Outcome) -> str:
    result = outcome.result
    if result is None:
        return f"failed: {outcome.message.splitlines()[0]}"
    time_taken = f"in {duration(result.seconds)}" if result.computed else "already complete"
    return f"WA {100 * result.wa:.2f}  UA {100 * result.ua:.2f}  {time_taken}"
