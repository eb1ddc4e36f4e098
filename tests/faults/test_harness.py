"""The fault harness itself: its order of trials, and what it leaves when it is stopped."""

import os
import signal
import subprocess
import sys
from argparse import Namespace
from pathlib import Path
from types import SimpleNamespace

import pytest

from faults import network
from faults.__main__ import _trials
from faults.network import Network
from faults.results import Results

TESTS = Path(__file__).resolve().parents[1]
STOPPED = """
import time
from faults.children import stop_by_signals
from faults.network import Network
stop_by_signals()
with Network([1]):
    print("ready", flush=True)
    time.sleep(60)
"""


def namespaces(pid: int) -> list[str]:
    return sorted(path.name for path in Path("/run/netns").glob(f"mmer{pid}-*"))


@pytest.fixture
def networks() -> None:
    reason = network.why_not()
    if reason is not None:
        pytest.skip(reason)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_harness_that_is_stopped_removes_its_network(number: int, networks: None) -> None:
    environment = {**os.environ, "PYTHONPATH": f"{TESTS.parent}:{TESTS}"}
    with subprocess.Popen(
        [sys.executable, "-c", STOPPED], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        assert namespaces(process.pid) == [f"mmer{process.pid}-1", f"mmer{process.pid}-hub"]
        process.send_signal(number)
        process.wait(timeout=60)
        assert namespaces(process.pid) == []


def test_the_network_of_a_killed_harness_is_removed_and_that_of_a_living_one_is_not(networks: None) -> None:
    environment = {**os.environ, "PYTHONPATH": f"{TESTS.parent}:{TESTS}"}
    with (
        Network([1]),
        subprocess.Popen([sys.executable, "-c", STOPPED], stdout=subprocess.PIPE, env=environment) as process,
    ):
        assert process.stdout is not None
        process.stdout.readline()
        process.kill()
        process.wait()
        assert namespaces(process.pid) != []
        network.remove_left()
        assert namespaces(process.pid) == []
        assert namespaces(os.getpid()) == [f"mmer{os.getpid()}-1", f"mmer{os.getpid()}-hub"]


def test_trials_that_found_something_come_first_and_then_every_kind_gets_the_same_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    modules = {
        "cluster": SimpleNamespace(CASES=("a",)),
        "kills": SimpleNamespace(CASES=("b", "c")),
        "pairs": SimpleNamespace(CASES=("d",)),
        "mutations": None,
    }
    results, ended = Results(tmp_path / "results.jsonl"), {("pairs", "d")}
    results.add({"kind": "kills", "case": "b", "seed": 0, "result": "held"})
    results.add({"kind": "kills", "case": "c", "seed": 2, "result": "found"})
    clock = [0.0]
    monkeypatch.setattr("faults.__main__.time", SimpleNamespace(monotonic=lambda: clock[0]))
    made = []
    for trial in _trials(Namespace(cases=None, first_seed=0, step=2), modules, results, ended):
        clock[0] += {"cluster": 10, "kills": 4, "mutations": 6}[trial.kind]
        made.append((trial.kind, trial.case, trial.seed))
        if len(made) == 8:
            break
    assert made[:4] == [("kills", "c", 2), ("cluster", "a", 0), ("kills", "c", 0), ("mutations", "", 0)]
    assert made[4:] == [("kills", "b", 2), ("mutations", "", 2), ("kills", "b", 4), ("cluster", "a", 2)]
