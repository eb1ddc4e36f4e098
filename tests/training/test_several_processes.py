"""Messages of processes that share one training."""

import pytest
import torch

from mmer_pipeline.errors import UserError
from mmer_pipeline.training.several_processes import explain_lost_process

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
