"""The unimodal systems (paper, section 4.2), in the letters of `model.py`."""

from typing import Any

from torch import Tensor, nn

from mmer_pipeline.encoders.speech import SpeechEncoder
from mmer_pipeline.encoders.text import empty_text_model
from mmer_pipeline.systems.base import EmotionModel, Output, masked_mean


class SpeechClassifier(EmotionModel):
    """Speech encoder, mean over frames, one linear layer; with an alphabet also a CTC head (Cai et al. 2021)."""

    def __init__(
        self,
        *,
        speech_config: dict[str, Any],  # transformers configuration of the speech encoder
        zero_mean_unit_variance: bool,  # what is done to a waveform before the front end
        labels: list[str],  # the classes, in the order of the logits
        alphabet: list[str],  # the CTC symbols, in the order of the logits; the first is the blank; none: no CTC head
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.speech = SpeechEncoder(speech_config, zero_mean_unit_variance=zero_mean_unit_variance)
        d = self.speech.hidden_size
        self.labels, self.alphabet = list(labels), list(alphabet)
        self.dropout = nn.Dropout(dropout)
        self.emotion_head = nn.Linear(d, len(labels))
        self.ctc_head = nn.Linear(d, len(alphabet)) if alphabet else None

    def forward(self, frames: Tensor, frame_mask: Tensor) -> Output:
        """Front-end frames `[B, J, front_dim]` and their mask → `Output`."""
        A = self.speech.context(frames, frame_mask)  # [B, J, d]
        pooled = masked_mean(A, frame_mask)  # [B, d]
        return Output(self.emotion_head(self.dropout(pooled)), self.ctc_head(A) if self.ctc_head else None)


class TextClassifier(EmotionModel):
    """Text encoder, mean over tokens, one linear layer: on stored features, or with the encoder trained too."""

    def __init__(
        self,
        *,
        text_dim: int,  # d_t
        text_config: dict[str, Any] | None,  # transformers configuration of a trained encoder; None: it is frozen
        labels: list[str],  # the classes, in the order of the logits
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.labels, self.alphabet = list(labels), list[str]()
        self.text = empty_text_model(text_config) if text_config else None
        self.dropout = nn.Dropout(dropout)
        self.emotion_head = nn.Linear(text_dim, len(labels))

    def forward(self, tokens: Tensor, token_mask: Tensor) -> Output:
        """Text features `[B, M, d_t]`, or token ids `[B, M]` where the encoder is trained, and their mask."""
        T = tokens  # [B, M, d_t]
        if self.text is not None:
            ids = tokens.masked_fill(~token_mask, self.text.config.pad_token_id or 0)  # [B, M]
            T = self.text(input_ids=ids, attention_mask=token_mask.long()).last_hidden_state  # [B, M, d_t]
        return Output(self.emotion_head(self.dropout(masked_mean(T, token_mask))), None)
