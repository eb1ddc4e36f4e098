"""Speaker embeddings: x-vectors of a speech encoder that was trained to tell speakers apart."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from mmer_pipeline.encoders.encoder_files import EncoderFiles
from mmer_pipeline.errors import UserError
from mmer_pipeline.features.feature import VECTOR, Shape
from mmer_pipeline.features.speech_features import EncoderFeature

if TYPE_CHECKING:  # torch
    from mmer_pipeline.features.speaker_extractors import SpeakerExtractor


def speaker_config(files: EncoderFiles) -> Any:
    """The configuration of a speaker encoder.

    Raises:
        UserError: it cannot be read, or the encoder gives no speaker embeddings.
    """
    from mmer_pipeline.encoders.pretrained import read_config

    config = read_config(files)
    architectures = config.architectures or []
    if not any(name.endswith("ForXVector") for name in architectures):
        raise UserError(
            f"{files.name} gives no speaker embeddings: expected an architecture that ends in ForXVector, found "
            f"{', '.join(architectures) or 'none'}. Give --speech-encoder microsoft/wavlm-base-plus-sv or another "
            "encoder of this kind."
        )
    return config


@dataclass(frozen=True)
class Speaker(EncoderFeature):
    """The speaker embedding of an utterance, by `--speech-encoder`: an x-vector (Snyder et al., ICASSP 2018)."""

    kind: ClassVar[str] = "speaker"
    title: ClassVar[str] = "Speaker embeddings"
    layer: ClassVar[str] = "speaker embedding"

    def lengths(self, samples: Sequence[int], files: EncoderFiles | None) -> list[int]:
        """See `RecordingFeature`."""
        fewest = self.fewest_samples(files)
        return [int(count >= fewest) for count in samples]

    def fewest_samples(self, files: EncoderFiles | None) -> int:
        """See `RecordingFeature`: as many as give two frames after the convolutions, for their standard deviation."""
        from mmer_pipeline.encoders.speech import speech_outline

        assert files is not None
        config, outline = speaker_config(files), speech_outline(files)
        context: int = sum(
            dilation * (kernel - 1) for kernel, dilation in zip(config.tdnn_kernel, config.tdnn_dilation, strict=True)
        )
        return outline.receptive_field_samples + (1 + context) * outline.samples_per_frame

    def shape(self, files: EncoderFiles | None) -> Shape:
        """See `Feature`."""
        assert files is not None
        return Shape(int(speaker_config(files).xvector_output_dim), VECTOR)

    def extractor(self, files: EncoderFiles | None, device: str) -> "SpeakerExtractor":
        """See `Feature`."""
        from mmer_pipeline.features.speaker_extractors import SpeakerExtractor

        assert files is not None
        return SpeakerExtractor(files, device)
