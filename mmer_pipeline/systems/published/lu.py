"""Emotion from the encoder of an ASR model (Lu et al., ICASSP 2020; the paper's [33]).

Their ASR model is an RNN transducer that was trained on data that are not public; ours is the encoder that settings
name. Sizes are ours. docs/published/lu.md says how near this is.

Shape letters: B batch, J speech frames, d hidden size of the encoder. Masks: True is a real position.
"""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from mmer_pipeline.settings import Settings
from mmer_pipeline.systems.base import EmotionModel, FrozenInput, Output, Parts, masked_mean
from mmer_pipeline.systems.published.attention import Attention
from mmer_pipeline.systems.published.recurrence import BiLSTM

HIDDEN = 128  # of a direction
HEADS = 8


class AsrFeatures(EmotionModel):
    """Frames of a frozen encoder, bidirectional LSTM, self-attention, mean over frames, one linear layer."""

    def __init__(
        self, *, labels: list[str], alphabet: Sequence[str] = (), inputs: list[dict[str, Any]], dropout: float = 0.1
    ) -> None:
        super().__init__()
        self.labels, self.alphabet = list(labels), list(alphabet)
        self.inputs = inputs
        (frames,) = (FrozenInput(**entry) for entry in inputs)
        self.lstm = BiLSTM(frames.dim, HIDDEN)
        self.attention = Attention(2 * HIDDEN, HEADS, dropout)
        self.dropout = nn.Dropout(dropout)
        self.emotion_head = nn.Linear(2 * HIDDEN, len(labels))

    @classmethod
    def build(cls, settings: Settings, parts: Parts) -> "AsrFeatures":
        """See `EmotionModel.build`."""
        return cls(labels=parts.labels, inputs=parts.frozen_inputs, dropout=settings.dropout)

    def forward(self, speech_states: Tensor, speech_states_mask: Tensor) -> Output:
        """Frames `[B, J, d]` and their mask → `Output`."""
        mask = speech_states_mask
        hidden, _ = self.lstm(speech_states, mask)  # [B, J, 256]
        attended = self.attention(hidden, hidden, mask)  # [B, J, 256]
        return Output(self.emotion_head(self.dropout(masked_mean(attended, mask))), None)
