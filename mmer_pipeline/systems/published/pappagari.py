"""A network that was trained to tell speakers apart, and a linear layer, after Pappagari et al. (ICASSP 2020).

Theirs is a ResNet x-vector trained on VoxCeleb, whose weights were not published. In its place is Resemblyzer's LSTM.
Shape letters: B batch, N frames, d size of an embedding, C classes. Masks: True is a real frame.
"""

from collections.abc import Sequence
from typing import Any, Self

from torch import Tensor, nn

from mmer_pipeline.encoders.resemblyzer import EMBEDDING
from mmer_pipeline.encoders.speaker_network import SpeakerNetwork, load_speaker_weights
from mmer_pipeline.settings import Settings
from mmer_pipeline.systems.base import EmotionModel, FrozenInput, Output, Parts

_SCALE = EMBEDDING**0.5  # of embeddings, whose length is one: with it, a number is about one, as after a norm


class SpeakerTransfer(EmotionModel):
    """Speaker network, linear layer; of a frozen network, the embeddings are read."""

    def __init__(
        self, *, labels: list[str], alphabet: Sequence[str] = (), inputs: list[dict[str, Any]], dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.labels, self.alphabet = list(labels), list(alphabet)
        self.inputs = inputs
        (self.input,) = [FrozenInput(**entry) for entry in inputs]
        self.network = SpeakerNetwork() if self.input.axis == "time" else None
        self.dropout = nn.Dropout(dropout)
        self.emotion_head = nn.Linear(EMBEDDING, len(labels))

    @classmethod
    def build(cls, settings: Settings, parts: Parts) -> Self:
        """See `EmotionModel.build`.

        Raises:
            UserError: the weights are not installed, unless the network is frozen or trained from scratch.
        """
        model = cls(labels=parts.labels, inputs=parts.frozen_inputs, dropout=settings.dropout)
        if model.network and settings.speaker_weights != "scratch":
            load_speaker_weights(model.network)
        return model

    def forward(self, **features: Tensor) -> Output:
        """Mel frames `[B, N, 40]`, or embeddings `[B, 1, d]`, and their mask → `Output`."""
        values, mask = features[self.input.name], features[f"{self.input.name}_mask"]
        embeddings = self.network(self.augmented(values, mask), mask) if self.network else values[:, 0]  # [B, d]
        return Output(self.emotion_head(self.dropout(_SCALE * embeddings)), None)

    def augmented(self, frames: Tensor, mask: Tensor) -> Tensor:  # noqa: ARG002
        """The frames `[B, N, 40]` that the network reads in training; here, those that it is given."""
        return frames
