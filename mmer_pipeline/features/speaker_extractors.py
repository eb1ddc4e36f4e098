"""The computation of speaker embeddings.

Shape letters: B batch, S samples.
"""

from collections.abc import Sequence

import numpy as np
from torch import Tensor, nn
from transformers import AutoModelForAudioXVector

from mmer_pipeline.devices import resolve_device
from mmer_pipeline.encoders.encoder_files import EncoderFiles
from mmer_pipeline.encoders.pretrained import load_pretrained
from mmer_pipeline.encoders.speech import speech_outline
from mmer_pipeline.features.extractors import Group, SpeechExtractor
from mmer_pipeline.features.speaker_features import speaker_config


class SpeakerExtractor(SpeechExtractor):
    """Runs a speaker encoder of transformers.

    Raises:
        UserError: the encoder gives no speaker embeddings, or its weights do not fit.
    """

    def __init__(self, files: EncoderFiles, device: str) -> None:
        speaker_config(files)
        self.device = resolve_device(device)
        self.outline = speech_outline(files)
        model: nn.Module = load_pretrained(AutoModelForAudioXVector, files)
        self.model = model.to(self.device).eval()

    def normalise(self, waveform: np.ndarray) -> np.ndarray:
        """See `SpeechExtractor`."""
        return self.outline.normalise(waveform)

    def compute(self, loaded: Sequence[Tensor]) -> list[Group]:
        """See `Extractor`."""
        groups = []
        for waveforms in loaded:
            embeddings = self.model(waveforms.to(self.device, non_blocking=True)).embeddings  # [B, dim]
            groups.append(Group(embeddings[:, None], [1] * len(waveforms)))
        return groups
