"""Extraction: distribute the missing rows to Dask's workers and write what they compute.

Only this process writes a feature file. If nothing is missing, no model is loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmer_pipeline import files, paths
from mmer_pipeline.corpora.asr_transcripts import with_source
from mmer_pipeline.corpora.manifest import Manifest
from mmer_pipeline.corpora.transcripts import encoder_text
from mmer_pipeline.encoders.encoder_files import EncoderFiles, resolve_encoder
from mmer_pipeline.features.feature_file import FeatureFile, Row
from mmer_pipeline.features.feature_writer import FeatureWriter, update_stamps
from mmer_pipeline.features.required_features import (
    Request,
    count_frames,
    covers,
    existing_features,
    row_length,
    speech_identity,
    speech_inputs,
    text_identity,
    text_inputs,
)
from mmer_pipeline.features.verification import damaged_rows, note_intact, refuse_damaged

if TYPE_CHECKING:  # workers imports torch, transformers and Dask, which are not needed if nothing is missing
    from distributed import Client

    from mmer_pipeline.features.workers import Item, Rows

# Dask's overhead is about 4 ms per task. If there are many batches, several are combined into one task; there are still
# enough tasks for smooth progress. At most 8, because all rows of a task are in memory at once.
MANY_TASKS, BATCHES_PER_TASK = 500, 8

Progress = Callable[[int, int], None]  # (utterances just written, total utterances to write)


@dataclass(frozen=True)
class Execution:
    """Where an extraction computes, and whom it tells."""

    device: str
    scheduler: str | Client  # "threads", "processes", the address of a Dask scheduler, or a client of one
    progress: Progress
    resources: Mapping[str, float] | None = None  # of a scheduler's worker, needed by one batch
    report: Callable[[str], None] = lambda _: None  # for messages about the workers


@dataclass(frozen=True)
class Extraction:
    """Result of one extraction."""

    path: Path
    computed: int  # utterances whose rows were computed by this extraction
    utterances: int  # utterances in the manifest


def extract(request: Request, manifest: Manifest, cache: Path, execution: Execution) -> Extraction:
    """Compute a feature file, or its missing rows.

    Raises:
        Busy: another process is writing the file.
        UserError: as `extract_text` and `extract_speech`.
    """
    path = request.path(cache, manifest.path)
    encoder = resolve_encoder(request.encoder, request.revision)
    if request.kind == "text":
        manifest = with_source(manifest, request.transcripts, request.asr_model)
        return extract_text(manifest, encoder, path, execution, annotations=request.annotations, dtype=request.dtype)
    return extract_speech(manifest, encoder, path, execution, dtype=request.dtype)


def extract_text(
    manifest: Manifest, encoder: EncoderFiles, path: Path, execution: Execution, *, annotations: str, dtype: str
) -> Extraction:
    """Write the text features of a corpus: `[tokens, d_t]` per utterance, special tokens included.

    Raises:
        Busy: another process is writing the file.
        UserError: the encoder cannot be loaded, a value is too large for the dtype, the disk is full …
    """
    identity = text_identity(encoder, annotations, dtype)
    inputs = text_inputs(manifest, annotations)
    existing = existing_features(path, identity)
    utterances = manifest.utterances
    if existing and covers(existing, inputs) and not damaged_rows(existing, partial(row_length, encoder, "text")):
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
        job = workers.TextJob(encoder, identity.encoder_digest, execution.device, dtype)
        _fill(writer, job, workers.text_batches(items), execution, (encoder.directory,))
    return Extraction(path, len(items), len(utterances))


def extract_speech(
    manifest: Manifest, encoder: EncoderFiles, path: Path, execution: Execution, *, dtype: str
) -> Extraction:
    """Write the speech front end's features of a corpus: `[frames, front_dim]` per utterance.

    Raises:
        Busy: another process is writing the file.
        UserError: as `extract_text`; also if a recording is missing, truncated, or shorter than one frame.
    """
    identity = speech_identity(encoder, dtype)
    existing = existing_features(path, identity)
    inputs = speech_inputs(manifest, existing.known_inputs if existing else None)
    utterances = manifest.utterances
    if existing and covers(existing, inputs) and not damaged_rows(existing, partial(row_length, encoder, "speech")):
        touched = {key: stamp for key, stamp in inputs.stamps.items() if existing.stamps[existing.index[key]] != stamp}
        if touched:
            with suppress(OSError):  # if the file is read-only, the recordings are merely read again next time
                update_stamps(path, touched)
                note_intact(path)
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
        job = workers.SpeechJob(encoder, identity.encoder_digest, execution.device, dtype)
        _fill(writer, job, workers.speech_batches(missing), execution, (encoder.directory, manifest.root))
    return Extraction(path, len(missing), len(utterances))


@dataclass(frozen=True)
class BatchSequence:
    """Runs a job on the batches of one task in sequence."""

    job: Callable[[Sequence[Any]], Rows]

    def __call__(self, batches: Sequence[Sequence[Item]]) -> Rows:
        """Compute the rows of all batches."""
        return [row for batch in batches for row in self.job(batch)]


def group_batches(batches: Sequence[Sequence[Item]]) -> list[Sequence[Sequence[Item]]]:
    """Group consecutive batches into tasks for Dask."""
    together = min(BATCHES_PER_TASK, 1 + len(batches) // MANY_TASKS)
    return [batches[first : first + together] for first in range(0, len(batches), together)]


def _fill(
    writer: FeatureWriter,
    job: Callable[[Sequence[Item]], Rows],
    batches: Sequence[Sequence[Item]],
    execution: Execution,
    read: tuple[Path, ...],
) -> None:
    """Compute the batches on workers that see the directories to `read`, and write the rows."""
    from mmer_pipeline.features import workers

    total = sum(len(batch) for batch in batches)
    execution.progress(0, total)  # shows that the extraction has started
    if batches:
        for rows in workers.run(
            BatchSequence(job), group_batches(batches), execution.scheduler, read, execution.resources, execution.report
        ):
            if rows:
                writer.write(rows)
            execution.progress(len(rows), total)
    writer.finish()
    refuse_damaged(FeatureFile(writer.path), lambda: writer.dim)  # the disk gives back what it was given
