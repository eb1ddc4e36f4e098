"""The threads and the GPU of each worker process. For the processes themselves see tests/stages/test_cv.py."""

import pytest
import torch

from mmer_pipeline import cluster
from mmer_pipeline.cluster import devices_to_share, worker_environment
from mmer_pipeline.devices import usable_cores


@pytest.fixture
def machine(monkeypatch):
    """Eight cores, three GPUs, nothing said in the environment."""
    monkeypatch.setattr(cluster, "usable_cores", lambda: 8)
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


def test_several_workers_share_the_cores(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS")
    with cluster.local_workers(2) as client:
        assert set(client.run(torch.get_num_threads).values()) == {max(1, usable_cores() // 2)}
