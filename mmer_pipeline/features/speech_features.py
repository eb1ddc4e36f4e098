"""Features of recordings: a speech encoder's front-end frames, its hidden states, and statistics of each layer."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from mmer_pipeline import audio, files
from mmer_pipeline.corpora.manifest import Manifest
from mmer_pipeline.corpora.transcripts import GOLD
from mmer_pipeline.corpora.utterances import Utterance
from mmer_pipeline.digests import digest_of, digest_of_recording, stamp_of
from mmer_pipeline.encoders.encoder_files import EncoderFiles
from mmer_pipeline.errors import UserError
from mmer_pipeline.features.feature import DEVIATION, LAYERS, MEAN, Feature, Inputs, Planned, Shape
from mmer_pipeline.features.feature_file import FeatureIdentity
from mmer_pipeline.layers import layer_numbers
from mmer_pipeline.settings import Settings
from mmer_pipeline.waveform_versions import Version

if TYPE_CHECKING:  # torch
    from mmer_pipeline.encoders.frozen_speech import FrozenSpeechEncoder
    from mmer_pipeline.encoders.speech import SpeechEncoder
    from mmer_pipeline.features.extractors import Extractor

FRONT_END = "convolutional front end"


@dataclass(frozen=True)
class SpeechItem:
    """One recording to compute the rows of."""

    number: int  # in the plan
    path: Path
    start_seconds: float | None
    end_seconds: float | None
    samples: int  # expected at 16 kHz


@dataclass(frozen=True)
class RecordingFeature(Feature):
    """The base of the features of recordings."""

    modality: ClassVar[str] = "speech"

    @abstractmethod
    def lengths(self, samples: Sequence[int], files: EncoderFiles | None) -> list[int]:
        """Number of rows of recordings with so many samples at 16 kHz; 0: a recording is too short."""

    @abstractmethod
    def fewest_samples(self, files: EncoderFiles | None) -> int:
        """Samples of the shortest recording that has a row."""

    def corpus(self, manifest: Manifest) -> Manifest:
        """See `Feature`."""
        return manifest

    def inputs(self, corpus: Manifest, known: Mapping[str, tuple[str, str]] | None = None) -> Inputs:
        """See `Feature`: the bytes and the segment of each recording."""
        return speech_inputs(corpus, known)

    def plan(self, corpus: Manifest, files: EncoderFiles | None) -> list[Planned]:
        """See `Feature`; reads only the headers of the recordings."""
        items = []
        for number, u in enumerate(corpus.utterances):
            path = corpus.audio_path(u)
            samples = audio.sample_count(path, u.start_seconds, u.end_seconds)
            items.append(SpeechItem(number, path, u.start_seconds, u.end_seconds, samples))
        lengths = self.lengths([item.samples for item in items], files)
        for item, length in zip(items, lengths, strict=True):
            if length < 1:
                raise _too_short(corpus.utterances[item.number], item.samples, item.path, self.fewest_samples(files))
        return [Planned(length, item) for item, length in zip(items, lengths, strict=True)]

    def batches(self, items: Sequence[Any]) -> Sequence[Sequence[Any]]:
        """See `Feature`."""
        from mmer_pipeline.features.workers import speech_batches

        return speech_batches(items)


@dataclass(frozen=True)
class EncoderFeature(RecordingFeature):
    """The base of the features that a speech encoder computes."""

    @classmethod
    def of(cls, name: str, settings: Settings, source: str = GOLD) -> Self:  # noqa: ARG003
        """See `Feature`."""
        return cls(name, settings.speech_encoder, settings.speech_revision, settings.dtype)

    @property
    @abstractmethod
    def layer(self) -> str:
        """The layer in the identity."""

    def identity(self, files: EncoderFiles | None) -> FeatureIdentity:
        """See `Feature`."""
        assert files is not None
        policy = "zero mean, unit variance" if files.normalises else "as recorded"
        revision, digest = files.revision or "", files.digest()
        return FeatureIdentity(self.kind, files.name, revision, digest, self.layer, policy, self.dtype)


@dataclass(frozen=True)
class Frames(EncoderFeature):
    """The output of the speech encoder's frozen front end: `[frames, front_dim]` (paper, section 3.2.1).

    With `frozen_layers`, it is that of the last of these: `[frames, d]`. With a `version`, it is that of the changed
    recordings.
    """

    kind: ClassVar[str] = "speech"
    title: ClassVar[str] = "Speech features"

    frozen_layers: int = 0
    version: Version | None = None

    @classmethod
    def of(cls, name: str, settings: Settings, source: str = GOLD) -> Self:
        """See `Feature`."""
        return replace(super().of(name, settings, source), frozen_layers=settings.frozen_layers)

    @property
    def parts(self) -> tuple[str, ...]:
        """See `Feature`."""
        lower = (f"lower-{self.frozen_layers}",) if self.frozen_layers else ()
        return (*lower, str(self.version)) if self.version else lower

    @property
    def layer(self) -> str:
        """See `EncoderFeature`."""
        return f"output of layer {self.frozen_layers}" if self.frozen_layers else FRONT_END

    def identity(self, files: EncoderFiles | None) -> FeatureIdentity:
        """See `Feature`."""
        identity = super().identity(files)
        return replace(identity, policy=f"{identity.policy}; {self.version}") if self.version else identity

    def lengths(self, samples: Sequence[int], files: EncoderFiles | None) -> list[int]:
        """See `RecordingFeature`."""
        from mmer_pipeline.encoders.speech import speech_outline

        assert files is not None
        outline = speech_outline(files)
        return [outline.frame_count(self.version.samples(count) if self.version else count) for count in samples]

    def fewest_samples(self, files: EncoderFiles | None) -> int:
        """See `RecordingFeature`."""
        from mmer_pipeline.encoders.speech import speech_outline

        assert files is not None
        fewest = speech_outline(files).receptive_field_samples
        return self.version.samples_before(fewest) if self.version else fewest

    def shape(self, files: EncoderFiles | None) -> Shape:
        """See `Feature`."""
        from mmer_pipeline.encoders.speech import speech_outline

        assert files is not None
        outline = speech_outline(files)
        if self.frozen_layers > len(outline.layers):
            raise UserError(
                f"--frozen-layers {self.frozen_layers}: {files.name} has {len(outline.layers)} layers. Use at most so "
                "many."
            )
        return Shape(outline.hidden_size if self.frozen_layers else outline.front_dim)

    def extractor(self, files: EncoderFiles | None, device: str) -> "Extractor":
        """See `Feature`."""
        from mmer_pipeline.features.extractors import FrameExtractor

        assert files is not None
        return FrameExtractor(files, device, self.frozen_layers, self.version)


@dataclass(frozen=True)
class HiddenStates(EncoderFeature):
    """The base of the features that are made of a speech encoder's hidden states."""

    def outline(self, files: EncoderFiles | None) -> "FrozenSpeechEncoder":
        """The encoder without its weights."""
        from mmer_pipeline.encoders.frozen_speech import frozen_outline

        assert files is not None
        return frozen_outline(files)

    def fewest_samples(self, files: EncoderFiles | None) -> int:
        """See `RecordingFeature`."""
        return self.outline(files).fewest_samples


@dataclass(frozen=True)
class SpeechLayers(HiddenStates):
    """The mean and the standard deviation over frames of every hidden state of a speech encoder: `[layers + 1, 2 · d]`.

    Layer 0 is the input of the first layer. For wav2vec2-base and IEMOCAP, this takes 0.2 GB, and the frames of all
    layers would take 25 GB.
    """

    kind: ClassVar[str] = "speech-layers"
    layer: ClassVar[str] = "all; mean and standard deviation"

    def lengths(self, samples: Sequence[int], files: EncoderFiles | None) -> list[int]:
        """See `RecordingFeature`."""
        outline = self.outline(files)
        return [outline.layers + 1 if outline.frame_count(count) > 0 else 0 for count in samples]

    def shape(self, files: EncoderFiles | None) -> Shape:
        """See `Feature`."""
        outline = self.outline(files)
        return Shape(2 * outline.hidden_size, LAYERS, outline.layers + 1, (MEAN, DEVIATION))

    def extractor(self, files: EncoderFiles | None, device: str) -> "Extractor":
        """See `Feature`."""
        from mmer_pipeline.features.extractors import SpeechLayerExtractor

        assert files is not None
        return SpeechLayerExtractor(files, device)


@dataclass(frozen=True)
class SpeechStates(HiddenStates):
    """The frames of one hidden state of a speech encoder, or of several side by side: `[frames, layers · d]`."""

    kind: ClassVar[str] = "speech-states"

    layers: str = "last"  # as `--layer` gives them

    @classmethod
    def of(cls, name: str, settings: Settings, source: str = GOLD) -> Self:
        """See `Feature`."""
        return replace(super().of(name, settings, source), layers=settings.layer)

    @property
    def parts(self) -> tuple[str, ...]:
        """See `Feature`."""
        return (f"layer-{self.layers}",)

    @property
    def layer(self) -> str:
        """See `EncoderFeature`."""
        return self.layers

    def lengths(self, samples: Sequence[int], files: EncoderFiles | None) -> list[int]:
        """See `RecordingFeature`."""
        outline = self.outline(files)
        return [outline.frame_count(count) for count in samples]

    def shape(self, files: EncoderFiles | None) -> Shape:
        """See `Feature`."""
        outline = self.outline(files)
        return Shape(len(layer_numbers(self.layers, outline.layers)) * outline.hidden_size)

    def extractor(self, files: EncoderFiles | None, device: str) -> "Extractor":
        """See `Feature`."""
        from mmer_pipeline.features.extractors import SpeechStateExtractor

        assert files is not None
        return SpeechStateExtractor(files, device, self.layers)


def speech_inputs(manifest: Manifest, known: Mapping[str, tuple[str, str]] | None = None) -> Inputs:
    """Inputs of the features of recordings: the bytes and the segment of each recording.

    A recording whose stamp equals the `known` one (utterance id → stamp and digest) is not read again.

    Raises:
        UserError: a recording is missing.
    """
    digests, stamps = {}, {}
    states: dict[Path, tuple[int, int]] = {}  # one look per recording, which may contain many segments
    contents: dict[Path, str] = {}
    for utterance in manifest.utterances:
        key, path = utterance.utterance_id, manifest.audio_path(utterance)
        if path not in states:
            states[path] = _state(path, utterance)
        stamps[key] = _stamp(utterance, states[path])
        stamp, digest = (known or {}).get(key, ("", ""))
        if stamp == stamps[key]:
            digests[key] = digest
            continue
        if path not in contents:
            contents[path] = digest_of_recording(path)
        segment = f"{utterance.start_seconds} {utterance.end_seconds}"
        digests[key] = digest_of(contents[path].encode(), segment.encode())
    return Inputs(digests, stamps)


def _state(path: Path, utterance: Utterance) -> tuple[int, int]:
    """Size and modification time of an utterance's recording."""
    try:
        files.check_is_file(path)
        stat = path.stat()
    except OSError as error:
        raise UserError(
            f"{utterance.utterance_id}: its recording {path} cannot be read ({error.strerror}). "
            "Restore the file, or run `mmer-pipe prepare` again to leave the utterance out."
        ) from None
    return stat.st_size, stat.st_mtime_ns


def _stamp(utterance: Utterance, state: tuple[int, int]) -> str:
    return stamp_of(utterance.audio, *state, utterance.start_seconds, utterance.end_seconds)


def count_frames(manifest: Manifest, utterance: Utterance, encoder: "SpeechEncoder") -> tuple[int, int]:
    """Count an utterance's samples at 16 kHz and its front-end frames, reading only the header of the recording.

    Raises:
        UserError: the recording is missing, truncated, or shorter than one frame.
    """
    recording = manifest.audio_path(utterance)
    samples = audio.sample_count(recording, utterance.start_seconds, utterance.end_seconds)
    frames = encoder.frame_count(samples)
    if frames < 1:
        raise _too_short(utterance, samples, recording, encoder.receptive_field_samples)
    return samples, frames


def _too_short(utterance: Utterance, samples: int, recording: Path, expected: int) -> UserError:
    return UserError(
        f"{utterance.utterance_id}: expected at least {expected} samples at 16 kHz (one frame), found {samples} in "
        f"{recording}. Run `mmer-pipe prepare` again to leave it out."
    )
