"""Resemblyzer's mel frames, and the speaker embeddings that its network computes of them."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from mmer_pipeline.encoders.encoder_files import EncoderFiles
from mmer_pipeline.encoders.resemblyzer import BANDS, DIGEST, EMBEDDING, EXTRA_FRAMES, NAME
from mmer_pipeline.features.acoustic_features import HOP, WINDOW, AcousticFeature
from mmer_pipeline.features.feature import TIME
from mmer_pipeline.features.feature_file import FeatureIdentity

if TYPE_CHECKING:  # torch
    from mmer_pipeline.features.resemblyzer_extractors import EmbeddingExtractor, MelExtractor

QUIETEST_DBFS = -30.0  # a recording that is quieter is amplified to this level


@dataclass(frozen=True)
class ResemblyzerMel(AcousticFeature):
    """The mel frames that Resemblyzer's network reads, no logarithms: `[frames, 40]`.

    Two frames follow after the last one whose middle is in the recording: its last samples are in them, too.
    """

    kind: ClassVar[str] = "resemblyzer-mel"
    title: ClassVar[str] = "Mel frames of Resemblyzer"
    dim: ClassVar[int] = BANDS
    axis: ClassVar[str] = TIME
    layer: ClassVar[str] = "mel bands"
    policy: ClassVar[str] = (
        f"{BANDS} bands (Slaney) from 0 to 8000 Hz, centred Hann windows of {WINDOW} samples every {HOP}, power; "
        f"amplified to at least {QUIETEST_DBFS:g} dBFS"
    )

    def frame_count(self, samples: int) -> int:
        """See `AcousticFeature`."""
        return EXTRA_FRAMES + samples // HOP

    def extractor(self, files: EncoderFiles | None, device: str) -> "MelExtractor":  # noqa: ARG002
        """See `Feature`."""
        from mmer_pipeline.features.resemblyzer_extractors import MelExtractor

        return MelExtractor()


@dataclass(frozen=True)
class ResemblyzerEmbedding(AcousticFeature):
    """The speaker embedding of an utterance by Resemblyzer's network: 256 numbers."""

    kind: ClassVar[str] = "resemblyzer"
    title: ClassVar[str] = "Speaker embeddings of Resemblyzer"
    dim: ClassVar[int] = EMBEDDING
    layer: ClassVar[str] = "speaker embedding"
    policy: ClassVar[str] = f"{ResemblyzerMel.policy}; windows of 1.6 s, 1.3 a second"

    def identity(self, files: EncoderFiles | None) -> FeatureIdentity:  # noqa: ARG002
        """See `Feature`."""
        return FeatureIdentity(self.kind, NAME, "", DIGEST, self.layer, self.policy, self.dtype)

    def extractor(self, files: EncoderFiles | None, device: str) -> "EmbeddingExtractor":  # noqa: ARG002
        """See `Feature`.

        Raises:
            UserError: the weights are not installed.
        """
        from mmer_pipeline.features.resemblyzer_extractors import EmbeddingExtractor

        return EmbeddingExtractor(device)
