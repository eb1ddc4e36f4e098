"""Workers on this machine: their threads and GPUs, and who can reach them."""

import os
import socket

import pytest
import torch
from distributed import Client, Security
from helpers.sockets import listening

from mmer_pipeline.cluster import connect
from mmer_pipeline.cluster.connect import devices_to_share, worker_environment
from mmer_pipeline.devices import usable_cores


@pytest.fixture
def machine(monkeypatch):
    """Eight cores, three GPUs, nothing said in the environment."""
    monkeypatch.setattr(connect, "usable_cores", lambda: 8)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    for name in ("OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)


def test_one_worker_has_the_environment_of_this_process(machine):
    assert worker_environment(0, 1, []) == {}


def test_several_workers_share_the_cores_unless_the_environment_sets_the_threads(machine, monkeypatch):
    assert worker_environment(2, 3, []) == {"OMP_NUM_THREADS": "2"}
    assert worker_environment(9, 20, []) == {"OMP_NUM_THREADS": "1"}
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert worker_environment(2, 3, []) == {}


def test_gpus_are_assigned_to_workers_in_turn(machine):
    seen = [worker_environment(number, 4, ["0", "1", "2"])["CUDA_VISIBLE_DEVICES"] for number in range(4)]
    assert seen == ["0", "1", "2", "0"]


def test_workers_share_the_gpus_that_this_process_sees(machine, monkeypatch):
    assert devices_to_share("auto") == devices_to_share("cuda") == ["0", "1", "2"]
    assert devices_to_share("cpu") == devices_to_share("cuda:1") == []
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-8f2a,5,1")
    assert devices_to_share("auto") == ["GPU-8f2a", "5", "1"]
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert devices_to_share("auto") == []


@pytest.fixture(scope="module")
def two_workers():
    """The client of two worker processes, which were started where nothing is said about threads."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("OMP_NUM_THREADS")
        with connect.local_workers(2) as client:
            yield client


def test_several_workers_share_the_cores(two_workers):
    assert set(two_workers.run(torch.get_num_threads).values()) == {max(1, usable_cores() // 2)}


def test_a_worker_that_is_silent_on_a_busy_machine_is_not_given_up(two_workers):
    assert two_workers.cluster.scheduler.worker_ttl is None


def test_nobody_without_the_certificate_of_this_run_reaches_a_worker(two_workers):
    """Neither the scheduler, nor a worker, nor the process that watches a worker: each would run what it is sent."""
    workers = two_workers.scheduler_info()["workers"]
    addresses = [two_workers.scheduler.address, *workers, *(worker["nanny"] for worker in workers.values())]
    ports = {int(address.rpartition(":")[2]) for address in addresses}
    assert {port for _, port in listening(os.getpid())} == ports
    for address in addresses:
        assert address.startswith("tls://127.0.0.1:")
        plain = address.replace("tls://", "tcp://")
        for strange, security in ((plain, Security()), (address, Security.temporary())):
            with pytest.raises(OSError):
                Client(strange, security=security, timeout=0.3, set_as_default=False)


def test_workers_in_threads_listen_on_nothing():
    before = listening(os.getpid())
    with connect.connect("threads") as client:
        assert client.submit(os.getpid).result() == os.getpid()
        assert listening(os.getpid()) == before


def test_sockets_on_all_addresses_are_found():
    """Without this, the tests of listening could pass because nothing is ever found."""
    with socket.socket() as four, socket.socket(socket.AF_INET6) as six:
        for listener in (four, six):
            listener.bind(("", 0))
            listener.listen()
        expected = {("0.0.0.0", four.getsockname()[1]), ("::", six.getsockname()[1])}
        assert expected <= listening(os.getpid())
