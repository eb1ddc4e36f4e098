"""Pooling with trained weights: over the layers of an encoder, and over the positions of an utterance.

Shape letters: B batch, N positions, L layers, d hidden size. Masks: True is a real position.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mmer_pipeline.encoders.speech import SpeechEncoder
from mmer_pipeline.encoders.statistics import weighted_statistics


class LayerSum(nn.Module):
    """Sum of the layers of an encoder with trained weights, a softmax over L numbers that are equal at first.

    This is the featurizer of s3prl, with which SUPERB compares frozen encoders (Yang et al. 2021, arXiv 2105.01051).
    """

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.scores = nn.Parameter(torch.zeros(layers))

    def forward(self, layers: Sequence[Tensor] | Tensor) -> Tensor:
        """The L layers, as a sequence of `[B, N, d]` or as a tensor `[..., L, d]` → `[B, N, d]` or `[..., d]`."""
        weights = self.scores.softmax(dim=0)  # [L]
        if isinstance(layers, Tensor):
            return weights @ layers
        # Not stacked: the backward pass then needs no copy of the layers.
        products = [weight * layer for weight, layer in zip(weights, layers, strict=True)]
        total: Tensor = sum(products[1:], products[0])
        return total


class AttentiveStatistics(nn.Module):
    """Mean and standard deviation over positions that are weighted by attention (Okabe et al. 2018, arXiv 1803.10963).

    The weight of a position is a softmax of v · tanh(W x + b); their k, a bias of v, would not change it.
    """

    def __init__(self, dim: int, hidden: int = 128) -> None:
        super().__init__()
        self.score = nn.Sequential(nn.Linear(dim, hidden), nn.Tanh(), nn.Linear(hidden, 1, bias=False))

    def forward(self, values: Tensor, mask: Tensor) -> Tensor:
        """Values `[B, N, d]` and their mask `[B, N]` → mean and standard deviation `[B, 2d]`, in float32.

        Of a single position, the standard deviation is the smallest one, not zero.
        """
        scores = self.score(values).squeeze(-1).float()  # [B, N]
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
        weights = (scores.softmax(dim=1) * mask).unsqueeze(-1)  # [B, N, 1]; without a real position all are 0
        return weighted_statistics(values.float(), weights)


def summed_context(speech: SpeechEncoder, layer_sum: LayerSum | None, frames: Tensor, mask: Tensor) -> Tensor:
    """As `SpeechEncoder.context`, or with a `LayerSum` the sum of `SpeechEncoder.hidden_states`: `[B, J, d]`."""
    return layer_sum(speech.hidden_states(frames, mask)) if layer_sum else speech.context(frames, mask)
