"""After Morais et al. (2022, arXiv 2202.03896): frames of a speech encoder, ECAPA-TDNN, linear layer.

Theirs reads the frames of two encoders, wav2vec2-large-robust and HuBERT, that were fine-tuned on the fold's training
part before. Here a single encoder is read, as it was pretrained. They give neither the width of ECAPA-TDNN nor the
optimiser: ours are the smaller width of its publication, and Adam.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

from torch import Tensor, nn

from mmer_pipeline.settings import Settings
from mmer_pipeline.systems.base import EmotionModel, FrozenInput, Output, Parts
from mmer_pipeline.systems.frozen import only_input
from mmer_pipeline.systems.published.ecapa import EMBEDDING, EcapaTdnn


class EcapaHead(EmotionModel):
    """ECAPA-TDNN on frames of frozen features, one linear layer."""

    splits_steps: ClassVar[bool] = False  # batch norm

    def __init__(
        self, *, labels: list[str], alphabet: Sequence[str] = (), inputs: list[dict[str, Any]], dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.labels, self.alphabet = list(labels), list(alphabet)
        self.inputs = inputs
        self.input = only_input([FrozenInput(**entry) for entry in inputs], "time", "morais")
        self.network = EcapaTdnn(self.input.dim)
        self.dropout = nn.Dropout(dropout)
        self.emotion_head = nn.Linear(EMBEDDING, len(labels))

    @classmethod
    def build(cls, settings: Settings, parts: Parts) -> "EcapaHead":
        """See `EmotionModel.build`."""
        return cls(labels=parts.labels, inputs=parts.frozen_inputs, dropout=settings.dropout)

    def forward(self, **features: Tensor) -> Output:
        """Frames `[B, N, d]` and their mask → `Output`."""
        values, mask = features[self.input.name], features[f"{self.input.name}_mask"]
        return Output(self.emotion_head(self.dropout(self.network(values, mask))), None)
