"""Systems on frozen features that are trained in epochs: SUPERB's emotion head, and attentive statistics pooling.

Shape letters: B batch, N rows, L layers, d hidden size, C classes. Masks: True is a real row.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mmer_pipeline.errors import UserError
from mmer_pipeline.settings import Settings
from mmer_pipeline.systems.base import EmotionModel, FrozenInput, Output, Parts
from mmer_pipeline.systems.pooling import AttentiveStatistics, LayerSum
from mmer_pipeline.systems.standardising import frame_statistics

PROJECTION = 256  # of SUPERB's emotion head


def only_input(inputs: Sequence[FrozenInput], axis: str, system: str) -> FrozenInput:
    """The single input of a system, which must have rows of this kind.

    Raises:
        UserError: there are several, or its rows are something else.
    """
    if len(inputs) == 1 and inputs[0].axis == axis:
        return inputs[0]
    found = ", ".join(f"{entry.name} ({entry.axis})" for entry in inputs)
    wanted = {"layers": "one feature with a row for each layer, such as speech-layers or text-layers",
              "time": "one feature with frames, such as speech-states, log-mel or egemaps-lld"}[axis]  # fmt: skip
    raise UserError(f"--inputs: {system} reads {wanted}; found {found}.")


class WeightedLayers(EmotionModel):
    """SUPERB's emotion recognition: weighted sum of layers, linear map to 256, mean over frames, linear layer.

    Everything before the last layer is linear. So the mean over frames is taken first, of every layer, when the
    features are extracted; the output is the same (Yang et al., Interspeech 2021, section 3; `emotion` in s3prl).
    """

    def __init__(self, *, labels: list[str], alphabet: Sequence[str] = (), inputs: list[dict[str, Any]]) -> None:
        super().__init__()
        self.labels, self.alphabet = list(labels), list(alphabet)
        self.inputs = inputs
        self.input = only_input([FrozenInput(**entry) for entry in inputs], "layers", "superb")
        self.layer_sum = LayerSum(self.input.layers)
        self.projector = nn.Linear(self.input.part, PROJECTION)
        self.emotion_head = nn.Linear(PROJECTION, len(labels))

    @classmethod
    def build(cls, settings: Settings, parts: Parts) -> "WeightedLayers":  # noqa: ARG003
        """See `EmotionModel.build`."""
        return cls(labels=parts.labels, inputs=parts.frozen_inputs)

    def forward(self, **features: Tensor) -> Output:
        """Statistics of every layer `[B, L, parts · d]`, of which the first part is the mean → `Output`."""
        means = features[self.input.name][..., : self.input.part]  # [B, L, d]
        return Output(self.emotion_head(self.projector(self.layer_sum(means))), None)


class AttentivePooling(EmotionModel):
    """Attentive statistics pooling over frames, one linear layer (Okabe et al., Interspeech 2018).

    Before, each dimension is standardised by its mean and standard deviation over all frames of the training part.
    """

    def __init__(
        self, *, labels: list[str], alphabet: Sequence[str] = (), inputs: list[dict[str, Any]], dropout: float = 0.1
    ) -> None:
        super().__init__()
        self.labels, self.alphabet = list(labels), list(alphabet)
        self.inputs = inputs
        self.input = only_input([FrozenInput(**entry) for entry in inputs], "time", "attentive")
        self.mean: Tensor
        self.deviation: Tensor
        self.register_buffer("mean", torch.zeros(self.input.dim))
        self.register_buffer("deviation", torch.ones(self.input.dim))
        self.pooling = AttentiveStatistics(self.input.dim)
        self.dropout = nn.Dropout(dropout)
        self.emotion_head = nn.Linear(2 * self.input.dim, len(labels))

    @classmethod
    def build(cls, settings: Settings, parts: Parts) -> "AttentivePooling":
        """See `EmotionModel.build`."""
        return cls(labels=parts.labels, inputs=parts.frozen_inputs, dropout=settings.dropout)

    def prepare(self, batches: Iterable[Mapping[str, Tensor]], *_: Any) -> None:
        """See `EmotionModel`."""
        mean, deviation = frame_statistics(batches, [self.input.name])[self.input.name]
        self.mean.copy_(mean)
        self.deviation.copy_(deviation)

    def forward(self, **features: Tensor) -> Output:
        """Frames `[B, N, d]` and their mask → `Output`."""
        values, mask = features[self.input.name], features[f"{self.input.name}_mask"]
        standardised = (values - self.mean) / self.deviation
        return Output(self.emotion_head(self.dropout(self.pooling(standardised, mask))), None)
