"""A Dask cluster of several hosts on this machine, and what can go wrong with it while folds are trained.

Each host is a network namespace; a bridge in another one connects them, so that nothing outside is touched. All hosts
share the file system. `measure` runs the same cross-validation with each fault and compares the results. It needs
root and iproute2.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from conftest import write_tiny_corpus
from helpers.certificates import write_certificates
from helpers.sockets import family

from mmer_pipeline.runs import read_metrics

REPOSITORY = Path(__file__).resolve().parents[2]
NETWORK, PORT = "10.203.7", 8786
SCHEDULER, CLIENT, FIRST_WORKER = 2, 3, 10  # the last number of their addresses
AWAY_SECONDS = 20.0  # how long a worker hangs or is cut off: longer than Dask waits
WORKER_TTL = "6s"  # after which the scheduler gives up a worker that says nothing
START_SECONDS = 240.0
LOOP = ("sh", "-c", 'while :; do "$@"; sleep 1; done', "sh")  # a worker ends when it loses its scheduler
DASK = {
    "DASK_DISTRIBUTED__WORKER__MULTIPROCESSING_METHOD": "spawn",  # `signal_workers` recognises it
    "DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": WORKER_TTL,
    "DASK_DISTRIBUTED__COMM__TIMEOUTS__TCP": "12s",  # Dask allows no less
    "DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "10s",
}


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


def why_not() -> str | None:
    """Why no network can be made here; None: it can."""
    if shutil.which("ip") is None:
        return "iproute2 is not installed"
    name = f"mmer{os.getpid()}-try"
    try:
        _ip("netns", "add", name)
        _ip("netns", "delete", name)
    except subprocess.CalledProcessError as error:
        return f"network namespaces need root: {error.stderr.decode().strip()}"
    return None


class Network:
    """Hosts that reach one another, and nothing else."""

    def __init__(self, hosts: Sequence[int]) -> None:
        self.prefix, self.hosts = f"mmer{os.getpid()}", hosts

    def name(self, host: int | str) -> str:
        return f"{self.prefix}-{host}"

    def __enter__(self) -> "Network":
        hub = self.name("hub")
        _ip("netns", "add", hub)
        _ip("-n", hub, "link", "add", "bridge", "type", "bridge")
        _ip("-n", hub, "link", "set", "bridge", "up")
        for host in self.hosts:
            _ip("netns", "add", self.name(host))
            _ip(
                "-n", hub, "link", "add", f"port{host}", "type", "veth", "peer", "name", "net", "netns", self.name(host)
            )
            _ip("-n", hub, "link", "set", f"port{host}", "master", "bridge", "up")
            _ip("-n", self.name(host), "address", "add", f"{NETWORK}.{host}/24", "dev", "net")
            for device in ("net", "lo"):
                _ip("-n", self.name(host), "link", "set", device, "up")
        return self

    def __exit__(self, *_: object) -> None:
        for host in ("hub", *self.hosts):
            with suppress(subprocess.CalledProcessError):
                _ip("netns", "delete", self.name(host))

    def plug(self, host: int, state: str) -> None:
        """Connect a host with the others ("up"), or cut it off ("down")."""
        _ip("-n", self.name("hub"), "link", "set", f"port{host}", state)

    def start(self, host: int, words: Sequence[str], log: Path, **environment: str) -> subprocess.Popen[bytes]:
        """Start a program on a host; what it says goes to `log`."""
        path = os.pathsep.join([environment.pop("PYTHONPATH", ""), str(REPOSITORY)]).strip(os.pathsep)
        with log.open("ab") as stream:
            return subprocess.Popen(
                ["ip", "netns", "exec", self.name(host), *words], stdout=stream, stderr=stream,
                env={**os.environ, **DASK, "OMP_NUM_THREADS": "1", "PYTHONPATH": path, **environment},
            )  # fmt: skip


@dataclass
class Cluster:
    """A scheduler and workers on hosts of a network."""

    network: Network
    directory: Path  # of certificates and logs
    workers: int
    processes: dict[int, subprocess.Popen[bytes]] = field(default_factory=dict)  # by host

    def __post_init__(self) -> None:
        self.options = write_certificates(self.directory / "certificates")
        ca, cert, key = self.options[1::2]
        self.tls = ["--tls-ca-file", ca, "--tls-cert", cert, "--tls-key", key]
        self.address = f"tls://{NETWORK}.{SCHEDULER}:{PORT}"

    def __enter__(self) -> "Cluster":
        self.start_scheduler()
        for number in range(self.workers):
            self.start_worker(FIRST_WORKER + number)
        return self

    def __exit__(self, *_: object) -> None:
        for host in list(self.processes):
            self.end(host)

    def start_scheduler(self) -> None:
        where = ["--protocol", "tls", "--host", f"{NETWORK}.{SCHEDULER}", "--port", str(PORT)]
        words = ["dask", "scheduler", *where, "--no-dashboard", *self.tls]
        self.processes[SCHEDULER] = self.network.start(SCHEDULER, _python(*words), self.directory / "scheduler.log")

    def start_worker(self, host: int, before: Sequence[str] = (), **environment: str) -> None:
        local = ["--host", f"{NETWORK}.{host}", "--local-directory", str(self.directory / f"scratch-{host}")]
        words = ["dask", "worker", "--nthreads", "1", "--memory-limit", "0", *local, *self.tls, "--no-dashboard"]
        log = self.directory / f"worker-{host}.log"
        self.processes[host] = self.network.start(
            host, [*before, *LOOP, *_python(*words, self.address)], log, **environment
        )

    def end(self, host: int) -> None:
        """Kill everything on a host."""
        process = self.processes.pop(host)
        for member in (process.pid, *family(process.pid)):  # the first would start another one
            with suppress(ProcessLookupError):
                os.kill(member, signal.SIGKILL)
        process.wait()

    def signal_workers(self, host: int, number: int) -> None:
        """Send a signal to the processes that compute on a host, and not to those that watch them."""
        process = self.processes[host].pid
        for member in family(process) - {process}:
            with suppress(OSError):
                if b"spawn_main" in Path(f"/proc/{member}/cmdline").read_bytes():
                    os.kill(member, number)


def _python(*words: str) -> list[str]:
    return [sys.executable, "-m", *words]


# ------------------------------------------------------------------------------------------- faults
# Each is called when the first fold is being trained on a cluster, and may yield until the fault is over.

Fault = Callable[[Cluster], None]


def none(_: Cluster) -> None:
    """Nothing goes wrong."""


def worker_killed(cluster: Cluster) -> None:
    """The process that computes is killed; the one that watches it starts another."""
    cluster.signal_workers(FIRST_WORKER, signal.SIGKILL)


def worker_hangs(cluster: Cluster) -> None:
    """A worker stops answering, and comes back."""
    cluster.signal_workers(FIRST_WORKER, signal.SIGSTOP)
    time.sleep(AWAY_SECONDS)
    cluster.signal_workers(FIRST_WORKER, signal.SIGCONT)


def worker_is_cut_off(cluster: Cluster) -> None:
    """A worker's host leaves the network, and comes back; the worker goes on computing."""
    cluster.network.plug(FIRST_WORKER, "down")
    time.sleep(AWAY_SECONDS)
    cluster.network.plug(FIRST_WORKER, "up")


def worker_is_slow(cluster: Cluster) -> None:
    """A worker stands still nine tenths of the time."""
    for _ in range(10):
        cluster.signal_workers(FIRST_WORKER, signal.SIGSTOP)
        time.sleep(0.9)
        cluster.signal_workers(FIRST_WORKER, signal.SIGCONT)
        time.sleep(0.1)


def host_dies(cluster: Cluster) -> None:
    """Everything on a worker's host ends, and is started again later."""
    cluster.end(FIRST_WORKER)
    time.sleep(3)
    cluster.start_worker(FIRST_WORKER)


def scheduler_restarts(cluster: Cluster) -> None:
    """The scheduler is killed and started again, without any memory."""
    cluster.end(SCHEDULER)
    time.sleep(2)
    cluster.start_scheduler()


FAULTS: tuple[Fault, ...] = (
    none, worker_killed, worker_hangs, worker_is_cut_off, worker_is_slow, host_dies, scheduler_restarts,
)  # fmt: skip


# -------------------------------------------------------------------------------------- measurement


@dataclass(frozen=True)
class Measured:
    """A cross-validation with a fault."""

    fault: str
    hosts: int
    jobs: int
    lost: int  # jobs that did not end well
    same_digits: bool  # as without a cluster
    seconds: float


def measure(directory: Path, encoders: Sequence[str], hosts: int, faults: Sequence[Fault] = FAULTS) -> list[Measured]:
    """Run the cross-validation without a cluster, and then on one, with each fault."""
    with ExitStack() as stack:
        training = prepare(directory, encoders)
        expected = digits(directory / "expected")
        network = stack.enter_context(Network([SCHEDULER, CLIENT, *range(FIRST_WORKER, FIRST_WORKER + hosts)]))
        cluster = stack.enter_context(Cluster(network, directory, hosts))
        found = []
        for fault in faults:
            began = time.monotonic()
            runs = directory / f"{fault.__name__}-{hosts}"
            with client(cluster, runs, training) as process:
                wait_for_a_fold(process, runs)
                fault(cluster)
                process.wait(START_SECONDS)
            jobs = json.loads((runs / "said.json").read_text() or '{"jobs": []}')["jobs"]
            lost = sum(job["state"] not in ("done", "was done") for job in jobs) if jobs else -1
            same = digits(runs) == expected
            found.append(Measured(fault.__name__, hosts, len(jobs), lost, same, round(time.monotonic() - began, 1)))
        return found


def prepare(directory: Path, encoders: Sequence[str]) -> list[str]:
    """Write a corpus and train its folds without a cluster; returns the words of the training."""
    training = ["--systems", "roberta", "--folds", "speaker", "--epochs", "12", "--device", "cpu", *encoders]
    directory.mkdir(parents=True, exist_ok=True)
    manifest = write_tiny_corpus(directory, sessions=4)
    training += ["--manifest", str(manifest.path), "--cache-dir", str(directory / "cache")]
    words = ["stages.cli", "cv", *training, "--runs-dir", str(directory / "expected")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)}
    subprocess.run(_python(*words), check=True, capture_output=True, env=environment)
    return training


@contextmanager
def client(cluster: Cluster, runs: Path, training: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
    """The command cv on a host of its own; its result goes to `said.json`, its messages to `said.log`."""
    runs.mkdir(parents=True)
    words = _python(
        "stages.cli", "cv", *training, "--runs-dir", str(runs), "--scheduler", cluster.address, *cluster.options
    )
    line = f'exec "$@" --json > {runs}/said.json'
    log = runs / "said.log"
    process = cluster.network.start(CLIENT, ["sh", "-c", line, "sh", *words], log)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def wait_for_a_fold(process: "subprocess.Popen[bytes]", runs: Path) -> None:
    """Wait until a fold is being trained, or all is over."""
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and not list(runs.glob("*/fold-*/metrics.jsonl")):
        assert time.monotonic() < deadline, "no fold has been started"
        time.sleep(0.02)


def digits(runs: Path) -> dict[str, Any]:
    """What was trained and predicted, without times."""
    found: dict[str, Any] = {}
    for path in sorted(runs.glob("*/fold-*/metrics.jsonl")):
        name = str(path.parent.relative_to(runs))
        found[name] = [{**line, "speed": None} for line in read_metrics(path)]
        predictions = path.with_name("predictions.csv")
        found[f"{name}/predictions"] = predictions.read_text() if predictions.exists() else None
    return found
