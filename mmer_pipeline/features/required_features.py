"""Which feature files a system reads, and the inputs from which their rows are computed.

A feature file is up to date if it has the expected identity and the input digests match those of the manifest's
utterances. This check loads no model.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mmer_pipeline import audio, files, paths
from mmer_pipeline.corpora.manifest import Manifest
from mmer_pipeline.corpora.transcripts import ASR, GOLD, encoder_text
from mmer_pipeline.corpora.utterances import Utterance
from mmer_pipeline.digests import digest_of, digest_of_recording, stamp_of
from mmer_pipeline.encoders.encoder_files import EncoderFiles, local_directory, resolve_encoder
from mmer_pipeline.errors import UserError
from mmer_pipeline.features.feature_file import FeatureFile, FeatureIdentity, identity_of
from mmer_pipeline.settings import Settings
from mmer_pipeline.systems.registry import reads_speech_features, reads_text_features

if TYPE_CHECKING:  # torch
    from mmer_pipeline.encoders.speech import SpeechEncoder

LAST_HIDDEN_STATE = "last_hidden_state"
FRONT_END = "convolutional front end"


@dataclass(frozen=True)
class Request:
    """A file that a system reads: features, or the automatic transcripts that it needs besides."""

    kind: str  # text, speech or transcripts
    encoder: str  # hub id or directory; of transcripts, the ASR model's
    revision: str | None
    dtype: str
    annotations: str = ""  # annotation policy, for text
    transcripts: str = GOLD  # their source, for text
    asr_model: str = ""  # of automatic transcripts

    def path(self, cache: Path, manifest: Path) -> Path:
        """The file's path."""
        if self.kind == "transcripts":
            return paths.asr_transcripts(manifest, self.encoder)
        if self.kind == "text":
            slugs = {GOLD: "", ASR: f"asr-{paths.encoder_slug(self.asr_model)}"}
            source = slugs.get(self.transcripts, self.transcripts)
            path = paths.text_features(cache, manifest, self.encoder, self.annotations, self.dtype, source)
        else:
            path = paths.speech_features(cache, manifest, self.encoder, self.dtype)
        return _own_file(path, self.encoder, self.revision)


def requests_of(settings: Settings) -> list[Request]:
    """The files that a run with these settings reads, each after those that it is made from."""
    found = []
    if ASR in settings.sources:
        found.append(Request("transcripts", settings.asr_model, settings.asr_revision, dtype=""))
    if reads_text_features(settings):
        found += [text_request(settings, source) for source in dict.fromkeys(settings.sources)]
    if reads_speech_features(settings):
        found.append(speech_request(settings))
    return found


def _own_file(path: Path, name: str, revision: str | None) -> Path:
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


def speech_request(settings: Settings) -> Request:
    """The speech features."""
    return Request("speech", settings.speech_encoder, settings.speech_revision, settings.dtype)


def text_request(settings: Settings, source: str) -> Request:
    """The text features of transcripts from this source."""
    encoder = settings.text_encoder, settings.text_revision
    asr_model = settings.asr_model if source == ASR else ""
    return Request("text", *encoder, settings.dtype, settings.annotations, source, asr_model)


@dataclass(frozen=True)
class Inputs:
    """The inputs from which the rows of a corpus are computed."""

    digests: dict[str, str]  # utterance id → input digest
    stamps: dict[str, str]  # utterance id → stamp of its recording; no entries for text


def text_identity(encoder: EncoderFiles, annotations: str, dtype: str) -> FeatureIdentity:
    """The identity of text features."""
    revision, digest = encoder.revision or "", encoder.digest()
    return FeatureIdentity("text", encoder.name, revision, digest, LAST_HIDDEN_STATE, annotations, dtype)


def speech_identity(encoder: EncoderFiles, dtype: str) -> FeatureIdentity:
    """The identity of front-end features."""
    policy = "zero mean, unit variance" if encoder.normalises else "as recorded"
    revision, digest = encoder.revision or "", encoder.digest()
    return FeatureIdentity("speech", encoder.name, revision, digest, FRONT_END, policy, dtype)


def text_inputs(manifest: Manifest, annotations: str) -> Inputs:
    """Inputs of the text features: each transcript after applying the annotation policy."""
    texts = {u.utterance_id: encoder_text(u.transcript, annotations) for u in manifest.utterances}
    return Inputs({utterance_id: digest_of(text.encode()) for utterance_id, text in texts.items()}, {})


def speech_inputs(manifest: Manifest, known: Mapping[str, tuple[str, str]] | None = None) -> Inputs:
    """Inputs of the speech features: the bytes and the segment of each recording.

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


def row_length(encoder: EncoderFiles, kind: str) -> int:
    """Numbers in a row of an encoder's features of this kind; its weights are not loaded.

    Raises:
        UserError: its configuration cannot be used.
    """
    if kind == "text":
        from mmer_pipeline.encoders.text import hidden_size

        return hidden_size(encoder)
    from mmer_pipeline.encoders.speech import speech_outline

    return speech_outline(encoder).front_dim


def existing_features(path: Path, identity: FeatureIdentity | None) -> FeatureFile | None:
    """Open the file at `path` if it is complete and has this identity (None: any); otherwise return None."""
    if not path.is_file():
        return None
    try:
        file = FeatureFile(path)
    except UserError:
        return None
    return file if file.complete and not (identity and identity.mismatches(file.identity)) else None


def covers(file: FeatureFile, inputs: Inputs) -> bool:
    """Whether a file has rows computed from these inputs for every utterance."""
    return all(
        key in file.index and file.input_digests[file.index[key]] == digest for key, digest in inputs.digests.items()
    )


def count_frames(manifest: Manifest, utterance: Utterance, encoder: "SpeechEncoder") -> tuple[int, int]:
    """Count an utterance's samples at 16 kHz and its front-end frames, reading only the header of the recording.

    Raises:
        UserError: the recording is missing, truncated, or shorter than one frame.
    """
    recording = manifest.audio_path(utterance)
    samples = audio.sample_count(recording, utterance.start_seconds, utterance.end_seconds)
    frames = encoder.frame_count(samples)
    if frames < 1:
        raise UserError(
            f"{utterance.utterance_id}: expected at least {encoder.receptive_field_samples} samples at 16 kHz (one "
            f"frame), found {samples} in {recording}. Run `mmer-pipe prepare` again to leave it out."
        )
    return samples, frames
