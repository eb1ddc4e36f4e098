"""Automatic transcripts of a corpus: a CSV file beside the manifest, and its word error rates.

`manifest.asr-MODEL.csv` has a row per utterance: its id, the transcript, and the digest and stamp of the recording that
was transcribed. `manifest.asr-MODEL.json` says which model wrote them, and how often it erred.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jiwer

from mmer_pipeline import files, paths
from mmer_pipeline.corpora.manifest import Manifest
from mmer_pipeline.corpora.transcripts import ASR, NONE, spoken_words
from mmer_pipeline.csv_tables import csv_text, read_csv_rows
from mmer_pipeline.errors import UserError, first_few

COLUMNS = ("utterance_id", "transcript", "input_digest", "input_stamp")


@dataclass(frozen=True)
class AsrTranscript:
    """The automatic transcript of one utterance."""

    text: str
    input_digest: str  # of the recording and the segment
    stamp: str  # while it is unchanged, so is the digest


@dataclass(frozen=True)
class ErrorRate:
    """Word errors of automatic transcripts against the gold ones."""

    utterances: int
    words: int  # in the gold transcripts
    errors: int  # substitutions, deletions and insertions

    @property
    def rate(self) -> float:
        """WER, a fraction that can exceed 1."""
        return self.errors / self.words

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"utterances": self.utterances, "words": self.words, "errors": self.errors, "wer": round(self.rate, 6)}


def read_transcripts(path: Path) -> dict[str, AsrTranscript]:
    """Read automatic transcripts: utterance id → transcript; empty if there is no file.

    Raises:
        UserError: the file is damaged.
    """
    if not path.is_file():
        return {}
    try:
        return {
            row.cells["utterance_id"]: AsrTranscript(
                row.cells["transcript"], row.cells["input_digest"], row.cells["input_stamp"]
            )
            for row in read_csv_rows(path, COLUMNS)
        }
    except UserError as error:
        raise UserError(
            f"{error} If you cannot correct the file, delete it: `mmer-pipe transcribe` writes it again."
        ) from None


def write_transcripts(path: Path, transcripts: Mapping[str, AsrTranscript], order: Iterable[str]) -> None:
    """Write automatic transcripts in this order of utterances, leaving out those that have none."""
    known = ((key, transcripts[key]) for key in order if key in transcripts)
    rows = ([key, found.text, found.input_digest, found.stamp] for key, found in known)
    files.write_bytes(path, csv_text(COLUMNS, rows).encode())


def with_source(manifest: Manifest, source: str, asr_model: str, command: str = "mmer-pipe transcribe") -> Manifest:
    """The manifest with the transcripts of this source: its own, automatic ones, or empty ones.

    Raises:
        UserError: an utterance has no transcript of this source; the message names `command`.
    """
    if source == NONE:
        return _replaced(manifest, [""] * len(manifest.utterances))
    if source == ASR:
        path = paths.asr_transcripts(manifest.path, asr_model)
        found = read_transcripts(path)
        missing = [u.utterance_id for u in manifest.utterances if u.utterance_id not in found]
        if missing:
            raise UserError(
                f"{len(missing)} of {len(manifest.utterances)} utterances have no automatic transcript in {path}, such "
                f"as {missing[0]}. Run `{command}`."
            )
        return _replaced(manifest, [found[u.utterance_id].text for u in manifest.utterances])
    check_gold(manifest)
    return manifest


def check_gold(manifest: Manifest, readers: Sequence[str] = ()) -> None:
    """Check that every utterance has a gold transcript; `readers` are the systems that would read them.

    Raises:
        UserError: some have none.
    """
    missing = [u.utterance_id for u in manifest.utterances if not u.transcript.strip()]
    if not missing:
        return
    total = len(manifest.utterances)
    who = f", but {', '.join(readers)} read{'s' * (len(readers) == 1)} words" if readers else ""
    ways = (
        "automatic transcripts of all utterances (--transcripts asr), none (--transcripts none), or only systems that "
        "hear (wav2vec2, cai:alpha=0)"
    )
    if len(missing) == total:
        raise UserError(f"None of the {total} utterances in {manifest.path} has a transcript{who}. Use {ways}.")
    raise UserError(
        f"{len(missing)} of {total} utterances in {manifest.path} have no transcript ({first_few(missing)}){who}. All "
        "systems must see the same utterances. To leave these out for all of them, run "
        f"{manifest.command_with('--drop-untranscribed')}. To keep them, use {ways}."
    )


def _replaced(manifest: Manifest, transcripts: Sequence[str]) -> Manifest:
    pairs = zip(manifest.utterances, transcripts, strict=True)
    return replace(manifest, utterances=tuple(replace(u, transcript=text) for u, text in pairs))


def error_rates(manifest: Manifest, transcripts: Mapping[str, str]) -> dict[str, ErrorRate]:
    """Word errors of all utterances ("all") and of each class, without case, punctuation and annotations.

    Utterances without a gold transcript, or whose gold transcript has no words, are left out.
    """
    counts: dict[str, list[int]] = {name: [0, 0, 0] for name in ("all", *manifest.labels)}
    for utterance in manifest.utterances:
        reference = spoken_words(utterance.transcript)
        if not reference or utterance.utterance_id not in transcripts:
            continue
        aligned = jiwer.process_words(reference, spoken_words(transcripts[utterance.utterance_id]))
        errors = aligned.substitutions + aligned.deletions + aligned.insertions
        for name in ("all", str(manifest.label_map.class_of(utterance.emotion))):
            counts[name] = [
                total + more for total, more in zip(counts[name], (1, len(reference.split()), errors), strict=True)
            ]
    return {name: ErrorRate(*found) for name, found in counts.items() if found[1]}


def read_facts(path: Path) -> dict[str, Any] | None:
    """Read the facts beside a file of automatic transcripts; None if they are missing or damaged."""
    facts_path = paths.asr_facts(path)
    try:
        facts = files.read_json(facts_path, "mmer-pipe transcribe")
    except UserError:
        return None
    return facts if isinstance(facts, dict) else None


def transcripts_used(manifest: Manifest, asr_model: str) -> dict[str, Any]:
    """Describe the automatic transcripts that a run reads, for its record; `wer` is None without gold transcripts."""
    facts = read_facts(paths.asr_transcripts(manifest.path, asr_model)) or {}
    errors = facts.get("word_errors", {}).get("all", {})
    return {"asr_model": asr_model, "wer": errors.get("wer"), "utterances": errors.get("utterances", 0)}
