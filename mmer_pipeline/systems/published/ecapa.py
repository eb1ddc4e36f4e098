"""ECAPA-TDNN (Desplanques et al., Interspeech 2020, arXiv 2005.07143) on padded utterances.

Shape letters: B batch, N frames, d size of a frame, C channels. Masks: True is a real frame. Padding changes nothing:
it is zero before every convolution, as what is beyond the ends of an utterance, and no statistic counts it.
"""

import torch
from torch import Tensor, nn

from mmer_pipeline.encoders.statistics import weighted_statistics
from mmer_pipeline.systems.base import masked_mean
from mmer_pipeline.systems.published.normalisation import MaskedBatchNorm

SCALE = 8  # groups of channels of a Res2 convolution
SQUEEZED, ATTENTION = 128, 128  # sizes of the bottlenecks of squeeze-excitation and of attention
POOLED, EMBEDDING = 1536, 192


class Tdnn(nn.Module):
    """Convolution over frames, ReLU, batch norm."""

    def __init__(self, dim: int, channels: int, kernel: int, dilation: int = 1) -> None:
        super().__init__()
        padding = dilation * (kernel // 2)
        self.convolution = nn.Conv1d(dim, channels, kernel, padding=padding, dilation=dilation)
        self.norm = MaskedBatchNorm(channels)

    def forward(self, values: Tensor, mask: Tensor) -> Tensor:
        """Values `[B, N, d]` whose padding is zero, and their mask `[B, N]` → `[B, N, C]`, likewise."""
        found: Tensor = self.norm(self.convolution(values.transpose(1, 2)).transpose(1, 2).relu(), mask)
        return found


class SqueezeExcitationBlock(nn.Module):
    """SE-Res2Block: a Res2 convolution between two of one frame, squeeze-excitation, residual."""

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        width = channels // SCALE
        self.first, self.last = Tdnn(channels, channels, 1), Tdnn(channels, channels, 1)
        self.groups = nn.ModuleList(Tdnn(width, width, 3, dilation) for _ in range(SCALE - 1))
        self.squeeze, self.excite = nn.Linear(channels, SQUEEZED), nn.Linear(SQUEEZED, channels)

    def forward(self, values: Tensor, mask: Tensor) -> Tensor:
        """Values `[B, N, C]` and their mask → `[B, N, C]`."""
        whole, *parts = self.first(values, mask).chunk(SCALE, dim=-1)  # each [B, N, C / 8]
        found = [whole]
        for number, (group, part) in enumerate(zip(self.groups, parts, strict=True)):
            found.append(group(part + found[-1] if number else part, mask))
        inner: Tensor = self.last(torch.cat(found, dim=-1), mask)
        scale: Tensor = self.excite(self.squeeze(masked_mean(inner, mask)).relu()).sigmoid()  # [B, C]
        return values + inner * scale.unsqueeze(1)


class ChannelStatistics(nn.Module):
    """Mean and standard deviation over frames, weighted by attention of each channel that sees the whole utterance."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.score = nn.Sequential(nn.Linear(3 * channels, ATTENTION), nn.Tanh(), nn.Linear(ATTENTION, channels))

    def forward(self, values: Tensor, mask: Tensor) -> Tensor:
        """Values `[B, N, C]` and their mask → `[B, 2C]`."""
        real = mask.unsqueeze(-1).to(values.dtype)  # [B, N, 1]
        context = weighted_statistics(values, real / real.sum(dim=1, keepdim=True))  # [B, 2C]
        scores = self.score(torch.cat([values, context.unsqueeze(1).expand(-1, values.shape[1], -1)], dim=-1))
        return weighted_statistics(values, scores.masked_fill(~mask.unsqueeze(-1), -torch.inf).softmax(dim=1))


class EcapaTdnn(nn.Module):
    """Frames of an utterance → a vector of size `EMBEDDING`."""

    def __init__(self, dim: int, channels: int = 512) -> None:
        super().__init__()
        self.first = Tdnn(dim, channels, 5)
        self.blocks = nn.ModuleList(SqueezeExcitationBlock(channels, dilation) for dilation in (2, 3, 4))
        self.joined = nn.Linear(3 * channels, POOLED)  # of the outputs of all blocks
        self.pooling = ChannelStatistics(POOLED)
        self.pooled_norm = MaskedBatchNorm(2 * POOLED)
        self.embedding = nn.Linear(2 * POOLED, EMBEDDING)
        self.embedding_norm = MaskedBatchNorm(EMBEDDING)

    def forward(self, values: Tensor, mask: Tensor) -> Tensor:
        """Frames `[B, N, d]` and their mask → `[B, EMBEDDING]`."""
        found = self.first(values * mask.unsqueeze(-1), mask)
        outputs = []
        for block in self.blocks:
            found = block(found, mask)
            outputs.append(found)
        pooled = self.pooling(self.joined(torch.cat(outputs, dim=-1)).relu(), mask)
        utterances = mask.any(dim=1)
        vectors: Tensor = self.embedding(self.pooled_norm(pooled, utterances))
        embedded: Tensor = self.embedding_norm(vectors, utterances)
        return embedded
