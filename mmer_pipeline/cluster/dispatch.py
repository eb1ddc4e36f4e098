"""Giving work to the workers of a Dask cluster: what a lost worker had is given to another one.

Dask can do this by itself, but not as a long job needs it: a job that waits for a certain worker, or was given to it
when it died, is to go to the first worker that is free, even if that one joined later; a worker that lacks files or has
other versions is to get nothing; and a scheduler that was started again knows no job any more.
"""

import time
import traceback
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, Generic, TypeVar

from distributed import Client, Future, KilledWorker, get_worker

from mmer_pipeline.cluster.results import ResultLost, fetch, workers_of
from mmer_pipeline.cluster.worker_check import Requirements, WorkerFacts, examine, fault_of, fault_of_error
from mmer_pipeline.errors import UserError

ATTEMPTS = 3  # an item that so many workers were lost with has failed
MOVES = 12  # as ATTEMPTS, of an item that never seemed to start: it may kill its worker at once
SECONDS_BETWEEN_LOOKS = 1.0  # at the list of workers
LOG_LINES, LOG_SECONDS = 40, 5.0  # of a worker's log, and how long to wait for it

Item = TypeVar("Item")
Result = TypeVar("Result")


class WorkersLost(UserError):  # noqa: N818 (a state, not a fault)
    """The workers that ran an item were lost, each time."""


@dataclass
class _Task(Generic[Item]):
    """An item and what became of it so far."""

    item: Item
    history: list[str] = field(default_factory=list)  # one line per event, for the log of a failure
    losses: int = 0  # workers that were lost while they ran it
    moves: int = 0  # workers that were lost while they had it
    worker: str = ""  # the address of the one that has it
    future: "Future[Any] | None" = None
    started: bool = False

    def note(self, event: str) -> None:
        self.history.append(f"{time.strftime('%Y-%m-%d %H:%M:%S')}  {event}")


@dataclass
class _Worker:
    """A worker as the scheduler describes it."""

    address: str
    host: str
    slots: int  # tasks that it gets at a time
    fit: bool | None = None  # None: not known yet
    check: "Future[WorkerFacts] | None" = None

    def __str__(self) -> str:
        return f"{self.address} on {self.host}" if self.host not in self.address else self.address


@dataclass(frozen=True)
class Ended(Generic[Item, Result]):
    """How an item ended: with a result or an error."""

    item: Item
    result: Result | None
    error: BaseException | None
    log: str  # of what happened to it, if it failed: one line per event, the traceback, the worker's log


class Dispatcher(Generic[Item, Result]):
    """Runs a function on items, on the workers of a client."""

    def __init__(
        self,
        client: Client,
        function: Callable[[Item], Result],
        *,
        resources: Mapping[str, float] | None = None,
        requirements: Requirements | None = None,
        per_thread: int | None = None,
        started: Callable[[Item], None] = lambda _: None,
        report: Callable[[str], None] = lambda _: None,
    ) -> None:
        """`resources` are those of a worker that an item needs; a worker gets `per_thread` items at a time for each of
        its threads, or only one. Workers elsewhere are checked before they get any. `started` is called when a worker
        starts an item, `report` with messages for the user.
        """
        self.client, self.function, self.resources = client, function, dict(resources or {})
        self.requirements = None if client.cluster is not None else requirements  # local workers need no check
        self.per_thread, self.started, self.report = per_thread, started, report
        self.here = examine(self.requirements) if self.requirements else None
        self.workers: dict[str, _Worker] = {}
        self.tasks: dict[str, _Task[Item]] = {}  # on a worker, by ticket
        self.waiting: deque[_Task[Item]] = deque()
        self.failed: deque[Ended[Item, Result]] = deque()
        self.faults: dict[str, str] = {}  # of workers that are not used
        self.events: SimpleQueue[tuple[str, bool]] = SimpleQueue()  # ticket, whether it ended; from Dask's threads
        self.topic = f"mmer-{uuid.uuid4().hex}"
        self.connected = False
        self.looked_at = -SECONDS_BETWEEN_LOOKS
        self.idle_reported = False
        self.stopping = False

    def __enter__(self) -> "Dispatcher[Item, Result]":
        self._look()
        return self

    def __exit__(self, *_: object) -> None:
        if self.client.status == "running":
            self.client.unsubscribe_topic(self.topic)

    def __len__(self) -> int:
        """Number of items that have been submitted and have not ended."""
        return len(self.tasks) + len(self.waiting) + len(self.failed)

    def room(self) -> int:
        """Number of further items that workers would take now; 1 if there is no worker yet."""
        slots = sum(worker.slots for worker in self.workers.values() if worker.fit)
        return max(0, max(1, slots) - len(self))

    def submit(self, item: Item) -> None:
        """Give an item to a worker, as soon as there is one."""
        self.waiting.append(_Task(item))
        self._send_waiting()

    def next(self, timeout: float) -> Ended[Item, Result] | None:
        """The next item that ends; None if none does within `timeout` seconds.

        Raises:
            UserError: the scheduler is gone, or there are workers and none of them can be used.
        """
        if time.monotonic() >= self.looked_at + SECONDS_BETWEEN_LOOKS:
            self._look()
        self._send_waiting()
        if self.failed:
            return self.failed.popleft()
        try:
            ticket, ended = self.events.get(timeout=timeout)
        except Empty:
            return None
        task = self.tasks.get(ticket)
        if task is None:  # it was lost or cancelled
            return None
        if not ended:
            task.started = True
            task.note(f"started on {self._named(task.worker)}")
            self.started(task.item)
            return None
        return self._ended(ticket, task)

    def map(self, items: Iterable[Item], tick: float) -> Iterator[Ended[Item, Result] | None]:
        """Run all items and yield each when it ends, and None if none does within `tick` seconds."""
        left = deque(items)
        while left or len(self):
            while left and self.room():
                self.submit(left.popleft())
            yield self.next(tick)

    def stop(self) -> list[Item]:
        """Cancel the items that have not started, and return them; the others end, and none is tried again."""
        self.stopping = True
        cancelled = [task.item for task in self.waiting]
        self.waiting.clear()
        for ticket, task in list(self.tasks.items()):
            if not task.started:
                self._forget(ticket)
                cancelled.append(task.item)
        return cancelled

    # ------------------------------------------------------------------------------------- items

    def _send_waiting(self) -> None:
        while self.waiting and self.client.status == "running":
            free = [worker for worker in self.workers.values() if worker.fit and self._load(worker) < worker.slots]
            if not free:
                return
            self._send(self.waiting.popleft(), min(free, key=self._load))

    def _load(self, worker: _Worker) -> int:
        return sum(task.worker == worker.address for task in self.tasks.values())

    def _send(self, task: _Task[Item], worker: _Worker) -> None:
        ticket = uuid.uuid4().hex
        task.worker, task.started = worker.address, False
        task.future = self.client.submit(
            _run, self.function, task.item, self.topic, ticket, key=f"mmer-{ticket}", pure=False,
            workers=[worker.address], allow_other_workers=False, resources=self.resources or None,
        )  # fmt: skip
        self.tasks[ticket] = task
        task.future.add_done_callback(lambda _: self.events.put((ticket, True)))

    def _ended(self, ticket: str, task: _Task[Item]) -> Ended[Item, Result] | None:
        future = task.future
        assert future is not None
        if future.status == "finished":
            with suppress(ResultLost):
                result: Result = fetch(self.client, future)
                del self.tasks[ticket]
                return Ended(task.item, result, None, "")
        if future.status == "cancelled":  # the scheduler was lost, which is no fault of the item or the worker
            del self.tasks[ticket]
            task.note("the connection to the scheduler was lost")
            self._again(task)
            return None
        error = future.exception() if future.status == "error" else None
        if error is None or isinstance(error, KilledWorker):
            self._lose(ticket)
            return None
        del self.tasks[ticket]
        task.note(f"failed on {self._named(task.worker)}")
        return Ended(task.item, None, error, self._log(task))

    def _lose(self, ticket: str) -> None:
        """The worker of a task is gone: give it to another one, or give up."""
        task = self.tasks[ticket]
        self._forget(ticket)
        name = self._named(task.worker)
        if self.workers.pop(task.worker, None):
            self.report(f"The worker {name} was lost. Its work is given to another one.")
        task.moves += 1
        task.losses += task.started or self.per_thread is None  # else others may have been before it
        task.note(f"{name} was lost")
        if task.losses < ATTEMPTS and task.moves < MOVES:
            self._again(task)
        else:
            error = WorkersLost(
                f"The worker process died, or could not be reached any more, {max(task.losses, 1)} times (last: "
                f"{name}), most likely because it ran out of memory."
            )
            self.failed.append(Ended(task.item, None, error, self._log(task)))

    def _again(self, task: _Task[Item]) -> None:
        if self.stopping:
            error = WorkersLost("The worker was lost while it was stopping.")
            self.failed.append(Ended(task.item, None, error, self._log(task)))
        else:
            self.waiting.appendleft(task)

    def _forget(self, ticket: str) -> None:
        future = self.tasks.pop(ticket).future
        if future is not None and self.client.status == "running":
            future.cancel()

    # ----------------------------------------------------------------------------------- workers

    def _look(self) -> None:
        """Compare the scheduler's list of workers with the one from before."""
        self.looked_at = time.monotonic()
        if self.client.status == "closed":
            raise UserError(
                "The Dask scheduler is gone. What has been finished is kept. Start it again, and run the same command."
            )
        if self.client.status != "running":  # it is connecting again, and Dask has cancelled all tasks
            if self.connected:
                self.report("The connection to the Dask scheduler was lost. Trying to connect again …")
            self.connected = False
            return
        if not self.connected:
            self.connected = True
            self.workers.clear()  # a scheduler that was started again may have others
            self.client.subscribe_topic(self.topic, lambda event: self.events.put((event[1], False)))
        try:
            found = workers_of(self.client)
        except OSError:  # the connection was lost just now
            return
        for ticket, task in list(self.tasks.items()):
            if task.worker not in found and task.future is not None and task.future.status == "pending":
                self._lose(ticket)
        for address in [address for address in self.workers if address not in found]:
            del self.workers[address]
            self.faults.pop(address, None)
        for address, facts in found.items():
            if address not in self.workers and self._offers(facts["resources"]):
                self._add(address, facts)
        self._read_checks()

    def _offers(self, offer: Mapping[str, float]) -> bool:
        return all(offer.get(name, 0) >= amount for name, amount in self.resources.items())

    def _add(self, address: str, facts: Mapping[str, Any]) -> None:
        slots = self.per_thread * facts["nthreads"] if self.per_thread else 1
        worker = self.workers[address] = _Worker(address, str(facts["host"]), slots)
        if self.requirements is None:
            worker.fit = True
        else:
            worker.check = self.client.submit(
                examine, self.requirements, key=f"mmer-check-{uuid.uuid4().hex}", pure=False, priority=1,
                workers=[address], allow_other_workers=False,
            )  # fmt: skip

    def _read_checks(self) -> None:
        for worker in self.workers.values():
            if worker.fit is None and worker.check is not None and worker.check.status in ("finished", "error"):
                if worker.check.status == "error":
                    fault: str | None = fault_of_error(worker.check.exception())
                else:
                    try:
                        facts = fetch(self.client, worker.check)
                    except ResultLost:  # so is the worker, which the next look at the list will show
                        continue
                    worker.host, fault = facts.host, fault_of(facts, self.here) if self.here else None
                worker.fit, worker.check = fault is None, None
                if fault is not None:
                    self.faults[worker.address] = f"The worker {worker} is not used: {fault}."
                    self.report(self.faults[worker.address])
        states = [worker.fit for worker in self.workers.values()]
        if self.faults and not any(state or state is None for state in states):
            raise UserError("None of the workers can be used.\n" + "\n".join(sorted(set(self.faults.values()))))
        if not states and not self.idle_reported:
            wanted = "".join(f" with {name}={amount:g}" for name, amount in self.resources.items())
            self.report(f"The scheduler has no worker{wanted} yet. Waiting for one …")
        self.idle_reported = not states

    def _named(self, address: str) -> str:
        return str(self.workers.get(address, address))

    def _log(self, task: _Task[Item]) -> str:
        """Describe a task that failed: its workers, the error, and the worker's log."""
        parts = list(task.history)
        if task.future is not None and task.future.status == "error":
            error = task.future.exception()
            parts.append("".join(traceback.format_exception(type(error), error, task.future.traceback())))
        scheduler = self.client.scheduler
        if scheduler is not None and self.client.status == "running" and task.worker in self.workers:
            logs: dict[str, Any] = {}
            with suppress(OSError, KeyError):  # the worker is gone, or does not answer in time
                ask = partial(scheduler.worker_logs, n=LOG_LINES, workers=[task.worker], nanny=False)
                logs = self.client.sync(ask, callback_timeout=LOG_SECONDS)
            for lines in logs.values():
                parts.append(f"Log of {self._named(task.worker)}, the latest line first:")
                parts += [line for _, line in lines if isinstance(line, str)]
        return "\n".join(parts) + "\n"


def _run(function: Callable[[Item], Result], item: Item, topic: str, ticket: str) -> Result:
    """Run an item on a worker, and say that it has started."""
    get_worker().log_event(topic, ticket)
    return function(item)
