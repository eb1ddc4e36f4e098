"""A Dask cluster of several hosts, and what can go wrong with it while it trains folds or computes features.

The hosts are those of `network.py`: one for the scheduler, one for the client, and one for each worker. Everything is
forked, so that a cluster starts within seconds.
"""

import os
import random
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import dask
from helpers.certificates import write_certificates
from helpers.sockets import family

from faults import network
from faults.children import Child, command, die_with_parent
from faults.network import Network, address
from faults.shim import Plan
from faults.workplace import ALL_STAGES, FOLDS_OF_SPEAKERS, FoundError, Workplace

why_not = network.why_not
PORT = 8786
HOSTS = (1, 2, 4)  # with a worker each, in turn by the seed
SCHEDULER, CLIENT, EXTRA, FIRST_WORKER = 2, 3, 9, 10  # numbers of hosts
AWAY_SECONDS = 14.0  # how long a host hangs or is cut off: Dask gives it up after 5 to 10
SLOW_SECONDS = 6.0
START_SECONDS = 60.0
DASK = {
    "distributed.scheduler.worker-ttl": "5s",
    "distributed.comm.timeouts.tcp": "12s",  # Dask allows no less than 11
    "distributed.comm.timeouts.connect": "5s",
}


@dataclass
class Cluster:
    """A scheduler and workers on hosts of a network."""

    network: Network
    workplace: Workplace
    workers: int
    children: dict[int, Child] = field(default_factory=dict)  # by host

    def __post_init__(self) -> None:
        self.directory = self.workplace.slot / "cluster"
        self.options = write_certificates(self.directory / "certificates")
        ca, cert, key = self.options[1::2]
        self.tls = ["--tls-ca-file", ca, "--tls-cert", cert, "--tls-key", key]
        self.address = f"tls://{address(SCHEDULER)}:{PORT}"

    def __enter__(self) -> "Cluster":
        self.start_scheduler()
        for host in range(FIRST_WORKER, FIRST_WORKER + self.workers):
            self.start_worker(host)
        return self

    def __exit__(self, *_: object) -> None:
        for host in list(self.children):
            self.end(host)

    def start(self, host: int, work: Callable[[], int]) -> Child:
        """Start a function on a host; the host's output is in a file named after it."""

        def there() -> int:
            self.network.enter(host)
            dask.config.set(DASK)
            return work()

        child = Child(there, self.workplace.control, self.workplace.place, self.directory / f"host-{host}.log")
        self.children[host] = child
        return child

    def start_scheduler(self) -> None:
        where = ["--protocol", "tls", "--host", address(SCHEDULER), "--port", str(PORT)]
        self.start(SCHEDULER, partial(_scheduler, [*where, "--no-dashboard", *self.tls]))

    def start_worker(self, host: int, before: Callable[[], None] = lambda: None) -> None:
        """Start a worker, and start it again whenever it ends: it does so when it loses its scheduler."""
        local = ["--host", address(host), "--local-directory", str(self.directory / f"scratch-{host}")]
        words = ["--nthreads", "1", "--memory-limit", "0", "--no-dashboard", *local, *self.tls, self.address]

        def work() -> int:
            before()
            while True:
                pid = os.fork()
                if pid == 0:
                    die_with_parent()
                    with suppress(BaseException):
                        _worker(words)
                    os._exit(0)
                os.waitpid(pid, 0)
                time.sleep(0.5)

        self.start(host, work)

    def start_client(self, stage: str) -> Child:
        """Start the command of a stage on a host."""
        words = [*self.workplace.arguments(stage), "--scheduler", self.address, *self.options]
        return self.start(CLIENT, command(words))

    def end(self, host: int) -> None:
        """Kill everything on a host."""
        child = self.children.pop(host)
        child.end_group()
        with suppress(ChildProcessError):  # it has been waited for
            os.waitpid(child.pid, 0)

    def signal(self, host: int, number: int, *, computing_only: bool) -> None:
        """Send a signal to the process that computes on a host, or to all of them."""
        members = family(self.children[host].pid)
        for member in members:
            if not computing_only or family(member) == {member}:
                with suppress(ProcessLookupError):
                    os.kill(member, number)

    def client_works(self) -> bool:
        """Whether the command has not ended."""
        return os.waitid(os.P_PID, self.children[CLIENT].pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None

    def said(self, host: int) -> str:
        """The output of a host."""
        return (self.directory / f"host-{host}.log").read_text(errors="replace")


def _scheduler(words: list[str]) -> int:
    from distributed.cli.dask_scheduler import main

    return int(main.main(words, standalone_mode=False) or 0)


def _worker(words: list[str]) -> None:
    from distributed.cli.dask_worker import main

    main.main(words, standalone_mode=False)


# ------------------------------------------------------------------------------------------- faults
# Each is called with the number of a worker's host at a random moment of the work.


def _none(_cluster: Cluster, _host: int, _generator: random.Random) -> None:
    pass


def _killed(cluster: Cluster, host: int, _: random.Random) -> None:
    """The process that computes is killed; the one that watches it starts another."""
    cluster.signal(host, signal.SIGKILL, computing_only=True)


def _hangs(cluster: Cluster, host: int, generator: random.Random) -> None:
    """The process that computes, or everything on its host, stops and continues."""
    computing_only = generator.random() < 0.5
    cluster.signal(host, signal.SIGSTOP, computing_only=computing_only)
    _wait(cluster, AWAY_SECONDS)
    cluster.signal(host, signal.SIGCONT, computing_only=computing_only)


def _cut_off(cluster: Cluster, host: int, _: random.Random) -> None:
    """The host leaves the network and comes back; its worker goes on computing."""
    cluster.network.plug(host, "down")
    _wait(cluster, AWAY_SECONDS)
    cluster.network.plug(host, "up")


def _slow(cluster: Cluster, host: int, _: random.Random) -> None:
    """The host pauses nine tenths of the time."""
    deadline = time.monotonic() + SLOW_SECONDS
    while cluster.client_works() and time.monotonic() < deadline:
        cluster.signal(host, signal.SIGSTOP, computing_only=False)
        time.sleep(0.45)
        cluster.signal(host, signal.SIGCONT, computing_only=False)
        time.sleep(0.05)


def _host_dies(cluster: Cluster, host: int, _: random.Random) -> None:
    """Everything on the host ends, and is started again later."""
    cluster.end(host)
    _wait(cluster, 3)
    cluster.start_worker(host)


def _scheduler_restarts(cluster: Cluster, _host: int, _: random.Random) -> None:
    """The scheduler is killed, and started again without any memory."""
    cluster.end(SCHEDULER)
    _wait(cluster, 2)
    cluster.start_scheduler()


def _wait(cluster: Cluster, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while cluster.client_works() and time.monotonic() < deadline:
        time.sleep(0.05)


def _other_version(directory: Path, name: str) -> None:
    """Let this process find another version of a package first."""
    facts = directory / f"{name.replace('-', '_')}-0.0.1.dist-info"
    facts.mkdir(parents=True, exist_ok=True)
    (facts / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.0.1\n")
    sys.path.insert(0, str(directory))


@dataclass(frozen=True)
class Fault:
    """Something that goes wrong while a stage's command runs on a cluster."""

    happens: Callable[[Cluster, int, random.Random], None] = _none
    stage: str = FOLDS_OF_SPEAKERS
    extra: Callable[[Workplace], Callable[[], None]] | None = None  # a further worker, and what is wrong with it
    refused: str = ""  # what the client says about that worker


FAULTS = {
    "none": Fault(),
    "worker killed": Fault(_killed),
    "worker hangs": Fault(_hangs),
    "worker cut off": Fault(_cut_off),
    "worker slow": Fault(_slow),
    "worker without the files": Fault(
        extra=lambda workplace: partial(network.hide, workplace.place), refused="is not used: it does not see"
    ),
    "worker with another torch": Fault(
        extra=lambda workplace: partial(_other_version, workplace.slot / "other-torch", "torch"),
        refused="is not used: it has torch 0.0.1",
    ),
    "worker with another mmer-pipeline": Fault(
        extra=lambda workplace: partial(_other_version, workplace.slot / "other-version", "mmer-pipeline"),
        refused="is not used: it has mmer-pipeline 0.0.1",
    ),
    "host dies": Fault(_host_dies),
    "scheduler restarts": Fault(_scheduler_restarts),
    "worker killed in extract": Fault(_killed, "extract"),
}
CASES = tuple(FAULTS)


def trial(case: str, seed: int, workplace: Workplace) -> dict[str, int | float]:
    """Run a command on a cluster of one, two or four hosts, disturb it, and compare the end with that of no cluster.

    Raises:
        FoundError: it fails, a worker that cannot be used was not named, or the end differs.
    """
    fault, hosts = FAULTS[case], HOSTS[seed % len(HOSTS)]
    generator = random.Random(f"cluster {case} {seed}")
    workplace.prepare_states(fault.stage)
    workplace.restore(ALL_STAGES[fault.stage].before)
    workplace.control.arm(Plan())
    numbers = [SCHEDULER, CLIENT, EXTRA, *range(FIRST_WORKER, FIRST_WORKER + hosts)]
    with Network(numbers) as hosts_of_network, Cluster(hosts_of_network, workplace, hosts) as cluster:
        if fault.extra:
            cluster.start_worker(EXTRA, fault.extra(workplace))
        client = cluster.start_client(fault.stage)
        _wait_for_work(cluster, fault.stage)
        began = time.monotonic()
        time.sleep(generator.uniform(0, 1.0))
        in_time = cluster.client_works()
        fault.happens(cluster, FIRST_WORKER + generator.randrange(hosts), generator)
        ended = client.wait()
        seconds = round(time.monotonic() - began, 1)
        logs = "".join(f"\n--- host {host}:\n{cluster.said(host)[-2500:]}" for host in cluster.children)
    what = f"{hosts} hosts: exit {ended.code}{logs}"
    if ended.code != 0 or ended.has_traceback:
        raise FoundError(what)
    if fault.refused not in ended.output:
        raise FoundError(f"the client did not say that a worker {fault.refused}: {what}")
    try:
        workplace.compare(fault.stage)
    except FoundError as error:
        raise FoundError(f"{error}: {what}") from None
    return {
        "faults": int((in_time and fault.happens is not _none) or bool(fault.extra)),
        "hosts": hosts,
        "ran": seconds,
    }


def _wait_for_work(cluster: Cluster, stage: str) -> None:
    """Wait until a worker computes, or all is over."""
    place = cluster.workplace.place
    begun = "cache/features/**/*.h5*" if stage == "extract" else "runs/*/fold-*/settings.json"
    deadline = time.monotonic() + START_SECONDS
    while cluster.client_works() and not list(place.glob(begun)) and time.monotonic() < deadline:
        time.sleep(0.01)
