"""Capsules over windows of a spectrogram, and a recurrent network, after Wu et al. (ICASSP 2019).

What the publication leaves open is told in docs/published/wu.md.

Shape letters: B batch, N frames, M steps after the convolutions, W windows, I capsules that are routed, C classes, d
size of a step. Masks: True is a real position.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from mmer_pipeline.encoders.statistics import mask_of
from mmer_pipeline.settings import Settings
from mmer_pipeline.systems.base import CrossEntropy, EmotionModel, FrozenInput, Output, Parts, masked_mean
from mmer_pipeline.systems.published.recurrence import packed
from mmer_pipeline.systems.standardising import Standardiser, frame_statistics

FIRST_KERNELS, FIRST_CHANNELS = ((2, 8), (8, 2)), 8  # frames × bins; channels of each
KERNEL, CHANNELS = 5, 16  # of both convolutions that follow
WINDOW, SHIFT = 40, 20  # steps
WINDOW_CAPSULES, WINDOW_DIM = 8, 8  # of each window
CAPSULE_DIM, ROUTINGS = 16, 3  # of the capsule of a class
GRU_HIDDEN = 64  # a direction
MIX = 0.6  # share of the capsules in posteriors and loss
PRESENT, ABSENT, ABSENT_WEIGHT = 0.9, 0.1, 0.5  # of the margin loss


def squashed(values: Tensor) -> Tensor:
    """Shorten vectors `[..., d]` to a length below 1: |s|² / (1 + |s|²) in their direction."""
    squares = values.square().sum(dim=-1, keepdim=True)
    return values * squares.clamp(min=1e-12).sqrt() / (1 + squares)


def routed(votes: Tensor, mask: Tensor) -> Tensor:
    """Route capsules by agreement (Sabour et al., NIPS 2017): votes `[B, I, C, D]`, mask `[B, I]` → `[B, C, D]`."""
    agreement = votes.new_zeros(votes.shape[:3])  # [B, I, C]
    capsules = votes.new_zeros(0)
    for routing in range(ROUTINGS):
        coupling = agreement.softmax(dim=2) * mask.unsqueeze(-1)
        capsules = squashed(torch.einsum("bic,bicd->bcd", coupling, votes))
        if routing < ROUTINGS - 1:
            agreement = agreement + torch.einsum("bicd,bcd->bic", votes, capsules)
    return capsules


def margin_losses(lengths: Tensor, classes: Tensor) -> Tensor:
    """The margin loss of each utterance, `[B]`, from the lengths of the capsules `[B, C]`."""
    is_class = functional.one_hot(classes, lengths.shape[1]).to(lengths.dtype)
    missing = is_class * (PRESENT - lengths).clamp(min=0).square()
    excess = (1 - is_class) * (lengths - ABSENT).clamp(min=0).square()
    return (missing + ABSENT_WEIGHT * excess).sum(dim=1)


class Convolutions(nn.Module):
    """Two parallel convolutions, then two of 5 × 5; pooling of 2 × 2 after the first pair and after the next one."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.first = nn.ModuleList(
            nn.Sequential(
                nn.ZeroPad2d(((bins - 1) // 2, bins // 2, (frames - 1) // 2, frames // 2)),
                nn.Conv2d(1, FIRST_CHANNELS, (frames, bins)),
            )
            for frames, bins in FIRST_KERNELS
        )
        before = FIRST_CHANNELS * len(FIRST_KERNELS)
        self.second = nn.Conv2d(before, CHANNELS, KERNEL, padding="same")
        self.third = nn.Conv2d(CHANNELS, CHANNELS, KERNEL, padding="same")
        self.dim = CHANNELS * (-(-dim // 4))

    def forward(self, values: Tensor, lengths: Sequence[int]) -> tuple[Tensor, list[int]]:
        """Spectrograms `[B, N, bins]` and their real frames → `[B, M, self.dim]`, and their real steps, a quarter."""

        def real(maps: Tensor, count: Sequence[int]) -> Tensor:
            """Maps `[B, channels, N, bins]` whose padding is zero; a convolution would spread it."""
            padded = maps.shape[2] - max(count)
            mask = functional.pad(mask_of(count, maps.device), (0, padded))
            return maps * mask[:, None, :, None]

        halves = [-(-count // 2) for count in lengths]
        quarters = [-(-count // 2) for count in halves]
        maps = real(values.unsqueeze(1), lengths)
        maps = real(torch.cat([convolution(maps) for convolution in self.first], dim=1).relu(), lengths)
        maps = functional.max_pool2d(maps, 2, ceil_mode=True)  # what is beyond the end is zero, as ReLU's least
        maps = real(self.second(maps).relu(), halves)
        maps = functional.max_pool2d(maps, 2, ceil_mode=True)
        maps = real(self.third(maps).relu(), quarters)
        return maps.transpose(1, 2).flatten(2), quarters


class CapsuleNetwork(EmotionModel):
    """Convolutions over a spectrogram; capsules of windows that are routed to those of classes, and a GRU."""

    def __init__(
        self, *, labels: list[str], alphabet: Sequence[str] = (), inputs: list[dict[str, Any]], dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.labels, self.alphabet = list(labels), list(alphabet)
        self.inputs = inputs
        (self.input,) = (FrozenInput(**entry) for entry in inputs)
        self.standardiser = Standardiser(self.input.dim)
        self.convolutions = Convolutions(self.input.dim)
        d = self.convolutions.dim
        self.window_capsules = nn.Linear(d, WINDOW_CAPSULES * WINDOW_DIM)
        # The vote of a window's capsule for a class; the same in all windows.
        shape = (WINDOW_CAPSULES, len(labels), WINDOW_DIM, CAPSULE_DIM)
        self.votes = nn.Parameter(torch.randn(shape) / WINDOW_DIM**0.5)
        self.gru = nn.GRU(d, GRU_HIDDEN, batch_first=True, bidirectional=True)
        self.dropout = nn.Dropout(dropout)
        self.emotion_head = nn.Linear(2 * GRU_HIDDEN, len(labels))

    @classmethod
    def build(cls, settings: Settings, parts: Parts) -> "CapsuleNetwork":
        """See `EmotionModel.build`."""
        return cls(labels=parts.labels, inputs=parts.frozen_inputs, dropout=settings.dropout)

    def prepare(self, batches: Iterable[Mapping[str, Tensor]], *_: Any) -> None:
        """See `EmotionModel`."""
        self.standardiser.set(*frame_statistics(batches, [self.input.name])[self.input.name])

    def capsule_lengths(self, steps: Tensor, counts: Sequence[int]) -> Tensor:
        """Steps `[B, M, d]` and the number of real ones → lengths of the capsules of the classes, `[B, C]`."""
        windows = [1 + max(0, -(-(count - WINDOW) // SHIFT)) for count in counts]
        needed = (max(windows) - 1) * SHIFT + WINDOW
        padded = functional.pad(steps, (0, 0, 0, max(0, needed - steps.shape[1])))[:, :needed]  # padding is zero
        sums = padded.unfold(1, WINDOW, SHIFT).sum(dim=-1)  # [B, W, d]
        starts = SHIFT * torch.arange(max(windows), device=steps.device)
        real = (torch.tensor(counts, device=steps.device)[:, None] - starts).clamp(1, WINDOW)  # steps in each window
        capsules = self.window_capsules(sums / real.unsqueeze(-1)).unflatten(-1, (WINDOW_CAPSULES, WINDOW_DIM))
        votes = torch.einsum("bwkd,kcde->bwkce", squashed(capsules), self.votes).flatten(1, 2)  # [B, I, C, 16]
        mask = mask_of(windows, steps.device).repeat_interleave(WINDOW_CAPSULES, dim=1)  # [B, I]
        lengths: Tensor = routed(votes, mask).norm(dim=-1)
        return lengths

    def forward(self, **features: Tensor) -> Output:
        """A spectrogram `[B, N, bins]` and its mask → `Output`, whose logits are log-probabilities."""
        lengths = features[f"{self.input.name}_mask"].sum(dim=1).tolist()
        steps, counts = self.convolutions(self.standardiser(features[self.input.name]), lengths)
        mask = mask_of(counts, steps.device)  # [B, longest]
        hidden, _ = packed(self.gru, steps[:, : mask.shape[1]], mask)  # [B, longest, 2 · GRU_HIDDEN]
        recurrent = self.emotion_head(self.dropout(masked_mean(hidden, mask)))  # [B, C]
        capsules = self.capsule_lengths(steps, counts)  # [B, C]
        shares = capsules / capsules.sum(dim=1, keepdim=True).clamp(min=1e-12)
        posteriors = MIX * shares + (1 - MIX) * recurrent.float().softmax(dim=-1)
        logits = posteriors.clamp(min=1e-12).log()
        return Output(logits, None, others={"capsules": capsules, "recurrent": recurrent})

    def emotion_loss(self, output: Output, classes: Tensor, cross_entropy: CrossEntropy) -> Tensor:
        """The margin loss of the capsules and the cross-entropy of the recurrent network; see `EmotionModel`."""
        margin = margin_losses(output.others["capsules"], classes).sum()
        return MIX * margin + (1 - MIX) * cross_entropy(output.others["recurrent"], classes)
