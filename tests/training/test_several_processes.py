"""Messages of processes that share one training."""

import pytest
import torch

from mmer_pipeline.errors import UserError
from mmer_pipeline.training.several_processes import explain_lost_process, restart_warnings

GLOO = "[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:553] Connection closed by peer [127.0.0.1]:56471."


@pytest.mark.parametrize(
    "error", [RuntimeError(GLOO), RuntimeError("Gloo connectFullMesh failed"), torch.distributed.DistNetworkError("…")]
)
def test_the_error_of_a_broken_connection_is_a_message(error):
    with pytest.raises(UserError, match="The connection to another process"), explain_lost_process():
        raise error


@pytest.mark.parametrize("error", [RuntimeError("mat1 and mat2 shapes cannot be multiplied"), UserError("No features")])
def test_another_error_is_left_as_it_is(error):
    with pytest.raises(type(error), match=str(error)), explain_lost_process():
        raise error


@pytest.mark.parametrize(("restarts", "shared", "warned"), [("3", "True", 1), ("3", "False", 0), ("0", "True", 0)])
def test_a_restart_with_the_addresses_of_dead_processes_is_warned_of(monkeypatch, restarts, shared, warned):
    assert not restart_warnings()
    monkeypatch.setenv("TORCHELASTIC_MAX_RESTARTS", restarts)
    monkeypatch.setenv("TORCHELASTIC_USE_AGENT_STORE", shared)
    assert len(restart_warnings()) == warned
