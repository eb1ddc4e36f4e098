"""Processes that share one training, started by torchrun or `accelerate launch`: what is said when one of them dies."""

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
