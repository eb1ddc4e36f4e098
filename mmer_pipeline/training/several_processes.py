"""Processes that share one training, started by torchrun or `accelerate launch`: what is said when one of them dies."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from mmer_pipeline.errors import UserError


@contextmanager
def explain_lost_process() -> Iterator[None]:
    """Turn the error of a process whose connection to another one broke into a `UserError`.

    Gloo raises a plain RuntimeError, which only its text tells from others.
    """
    try:
        yield
    except RuntimeError as error:
        if not isinstance(error, torch.distributed.DistError) and "gloo" not in str(error).lower():
            raise
        raise UserError(
            "The connection to another process of this command broke: most likely that process has ended, and its "
            "message is among the others. Everything saved is kept; the same command continues from there."
        ) from error


def restart_warnings() -> list[str]:
    """Warn if torchrun was told to start processes again when one dies, but cannot do so reliably.

    Unless told not to, it keeps the addresses of the dead processes, and those that it starts again may connect to them
    (pytorch/pytorch#135712).
    """
    restarts = int(os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0"))
    if not restarts or os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return []
    return [
        f"torchrun has --max-restarts={restarts}, but a restart can fail: the new processes may get the addresses of "
        "the dead ones. Set TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1, and use --standalone or --rdzv-backend=c10d."
    ]
