"""Extraction: distribute the missing rows to Dask's workers and write what they compute.

Only this process writes a feature file. If nothing is missing, no model is loaded.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmer_pipeline import files, paths
from mmer_pipeline.corpora.manifest import Manifest
from mmer_pipeline.encoders.encoder_files import EncoderFiles
from mmer_pipeline.errors import UserError
from mmer_pipeline.features.feature import Feature, Inputs
from mmer_pipeline.features.feature_file import FeatureFile, Row
from mmer_pipeline.features.feature_writer import FeatureWriter, update_stamps
from mmer_pipeline.features.required_features import covers, existing_features
from mmer_pipeline.features.verification import damaged_rows, note_intact, refuse_damaged

if TYPE_CHECKING:  # workers imports torch, transformers and Dask, which are not needed if nothing is missing
    from distributed import Client

    from mmer_pipeline.features.workers import Rows

# Dask's overhead is about 4 ms per task. If there are many batches, several are combined into one task; there are still
# enough tasks for smooth progress. At most 8, because all rows of a task are in memory at once.
MANY_TASKS, BATCHES_PER_TASK = 500, 8
LARGE = 100_000_000  # bytes of a file whose size is said before it is written

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


def extract(feature: Feature, manifest: Manifest, cache: Path, execution: Execution) -> Extraction:
    """Compute a feature's file, or its missing rows.

    Raises:
        Busy: another process is writing the file.
        UserError: the encoder cannot be loaded, a recording is missing, truncated, or shorter than one frame, a value
            is too large for the number format, the disk is full …
    """
    return extract_to(feature, manifest, feature.path(cache, manifest.path), feature.find(), execution)


def extract_to(
    feature: Feature, manifest: Manifest, path: Path, encoder: EncoderFiles | None, execution: Execution
) -> Extraction:
    """As `extract`, to this path with this encoder."""
    corpus, identity = feature.corpus(manifest), feature.identity(encoder)
    existing = existing_features(path, identity)
    inputs = feature.inputs(corpus, existing.known_inputs if existing else None)
    utterances = corpus.utterances
    if existing and covers(existing, inputs) and not damaged_rows(existing, lambda: feature.shape(encoder).dim):
        _update_stamps(existing, inputs)
        return Extraction(path, 0, len(utterances))

    plan, dim = feature.plan(corpus, encoder), feature.shape(encoder).dim
    rows = [
        Row(u.utterance_id, inputs.digests[u.utterance_id], work.length, inputs.stamps.get(u.utterance_id, ""))
        for u, work in zip(utterances, plan, strict=True)
    ]
    _check_room(path, sum(row.length for row in rows) * dim * np.dtype(feature.dtype).itemsize, execution.report)
    with files.locked(paths.lock_of(path)), FeatureWriter(path, identity, dim, rows) as writer:
        from mmer_pipeline.features.workers import Job

        missing = [plan[number].item for number in writer.missing]
        job = Job(feature, encoder, identity.encoder_digest, execution.device)
        _fill(writer, job, feature.batches(missing), execution, feature.reads(manifest, encoder))
    return Extraction(path, len(missing), len(utterances))


def _update_stamps(file: FeatureFile, inputs: Inputs) -> None:
    """Record new stamps of recordings that were touched, but have the same content."""
    touched = {key: stamp for key, stamp in inputs.stamps.items() if file.stamps[file.index[key]] != stamp}
    if touched:
        with suppress(OSError):  # if the file is read-only, the recordings are merely read again next time
            update_stamps(file.path, touched)
            note_intact(file.path)


def _check_room(path: Path, size: int, report: Callable[[str], None]) -> None:
    """Check that the disk has room for a file of this size in bytes, before hours are spent on it; report a large one.

    Raises:
        UserError: it has not.
    """
    with files.explain_disk_errors(path):
        files.make_directory(path.parent)
        free = shutil.disk_usage(path.parent).free
    if size > free:
        raise UserError(
            f"{path} needs {size / 1e9:.1f} GB, but its disk has {free / 1e9:.1f} GB free. Free some space, or put the "
            "cache on another disk with --cache-dir."
        )
    if size >= LARGE:
        report(f"{path} will have {size / 1e9:.1f} GB; {free / 1e9:.1f} GB are free.")


@dataclass(frozen=True)
class BatchSequence:
    """Runs a job on the batches of one task in sequence."""

    job: Callable[[Sequence[Any]], Rows]

    def __call__(self, batches: Sequence[Sequence[Any]]) -> Rows:
        """Compute the rows of all batches."""
        return [row for batch in batches for row in self.job(batch)]


def group_batches(batches: Sequence[Sequence[Any]]) -> list[Sequence[Sequence[Any]]]:
    """Group consecutive batches into tasks for Dask."""
    together = min(BATCHES_PER_TASK, 1 + len(batches) // MANY_TASKS)
    return [batches[first : first + together] for first in range(0, len(batches), together)]


def _fill(
    writer: FeatureWriter,
    job: Callable[[Sequence[Any]], Rows],
    batches: Sequence[Sequence[Any]],
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
