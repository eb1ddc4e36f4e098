"""Segments of a fixed number of frames: a random one in training, all of them in evaluation.

Shape letters: B batch, N frames, S segments of a batch, T frames of a segment, d size of a frame, C classes.
Masks: True is a real frame.
"""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class Segments:
    """Where the segments of a batch are; a segment of an utterance that is too short ends with zeros."""

    utterances: Tensor  # [S] the utterance of each segment, in the batch
    starts: Tensor  # [S] its first frame
    lengths: Tensor  # [B] real frames of each utterance
    frames: int  # T

    @classmethod
    def random(cls, mask: Tensor, frames: int) -> Self:
        """One segment of each utterance, from torch's generator; `mask` is `[B, N]`."""
        lengths = mask.sum(dim=1)
        last = (lengths - frames).clamp(min=0)  # [B]
        starts = (torch.rand(len(mask), device=mask.device) * (last + 1)).long().minimum(last)
        return cls(torch.arange(len(mask), device=mask.device), starts, lengths, frames)

    @classmethod
    def all(cls, mask: Tensor, frames: int) -> Self:
        """Consecutive segments; the last one of an utterance ends with it, and may overlap the one before."""
        lengths = mask.sum(dim=1)
        count = -(-lengths // frames)  # [B]
        utterances = torch.arange(len(mask), device=mask.device).repeat_interleave(count)
        numbers = torch.arange(len(utterances), device=mask.device) - (count.cumsum(0) - count)[utterances]
        starts = (frames * numbers).minimum((lengths - frames).clamp(min=0)[utterances])
        return cls(utterances, starts, lengths, frames)

    def of(self, values: Tensor) -> Tensor:
        """The segments of `[B, N, d]`: `[S, T, d]`."""
        places = self.starts[:, None] + torch.arange(self.frames, device=values.device)  # [S, T]
        is_real = places < self.lengths[self.utterances][:, None]
        cut = values[self.utterances[:, None], places.clamp(max=values.shape[1] - 1)]
        return cut.masked_fill(~is_real.unsqueeze(-1), 0.0)

    def mean_posteriors(self, logits: Tensor) -> Tensor:
        """Logits `[S, C]` → the logarithm of the mean over an utterance's segments of their posteriors, `[B, C]`."""
        posteriors = functional.softmax(logits.float(), dim=-1)
        total = posteriors.new_zeros(len(self.lengths), logits.shape[1]).index_add(0, self.utterances, posteriors)
        counts = torch.bincount(self.utterances, minlength=len(self.lengths)).unsqueeze(-1)  # [B, 1]
        return (total / counts).clamp(min=torch.finfo(total.dtype).tiny).log()
