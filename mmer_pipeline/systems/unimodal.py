"""The unimodal systems (paper, section 4.2), in the notation of `mmer.py`."""

from torch import Tensor, nn
from transformers import PreTrainedModel

from mmer_pipeline.encoders.speech import SpeechEncoder
from mmer_pipeline.settings import Settings
from mmer_pipeline.systems.base import EmotionModel, Output, Parts, masked_mean


class SpeechClassifier(EmotionModel):
    """Speech encoder, mean over frames, one linear layer; with an alphabet, also a CTC head (Cai et al. 2021)."""

    def __init__(
        self,
        speech: SpeechEncoder,
        *,
        labels: list[str],  # the classes, in the order of the logits
        alphabet: list[str],  # the CTC symbols, in the order of the logits, the blank first; empty: no CTC head
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.speech = speech
        d = speech.hidden_size
        self.labels, self.alphabet = list(labels), list(alphabet)
        self.dropout = nn.Dropout(dropout)
        self.emotion_head = nn.Linear(d, len(labels))
        self.ctc_head = nn.Linear(d, len(alphabet)) if alphabet else None

    @classmethod
    def build(cls, settings: Settings, parts: Parts) -> "SpeechClassifier":
        """See `EmotionModel.build`."""
        return cls(parts.speech_encoder(), labels=parts.labels, alphabet=parts.alphabet, dropout=settings.dropout)

    def forward(self, frames: Tensor, frame_mask: Tensor) -> Output:
        """Front-end frames `[B, J, front_dim]` and their mask → `Output`."""
        A = self.speech.context(frames, frame_mask)  # [B, J, d]
        pooled = masked_mean(A, frame_mask)  # [B, d]
        return Output(self.emotion_head(self.dropout(pooled)), self.ctc_head(A) if self.ctc_head else None)


class TextClassifier(EmotionModel):
    """Text encoder, mean over tokens, one linear layer; on stored features, or with the encoder fine-tuned."""

    def __init__(
        self,
        text: PreTrainedModel | None,  # the encoder, if it is fine-tuned; None: its output is read from the cache
        *,
        text_dim: int,  # d_t
        labels: list[str],  # the classes, in the order of the logits
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.labels, self.alphabet = list(labels), list[str]()
        self.text = text
        self.dropout = nn.Dropout(dropout)
        self.emotion_head = nn.Linear(text_dim, len(labels))

    @classmethod
    def build(cls, settings: Settings, parts: Parts) -> "TextClassifier":
        """See `EmotionModel.build`."""
        text = parts.text_encoder() if settings.finetune_text else None
        return cls(text, text_dim=parts.text_dim, labels=parts.labels, dropout=settings.dropout)

    def forward(self, tokens: Tensor, token_mask: Tensor) -> Output:
        """Text features `[B, M, d_t]` (token ids `[B, M]` if the encoder is fine-tuned) and their mask → `Output`."""
        T = tokens  # [B, M, d_t]
        if self.text is not None:
            ids = tokens.masked_fill(~token_mask, self.text.config.pad_token_id or 0)  # [B, M]
            T = self.text(input_ids=ids, attention_mask=token_mask.long()).last_hidden_state  # [B, M, d_t]
        return Output(self.emotion_head(self.dropout(masked_mean(T, token_mask))), None)
