"""The frozen features of recordings that are classified, computed as extraction computes and stores them."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from mmer_pipeline.feature_registry import keyword
from mmer_pipeline.features.required_features import feature_of
from mmer_pipeline.prediction.trained_model import TrainedModel
from mmer_pipeline.systems.registry import read_features


class FrozenInputs:
    """The extractors of the features that a model reads besides front-end frames and tokens; most models have none.

    Raises:
        UserError: an encoder is not available, or not the one that the model was trained with.
    """

    def __init__(self, model: TrainedModel, device: str) -> None:
        self.extractors: list[tuple[str, str, Any]] = []  # argument of the model, modality, extractor
        self.fewest_samples = 1
        self.half = model.settings.dtype == "float16"
        encoders = {"speech": model.speech, "text": model.text}
        for name in read_features(model.settings):
            if name in ("speech", "text"):
                continue
            feature = feature_of(name, model.settings)
            reference = encoders[feature.modality] if feature.has_encoder else None
            files = reference.files() if reference else None
            if feature.modality == "speech":
                self.fewest_samples = max(self.fewest_samples, feature.fewest_samples(files))  # type: ignore[attr-defined]
            self.extractors.append((keyword(name), feature.modality, feature.extractor(files, device)))

    def of(self, waveform: np.ndarray, ids: Sequence[int] | None) -> Iterator[tuple[str, Tensor]]:
        """The argument's name and the rows `[length, dim]` of each feature, from a waveform and its words' tokens."""
        for name, modality, extractor in self.extractors:
            rows: Tensor = extractor.of_tokens(ids) if modality == "text" else extractor.of_waveform(waveform)
            yield name, rows.half().float() if self.half else rows
