"""Transcripts and lengths of utterances, as long as manifest and recordings are those that the runs were trained on."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mmer_pipeline.audio import SAMPLE_RATE, AudioError, sample_count
from mmer_pipeline.corpora.manifest import Manifest, read_manifest
from mmer_pipeline.corpora.utterances import Utterance
from mmer_pipeline.errors import UserError
from mmer_pipeline.runs import RunRecord


@dataclass(frozen=True)
class UtteranceFacts:
    """Transcripts and lengths by utterance id; what is unknown is left out."""

    transcripts: dict[str, str] = field(default_factory=dict)  # as in the manifest
    seconds: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)  # why something is unknown, one sentence each
    manifests: list[Manifest] = field(default_factory=list)  # those that are as they were in training


def read_utterance_facts(records: Sequence[RunRecord]) -> UtteranceFacts:
    """Read transcripts and lengths from the manifests that the runs were trained on.

    A manifest that is missing or has changed gives a note instead, never an error.
    """
    facts = UtteranceFacts()
    manifests = {record.facts["manifest"]: record.inputs["manifest"] for record in records}
    for path, digest in manifests.items():
        try:
            manifest = read_manifest(Path(path))
        except UserError as error:
            facts.notes.append(f"Transcripts and utterance lengths are unknown: {error}")
            continue
        if manifest.digest != digest:
            facts.notes.append(
                f"Transcripts and utterance lengths are unknown: {path} has changed since the runs were trained "
                f"(digest {manifest.digest}, trained on {digest})."
            )
            continue
        facts.manifests.append(manifest)
        facts.transcripts.update((u.utterance_id, u.transcript) for u in manifest.utterances)
        _add_seconds(facts, manifest)
    return facts


def _add_seconds(facts: UtteranceFacts, manifest: Manifest) -> None:
    failed: list[AudioError] = []
    for utterance in manifest.utterances:
        try:
            facts.seconds[utterance.utterance_id] = _seconds(manifest, utterance)
        except AudioError as error:
            failed.append(error)
    if failed:
        facts.notes.append(f"The lengths of {len(failed)} utterances are unknown. {failed[0]}")


def _seconds(manifest: Manifest, utterance: Utterance) -> float:
    start, end = utterance.start_seconds, utterance.end_seconds
    if end is not None:
        return end - (start or 0.0)
    return sample_count(manifest.audio_path(utterance), start, end) / SAMPLE_RATE
