"""Cross-validation: every fold of every system and seed is a job for Dask's workers.

Stages communicate only through files, so a job calls `train_fold` and `evaluate_fold`; both skip completed work.
"""

import threading
import time
import traceback
import uuid
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Protocol

from distributed import Client, Future, KilledWorker, get_worker

from mmer_pipeline import files, paths
from mmer_pipeline.errors import Busy, OtherSettings, UserError
from mmer_pipeline.settings import Settings

TICK_SECONDS = 0.25  # between two checks of the jobs' files and for Ctrl-C
RETRY_SECONDS = 3.0  # before retrying a fold on which another process was working
_LINE = "\n  "  # separates the changes that `OtherSettings` lists
STATES = ("done", "was done", "failed", "stopped")


@dataclass(frozen=True)
class Job:
    """One fold of one run."""

    name: str  # of the run without its seed: "mmer", "mmer-alpha-0.01"
    settings: Settings

    @property
    def run(self) -> str:
        """Name of the run's directory in the runs directory."""
        return paths.run_name(self.name, self.settings.seed)

    def paths(self, runs: Path) -> paths.FoldPaths:
        """The fold's files."""
        return paths.fold(runs / self.run, self.settings.fold)


@dataclass(frozen=True)
class Workspace:
    """Directories and options that the jobs of one cross-validation share.

    The directories are absolute, because a worker may have another working directory.
    """

    manifest: Path
    cache: Path
    runs: Path
    device: str
    save_seconds: float  # between two saved states within an epoch
    keep_state: bool  # keep the saved state of completed folds
    restart: bool  # train folds again that were trained with other settings
    cv_id: str  # distinguishes this cross-validation from others that use the same workers
    test_on: tuple[Path, ...] = ()  # manifests of other corpora, which every model is scored on too

    @staticmethod
    def at(manifest: Path, cache: Path, runs: Path, **options: Any) -> "Workspace":
        """Create a workspace from these directories, which are made absolute."""
        return Workspace(manifest.absolute(), cache.absolute(), runs.absolute(), cv_id=uuid.uuid4().hex, **options)


@dataclass(frozen=True)
class JobResult:
    """The result of a completed job."""

    computed: bool  # False: it had been completed before
    wa: float  # of the last epoch's model on the held-out part
    ua: float
    seconds: float


@dataclass(frozen=True)
class Outcome:
    """How a job ended."""

    job: Job
    state: str  # one of STATES; "stopped" also if it had not started
    result: JobResult | None = None
    message: str = ""  # the error, if it failed

    def as_dict(self) -> dict[str, Any]:
        """Convert to plain values for JSON."""
        settings = self.job.settings
        facts = {"run": self.job.run, "system": settings.system, "seed": settings.seed, "fold": settings.fold}
        return {**facts, "state": self.state, **(asdict(self.result) if self.result else {"message": self.message})}


class Observer(Protocol):
    """Receives the progress of a cross-validation, and can stop it."""

    def started(self, job: Job) -> None:
        """Called when a worker starts a job."""

    def waiting(self, job: Job) -> None:
        """Called when another process is working on the fold; the job is retried later."""

    def ended(self, outcome: Outcome) -> None:
        """Called when a job has ended."""

    def tick(self) -> None:
        """Called several times per second."""

    def stop_requested(self) -> bool:
        """Whether running jobs should save their state and no more jobs should start."""


# ------------------------------------------------------------------------------- in a worker process

_ONE_AT_A_TIME = threading.Lock()  # seeds and accelerate's state belong to the whole process
_stopped: set[str] = set()  # ids of cross-validations that were asked to stop


class _JobObserver:
    """The `training.loop.Observer` of a job: passes on requests to stop; progress is read from the fold's files."""

    def __init__(self, cv_id: str) -> None:
        self.cv_id = cv_id

    def step(self, progress: Any, steps: int, epochs: int) -> None:
        """See `training.loop.Observer`."""

    def epoch(self, record: dict[str, Any], epochs: int) -> None:
        """See `training.loop.Observer`."""

    def ran_out_of_memory(self, max_seconds: float) -> None:
        """See `training.loop.Observer`."""

    def stop_requested(self) -> bool:
        """See `training.loop.Observer`."""
        return self.cv_id in _stopped


def _stop(cv_id: str) -> None:
    _stopped.add(cv_id)


def run_job(job: Job, workspace: Workspace, ticket: str) -> JobResult:
    """Train and evaluate a fold, skipping what has been completed.

    Raises:
        Busy: another process is working on the fold.
        UserError: as `train_fold` and `evaluate_fold`.
    """
    with _ONE_AT_A_TIME:
        get_worker().log_event(workspace.cv_id, ticket)
        began = time.perf_counter()
        from transformers.utils import logging as transformers_logging

        from mmer_pipeline.corpora.manifest import read_manifest
        from mmer_pipeline.features import workers
        from mmer_pipeline.training.code_identity import advice
        from mmer_pipeline.training.evaluation import evaluate_fold
        from mmer_pipeline.training.fold import train_fold
        from mmer_pipeline.training.other_corpus import evaluate_on

        transformers_logging.set_verbosity_error()  # unused weights in a checkpoint are expected
        workers.release_encoders()
        observer, run = _JobObserver(workspace.cv_id), workspace.runs / job.run
        with files.locked(job.paths(workspace.runs).lock):
            pass  # raises Busy before anything is read
        if observer.stop_requested():
            raise UserError("Stopped before the job started.")
        train = partial(
            train_fold, job.settings, read_manifest(workspace.manifest), cache=workspace.cache, run=run,
            device=workspace.device, keep_state=workspace.keep_state, save_seconds=workspace.save_seconds,
            observer=observer,
        )  # fmt: skip
        try:
            trained = train(restart=False)
        except OtherSettings as error:
            if not workspace.restart:
                changes = "; ".join(error.changes.split(_LINE))
                raise UserError(
                    f"The fold's directory contains a run with other settings or inputs: {changes}\n"
                    "Train such folds again with --restart. To keep both, use another --runs-dir, or give a setting\n"
                    "of one system after its name, which makes another run (mmer:epochs=3)."
                    f"{advice(error.changes.split(_LINE))}"
                ) from None
            trained = train(restart=True)
        fold, cache, device = job.settings.fold, workspace.cache, workspace.device
        evaluation, evaluated = evaluate_fold(run, fold, cache=cache, device=device)
        others = [read_manifest(path) for path in workspace.test_on]
        tested = [evaluate_on(run, fold, other, cache=cache, device=device)[1] for other in others]
        metrics = evaluation["metrics"]
        return JobResult(
            trained or evaluated or any(tested), metrics["wa"], metrics["ua"], round(time.perf_counter() - began, 3)
        )


# ------------------------------------------------------------------------------- in the main process


@dataclass
class _SubmittedJob:
    """A job that has been submitted to Dask."""

    job: Job
    future: "Future[JobResult]"
    started: bool = False


class CrossValidation:
    """Submits jobs to Dask and collects their outcomes."""

    def __init__(
        self, client: Client, workspace: Workspace, observer: Observer, *, resources: Mapping[str, float]
    ) -> None:
        """`resources` are the Dask resources of a worker that one job needs."""
        self.client, self.workspace, self.observer, self.resources = client, workspace, observer, resources
        self.ready: deque[Job] = deque()
        self.busy: deque[tuple[float, Job]] = deque()  # time of the next attempt, job
        self.submitted: dict[str, _SubmittedJob] = {}  # by ticket
        self.outcomes: list[Outcome] = []
        self.events: SimpleQueue[tuple[str, bool]] = SimpleQueue()  # ticket, whether it has ended; from Dask's threads
        self.stopping = False

    def run(self, jobs: Sequence[Job]) -> list[Outcome]:
        """Run the jobs in order; if one fails, the others still run."""
        self.ready.extend(jobs)
        self.client.subscribe_topic(self.workspace.cv_id, lambda event: self.events.put((event[1], False)))
        try:
            while self.ready or self.busy or self.submitted:
                if self.observer.stop_requested() and not self.stopping:
                    self._stop()
                self._submit_jobs()
                self._next_event()
                self.observer.tick()
        finally:
            self.client.unsubscribe_topic(self.workspace.cv_id)
        return self.outcomes

    def _submit_jobs(self) -> None:
        while self.busy and self.busy[0][0] <= time.monotonic():
            self.ready.append(self.busy.popleft()[1])
        # When a worker dies, Dask counts that against every job assigned to it, so each worker gets one job at a time.
        while self.ready and len(self.submitted) < max(1, self._workers()):
            job, ticket = self.ready.popleft(), uuid.uuid4().hex
            future = self.client.submit(
                run_job, job, self.workspace, ticket, key=f"{job.run}-fold-{job.settings.fold}-{ticket}",
                pure=False, resources=self.resources or None,
            )  # fmt: skip
            self.submitted[ticket] = _SubmittedJob(job, future)
            future.add_done_callback(lambda _, ticket=ticket: self.events.put((ticket, True)))

    def _workers(self) -> int:
        """Number of workers that have the resources for a job."""
        offers = [worker["resources"] for worker in self.client.scheduler_info(n_workers=-1)["workers"].values()]
        return sum(all(offer.get(name, 0) >= amount for name, amount in self.resources.items()) for offer in offers)

    def _next_event(self) -> None:
        try:
            ticket, ended = self.events.get(timeout=TICK_SECONDS)
        except Empty:
            return
        submitted = self.submitted.get(ticket)
        if submitted is None:  # cancelled
            return
        if not ended:
            submitted.started = True
            self.observer.started(submitted.job)
            return
        del self.submitted[ticket]
        job, future = submitted.job, submitted.future
        if future.status == "finished":
            result: JobResult = future.result()
            job.paths(self.workspace.runs).failure_log.unlink(missing_ok=True)
            self._record(Outcome(job, "done" if result.computed else "was done", result))
        elif future.status == "error":
            self._handle_error(job, future.exception(), future)
        else:
            text = "The connection to the Dask scheduler was lost. Run the same command again to resume the job."
            self._record(Outcome(job, "failed", message=text))

    def _handle_error(self, job: Job, error: BaseException, future: "Future[JobResult]") -> None:
        if isinstance(error, UserError) and self.stopping:
            self._record(Outcome(job, "stopped"))
        elif isinstance(error, Busy):
            self.busy.append((time.monotonic() + RETRY_SECONDS, job))
            self.observer.waiting(job)
        elif isinstance(error, UserError):
            self._record(Outcome(job, "failed", message=str(error)))
        elif isinstance(error, KilledWorker):
            text = (
                "The worker process died, most likely because it ran out of memory. "
                "Use fewer --jobs or a smaller --max-batch-seconds."
            )
            self._record(Outcome(job, "failed", message=text))
        else:
            log = job.paths(self.workspace.runs).failure_log
            files.write_text(log, "".join(traceback.format_exception(type(error), error, future.traceback())))
            self._record(Outcome(job, "failed", message=f"{type(error).__name__}: {error}\nThe traceback is in {log}."))

    def _record(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)
        self.observer.ended(outcome)

    def _stop(self) -> None:
        """Ask running jobs to save and stop, and cancel the others."""
        self.stopping = True
        self.client.run(_stop, self.workspace.cv_id, on_error="ignore")
        cancelled = [*self.ready, *(job for _, job in self.busy)]
        self.ready.clear()
        self.busy.clear()
        for ticket, submitted in list(self.submitted.items()):
            if not submitted.started:
                submitted.future.cancel()
                cancelled.append(self.submitted.pop(ticket).job)
        for job in cancelled:
            self._record(Outcome(job, "stopped"))
