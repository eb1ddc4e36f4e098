"""Extraction: hands the missing rows out to Dask's workers, and writes what they compute.

Only this process writes a feature file. With nothing to compute it loads no model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmer_pipeline import files, paths
from mmer_pipeline.corpora.manifest import Manifest
from mmer_pipeline.corpora.transcripts import encoder_text
from mmer_pipeline.encoders.encoder_files import EncoderFiles, resolve_encoder
from mmer_pipeline.features.feature_file import Row
from mmer_pipeline.features.feature_writer import FeatureWriter, restamp
from mmer_pipeline.features.inputs import (
    Request,
    count_frames,
    covers,
    known_features,
    speech_identity,
    speech_inputs,
    text_identity,
    text_inputs,
)

if TYPE_CHECKING:  # the workers' side loads torch, transformers and Dask
    from mmer_pipeline.features.workers import Item, Rows

# Dask takes some 4 ms for a task, whatever it does: where there are many batches, several make one, and progress is
# smooth all the same. Not more than 8, since the rows of a task are in memory together.
MANY_TASKS, BATCHES_PER_TASK = 500, 8

Progress = Callable[[int, int], None]  # (utterances just written, utterances to write in all)


@dataclass(frozen=True)
class Extraction:
    """What one extraction did."""

    path: Path
    computed: int  # utterances whose rows were computed now
    utterances: int  # utterances in the manifest


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
    if known and covers(known, inputs):
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
    if known and covers(known, inputs):
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
