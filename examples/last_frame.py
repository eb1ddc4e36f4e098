"""A system from outside the package: the speech encoder's last frame and one linear layer."""

import torch
from torch import Tensor, nn

from mmer_pipeline.encoders.speech import SpeechEncoder
from mmer_pipeline.settings import Settings
from mmer_pipeline.systems.base import EmotionModel, Output, Parts
from mmer_pipeline.systems.registry import System


class LastFrame(EmotionModel):
    """The speech encoder's last frame, one linear layer."""

    def __init__(self, speech: SpeechEncoder, *, labels: list[str], dropout: float = 0.1) -> None:
        super().__init__()
        self.speech = speech
        self.labels, self.alphabet = list(labels), []
        self.dropout = nn.Dropout(dropout)
        self.emotion_head = nn.Linear(speech.hidden_size, len(labels))

    @classmethod
    def build(cls, settings: Settings, parts: Parts) -> "LastFrame":
        """Construct it for training, with the pretrained encoder."""
        return cls(parts.speech_encoder(), labels=parts.labels, dropout=settings.dropout)

    def forward(self, frames: Tensor, frame_mask: Tensor) -> Output:
        """Front-end frames `[B, J, front_dim]` and their mask `[B, J]` → logits `[B, C]`."""
        A = self.speech.context(frames, frame_mask)  # [B, J, d]
        last = frame_mask.sum(dim=1) - 1  # [B]
        return Output(self.emotion_head(self.dropout(A[torch.arange(len(A)), last])), ctc_logits=None)


SYSTEMS = {"last-frame": System(LastFrame, title="Last frame", reads=("speech",))}
