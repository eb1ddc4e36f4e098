"""Dask's workers: on this machine, or a scheduler's that runs elsewhere."""

import logging
import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import dask
import torch
from distributed import Client, LocalCluster, Nanny, Scheduler, SpecCluster, Worker, WorkerPlugin

from mmer_pipeline.devices import usable_cores
from mmer_pipeline.errors import UserError

CONNECT_SECONDS = 30
# That decode at a time (libsndfile and soxr let go of the GIL): each gives about 550 seconds of 44.1 kHz stereo FLAC a
# second, so eight feed a device that does the 20 TFLOP/s which wav2vec2-base's front end makes of that. On two cores it
# takes 4 % of that front end's time, and overlapping gains nothing that can be measured; with small encoders it does.
MOST_THREADS = 8
_HERE = "127.0.0.1"  # no other machine needs to reach the workers of this one
_THREADS = "OMP_NUM_THREADS"
_DEVICES = "CUDA_VISIBLE_DEVICES"
_NO_LOGS = {"distributed.admin.low-level-log-length": 0}  # they keep the last thousands of messages, batches and all


@contextmanager
def connect(scheduler: str) -> Iterator[Client]:
    """A client of "threads" or "processes" on this machine, or of the Dask scheduler at an address.

    Raises:
        UserError: no scheduler at the address.
    """
    if scheduler == "processes":
        with local_workers(usable_cores()) as client:
            yield client
    elif scheduler == "threads":
        options = {
            "n_workers": 1,
            "threads_per_worker": min(MOST_THREADS, usable_cores()),
            "processes": False,
            "memory_limit": 0,  # Dask would write batches to the disk when other programs fill the memory
            "silence_logs": logging.ERROR,
            "dashboard_address": ":0",  # any free port
        }
        with (
            dask.config.set(_NO_LOGS),
            LocalCluster(**options) as cluster,
            Client(cluster, set_as_default=False) as client,
        ):
            yield client
    else:
        try:
            client = Client(scheduler, timeout=CONNECT_SECONDS, set_as_default=False)
        except (OSError, ValueError) as error:
            raise UserError(
                f"No Dask scheduler answers at {scheduler!r} ({error}). "
                "Expected an address such as tcp://node1:8786, and a scheduler that runs there."
            ) from None
        with client:
            yield client


@contextmanager
def local_workers(count: int, devices: Sequence[str] = ()) -> Iterator[Client]:
    """A client of `count` worker processes on this machine, one task at a time in each.

    Worker i sees GPU i (modulo their number) of `devices` alone. One worker has the threads that this process has,
    so that it computes the same digits on a CPU; several share the cores, unless `OMP_NUM_THREADS` says otherwise.
    A task during which its worker dies fails at once, with `KilledWorker`. Ctrl-C and SIGTERM are left to this
    process; when it dies, however it does, its workers die with it.
    """
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    workers = {
        number: {
            "cls": Nanny,
            "options": {
                "nthreads": 1,
                "host": _HERE,
                "memory_limit": 0,  # a thread's share of the memory, as Dask counts it, says nothing about a job
                "dashboard": False,
                "silence_logs": logging.CRITICAL,
                "env": worker_environment(number, count, devices),
                "plugins": (_Obedient(),),
            },
        }
        for number in range(count)
    }
    scheduler = {
        "cls": Scheduler,
        "options": {
            "host": _HERE,
            "port": 0,
            "dashboard": False,
            "dashboard_address": f"{_HERE}:0",  # of its page about its health, which has no switch
            "allowed_failures": 0,
        },
    }
    # Dask would give each worker one thread, by writing that into the environment of this very process.
    with (
        dask.config.set({**_NO_LOGS, "distributed.nanny.pre-spawn-environ": {}}),
        SpecCluster(workers=workers, scheduler=scheduler, silence_logs=logging.CRITICAL) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


def worker_environment(number: int, count: int, devices: Sequence[str]) -> dict[str, str]:
    """The environment variables of worker `number` (from 0) of `count`, beside those of this process."""
    environment = {}
    if count > 1 and _THREADS not in os.environ:
        environment[_THREADS] = str(max(1, usable_cores() // count))
    if devices:
        environment[_DEVICES] = devices[number % len(devices)]
    return environment


def devices_to_share(device: str) -> list[str]:
    """The GPUs that workers can be given one each, as `CUDA_VISIBLE_DEVICES` names them.

    None where `device` is the CPU or a GPU that it names, and where there is no GPU.
    """
    if device not in ("auto", "cuda"):
        return []
    count = torch.cuda.device_count()
    named = os.environ.get(_DEVICES)
    return list(map(str, range(count))) if named is None else named.split(",")[:count]


class _Obedient(WorkerPlugin):
    """Keeps a worker to its share of the cores, and to the main process's word on when to stop.

    A terminal sends Ctrl-C to the workers too.
    """

    def setup(self, worker: Worker) -> None:  # noqa: ARG002
        """Called in a worker's main thread when it starts."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        if _THREADS in os.environ:  # torch is there already when Dask sets it
            torch.set_num_threads(int(os.environ[_THREADS]))
        logging.getLogger("distributed").setLevel(logging.CRITICAL)
