"""Dask workers on this machine, or those of a scheduler elsewhere."""

import logging
import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import dask
import torch
from distributed import Client, Nanny, Scheduler, Security, SpecCluster, Worker, WorkerPlugin

from mmer_pipeline.cluster.remote_scheduler import connected
from mmer_pipeline.devices import usable_cores

# Threads that decode at the same time (libsndfile and soxr release the GIL). Each decodes about 550 seconds of 44.1 kHz
# stereo FLAC per second, so eight of them keep a device busy that runs wav2vec2-base's front end at 20 TFLOP/s. On two
# cores, decoding takes 4 % of that front end's time, and only smaller encoders gain measurably from the overlap.
MAX_THREADS = 8
RESTART_SECONDS = 600  # of a worker that died; one that takes longer is given up (on a busy machine 15 are too few)
_HERE = "127.0.0.1"  # no other machine needs to reach the local workers
_THREADS = "OMP_NUM_THREADS"
_DEVICES = "CUDA_VISIBLE_DEVICES"
_NO_LOGS = {"distributed.admin.low-level-log-length": 0}  # they would keep thousands of messages with their batches


@contextmanager
def connect(scheduler: str | Client, report: Callable[[str], None] = lambda _: None) -> Iterator[Client]:
    """Connect to "threads" or "processes" on this machine, or to the Dask scheduler at an address.

    A client that is connected already is used as it is. `report` is told about a scheduler elsewhere.

    Raises:
        UserError: as `remote_scheduler.connected`.
    """
    # What Dask's own tasks raise when a worker is lost: the client learns of it in another way, and says so.
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    if isinstance(scheduler, Client):
        yield scheduler
    elif scheduler == "processes":
        with local_workers(usable_cores()) as client:
            yield client
    elif scheduler == "threads":
        options = {"nthreads": min(MAX_THREADS, usable_cores()), "memory_limit": 0, "protocol": "inproc://"}
        with _local_cluster({0: {"cls": _Worker, "options": options}}, {"protocol": "inproc://"}) as client:
            yield client
    else:
        with connected(scheduler) as client:
            page = f" Dashboard: {client.dashboard_link}" if client.dashboard_link else ""
            report(f"Using the Dask scheduler at {scheduler}.{page}")
            yield client


@contextmanager
def local_workers(count: int, devices: Sequence[str] = ()) -> Iterator[Client]:
    """Start `count` worker processes on this machine, which run one task each at a time.

    Worker i sees only GPU i (modulo their number) of `devices`. A single worker uses as many threads as this process,
    so that it computes the same digits on a CPU; several share the cores, unless `OMP_NUM_THREADS` is set. If a worker
    dies, another one is started, and its task fails at once with `KilledWorker`. Only this process handles Ctrl-C,
    SIGTERM and SIGHUP; when it dies, for whatever reason, its workers die with it.

    The processes listen on the loopback alone, and talk only to those that have the certificate made for this call:
    whoever can reach a Dask process without one can run code as its owner.
    """
    listening = {"protocol": "tls://", "host": _HERE, "security": Security.temporary()}
    workers = {
        number: {
            "cls": Nanny,
            "options": {
                **listening,
                "worker_class": _Worker,
                "nthreads": 1,
                "memory_limit": 0,  # Dask's limit per thread has no relation to the memory of a job
                "silence_logs": logging.CRITICAL,
                "env": worker_environment(number, count, devices),
                "plugins": (_WorkerSetup(),),
            },
        }
        for number in range(count)
    }
    with _local_cluster(workers, {**listening, "port": 0, "allowed_failures": 0}) as client:
        yield client


@contextmanager
def _local_cluster(workers: Mapping[int, Any], scheduler: Mapping[str, Any]) -> Iterator[Client]:
    """Start a scheduler with these options, these workers, and a client."""
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    settings: dict[str, Any] = {
        **_NO_LOGS,
        "distributed.nanny.pre-spawn-environ": {},  # they would limit each worker to a thread
        "distributed.deploy.lost-worker-timeout": RESTART_SECONDS,
        # Here a worker's end is noticed by other means. On a busy machine a worker can be silent for minutes.
        "distributed.scheduler.worker-ttl": None,
    }
    with (
        dask.config.set(settings),
        SpecCluster(
            workers=workers,
            scheduler={"cls": _Scheduler, "options": {"dashboard": False, **scheduler}},
            security=scheduler.get("security"),
            silence_logs=logging.CRITICAL,
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


class _WithoutPages:
    """Part of a scheduler or worker that serves no web pages: Dask would let every user of the machine read them."""

    def start_http_server(self, *_: object, **__: object) -> None:
        """Start none."""


class _Scheduler(_WithoutPages, Scheduler):
    pass


class _Worker(_WithoutPages, Worker):
    pass


def worker_environment(number: int, count: int, devices: Sequence[str]) -> dict[str, str]:
    """The environment variables of worker `number` (from 0) of `count`, in addition to those of this process."""
    environment = {}
    if count > 1 and _THREADS not in os.environ:
        environment[_THREADS] = str(max(1, usable_cores() // count))
    if devices:
        environment[_DEVICES] = devices[number % len(devices)]
    return environment


def devices_to_share(device: str) -> list[str]:
    """The GPUs to distribute among workers, as named in `CUDA_VISIBLE_DEVICES`.

    Empty if `device` is the CPU or a specific GPU, or if there is no GPU.
    """
    if device not in ("auto", "cuda"):
        return []
    count = torch.cuda.device_count()
    named = os.environ.get(_DEVICES)
    return list(map(str, range(count))) if named is None else named.split(",")[:count]


class _WorkerSetup(WorkerPlugin):
    """Limits a worker to its share of the cores, and lets only the main process decide when to stop.

    (A terminal sends Ctrl-C to the workers too.)
    """

    def setup(self, worker: Worker) -> None:  # noqa: ARG002
        """Configure signals, threads and logging; runs in the worker's main thread when it starts."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        if _THREADS in os.environ:  # torch is already imported when Dask sets it
            torch.set_num_threads(int(os.environ[_THREADS]))
        logging.getLogger("distributed").setLevel(logging.CRITICAL)
