"""The unimodal systems (paper, section 4.2), in the notation of `mmer.py`."""

from torch import Tensor, nn
from transformers import PreTrainedModel

from mmer_pipeline.encoders.speech import SpeechEncoder
from mmer_pipeline.encoders.text import encode
from mmer_pipeline.errors import UserError
from mmer_pipeline.settings import Settings
from mmer_pipeline.systems.base import EmotionModel, Output, Parts, masked_mean
from mmer_pipeline.systems.pooling import AttentiveStatistics, LayerSum, summed_context


class SpeechClassifier(EmotionModel):
    """Speech encoder, pooling over frames, one linear layer; with an alphabet, also a CTC head (Cai et al. 2021)."""

    def __init__(
        self,
        speech: SpeechEncoder,
        *,
        labels: list[str],  # the classes, in the order of the logits
        alphabet: list[str],  # the CTC symbols, in the order of the logits, the blank first; empty: no CTC head
        dropout: float = 0.1,
        dropout_at: str = "head",  # where dropout is: before the emotion head, or on A (inputs)
        layer_sum: bool = False,  # whether A is a weighted sum of the encoder's layers, or its last one
        pooling: str = "mean",  # what the emotion head reads of A: its mean, or its attentive statistics
    ) -> None:
        super().__init__()
        self.speech = speech
        d = speech.hidden_size
        self.labels, self.alphabet = list(labels), list(alphabet)
        self.input_dropout = nn.Dropout(dropout if dropout_at == "inputs" else 0.0)
        self.dropout = nn.Dropout(dropout if dropout_at == "head" else 0.0)
        self.layer_sum = LayerSum(len(speech.layers) + 1) if layer_sum else None
        self.attention = AttentiveStatistics(d) if pooling == "attentive" else None
        self.emotion_head = nn.Linear(2 * d if self.attention else d, len(labels))
        self.ctc_head = nn.Linear(d, len(alphabet)) if alphabet else None

    @classmethod
    def build(cls, settings: Settings, parts: Parts) -> "SpeechClassifier":
        """See `EmotionModel.build`."""
        return cls(
            parts.speech_encoder(),
            labels=parts.labels,
            alphabet=parts.alphabet,
            dropout=settings.dropout,
            dropout_at=settings.dropout_at,
            layer_sum=settings.layer_sum,
            pooling=settings.speech_pooling,
        )

    def forward(self, frames: Tensor, frame_mask: Tensor) -> Output:
        """Front-end frames `[B, J, front_dim]` and their mask → `Output`."""
        A = self.input_dropout(summed_context(self.speech, self.layer_sum, frames, frame_mask))  # [B, J, d]
        pooled = self.attention(A, frame_mask) if self.attention else masked_mean(A, frame_mask)  # [B, 2d] or [B, d]
        return Output(self.emotion_head(self.dropout(pooled)), self.ctc_head(A) if self.ctc_head else None)


class TextClassifier(EmotionModel):
    """Text encoder, mean over tokens, one linear layer; on stored features, or with the encoder fine-tuned.

    With the pooler instead of the mean, the linear layer reads a map and a tanh of the first token (as in the authors'
    code).

    Raises:
        UserError: the pooler of an encoder that is not fine-tuned.
    """

    def __init__(
        self,
        text: PreTrainedModel | None,  # the encoder, if it is fine-tuned; None: its output is read from the cache
        *,
        text_dim: int,  # d_t
        labels: list[str],  # the classes, in the order of the logits
        dropout: float = 0.1,
        pooling: str = "mean",  # what the emotion head reads: the mean over tokens, or the encoder's pooler
    ) -> None:
        super().__init__()
        if text is None and pooling == "pooler":
            raise UserError(
                "--text-pooling pooler needs a fine-tuned text encoder; the cached features are of its tokens. Add "
                "--finetune-text, or use --text-pooling mean."
            )
        self.labels, self.alphabet = list(labels), list[str]()
        self.text, self.pooling = text, pooling
        self.dropout = nn.Dropout(dropout)
        self.emotion_head = nn.Linear(text_dim, len(labels))

    @classmethod
    def build(cls, settings: Settings, parts: Parts) -> "TextClassifier":
        """See `EmotionModel.build`."""
        pooling = settings.text_pooling
        text = parts.text_encoder(pooler=pooling == "pooler") if settings.finetune_text else None
        return cls(text, text_dim=parts.text_dim, labels=parts.labels, dropout=settings.dropout, pooling=pooling)

    def forward(self, tokens: Tensor, token_mask: Tensor) -> Output:
        """Text features `[B, M, d_t]` (token ids `[B, M]` if the encoder is fine-tuned) and their mask → `Output`."""
        if self.text is None:
            pooled = masked_mean(tokens, token_mask)  # [B, d_t]
        else:
            output = encode(self.text, tokens, token_mask)
            T = output.last_hidden_state  # [B, M, d_t]
            pooled = output.pooler_output if self.pooling == "pooler" else masked_mean(T, token_mask)  # [B, d_t]
        return Output(self.emotion_head(self.dropout(pooled)), None)
