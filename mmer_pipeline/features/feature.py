"""Features: frozen inputs of a system that are computed once per utterance and stored in the feature cache.

A feature has an identity (its encoder, layer, parameters and number format), rows `[length, dim]` for each utterance,
inputs from which the rows are computed (so that a change is noticed), and an extractor that computes them. This module
loads no model and imports no torch.
"""

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from mmer_pipeline import paths
from mmer_pipeline.corpora.manifest import Manifest
from mmer_pipeline.corpora.transcripts import GOLD
from mmer_pipeline.encoders.encoder_files import EncoderFiles, local_directory, resolve_encoder
from mmer_pipeline.errors import UserError
from mmer_pipeline.feature_registry import find_feature
from mmer_pipeline.features.feature_file import FeatureFile, FeatureIdentity, identity_of
from mmer_pipeline.settings import Settings

if TYPE_CHECKING:  # torch
    from mmer_pipeline.features.extractors import Extractor

TIME, LAYERS, VECTOR = "time", "layers", "vector"  # what the rows of an utterance are: see `Shape`
MEAN, DEVIATION, FIRST = "mean", "std", "first"  # statistics over the frames or tokens of an utterance


@dataclass(frozen=True)
class Shape:
    """The meaning of an utterance's rows `[length, dim]`."""

    dim: int
    axis: str = TIME  # rows are frames or tokens in time; one row for each layer; or there is a single row, a vector
    layers: int = 0  # number of rows if they are layers
    statistics: tuple[str, ...] = ()  # what the equal parts of a row are, such as mean and std; empty: it has no parts


@dataclass(frozen=True)
class Inputs:
    """The inputs from which the rows of a corpus are computed."""

    digests: dict[str, str]  # utterance id → input digest
    stamps: dict[str, str]  # utterance id → stamp of its recording; no entries for text


@dataclass(frozen=True)
class Planned:
    """An utterance's part of an extraction."""

    length: int  # number of rows
    item: Any  # the work, as the extractor takes it; has a `number`, the utterance's position in the manifest


@dataclass(frozen=True)
class Feature(ABC):
    """The base of all features. Instances are plain values: they can be compared, hashed and sent to workers.

    A new feature is a subclass of `speech_features.RecordingFeature` or `text_features.TextFeature` and an entry in
    `feature_registry.FEATURES`, in the entry points `mmer_pipeline.features` of another package, or in the dictionary
    `FEATURES` of a Python file.
    """

    kind: ClassVar[str]  # the first part of its file's name; also its identity's
    modality: ClassVar[str]  # "speech": computed from recordings; "text": from transcripts
    has_encoder: ClassVar[bool] = True  # False: it needs no pretrained model

    name: str  # by which a system reads it: one of the registry, or FILE.py:NAME
    encoder: str  # hub id or directory; "" without one
    revision: str | None
    dtype: str

    @classmethod
    @abstractmethod
    def of(cls, name: str, settings: Settings, source: str = GOLD) -> Self:
        """The feature that a run with these settings reads; `source` is that of the transcripts, for text."""

    @abstractmethod
    def identity(self, files: EncoderFiles | None) -> FeatureIdentity:
        """The facts that all rows of its file share."""

    @abstractmethod
    def shape(self, files: EncoderFiles | None) -> Shape:
        """The size and the meaning of its rows; weights are not loaded.

        Raises:
            UserError: the encoder's configuration cannot be used.
        """

    @abstractmethod
    def corpus(self, manifest: Manifest) -> Manifest:
        """The corpus whose rows are computed: with other transcripts, if it reads others."""

    @abstractmethod
    def inputs(self, corpus: Manifest, known: Mapping[str, tuple[str, str]] | None = None) -> Inputs:
        """The inputs of all rows; a recording with a `known` stamp (stamp, digest) is not read again.

        Raises:
            UserError: a recording is missing.
        """

    @abstractmethod
    def plan(self, corpus: Manifest, files: EncoderFiles | None) -> list[Planned]:
        """Every utterance's number of rows and work.

        Raises:
            UserError: a recording is missing, truncated, or shorter than one frame.
        """

    @abstractmethod
    def batches(self, items: Sequence[Any]) -> Sequence[Sequence[Any]]:
        """Batches of work."""

    @abstractmethod
    def extractor(self, files: EncoderFiles | None, device: str) -> "Extractor":
        """Load what computes the rows."""

    @property
    def parts(self) -> tuple[str, ...]:
        """The parts of its file's name between the encoder and the number format."""
        return ()

    @property
    def title(self) -> str:
        """Its name in messages: "Speech layers"."""
        return self.kind.replace("-", " ").capitalize()

    def find(self) -> EncoderFiles | None:
        """Find the encoder.

        Raises:
            UserError: it is not available.
        """
        return resolve_encoder(self.encoder, self.revision) if self.has_encoder else None

    def path(self, cache: Path, manifest: Path) -> Path:
        """The path of its file."""
        slug = [paths.encoder_slug(self.encoder)] if self.has_encoder else []
        path = paths.features(cache, manifest, self.kind, *slug, *self.parts, self.dtype)
        return own_file(path, self.encoder, self.revision) if self.has_encoder else path

    def reads(self, manifest: Manifest, files: EncoderFiles | None) -> tuple[Path, ...]:
        """Directories that a worker must see."""
        encoder = (files.directory,) if files else ()
        return encoder if self.modality == "text" else (*encoder, manifest.root)

    def known_dim(self, file: FeatureFile) -> Callable[[], int | None]:
        """A function that returns the size of a row; None if the encoder is not here any more, or is another one."""

        def dim() -> int | None:
            try:
                files = self.find()
                if self.identity(files).mismatches(file.identity):
                    return None
            except UserError:
                return None
            return self.shape(files).dim

        return dim

    def __reduce__(self) -> tuple[Any, ...]:
        # By name: a class from a file can be found in another process, but not imported there.
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return _rebuild, (self.name, values)


def _rebuild(name: str, values: Mapping[str, Any]) -> Feature:
    feature: Feature = find_feature(name)(**values)
    return feature


@dataclass(frozen=True)
class AsrTranscripts:
    """The automatic transcripts of a corpus, which a system reads itself or from which its features are computed."""

    kind: ClassVar[str] = "transcripts"
    title: ClassVar[str] = "Transcripts"

    encoder: str  # the ASR model's hub id or directory
    revision: str | None

    def path(self, _cache: Path, manifest: Path) -> Path:
        """The path of their file."""
        return own_file(paths.asr_transcripts(manifest, self.encoder), self.encoder, self.revision)


def own_file(path: Path, name: str, revision: str | None) -> Path:
    """`path`, or another file if `path` has the features of another encoder of this name that still exists."""
    place = _place(name)
    own = paths.features_of_namesake(path, place)
    if own.is_file() or not path.is_file():
        return own if own.is_file() else path
    identity = identity_of(path)
    if identity is None or _place(identity.encoder) == place:
        return path
    if identity.encoder.startswith(("/", ".", "~")) and local_directory(identity.encoder) is None:
        return path  # the other one is not here any more
    try:
        is_same = resolve_encoder(name, revision).digest() == identity.encoder_digest
    except UserError:  # neither is this one
        return path
    return path if is_same else own


def _place(name: str) -> str:
    """Where an encoder is: the path of its directory, or the id of one that is none."""
    directory = local_directory(name)
    return name if directory is None else os.path.realpath(directory)
