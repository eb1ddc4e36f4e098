"""Linear probing, then fine-tuning of a speech encoder (Kumar et al., ICLR 2022, arXiv 2202.10054).

A linear layer with random weights spoils pretrained features while it is learned together with them. So it is fitted
first, on the frozen encoder: a logistic regression on statistics of all layers. Then everything is fine-tuned.

Shape letters: B batch, J speech frames, L layers, d hidden size. Masks: True is a real frame.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from mmer_pipeline.encoders.speech import SpeechEncoder
from mmer_pipeline.encoders.statistics import SMALLEST_VARIANCE, mean_and_deviation
from mmer_pipeline.settings import Settings
from mmer_pipeline.systems.base import EmotionModel, FrozenInput, Output, Parts
from mmer_pipeline.systems.probe import LinearProbe

_LAYERS = "speech_layers"


class TunedProbe(EmotionModel):
    """Mean and standard deviation over frames of every layer, standardised; a linear layer, fitted before training."""

    def __init__(
        self,
        speech: SpeechEncoder,
        *,
        labels: list[str],  # the classes, in the order of the logits
        alphabet: Sequence[str] = (),
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        self.speech = speech
        self.labels, self.alphabet = list(labels), list(alphabet)
        layers = FrozenInput(_LAYERS, "layers", 2 * speech.hidden_size, len(speech.layers) + 1, ["mean", "std"])
        self.probe = LinearProbe(labels=self.labels, inputs=[asdict(layers)], layer="all")
        self.dropout = nn.Dropout(dropout)

    @classmethod
    def build(cls, settings: Settings, parts: Parts) -> "TunedProbe":
        """See `EmotionModel.build`."""
        return cls(parts.speech_encoder(), labels=parts.labels, dropout=settings.dropout)

    @torch.no_grad()
    def prepare(
        self,
        batches: Iterable[Mapping[str, Tensor]],
        truth: npt.NDArray[np.int64],
        groups: Sequence[str],
        settings: Settings,
    ) -> None:
        """Fit the linear layer on the pretrained encoder; see `EmotionModel`."""
        self.eval()
        summaries = [self.probe.summaries(self._statistics(**features))[0].cpu().numpy() for features in batches]
        self.probe.fit([np.concatenate(summaries)], truth, groups, settings)

    def forward(self, frames: Tensor, frame_mask: Tensor) -> Output:
        """Front-end frames `[B, J, front_dim]` and their mask → `Output`."""
        standardised = self.probe.standardised(self._statistics(frames, frame_mask))  # [B, L · 2d]
        return Output(self.probe.emotion_head(self.dropout(standardised)), None)

    def _statistics(self, frames: Tensor, frame_mask: Tensor) -> dict[str, Tensor]:
        """The input of the probe: statistics of every layer `[B, L, 2d]`, and the mask of layers `[B, L]`."""
        states = self.speech.hidden_states(frames, frame_mask)
        rows = [mean_and_deviation(state, frame_mask, SMALLEST_VARIANCE) for state in states]
        values = torch.stack(rows, dim=1)
        return {_LAYERS: values, f"{_LAYERS}_mask": values.new_ones(values.shape[:2], dtype=torch.bool)}
