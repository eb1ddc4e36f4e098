"""Extraction: what must be computed, and the client that hands it out and alone writes it.

A feature file is up to date when it is of the wanted identity and every utterance's input digest is the
manifest's. Nothing is loaded to find that out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmer_pipeline import audio, files, paths
from mmer_pipeline.corpora.manifest import Manifest, Utterance
from mmer_pipeline.corpora.transcripts import encoder_text
from mmer_pipeline.digests import digest_of, digest_of_recording
from mmer_pipeline.encoders.encoder_files import EncoderFiles, resolve_encoder
from mmer_pipeline.errors import UserError
from mmer_pipeline.features.feature_file import FeatureFile, FeatureIdentity, Row
from mmer_pipeline.features.feature_writer import FeatureWriter, restamp
from mmer_pipeline.settings import Settings

if TYPE_CHECKING:  # the workers' side loads torch, transformers and Dask
    from mmer_pipeline.encoders.speech import SpeechEncoder
    from mmer_pipeline.features.workers import Item, Rows

LAST_HIDDEN_STATE = "last_hidden_state"
FRONT_END = "convolutional front end"
# Dask takes some 4 ms for a task, whatever it does: where there are many batches, several make one, and progress is
# smooth all the same. Not more than 8, since the rows of a task are in memory together.
MANY_TASKS, BATCHES_PER_TASK = 500, 8

Progress = Callable[[int, int], None]  # (utterances just written, utterances to write in all)


@dataclass(frozen=True)
class Request:
    """One feature file that is wanted."""

    kind: str  # text or speech
    encoder: str  # hub id or directory
    revision: str | None
    dtype: str
    annotations: str = ""  # of text

    def path(self, cache: Path, manifest: Path) -> Path:
        """Where it lies."""
        if self.kind == "text":
            return paths.text_features(cache, manifest, self.encoder, self.annotations, self.dtype)
        return paths.speech_features(cache, manifest, self.encoder, self.dtype)


def requests_of(settings: Settings) -> list[Request]:
    """The feature files that a run with these settings reads."""
    s, found = settings, []
    if s.reads_text_features:
        found.append(Request("text", s.text_encoder, s.text_revision, s.dtype, s.annotations))
    if s.reads_speech_features:
        found.append(Request("speech", s.speech_encoder, s.speech_revision, s.dtype))
    return found


@dataclass(frozen=True)
class Extraction:
    """What one extraction did."""

    path: Path
    computed: int  # utterances whose rows were computed now
    utterances: int  # utterances in the manifest


@dataclass(frozen=True)
class Inputs:
    """What the rows of a corpus are computed from."""

    digests: dict[str, str]  # utterance id → input digest
    stamps: dict[str, str]  # utterance id → stamp of its recording; empty for text


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
    """What the text features are computed from: each transcript under the annotation policy."""
    texts = {u.utterance_id: encoder_text(u.transcript, annotations) for u in manifest.utterances}
    return Inputs({utterance_id: digest_of(text.encode()) for utterance_id, text in texts.items()}, {})


def speech_inputs(manifest: Manifest, known: FeatureFile | None) -> Inputs:
    """What the speech features are computed from: each recording's bytes and segment.

    A recording whose stamp is the one in `known` is not read again.

    Raises:
        UserError: a recording is missing.
    """
    digests, stamps = {}, {}
    states: dict[Path, tuple[int, int]] = {}  # many segments may lie in one recording: each is looked at once
    contents: dict[Path, str] = {}
    for utterance in manifest.utterances:
        key, path = utterance.utterance_id, manifest.audio_path(utterance)
        if path not in states:
            states[path] = _state(path, utterance)
        stamps[key] = _stamp(utterance, states[path])
        row = known.index.get(key) if known else None
        if known and row is not None and known.stamps[row] == stamps[key]:
            digests[key] = known.input_digests[row]
            continue
        if path not in contents:
            contents[path] = digest_of_recording(path)
        segment = f"{utterance.start_seconds} {utterance.end_seconds}"
        digests[key] = digest_of(contents[path].encode(), segment.encode())
    return Inputs(digests, stamps)


def _state(path: Path, utterance: Utterance) -> tuple[int, int]:
    """Size and time of the last change of an utterance's recording."""
    try:
        stat = path.stat()
    except OSError as error:
        raise UserError(
            f"{utterance.utterance_id}: its recording {path} cannot be read ({error.strerror}). "
            "Put it back, or run `mmer-pipe prepare` to leave the utterance out."
        ) from None
    return stat.st_size, stat.st_mtime_ns


def _stamp(utterance: Utterance, state: tuple[int, int]) -> str:
    facts = (utterance.audio, *state, utterance.start_seconds, utterance.end_seconds)
    return digest_of(repr(facts).encode())


def known_features(path: Path, identity: FeatureIdentity | None) -> FeatureFile | None:
    """The finished file at `path` where it has this identity (None: any), else None (it is made anew then)."""
    if not path.is_file():
        return None
    try:
        file = FeatureFile(path)
    except UserError:
        return None
    return file if file.complete and not (identity and identity.mismatches(file.identity)) else None


def extract(
    request: Request,
    manifest: Manifest,
    cache: Path,
    *,
    device: str,
    scheduler: str,
    progress: Progress,
    resources: Mapping[str, float] | None = None,
) -> Extraction:
    """Make a feature file, or what is missing of it; `resources` is what a batch takes of a scheduler's worker.

    Raises:
        Busy: another process writes it just now.
        UserError: as `extract_text` and `extract_speech`.
    """
    path = request.path(cache, manifest.path)
    encoder = resolve_encoder(request.encoder, request.revision)
    work: dict[str, Any] = {
        "dtype": request.dtype,
        "device": device,
        "scheduler": scheduler,
        "progress": progress,
        "resources": resources,
    }
    if request.kind == "text":
        return extract_text(manifest, encoder, path, annotations=request.annotations, **work)
    return extract_speech(manifest, encoder, path, **work)


def extract_text(
    manifest: Manifest,
    encoder: EncoderFiles,
    path: Path,
    *,
    annotations: str,
    dtype: str,
    device: str,
    scheduler: str,
    progress: Progress,
    resources: Mapping[str, float] | None = None,
) -> Extraction:
    """Write the text features of a corpus: `[tokens, d_t]` an utterance, special tokens included.

    Raises:
        Busy: another process writes it just now.
        UserError: an encoder that cannot be loaded, values too large for the dtype, a full disk …
    """
    identity = text_identity(encoder, annotations, dtype)
    inputs = text_inputs(manifest, annotations)
    known = known_features(path, identity)
    utterances = manifest.utterances
    if known and _covers(known, inputs):
        return Extraction(path, 0, len(utterances))

    from mmer_pipeline.encoders.text import TextTokenizer
    from mmer_pipeline.features import workers

    tokenizer = TextTokenizer(encoder)
    token_ids = tokenizer([encoder_text(u.transcript, annotations) for u in utterances])
    plan = [
        Row(u.utterance_id, inputs.digests[u.utterance_id], len(tokens))
        for u, tokens in zip(utterances, token_ids, strict=True)
    ]
    with files.locked(paths.lock_of(path)), FeatureWriter(path, identity, tokenizer.dim, plan) as writer:
        items = [workers.TextItem(number, tuple(token_ids[number])) for number in writer.missing]
        job = workers.TextJob(encoder, identity.encoder_digest, device, dtype)
        _fill(writer, job, workers.text_batches(items), scheduler, progress, resources)
    return Extraction(path, len(items), len(utterances))


def extract_speech(
    manifest: Manifest,
    encoder: EncoderFiles,
    path: Path,
    *,
    dtype: str,
    device: str,
    scheduler: str,
    progress: Progress,
    resources: Mapping[str, float] | None = None,
) -> Extraction:
    """Write the front end's features of a corpus: `[frames, front_dim]` an utterance.

    Raises:
        UserError: as `extract_text`; also a recording that is missing, cut, or shorter than a frame.
    """
    identity = speech_identity(encoder, dtype)
    known = known_features(path, identity)
    inputs = speech_inputs(manifest, known)
    utterances = manifest.utterances
    if known and _covers(known, inputs):
        touched = {key: stamp for key, stamp in inputs.stamps.items() if known.stamps[known.index[key]] != stamp}
        if touched:
            with suppress(OSError):  # a read-only file: the recordings are read again next time, that is all
                restamp(path, touched)
        return Extraction(path, 0, len(utterances))

    from mmer_pipeline.encoders.speech import speech_outline
    from mmer_pipeline.features import workers

    outline = speech_outline(encoder)
    items, plan = [], []
    for number, u in enumerate(utterances):
        samples, frames = count_frames(manifest, u, outline)
        plan.append(Row(u.utterance_id, inputs.digests[u.utterance_id], frames, inputs.stamps[u.utterance_id]))
        items.append(workers.SpeechItem(number, manifest.audio_path(u), u.start_seconds, u.end_seconds, samples))
    with files.locked(paths.lock_of(path)), FeatureWriter(path, identity, outline.front_dim, plan) as writer:
        missing = [items[number] for number in writer.missing]
        job = workers.SpeechJob(encoder, identity.encoder_digest, device, dtype)
        _fill(writer, job, workers.speech_batches(missing), scheduler, progress, resources)
    return Extraction(path, len(missing), len(utterances))


def count_frames(manifest: Manifest, utterance: Utterance, encoder: SpeechEncoder) -> tuple[int, int]:
    """Samples at 16 kHz and front-end frames of an utterance, by its header alone.

    Raises:
        UserError: the recording is missing, cut, or shorter than a frame.
    """
    recording = manifest.audio_path(utterance)
    samples = audio.sample_count(recording, utterance.start_seconds, utterance.end_seconds)
    frames = encoder.frames_of(samples)
    if frames < 1:
        raise UserError(
            f"{utterance.utterance_id}: {recording} has {samples} samples at 16 kHz, fewer than the "
            f"{encoder.receptive_field_samples} of one frame. Leave it out with `mmer-pipe prepare`."
        )
    return samples, frames


def _covers(known: FeatureFile, inputs: Inputs) -> bool:
    return all(
        key in known.index and known.input_digests[known.index[key]] == digest for key, digest in inputs.digests.items()
    )


@dataclass(frozen=True)
class Several:
    """Does the batches of a task one after the other."""

    job: Callable[[Sequence[Any]], Rows]

    def __call__(self, batches: Sequence[Sequence[Item]]) -> Rows:
        """The rows of all batches."""
        return [row for batch in batches for row in self.job(batch)]


def tasks_of(batches: Sequence[Sequence[Item]]) -> list[Sequence[Sequence[Item]]]:
    """The batches, in their order, as what is handed out at a time."""
    together = min(BATCHES_PER_TASK, 1 + len(batches) // MANY_TASKS)
    return [batches[first : first + together] for first in range(0, len(batches), together)]


def _fill(
    writer: FeatureWriter,
    job: Callable[[Sequence[Item]], Rows],
    batches: Sequence[Sequence[Item]],
    scheduler: str,
    progress: Progress,
    resources: Mapping[str, float] | None = None,
) -> None:
    from mmer_pipeline.features import workers

    total = sum(len(batch) for batch in batches)
    progress(0, total)
    if batches:
        for rows in workers.run(Several(job), tasks_of(batches), scheduler, resources):
            writer.write(rows)
            progress(len(rows), total)
    writer.finish()
