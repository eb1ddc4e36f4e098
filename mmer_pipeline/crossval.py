"""A cross-validation: every fold of every system and seed is a job, and Dask's workers do what is missing of it.

Stages talk through files alone, so a job is `train_fold` and `evaluate_fold`, which both know what is done.
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

TICK_SECONDS = 0.25  # between two looks at the jobs' files, and at Ctrl-C
BUSY_SECONDS = 3.0  # until a fold is tried again on which another process works
_LINE = "\n  "  # between the changes that `OtherSettings` lists
STATES = ("done", "was done", "failed", "stopped")


@dataclass(frozen=True)
class Job:
    """One fold of one run."""

    name: str  # of the run without its seed: "mmer", "mmer-alpha-0.01"
    settings: Settings

    @property
    def run(self) -> str:
        """The run's directory below the runs."""
        return self.name if self.settings.seed == 1 else f"{self.name}-seed{self.settings.seed}"

    def paths(self, runs: Path) -> paths.FoldPaths:
        """The fold's files."""
        return paths.fold(runs / self.run, self.settings.fold)


@dataclass(frozen=True)
class Place:
    """Where the jobs of one cross-validation read and write; absolute, since a worker may run elsewhere."""

    manifest: Path
    cache: Path
    runs: Path
    device: str
    save_seconds: float  # between two saved states within an epoch
    keep_state: bool  # of folds that are done
    restart: bool  # begin folds again that were trained with other settings
    ident: str  # of this cross-validation among those that a worker serves

    @staticmethod
    def at(manifest: Path, cache: Path, runs: Path, **options: Any) -> "Place":
        """A place of these directories, which are made absolute."""
        return Place(manifest.absolute(), cache.absolute(), runs.absolute(), ident=uuid.uuid4().hex, **options)


@dataclass(frozen=True)
class Done:
    """What a worker says of a job."""

    computed: bool  # False: it was done before
    wa: float  # of the last epoch's model on the held-out part
    ua: float
    seconds: float


@dataclass(frozen=True)
class Outcome:
    """How a job ended."""

    job: Job
    state: str  # one of STATES; "stopped" also where it had not begun
    done: Done | None = None
    message: str = ""  # what went wrong

    def as_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        settings = self.job.settings
        facts = {"run": self.job.run, "system": settings.system, "seed": settings.seed, "fold": settings.fold}
        return {**facts, "state": self.state, **(asdict(self.done) if self.done else {"message": self.message})}


class Observer(Protocol):
    """Who is told how a cross-validation goes on."""

    def started(self, job: Job) -> None:
        """A worker has begun."""

    def waiting(self, job: Job) -> None:
        """Another process works on the fold: it is tried again later."""

    def ended(self, outcome: Outcome) -> None:
        """A job has ended."""

    def tick(self) -> None:
        """Called a few times a second."""

    def stop_is_asked(self) -> bool:
        """Whether running jobs are to save their state, and no other one to begin."""


# ------------------------------------------------------------------------------- in a worker process

_ONE_AT_A_TIME = threading.Lock()  # seeds and accelerate's state belong to the whole process
_stopped: set[str] = set()  # idents of cross-validations that were asked to stop


class _Stopper:
    """The `training.Observer` of a job: what it tells stands in the fold's files."""

    def __init__(self, ident: str) -> None:
        self.ident = ident

    def step(self, progress: Any, steps: int, epochs: int) -> None:
        """As `training.Observer`."""

    def epoch(self, record: dict[str, Any], epochs: int) -> None:
        """As `training.Observer`."""

    def less_memory(self, max_seconds: float) -> None:
        """As `training.Observer`."""

    def stop_is_asked(self) -> bool:
        """As `training.Observer`."""
        return self.ident in _stopped


def _stop(ident: str) -> None:
    _stopped.add(ident)


def do(job: Job, place: Place, ticket: str) -> Done:
    """Train and evaluate a fold, or what is missing of that.

    Raises:
        Busy: another process works on the fold.
        UserError: as `train_fold` and `evaluate_fold`.
    """
    with _ONE_AT_A_TIME:
        get_worker().log_event(place.ident, ticket)
        began = time.perf_counter()
        from transformers.utils import logging as transformers_logging

        from mmer_pipeline.corpora.manifest import read_manifest
        from mmer_pipeline.features import workers
        from mmer_pipeline.training.evaluation import evaluate_fold
        from mmer_pipeline.training.fold import train_fold

        transformers_logging.set_verbosity_error()  # a checkpoint's unused weights are no news
        workers.release_encoders()
        observer, run = _Stopper(place.ident), place.runs / job.run
        with files.locked(job.paths(place.runs).lock):
            pass  # whether another process works on the fold shows before anything is read
        if observer.stop_is_asked():
            raise UserError("Stopped before it began.")
        train = partial(
            train_fold, job.settings, read_manifest(place.manifest), cache=place.cache, run=run, device=place.device,
            keep_state=place.keep_state, save_seconds=place.save_seconds, observer=observer,
        )  # fmt: skip
        try:
            trained = train(restart=False)
        except OtherSettings as error:
            if not place.restart:
                changes = "; ".join(error.changes.split(_LINE))
                raise UserError(
                    f"Its directory holds a run with other settings or features: {changes}\n"
                    "Use another --runs-dir, or write the setting behind the system (mmer:epochs=2 is another run),\n"
                    "or begin such folds again with --restart."
                ) from None
            trained = train(restart=True)
        evaluation, evaluated = evaluate_fold(run, job.settings.fold, cache=place.cache, device=place.device)
        metrics = evaluation["metrics"]
        return Done(trained or evaluated, metrics["wa"], metrics["ua"], round(time.perf_counter() - began, 3))


# ------------------------------------------------------------------------------- in the main process


@dataclass
class _Flight:
    """A job that is in Dask's hands."""

    job: Job
    future: Future[Done]
    started: bool = False


class CrossValidation:
    """Hands out jobs and gathers how they end."""

    def __init__(self, client: Client, place: Place, observer: Observer, *, resources: Mapping[str, float]) -> None:
        """`resources`: what a job takes of a worker, as Dask counts it."""
        self.client, self.place, self.observer, self.resources = client, place, observer, resources
        self.ready: deque[Job] = deque()
        self.busy: deque[tuple[float, Job]] = deque()  # when to try again
        self.flights: dict[str, _Flight] = {}  # by ticket
        self.outcomes: list[Outcome] = []
        self.events: SimpleQueue[tuple[str, bool]] = SimpleQueue()  # ticket, whether it has ended; from Dask's threads
        self.stopping = False

    def run(self, jobs: Sequence[Job]) -> list[Outcome]:
        """Do the jobs, first come first served; one that fails leaves the others alone."""
        self.ready.extend(jobs)
        self.client.subscribe_topic(self.place.ident, lambda event: self.events.put((event[1], False)))
        try:
            while self.ready or self.busy or self.flights:
                if self.observer.stop_is_asked() and not self.stopping:
                    self._stop()
                self._hand_out()
                self._next_event()
                self.observer.tick()
        finally:
            self.client.unsubscribe_topic(self.place.ident)
        return self.outcomes

    def _hand_out(self) -> None:
        while self.busy and self.busy[0][0] <= time.monotonic():
            self.ready.append(self.busy.popleft()[1])
        # When a worker dies, Dask holds it against all that it had been given: no more than one job each.
        while self.ready and len(self.flights) < max(1, self._workers()):
            job, ticket = self.ready.popleft(), uuid.uuid4().hex
            future = self.client.submit(
                do, job, self.place, ticket, key=f"{job.run}-fold-{job.settings.fold}-{ticket}",
                pure=False, resources=self.resources or None,
            )  # fmt: skip
            self.flights[ticket] = _Flight(job, future)
            future.add_done_callback(lambda _, ticket=ticket: self.events.put((ticket, True)))

    def _workers(self) -> int:
        """How many workers have what a job takes."""
        offers = [worker["resources"] for worker in self.client.scheduler_info(n_workers=-1)["workers"].values()]
        return sum(all(offer.get(name, 0) >= amount for name, amount in self.resources.items()) for offer in offers)

    def _next_event(self) -> None:
        try:
            ticket, ended = self.events.get(timeout=TICK_SECONDS)
        except Empty:
            return
        flight = self.flights.get(ticket)
        if flight is None:  # called off
            return
        if not ended:
            flight.started = True
            self.observer.started(flight.job)
            return
        del self.flights[ticket]
        job, future = flight.job, flight.future
        if future.status == "finished":
            done: Done = future.result()
            job.paths(self.place.runs).failure_log.unlink(missing_ok=True)
            self._end(Outcome(job, "done" if done.computed else "was done", done))
        elif future.status == "error":
            self._fail(job, future.exception(), future)
        else:
            self._end(Outcome(job, "failed", message="The Dask scheduler forgot it: the connection was lost."))

    def _fail(self, job: Job, error: BaseException, future: Future[Done]) -> None:
        if isinstance(error, UserError) and self.stopping:
            self._end(Outcome(job, "stopped"))
        elif isinstance(error, Busy):
            self.busy.append((time.monotonic() + BUSY_SECONDS, job))
            self.observer.waiting(job)
        elif isinstance(error, UserError):
            self._end(Outcome(job, "failed", message=str(error)))
        elif isinstance(error, KilledWorker):
            text = "Its worker process died. Most often that is a lack of memory: fewer --jobs, smaller batches."
            self._end(Outcome(job, "failed", message=text))
        else:
            log = job.paths(self.place.runs).failure_log
            files.write_text(log, "".join(traceback.format_exception(type(error), error, future.traceback())))
            self._end(Outcome(job, "failed", message=f"{type(error).__name__}: {error}\nThe traceback is in {log}."))

    def _end(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)
        self.observer.ended(outcome)

    def _stop(self) -> None:
        """Running jobs save and stop, the others are called off."""
        self.stopping = True
        self.client.run(_stop, self.place.ident, on_error="ignore")
        called_off = [*self.ready, *(job for _, job in self.busy)]
        self.ready.clear()
        self.busy.clear()
        for ticket, flight in list(self.flights.items()):
            if not flight.started:
                flight.future.cancel()
                called_off.append(self.flights.pop(ticket).job)
        for job in called_off:
            self._end(Outcome(job, "stopped"))
