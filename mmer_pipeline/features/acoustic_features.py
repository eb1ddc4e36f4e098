"""Features of recordings that need no encoder: eGeMAPS, prosody, length and loudness, spectrograms, MFCC."""

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING, ClassVar, Self

from mmer_pipeline.audio import SAMPLE_RATE
from mmer_pipeline.corpora.transcripts import GOLD
from mmer_pipeline.encoders.encoder_files import EncoderFiles
from mmer_pipeline.errors import UserError
from mmer_pipeline.features.feature import TIME, VECTOR, Shape
from mmer_pipeline.features.feature_file import FeatureIdentity
from mmer_pipeline.features.speech_features import RecordingFeature
from mmer_pipeline.settings import Settings

if TYPE_CHECKING:  # torch
    from mmer_pipeline.features.acoustic_extractors import HostExtractor

HOP = SAMPLE_RATE // 100  # 10 ms between frames
WINDOW = SAMPLE_RATE // 40  # 25 ms, of log-mel bands
FFT = 512
BANDS, LOWEST_HZ, HIGHEST_HZ = 80, 0.0, SAMPLE_RATE / 2
COEFFICIENTS = 13  # of MFCC
DELTA_FRAMES = 9  # over which deltas are computed
FLOOR = 1e-10  # of the power in spectrograms in decibels
PADDED = 4  # windows of mel spectrograms in an FFT, so that the narrowest band has a bin
LONG_WINDOW, LONG_FFT, BINS = 4 * HOP, 5 * HOP, 200  # 40 ms, 50 ms: of spectrograms up to 4 kHz
PITCH_WINDOW = 6 * HOP  # 60 ms, the longest window of eGeMAPS


def opensmile_version() -> str:
    """The version of the package opensmile.

    Raises:
        UserError: it is not installed; the message says how to install it.
    """
    try:
        return metadata.version("opensmile")
    except metadata.PackageNotFoundError:
        raise UserError(
            "The features egemaps, egemaps-lld and prosody require the package opensmile, which is not installed. "
            "Run `pip install 'mmer-pipeline[opensmile]'`."
        ) from None


@dataclass(frozen=True)
class AcousticFeature(RecordingFeature):
    """The base of the features that are computed from waveforms at 16 kHz without an encoder."""

    has_encoder: ClassVar[bool] = False
    computed_by: ClassVar[str]  # its class in `acoustic_extractors`
    dim: ClassVar[int]  # size of a row
    axis: ClassVar[str] = VECTOR
    layer: ClassVar[str] = ""  # in the identity: the numbers that are computed
    fewest: ClassVar[int] = 1  # samples of the shortest recording that has a row

    @classmethod
    def of(cls, name: str, settings: Settings, source: str = GOLD) -> Self:  # noqa: ARG003
        """See `Feature`."""
        return cls(name, "", None, settings.dtype)

    @property
    @abstractmethod
    def policy(self) -> str:
        """How they are computed, in the identity.

        Raises:
            UserError: the package that computes them is not installed.
        """

    def identity(self, files: EncoderFiles | None) -> FeatureIdentity:  # noqa: ARG002
        """See `Feature`; raises as `policy`."""
        return FeatureIdentity(self.kind, "", "", "", self.layer, self.policy, self.dtype)

    def shape(self, files: EncoderFiles | None) -> Shape:  # noqa: ARG002
        """See `Feature`."""
        return Shape(self.dim, self.axis)

    def extractor(self, files: EncoderFiles | None, device: str) -> "HostExtractor":  # noqa: ARG002
        """See `Feature`."""
        from mmer_pipeline.features import acoustic_extractors

        found: HostExtractor = getattr(acoustic_extractors, self.computed_by)()
        return found

    def frame_count(self, samples: int) -> int:
        """Number of frames of a recording with so many samples, at least `fewest`."""
        raise NotImplementedError

    def lengths(self, samples: Sequence[int], files: EncoderFiles | None) -> list[int]:  # noqa: ARG002
        """See `RecordingFeature`."""
        if self.axis == VECTOR:
            return [int(count >= self.fewest) for count in samples]
        return [self.frame_count(count) if count >= self.fewest else 0 for count in samples]

    def fewest_samples(self, files: EncoderFiles | None) -> int:  # noqa: ARG002
        """See `RecordingFeature`."""
        return self.fewest


@dataclass(frozen=True)
class Egemaps(AcousticFeature):
    """The 88 functionals of eGeMAPSv02 by openSMILE (Eyben et al., IEEE Transactions on Affective Computing 2016)."""

    kind: ClassVar[str] = "egemaps"
    computed_by: ClassVar[str] = "FunctionalsExtractor"
    title: ClassVar[str] = "eGeMAPS"
    dim: ClassVar[int] = 88
    layer: ClassVar[str] = "functionals"
    fewest: ClassVar[int] = PITCH_WINDOW

    @property
    def policy(self) -> str:
        """See `AcousticFeature`."""
        return f"eGeMAPSv02, opensmile {opensmile_version()}"


@dataclass(frozen=True)
class EgemapsDescriptors(Egemaps):
    """The 25 low-level descriptors of eGeMAPSv02, every 10 ms: `[frames, 25]`."""

    kind: ClassVar[str] = "egemaps-lld"
    computed_by: ClassVar[str] = "DescriptorsExtractor"
    title: ClassVar[str] = "eGeMAPS descriptors"
    dim: ClassVar[int] = 25
    axis: ClassVar[str] = TIME
    layer: ClassVar[str] = "low-level descriptors"

    def frame_count(self, samples: int) -> int:
        """See `AcousticFeature`; found by experiment with opensmile 2.6.0, and tested."""
        return 2 + (samples - PITCH_WINDOW) // HOP


@dataclass(frozen=True)
class Prosody(Egemaps):
    """The 27 functionals of eGeMAPSv02 that describe pitch, loudness and rate."""

    kind: ClassVar[str] = "prosody"
    computed_by: ClassVar[str] = "ProsodyExtractor"
    title: ClassVar[str] = "Prosody"
    dim: ClassVar[int] = 27
    layer: ClassVar[str] = "functionals of pitch, loudness and rate"


@dataclass(frozen=True)
class Loudness(AcousticFeature):
    """The logarithm of the length in seconds, and the level in dBFS: the numbers of the audit's baseline."""

    kind: ClassVar[str] = "loudness"
    computed_by: ClassVar[str] = "LoudnessExtractor"
    title: ClassVar[str] = "Length and loudness"
    dim: ClassVar[int] = 2
    layer: ClassVar[str] = "length and loudness"
    policy: ClassVar[str] = "logarithm of seconds; root mean square around the mean in dBFS"


@dataclass(frozen=True)
class LogMel(AcousticFeature):
    """The logarithms of 80 mel bands, in windows of 25 ms every 10 ms: `[frames, 80]`."""

    kind: ClassVar[str] = "log-mel"
    computed_by: ClassVar[str] = "LogMelExtractor"
    title: ClassVar[str] = "Log-mel bands"
    dim: ClassVar[int] = BANDS
    axis: ClassVar[str] = TIME
    layer: ClassVar[str] = "log-mel bands"
    policy: ClassVar[str] = (
        f"{BANDS} bands (HTK) from {LOWEST_HZ:g} to {HIGHEST_HZ:g} Hz, Hann windows of {WINDOW} samples every {HOP}, "
        f"FFT of {FFT}, power, natural logarithm"
    )
    fewest: ClassVar[int] = WINDOW

    def frame_count(self, samples: int) -> int:
        """See `AcousticFeature`."""
        return 1 + (samples - WINDOW) // HOP


@dataclass(frozen=True)
class Mfcc(LogMel):
    """13 cepstral coefficients of the log-mel bands, their deltas and double deltas: `[frames, 39]`."""

    kind: ClassVar[str] = "mfcc"
    computed_by: ClassVar[str] = "MfccExtractor"
    title: ClassVar[str] = "MFCC"
    dim: ClassVar[int] = 3 * COEFFICIENTS
    layer: ClassVar[str] = "MFCC, deltas, double deltas"
    policy: ClassVar[str] = (
        f"{COEFFICIENTS} coefficients (orthonormal DCT-II), deltas over {DELTA_FRAMES} frames; {LogMel.policy}"
    )


@dataclass(frozen=True)
class Mel512(AcousticFeature):
    """A mel spectrogram in decibels: windows of 512 samples (32 ms) every 256, 128 bands: `[frames, 128]`."""

    kind: ClassVar[str] = "mel-512"
    computed_by: ClassVar[str] = "Mel512Extractor"
    title: ClassVar[str] = "Mel spectrograms (512)"
    dim: ClassVar[int] = 128
    axis: ClassVar[str] = TIME
    layer: ClassVar[str] = "mel spectrogram"
    fewest: ClassVar[int] = 512  # also the window

    @property
    def policy(self) -> str:
        """See `AcousticFeature`."""
        return (
            f"{self.dim} bands (HTK) from {LOWEST_HZ:g} to {HIGHEST_HZ:g} Hz, Hann windows of {self.fewest} samples "
            f"every {self.fewest // 2}, FFT of {PADDED * self.fewest}, power, 10 log10, at least "
            f"{10 * math.log10(FLOOR):g}"
        )

    def frame_count(self, samples: int) -> int:
        """See `AcousticFeature`."""
        return 1 + (samples - self.fewest) // (self.fewest // 2)


@dataclass(frozen=True)
class Mel1024(Mel512):
    """A mel spectrogram in decibels: windows of 1024 samples (64 ms) every 512, 256 bands: `[frames, 256]`."""

    kind: ClassVar[str] = "mel-1024"
    computed_by: ClassVar[str] = "Mel1024Extractor"
    title: ClassVar[str] = "Mel spectrograms (1024)"
    dim: ClassVar[int] = 256
    fewest: ClassVar[int] = 1024


@dataclass(frozen=True)
class Spectrogram(AcousticFeature):
    """A spectrogram from 0 to 4 kHz in decibels, in windows of 40 ms every 10 ms: `[frames, 200]`."""

    kind: ClassVar[str] = "spectrogram"
    computed_by: ClassVar[str] = "SpectrogramExtractor"
    title: ClassVar[str] = "Spectrograms"
    dim: ClassVar[int] = BINS
    axis: ClassVar[str] = TIME
    layer: ClassVar[str] = "spectrogram"
    policy: ClassVar[str] = (
        f"{BINS} lowest bins of an FFT of {LONG_FFT}, Hamming windows of {LONG_WINDOW} samples every {HOP}, power, "
        f"10 log10, at least {10 * math.log10(FLOOR):g}"
    )
    fewest: ClassVar[int] = LONG_WINDOW

    def frame_count(self, samples: int) -> int:
        """See `AcousticFeature`."""
        return 1 + (samples - LONG_WINDOW) // HOP
