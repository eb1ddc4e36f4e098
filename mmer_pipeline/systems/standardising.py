"""Standardising frames by the mean and the standard deviation of all frames of the training part."""

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn


class Standardiser(nn.Module):
    """Subtracts a mean and divides by a standard deviation, those of each dimension: 0 and 1 before `set`."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.mean: Tensor
        self.deviation: Tensor
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("deviation", torch.ones(dim))

    def set(self, mean: Tensor, deviation: Tensor) -> None:
        """Set both, `[d]` each."""
        self.mean.copy_(mean)
        self.deviation.copy_(deviation)

    def forward(self, values: Tensor) -> Tensor:
        """Values `[..., d]` → the same shape."""
        return (values - self.mean) / self.deviation


@torch.no_grad()
def frame_statistics(batches: Iterable[Mapping[str, Tensor]], names: Sequence[str]) -> dict[str, tuple[Tensor, Tensor]]:
    """The mean and the standard deviation `[d]` of each input over all its real frames, in one pass over the batches.

    A dimension that does not vary gets a deviation of 0.0001.
    """
    zero = torch.zeros((), dtype=torch.float64)
    sums = dict.fromkeys(names, (zero, zero, zero))
    for features in batches:
        for name, (count, total, squares) in sums.items():
            frames = features[name][features[f"{name}_mask"]].double()  # [all frames, d]
            sums[name] = (count + len(frames), total + frames.sum(0), squares + frames.square().sum(0))
    found = {}
    for name, (count, total, squares) in sums.items():
        mean = total / count
        found[name] = (mean, (squares / count - mean.square()).clamp(min=1e-8).sqrt())
    return found
