"""The common base of published systems on two frozen encoders: frames of speech, and tokens of its words."""

from collections.abc import Sequence
from typing import Any, Self

from torch import Tensor

from mmer_pipeline.settings import Settings
from mmer_pipeline.systems.base import EmotionModel, FrozenInput, Output, Parts


class SpeechAndText(EmotionModel):
    """A system on the hidden states of a frozen speech encoder and of a frozen text encoder.

    It has `speech_dim` and `text_dim`, the sizes of a frame and of a token.
    """

    def __init__(
        self, *, labels: list[str], alphabet: Sequence[str] = (), inputs: list[dict[str, Any]], text_dim: int
    ) -> None:
        super().__init__()
        self.labels, self.alphabet = list(labels), list(alphabet)
        self.inputs = inputs
        (frames,) = (FrozenInput(**entry) for entry in inputs)
        self.speech_dim, self.text_dim = frames.dim, text_dim

    @classmethod
    def build(cls, settings: Settings, parts: Parts) -> Self:
        """See `EmotionModel.build`."""
        options = cls.options(settings)
        return cls(labels=parts.labels, inputs=parts.frozen_inputs, text_dim=parts.text_dim, **options)

    @classmethod
    def options(cls, settings: Settings) -> dict[str, Any]:
        """The other arguments of the constructor that settings give."""
        return {"dropout": settings.dropout}

    def forward(self, speech_states: Tensor, speech_states_mask: Tensor, tokens: Tensor, token_mask: Tensor) -> Output:
        """Frames `[B, J, speech_dim]` and tokens `[B, M, text_dim]`, with their masks → `Output`."""
        raise NotImplementedError
