"""Co-attention over levels of acoustic information (CA-MSER; Zou et al., ICASSP 2022), on a frozen encoder.

A small CNN replaces AlexNet, which was trained on photographs. docs/published/ca-mser.md says how near this is to the
publication and its code.

Shape letters: B batch, N frames, F bands, d hidden size of the encoder. Masks: True is a real position.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from mmer_pipeline.settings import Settings
from mmer_pipeline.systems.base import EmotionModel, FrozenInput, Output, Parts, masked_mean
from mmer_pipeline.systems.published.recurrence import BiLSTM

CHANNELS = (16, 32, 64)  # of the CNN on spectrograms
LSTM_HIDDEN, LSTM_LAYERS, LSTM_DROPOUT = 256, 2, 0.5
LEVEL = 128  # size of each level's vector, and of the hidden layers of the head


class Spectrogram(nn.Module):
    """Blocks of convolution, ReLU and 2 × 2 maximum; then the mean over time."""

    def __init__(self, bands: int) -> None:
        super().__init__()
        pairs = zip((1, *CHANNELS), CHANNELS, strict=False)
        self.convolutions = nn.ModuleList(nn.Conv2d(before, after, 3, padding=1) for before, after in pairs)
        for _ in CHANNELS:
            bands = -(-bands // 2)
        self.dim = CHANNELS[-1] * bands

    def forward(self, values: Tensor, mask: Tensor) -> Tensor:
        """Spectrograms `[B, N, F]` and their mask → `[B, dim]`."""
        image = (values * mask.unsqueeze(-1)).unsqueeze(1)  # [B, 1, N, F]
        for convolution in self.convolutions:
            # Padding is 0 after the ReLU, so that it is no maximum; an odd last frame is kept as if one of 0 followed.
            image = convolution(image).relu() * mask[:, None, :, None]
            image, mask = functional.max_pool2d(image, 2, ceil_mode=True), mask[:, ::2]
        return masked_mean(image.transpose(1, 2).flatten(2), mask)


class CoAttention(EmotionModel):
    """A spectrogram's and an MFCC vector weight the frames of the encoder; all three are joined.

    The weight of a frame is a softmax over its products with a linear map of both vectors.
    """

    def __init__(
        self, *, labels: list[str], alphabet: Sequence[str] = (), inputs: list[dict[str, Any]], dropout: float = 0.1
    ) -> None:
        super().__init__()
        self.labels, self.alphabet = list(labels), list(alphabet)
        self.inputs = inputs
        dims = {entry["name"]: FrozenInput(**entry).dim for entry in inputs}
        d = dims["speech_states"]
        self.spectrogram = Spectrogram(dims["log_mel"])
        self.lstm = BiLSTM(dims["mfcc"], LSTM_HIDDEN, layers=LSTM_LAYERS, dropout=LSTM_DROPOUT)
        self.spectrogram_map = _map(self.spectrogram.dim, LEVEL, dropout)
        self.mfcc_map = _map(2 * LSTM_HIDDEN, LEVEL, dropout)
        self.query = nn.Sequential(nn.Dropout(dropout), nn.Linear(2 * LEVEL, d))
        self.speech_map = _map(d, LEVEL, dropout)
        self.emotion_head = nn.Sequential(
            nn.Dropout(dropout), nn.Linear(3 * LEVEL, LEVEL), nn.ReLU(), nn.Dropout(dropout),
            nn.Linear(LEVEL, LEVEL), nn.ReLU(), nn.Dropout(dropout), nn.Linear(LEVEL, len(labels)),
        )  # fmt: skip

    @classmethod
    def build(cls, settings: Settings, parts: Parts) -> "CoAttention":
        """See `EmotionModel.build`."""
        return cls(labels=parts.labels, inputs=parts.frozen_inputs, dropout=settings.dropout)

    def forward(
        self,
        speech_states: Tensor,
        speech_states_mask: Tensor,
        mfcc: Tensor,
        mfcc_mask: Tensor,
        log_mel: Tensor,
        log_mel_mask: Tensor,
    ) -> Output:
        """Frames of the encoder `[B, J, d]`, MFCCs and log-mel spectrograms `[B, N, F]`, with masks → `Output`."""
        spectrogram = self.spectrogram_map(self.spectrogram(log_mel, log_mel_mask))  # [B, 128]
        outputs, _ = self.lstm(functional.normalize(mfcc, dim=-1), mfcc_mask)  # [B, N, 512]
        cepstrum = self.mfcc_map(masked_mean(outputs, mfcc_mask))  # [B, 128]
        query = self.query(torch.cat([spectrogram, cepstrum], dim=-1))  # [B, d]
        scores = (speech_states @ query.unsqueeze(-1)).squeeze(-1) / query.shape[-1] ** 0.5  # [B, J]
        weights = scores.masked_fill(~speech_states_mask, float("-inf")).softmax(dim=-1)
        speech = self.speech_map((weights.unsqueeze(1) @ speech_states).squeeze(1))  # [B, 128]
        return Output(self.emotion_head(torch.cat([spectrogram, cepstrum, speech], dim=-1)), None)


def _map(dim: int, to: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(nn.Dropout(dropout), nn.Linear(dim, to), nn.ReLU())
