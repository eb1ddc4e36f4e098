"""A moving average of the weights, which is evaluated and saved in place of the last ones (`--ema`)."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn


class MovingAverage:
    """The exponential moving average of some parameters."""

    def __init__(self, parameters: Sequence[nn.Parameter], decay: float) -> None:
        """Begin with the values that the parameters have; with a decay of 0 there is no average."""
        self.parameters, self.decay = parameters, decay
        self.values = [parameter.detach().clone() for parameter in parameters] if decay else []

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Follow the parameters after a step; steps are counted from 0 over all epochs.

        The decay grows to its value, min(decay, (1 + step) / (10 + step)), so that the average soon forgets where it
        began, also in a short run (as in TensorFlow's ExponentialMovingAverage).
        """
        if self.values:
            decay = min(self.decay, (1 + step) / (10 + step))
            torch._foreach_lerp_(self.values, list(self.parameters), 1 - decay)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Give the parameters the average inside the block; without one they keep their values."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def _swap(self) -> None:
        for number, value in enumerate(self.values):
            parameter = self.parameters[number]
            self.values[number], parameter.data = parameter.data, value
