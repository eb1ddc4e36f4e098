"""Dual-sequence LSTM on two mel spectrograms, with an LSTM on MFCC (Wang et al., ICASSP 2020, arXiv 1910.08874).

What the publication and its authors' code leave open is told in docs/published/wang.md.

Shape letters: B batch, N frames, T steps of the dual-sequence LSTM, d hidden size, C classes. Masks: True is a real
frame.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from mmer_pipeline.settings import Settings
from mmer_pipeline.systems.base import CrossEntropy, EmotionModel, FrozenInput, Output, Parts, masked_mean
from mmer_pipeline.systems.standardising import Standardiser, frame_statistics

HIDDEN, LAYERS = 200, 2  # of both LSTMs
CHANNELS = (64, 16)  # of the two convolutions of a spectrogram
FINE_FRAMES, COARSE_FRAMES = 230, 120  # to which the spectrograms are resized
# Of the convolutions, frames × bands. With these and no padding, both spectrograms give the same number of steps.
FINE_KERNEL, COARSE_KERNEL = (2, 4), (4, 2)


def resized(values: Tensor, mask: Tensor, frames: int) -> Tensor:
    """Resize the real frames of `[B, N, d]`, whose mask is `[B, N]`, to a number of frames: `[B, frames, d]`.

    Frame i of n is frame ⌊i · N / n⌋, as `interpolate` of torch has it.
    """
    lengths = mask.sum(dim=1, keepdim=True)  # [B, 1]
    numbers = torch.arange(frames, device=values.device) * lengths // frames  # [B, frames]
    return values.gather(1, numbers.unsqueeze(-1).expand(-1, -1, values.shape[-1]))


def averaged_frames(values: Tensor) -> Tensor:
    """Means of the frames 2i, 2i + 1 and 2i + 2: `[B, N, d]` → `[B, (N - 1) // 2, d]`."""
    return functional.avg_pool1d(values.transpose(1, 2), kernel_size=3, stride=2).transpose(1, 2)


class StepNorm(nn.Module):
    """Batch norm in a recurrence: each step has its own statistics; scale and shift are those of all steps."""

    def __init__(self, steps: int, dim: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(dim)), nn.Parameter(torch.zeros(dim))
        self.running_mean: Tensor
        self.running_var: Tensor
        self.register_buffer("running_mean", torch.zeros(steps, dim))
        self.register_buffer("running_var", torch.ones(steps, dim))

    def forward(self, values: Tensor, step: int) -> Tensor:
        """Values `[B, d]` of a step; a single utterance is normalised by the running statistics."""
        return functional.batch_norm(
            values, self.running_mean[step], self.running_var[step], self.weight, self.bias,
            training=self.training and len(values) > 1,
        )  # fmt: skip


class DualSequenceLayer(nn.Module):
    """A layer of the dual-sequence LSTM, which reads two sequences x and y of T steps.

    f, i_T, o, i_F = BN(σ(W [x, y, h])); c ← f · c + i_T · tanh(W_T [x, h]) + i_F · tanh(W_F [y, h]);
    h ← o · tanh(c). The output is BN(h).
    """

    def __init__(self, x_dim: int, y_dim: int, hidden: int, steps: int) -> None:
        super().__init__()
        self.hidden, self.steps = hidden, steps
        # The rows of W, W_T and W_F that belong to x, to y and to h: of all steps of x and y, they are one product.
        self.of_x = nn.Linear(x_dim, 5 * hidden)  # four gates, T
        self.of_y = nn.Linear(y_dim, 5 * hidden, bias=False)  # four gates, F
        self.of_h = nn.Linear(hidden, 6 * hidden, bias=False)  # four gates, T, F
        self.f_bias = nn.Parameter(torch.zeros(hidden))  # of W_F; of_x has the biases of W and W_T
        self.gate_norm, self.output_norm = StepNorm(steps, 4 * hidden), StepNorm(steps, hidden)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Sequences `[B, T, x_dim]` and `[B, T, y_dim]` → `[B, T, d]`."""
        d = self.hidden
        from_x, from_y = self.of_x(x), self.of_y(y)  # [B, T, 5d]
        gates = from_x[..., : 4 * d] + from_y[..., : 4 * d]  # [B, T, 4d]
        sources = torch.cat([from_x[..., 4 * d :], from_y[..., 4 * d :] + self.f_bias], dim=-1)  # [B, T, 2d]
        h = c = x.new_zeros(len(x), d)
        outputs = []
        for step, (gate, source) in enumerate(zip(gates.unbind(1), sources.unbind(1), strict=True)):
            of_gates, of_sources = self.of_h(h).split([4 * d, 2 * d], dim=-1)
            f, i_t, o, i_f = self.gate_norm(torch.sigmoid(gate + of_gates), step).chunk(4, dim=-1)  # [B, d] each
            from_t, from_f = torch.tanh(source + of_sources).chunk(2, dim=-1)
            c = f * c + i_t * from_t + i_f * from_f
            h = o * torch.tanh(c)
            outputs.append(self.output_norm(h, step))
        return torch.stack(outputs, dim=1)


class ConvolvedSpectrogram(nn.Module):
    """Two blocks of convolution, batch norm, ReLU and 2 × 2 max pooling over a spectrogram of a fixed size."""

    def __init__(self, frames: int, bands: int, kernel: tuple[int, int]) -> None:
        super().__init__()
        blocks, size, before = [], (frames, bands), 1
        for channels in CHANNELS:
            # ReLU follows pooling, which gives the same numbers from a quarter of them.
            blocks += [nn.Conv2d(before, channels, kernel), nn.BatchNorm2d(channels), nn.MaxPool2d(2), nn.ReLU()]
            size = ((size[0] - kernel[0] + 1) // 2, (size[1] - kernel[1] + 1) // 2)
            before = channels
        self.blocks = nn.Sequential(*blocks).to(memory_format=torch.channels_last)  # type: ignore[call-overload] # faster
        self.frames, self.dim = size[0], before * size[1]  # of the output

    def forward(self, values: Tensor) -> Tensor:
        """A spectrogram `[B, frames, bands]` → `[B, self.frames, self.dim]`."""
        maps: Tensor = self.blocks(values.unsqueeze(1))  # [B, channels, frames, bands]
        return maps.transpose(1, 2).flatten(2)


class DualSequenceLSTM(EmotionModel):
    """The dual-level model: an LSTM on MFCC, and a dual-sequence LSTM on two mel spectrograms; their logits' mean.

    All inputs are standardised by the training part. `inputs` are MFCC, the finer and the coarser spectrogram in time.
    """

    splits_steps: ClassVar[bool] = False

    def __init__(
        self, *, labels: list[str], alphabet: Sequence[str] = (), inputs: list[dict[str, Any]], dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.labels, self.alphabet = list(labels), list(alphabet)
        self.inputs = inputs
        mfcc, fine, coarse = (FrozenInput(**entry) for entry in inputs)
        self.names = [mfcc.name, fine.name, coarse.name]
        self.standardisers = nn.ModuleDict({entry.name: Standardiser(entry.dim) for entry in (mfcc, fine, coarse)})
        self.mfcc_lstm = nn.LSTM(mfcc.dim, HIDDEN, LAYERS, batch_first=True)
        self.fine = ConvolvedSpectrogram(FINE_FRAMES, fine.dim, FINE_KERNEL)
        self.coarse = ConvolvedSpectrogram(COARSE_FRAMES, coarse.dim, COARSE_KERNEL)
        steps = self.coarse.frames
        assert (self.fine.frames - 1) // 2 == steps
        dims = [self.fine.dim] + [HIDDEN] * (LAYERS - 1)
        self.dual_layers = nn.ModuleList(DualSequenceLayer(dim, self.coarse.dim, HIDDEN, steps) for dim in dims)
        self.dropout = nn.Dropout(dropout)
        self.mfcc_head, self.mel_head = nn.Linear(HIDDEN, len(labels)), nn.Linear(HIDDEN, len(labels))

    @classmethod
    def build(cls, settings: Settings, parts: Parts) -> "DualSequenceLSTM":
        """See `EmotionModel.build`."""
        return cls(labels=parts.labels, inputs=parts.frozen_inputs, dropout=settings.dropout)

    def prepare(self, batches: Iterable[Mapping[str, Tensor]], *_: Any) -> None:
        """See `EmotionModel`."""
        for name, (mean, deviation) in frame_statistics(batches, self.names).items():
            standardiser = self.standardisers[name]
            assert isinstance(standardiser, Standardiser)
            standardiser.set(mean, deviation)

    def forward(self, **features: Tensor) -> Output:
        """MFCC and both spectrograms `[B, N, d]`, each with its mask → `Output`."""
        mfcc, fine, coarse = (self.standardisers[name](features[name]) for name in self.names)
        mfcc_mask, fine_mask, coarse_mask = (features[f"{name}_mask"] for name in self.names)
        frames, _ = self.mfcc_lstm(mfcc)  # [B, N, d]; later frames, padding among them, do not change earlier ones
        x = averaged_frames(self.fine(resized(fine, fine_mask, FINE_FRAMES)))  # [B, T, x_dim]
        y = self.coarse(resized(coarse, coarse_mask, COARSE_FRAMES))  # [B, T, y_dim]
        for layer in self.dual_layers:
            x = layer(x, y)
        of_mfcc = self.mfcc_head(self.dropout(masked_mean(frames, mfcc_mask)))  # [B, C]
        of_mel = self.mel_head(self.dropout(x.mean(dim=1)))  # [B, C]
        return Output((of_mfcc + of_mel) / 2, None, others={"mfcc": of_mfcc, "mel": of_mel})

    def emotion_loss(self, output: Output, classes: Tensor, cross_entropy: CrossEntropy) -> Tensor:
        """The mean of the losses of both branches; see `EmotionModel`."""
        of_mfcc, of_mel = (cross_entropy(output.others[name], classes) for name in ("mfcc", "mel"))
        return (of_mfcc + of_mel) / 2
