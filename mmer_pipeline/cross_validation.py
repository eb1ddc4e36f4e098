"""Cross-validation: every fold of every system and seed is a job for Dask's workers.

Stages communicate only through files, so a job calls `train_fold` and `evaluate_fold`; both skip completed work.
"""

import threading
import time
import uuid
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from distributed import Client

from mmer_pipeline import files, paths
from mmer_pipeline.cluster.dispatch import Dispatcher, Ended, WorkersLost
from mmer_pipeline.cluster.worker_check import shared_directory
from mmer_pipeline.errors import Busy, OtherSettings, UserError
from mmer_pipeline.runs import read_metrics, validation_scores
from mmer_pipeline.settings import Settings

TICK_SECONDS = 0.25  # between two checks of the jobs' files and for Ctrl-C
RETRY_SECONDS = 3.0  # before retrying a fold on which another process was working
STOP_SECONDS = 5.0  # for workers to acknowledge that they are to stop; one that hangs never does
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
    track: tuple[str, ...] = ()  # trackers that get the numbers of training
    score_held_out: bool = True  # False: jobs only train, and their results are those of the validation part

    @staticmethod
    def at(manifest: Path, cache: Path, runs: Path, **options: Any) -> "Workspace":
        """Create a workspace from these directories, which are made absolute."""
        return Workspace(manifest.absolute(), cache.absolute(), runs.absolute(), cv_id=uuid.uuid4().hex, **options)


@dataclass(frozen=True)
class JobResult:
    """The result of a completed job."""

    computed: bool  # False: it had been completed before
    wa: float  # of the last epoch's model on the held-out part, or on the validation part (`Workspace.score_held_out`)
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
        """Called when a worker starts a job; more than once if a worker was lost."""

    def waiting(self, job: Job) -> None:
        """Called when another process is working on the fold; the job is retried later."""

    def ended(self, outcome: Outcome) -> None:
        """Called when a job has ended."""

    def message(self, text: str) -> None:
        """Called with messages about the workers."""

    def tick(self) -> None:
        """Called several times per second."""

    def stop_requested(self) -> bool:
        """Whether running jobs should save their state and no more jobs should start."""


# ------------------------------------------------------------------------------- in a worker process

_ONE_AT_A_TIME = threading.Lock()  # seeds and accelerate's state belong to the whole process
_stopped: set[str] = set()  # ids of cross-validations that were asked to stop


class _JobObserver:
    """The `training.job.Observer` of a job: passes on requests to stop; progress is read from the fold's files."""

    def __init__(self, cv_id: str, run: str) -> None:
        self.ids = {cv_id, stop_id(cv_id, run)}

    def step(self, progress: Any, steps: int, epochs: int) -> None:
        """See `training.job.Observer`."""

    def epoch(self, record: dict[str, Any], epochs: int) -> None:
        """See `training.job.Observer`."""

    def ran_out_of_memory(self, max_seconds: float) -> None:
        """See `training.job.Observer`."""

    def stop_requested(self) -> bool:
        """See `training.job.Observer`."""
        return not _stopped.isdisjoint(self.ids)


def _stop(cv_id: str) -> None:
    _stopped.add(cv_id)


def stop_id(cv_id: str, run: str) -> str:
    """The id by which one run of a cross-validation is stopped, and not the others."""
    return f"{cv_id} {run}"


def run_job(job: Job, workspace: Workspace) -> JobResult:
    """Train and evaluate a fold, skipping what has been completed.

    Raises:
        Busy: another process is working on the fold.
        UserError: as `train_fold` and `evaluate_fold`.
    """
    with _ONE_AT_A_TIME, ExitStack() as stack:
        began = time.perf_counter()
        from transformers.utils import logging as transformers_logging

        from mmer_pipeline.corpora.manifest import read_manifest
        from mmer_pipeline.features import workers
        from mmer_pipeline.tracking import Tracking
        from mmer_pipeline.training.code_identity import advice
        from mmer_pipeline.training.evaluation import evaluate_fold
        from mmer_pipeline.training.fold import train_fold
        from mmer_pipeline.training.other_corpus import evaluate_on

        transformers_logging.set_verbosity_error()  # unused weights in a checkpoint are expected
        workers.release_encoders()
        run = workspace.runs / job.run
        asked = _JobObserver(workspace.cv_id, job.run)
        observer = stack.enter_context(Tracking(workspace.track, job.settings, run, asked))
        with files.locked(job.paths(workspace.runs).lock):
            pass  # raises Busy before anything is read
        if observer.stop_requested():
            raise UserError("Stopped before the job started.")
        train = partial(
            train_fold, job.settings, read_manifest(workspace.manifest), cache=workspace.cache, run=run,
            device=workspace.device, keep_state=workspace.keep_state, save_seconds=workspace.save_seconds,
            observer=observer, score_held_out=workspace.score_held_out,
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
        if not workspace.score_held_out:
            scores = validation_scores(job.settings, read_metrics(job.paths(workspace.runs).metrics))
            return JobResult(trained, scores["wa"], scores["ua"], round(time.perf_counter() - began, 3))
        fold, cache, device = job.settings.fold, workspace.cache, workspace.device
        evaluation, evaluated = evaluate_fold(run, fold, cache=cache, device=device)
        if evaluated:
            observer.evaluation(evaluation)
        others = [read_manifest(path) for path in workspace.test_on]
        tested = [evaluate_on(run, fold, other, cache=cache, device=device)[1] for other in others]
        metrics = evaluation["metrics"]
        return JobResult(
            trained or evaluated or any(tested), metrics["wa"], metrics["ua"], round(time.perf_counter() - began, 3)
        )


# ------------------------------------------------------------------------------- in the main process


class CrossValidation:
    """Gives jobs to Dask's workers and collects their outcomes."""

    def __init__(
        self, client: Client, workspace: Workspace, observer: Observer, *, resources: Mapping[str, float]
    ) -> None:
        """`resources` are the Dask resources of a worker that one job needs."""
        self.client, self.workspace, self.observer, self.resources = client, workspace, observer, resources
        self.ready: deque[Job] = deque()
        self.busy: deque[tuple[float, Job]] = deque()  # time of the next attempt, job
        self.outcomes: list[Outcome] = []
        self.stopping = False

    def run(self, jobs: Sequence[Job]) -> list[Outcome]:
        """Run the jobs in order; if one fails, the others still run.

        Raises:
            UserError: as `Dispatcher.next`.
        """
        self.ready.extend(jobs)
        workspace = self.workspace
        read = (workspace.manifest, workspace.cache, *workspace.test_on)
        with Dispatcher(
            self.client, partial(run_job, workspace=workspace), resources=self.resources,
            requirements=shared_directory(workspace.runs, read), started=self.observer.started,
            report=self.observer.message,
        ) as dispatcher:  # fmt: skip
            while self.ready or self.busy or len(dispatcher):
                if self.observer.stop_requested() and not self.stopping:
                    self._stop(dispatcher)
                while self.busy and self.busy[0][0] <= time.monotonic():
                    self.ready.append(self.busy.popleft()[1])
                while self.ready and dispatcher.room():
                    dispatcher.submit(self.ready.popleft())
                ended = dispatcher.next(TICK_SECONDS)
                if ended is not None:
                    self._handle(ended)
                self.observer.tick()
        return self.outcomes

    def _handle(self, ended: "Ended[Job, JobResult]") -> None:
        job, result, error = ended.item, ended.result, ended.error
        log = job.paths(self.workspace.runs).failure_log
        if result is not None:
            log.unlink(missing_ok=True)
            self._record(Outcome(job, "done" if result.computed else "was done", result))
        elif isinstance(error, UserError) and self.stopping:
            self._record(Outcome(job, "stopped"))
        elif isinstance(error, Busy):
            self.busy.append((time.monotonic() + RETRY_SECONDS, job))
            self.observer.waiting(job)
        elif isinstance(error, UserError) and not isinstance(error, WorkersLost):
            self._record(Outcome(job, "failed", message=str(error)))
        else:
            files.write_text(log, ended.log)
            text = f"{type(error).__name__}: {error}\nThe traceback is in {log}."
            if isinstance(error, WorkersLost):
                text = f"{error} Use fewer --jobs or a smaller --max-batch-seconds.\nWhat is known is in {log}."
            self._record(Outcome(job, "failed", message=text))

    def _record(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)
        self.observer.ended(outcome)

    def stop_run(self, run: str) -> None:
        """Ask the running jobs of one run to save and stop; they end as failed."""
        self._ask_to_stop(stop_id(self.workspace.cv_id, run))

    def _stop(self, dispatcher: "Dispatcher[Job, JobResult]") -> None:
        """Ask running jobs to save and stop, and cancel the others."""
        self.stopping = True
        cancelled = [*self.ready, *(job for _, job in self.busy), *dispatcher.stop()]
        self.ready.clear()
        self.busy.clear()
        self._ask_to_stop(self.workspace.cv_id)
        for job in cancelled:
            self._record(Outcome(job, "stopped"))

    def _ask_to_stop(self, which: str) -> None:
        with suppress(OSError):  # TimeoutError among them
            ask = partial(self.client._run, _stop, which, on_error="ignore")
            self.client.sync(ask, callback_timeout=STOP_SECONDS)
