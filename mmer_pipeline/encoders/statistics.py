"""Masks of padded utterances, and statistics over their real positions.

Shape letters: B batch, N positions, d hidden size. Masks: True is a real position.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

SMALLEST_VARIANCE = 1e-5  # in training; below it the gradient of the standard deviation would grow without limit


def mask_of(lengths: Sequence[int], device: torch.device) -> Tensor:
    """The mask `[B, N]` of utterances with so many positions."""
    return torch.arange(max(lengths), device=device) < torch.tensor(lengths, device=device)[:, None]


def weighted_statistics(values: Tensor, weights: Tensor) -> Tensor:
    """Mean and standard deviation with weights that add up to 1: `[B, N, d]`, `[B, N, 1 or d]` → `[B, 2d]`.

    A standard deviation is at least the root of `SMALLEST_VARIANCE`.
    """
    mean = (weights * values).sum(dim=1)  # [B, d]
    variance = (weights * (values - mean.unsqueeze(1)).square()).sum(dim=1)  # [B, d]
    return torch.cat([mean, variance.clamp(min=SMALLEST_VARIANCE).sqrt()], dim=-1)


def mean_and_deviation(values: Tensor, mask: Tensor, smallest_variance: float = 0.0) -> Tensor:
    """Mean and standard deviation (of the population) over real positions: `[B, N, d]` → `[B, 2d]`, in float32.

    For training, `smallest_variance` must be above 0: there, the gradient of the standard deviation is infinite.
    """
    values = values.float()
    weights = mask.unsqueeze(-1).to(values.dtype)  # [B, N, 1]
    count = weights.sum(dim=1)  # [B, 1]
    mean = (values * weights).sum(dim=1) / count
    variance = ((values - mean.unsqueeze(1)).square() * weights).sum(dim=1) / count
    return torch.cat([mean, variance.clamp(min=smallest_variance).sqrt()], dim=-1)
