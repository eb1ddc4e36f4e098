"""Work for the workers of a cluster: workers that are lost, refused or late, and a scheduler that starts again.

The workers are threads of this process, which need no time to start; the client only knows their scheduler's address.
"""

import threading
import time
from contextlib import contextmanager
from dataclasses import replace

import pytest
from distributed import LocalCluster, Status, get_worker

from mmer_pipeline.cluster import dispatch, remote_scheduler, worker_check
from mmer_pipeline.cluster.connect import connect
from mmer_pipeline.cluster.dispatch import Dispatcher, WorkersLost
from mmer_pipeline.cluster.worker_check import Requirements, examine, fault_of, fault_of_error, shared_directory
from mmer_pipeline.errors import UserError

OPTIONS = {
    "protocol": "tcp://",
    "host": "127.0.0.1",
    "dashboard_address": "127.0.0.1:0",
    "processes": False,
    "threads_per_worker": 1,
}
hold = threading.Event()  # while it is not set, items named "long" do not end, unless their worker is closed


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(dispatch, "SECONDS_BETWEEN_LOOKS", 0.05)
    hold.clear()
    yield
    hold.set()


@contextmanager
def cluster_of(workers, port=0):
    with LocalCluster(n_workers=workers, scheduler_port=port, **OPTIONS) as cluster:
        yield cluster


def work(item):
    """An item's name, and the worker that ran it."""
    while item == "long" and not hold.is_set() and get_worker().status == Status.running:
        time.sleep(0.01)
    if item == "breaks":
        raise ZeroDivisionError("by nothing")
    return item, get_worker().address


def until(dispatcher, condition):
    """Let a dispatcher work until a condition holds; returns the items that ended."""
    ended = []
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        if (one := dispatcher.next(0.05)) is not None:
            ended.append(one)
    return ended


def test_items_end_with_results_errors_and_their_logs():
    with cluster_of(2) as cluster, connect(cluster.scheduler_address) as client, Dispatcher(client, work) as workers:
        ended = {one.item: one for one in workers.map(["a", "breaks", "b", "c"], 0.05) if one}
    assert {item: one.result[0] for item, one in ended.items() if one.result} == {"a": "a", "b": "b", "c": "c"}
    assert isinstance(ended["breaks"].error, ZeroDivisionError)
    assert f"failed on {OPTIONS['host']}" in ended["breaks"].log.replace("tcp://", "")
    assert "in work" in ended["breaks"].log


def test_workers_are_not_lost_where_the_client_s_own_list_of_them_is_empty(monkeypatch):
    """Dask replaces that list every two seconds by one without workers."""
    said = []
    with (
        cluster_of(1) as cluster,
        connect(cluster.scheduler_address) as client,
        Dispatcher(client, work, report=said.append) as workers,
    ):
        monkeypatch.setattr(type(client), "scheduler_info", lambda *_, **__: {"workers": {}})
        ended = [one.item for one in workers.map(["a", "b", "c"], 0.05) if one]
    assert sorted(ended) == ["a", "b", "c"]
    assert not said


def test_what_a_lost_worker_had_goes_to_another_one():
    said, running = [], []
    with (
        cluster_of(2) as cluster,
        connect(cluster.scheduler_address) as client,
        Dispatcher(client, work, started=running.append, report=said.append) as workers,
    ):
        workers.submit("long")
        until(workers, lambda: running == ["long"])
        [task] = workers.tasks.values()
        lost = task.worker
        cluster.sync(cluster.scheduler.remove_worker, lost, stimulus_id="test")
        until(workers, lambda: running == ["long", "long"])
        hold.set()
        [one] = until(workers, lambda: not len(workers))
    assert one.result[0] == "long"
    assert one.result[1] != lost
    assert any(f"The worker {lost} was lost" in text for text in said)


def test_an_item_whose_worker_dies_before_its_result_was_fetched_is_computed_again():
    """The client has not heard of the loss; Dask would wait for the lost worker to compute the item again."""
    with cluster_of(2) as cluster, connect(cluster.scheduler_address) as client, Dispatcher(client, work) as workers:
        client._stream_handlers["lost-data"] = lambda **_: None
        workers.submit("a")
        [task] = workers.tasks.values()
        assert task.future.exception(timeout=20) is None  # it has ended
        lost = task.worker
        cluster.sync(cluster.scheduler.remove_worker, lost, stimulus_id="test")
        [one] = until(workers, lambda: not len(workers))
    assert one.result[0] == "a"
    assert one.result[1] != lost


def test_an_item_that_lost_too_many_workers_fails():
    with cluster_of(4) as cluster, connect(cluster.scheduler_address) as client, Dispatcher(client, work) as workers:
        workers.submit("long")
        ended = []
        for _ in range(dispatch.ATTEMPTS):
            ended += until(workers, lambda: any(task.started for task in workers.tasks.values()))
            [task] = workers.tasks.values()
            cluster.sync(cluster.scheduler.remove_worker, task.worker, stimulus_id="test")
            ended += until(workers, lambda lost=task.worker: all(t.worker != lost for t in workers.tasks.values()))
        ended += until(workers, lambda: not len(workers))
    [one] = ended
    assert isinstance(one.error, WorkersLost)
    assert one.log.count("was lost") == dispatch.ATTEMPTS


def test_a_scheduler_that_starts_again_gets_the_work_again():
    said = []
    with cluster_of(1) as cluster, connect(cluster.scheduler_address) as client:
        port = int(cluster.scheduler_address.rpartition(":")[2])
        with Dispatcher(client, work, report=said.append) as workers:
            workers.submit("long")
            until(workers, lambda: any(task.started for task in workers.tasks.values()))
            cluster.close()
            until(workers, lambda: bool(said))
            hold.set()
            with cluster_of(1, port):
                [one] = until(workers, lambda: not len(workers))
    assert one.result[0] == "long"
    assert said[0].startswith("The connection to the Dask scheduler was lost")


def test_a_scheduler_that_stays_away_is_one_message(monkeypatch):
    monkeypatch.setattr(remote_scheduler, "RECONNECT_SECONDS", 0.5)
    with (
        cluster_of(1) as cluster,
        connect(cluster.scheduler_address) as client,
        Dispatcher(client, work) as workers,
    ):
        workers.submit("long")
        cluster.close()
        hold.set()
        with pytest.raises(UserError, match="The Dask scheduler is gone"):
            until(workers, lambda: False)


@pytest.mark.parametrize("fault", ["version", "code", "file", "no disk", "another disk"])
def test_a_worker_that_would_give_other_digits_or_lacks_files_gets_nothing(fault, tmp_path, monkeypatch):
    requirements = shared_directory(tmp_path / "runs", [tmp_path])
    assert shared_directory(tmp_path / "runs", [tmp_path]) == requirements  # every command has the same
    with cluster_of(1) as cluster, connect(cluster.scheduler_address) as client:
        if fault == "file":
            requirements = replace(requirements, read=(tmp_path / "cache",))
        workers = Dispatcher(client, work, requirements=requirements)
        version = worker_check._version
        if fault == "version":
            monkeypatch.setattr(worker_check, "_version", lambda name: "2.0.1" if name == "torch" else version(name))
        if fault == "code":
            monkeypatch.setattr(worker_check, "_digest_of_code", lambda: "0" * 16)
        if fault == "no disk":
            requirements.token.unlink()
        if fault == "another disk":
            requirements.token.write_text("another")
        expected = {
            "version": f"it has torch 2.0.1 (here {version('torch')})",
            "code": f"it has mmer-pipeline {version('mmer-pipeline')} with other source code",
            "file": f"it does not see {tmp_path / 'cache'}",
            "disk": f"it cannot write to {tmp_path / 'runs'}, or has another directory of that name",
        }[fault.split()[-1]]
        with pytest.raises(UserError, match="None of the workers can be used") as refused, workers:
            until(workers, lambda: False)
    assert expected in str(refused.value)
    assert f"is not used: {expected}" in str(refused.value)


def test_other_workers_do_the_work_of_a_refused_one(tmp_path, monkeypatch):
    """Of two workers one has another version; of those, one answers as if it had."""
    answers = iter(["2.0.1", None])
    version, lock = worker_check._version, threading.Lock()

    def versions(name):
        with lock:
            return (next(answers, None) or version(name)) if name == "torch" else version(name)

    said = []
    with cluster_of(2) as cluster, connect(cluster.scheduler_address) as client:
        workers = Dispatcher(client, work, requirements=Requirements((tmp_path,)), report=said.append)
        monkeypatch.setattr(worker_check, "_version", versions)
        with workers:
            ended = [one for one in workers.map("abcd", 0.05) if one]
            until(workers, lambda: bool(said))  # on a busy machine, the other one may have done all work before
    assert len({one.result[1] for one in ended}) == 1
    assert sum("is not used: it has torch 2.0.1" in text for text in said) == 1


def test_the_same_python_and_libraries_are_no_fault():
    facts = examine(Requirements(()))
    assert fault_of(facts, facts) is None
    assert "Python 3.9 (here" in fault_of(replace(facts, versions={**facts.versions, "Python": "3.9"}), facts)
    missing = ModuleNotFoundError("No module named 'mmer_pipeline'")
    assert "it cannot load this version of mmer-pipeline (ModuleNotFoundError" in fault_of_error(missing)


def test_a_worker_that_joins_late_gets_work():
    said = []
    with (
        cluster_of(0) as cluster,
        connect(cluster.scheduler_address) as client,
        Dispatcher(client, work, report=said.append) as workers,
    ):
        workers.submit("a")
        until(workers, lambda: said == ["The scheduler has no worker yet. Waiting for one …"])
        cluster.scale(1)
        [one] = until(workers, lambda: not len(workers))
    assert one.item == "a"


def test_a_stop_cancels_what_has_not_started():
    with (
        cluster_of(1) as cluster,
        connect(cluster.scheduler_address) as client,
        Dispatcher(client, work, per_thread=3) as workers,
    ):
        for item in ("long", "a", "b", "c"):
            workers.submit(item)
        until(workers, lambda: any(task.started for task in workers.tasks.values()))
        assert sorted(workers.stop()) == ["a", "b", "c"]
        hold.set()
        [one] = until(workers, lambda: not len(workers))
    assert one.item == "long"
