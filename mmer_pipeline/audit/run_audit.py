"""Audit a corpus and its folds: run every check, and collect the findings and the tables behind them."""

from collections.abc import Mapping
from typing import Any

from mmer_pipeline.audit import (
    annotations,
    class_counts,
    duplicates,
    duration_and_loudness,
    encoder_origins,
    gold_transcripts,
    leaks,
    near_sounds,
    near_texts,
    recording_faults,
    recording_measurements,
    repeated_texts,
    scripted_lines,
    trivial_baselines,
    validation_parts,
)
from mmer_pipeline.audit.corpus_split import Split, split_by
from mmer_pipeline.audit.finding import SEVERITIES, Finding
from mmer_pipeline.audit.recording_measurements import Progress, Recordings
from mmer_pipeline.corpora.manifest import Manifest

SCHEMA = 2  # of the dict that `make_audit` returns


def make_audit(
    manifest: Manifest,
    *,
    column: str = "session",
    audio: bool = True,
    progress: Progress | None = None,
    encoders: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Audit a corpus with folds by a column, of grouped speakers ("5"), or with its official split ("split").

    With `audio`, every recording is decoded; `progress` is called after each. `encoders` are those that are used with
    the corpus: kind ("text encoder", "speech encoder") → hub id or directory.

    Returns:
        Plain values, the content of `audit.json`: what was audited, `findings` (the most severe first), and the
        tables behind them.

    Raises:
        UserError: the column has only one value, so many groups are impossible, or there is no official split.
    """
    split = split_by(manifest, column)
    facts = recording_measurements.measure_all(manifest, progress) if audio else None
    measured = None if facts is None else recording_measurements.collect(split, facts)
    found, tables = _examine(split, measured, encoders or {})
    order = list(SEVERITIES)
    found.sort(key=lambda finding: order.index(finding.severity))
    return {
        "schema": SCHEMA,
        "manifest": str(manifest.path),
        "corpus": manifest.corpus,
        "label_map": manifest.label_map.name,
        "labels": list(manifest.labels),
        "folds": column,
        "held_out": list(split.folds[: split.tested]),
        "digest": manifest.digest,
        "audio_digest": None if facts is None else recording_measurements.audio_digest(manifest, facts),
        "severities": {name: sum(finding.severity == name for finding in found) for name in order},
        "findings": [finding.as_dict() for finding in found],
        **tables,
    }


def _examine(
    split: Split, measured: Recordings | None, encoders: Mapping[str, str]
) -> tuple[list[Finding], dict[str, Any]]:
    """Run every check: the findings, and the tables behind them as plain values."""
    counts, annotated = class_counts.count(split), annotations.read_annotations(split)
    texts, near = repeated_texts.look_up(split), near_texts.find(split)
    sounds = None if measured is None else near_sounds.find(split, measured)
    styles = scripted_lines.read_styles(split, texts)
    baselines = trivial_baselines.try_baselines(split, measured, styles.groups if styles else None)
    words, parts = gold_transcripts.try_words(split), validation_parts.make_parts(split)
    origins = encoder_origins.read_origins(split.manifest.corpus, encoders)

    found: list[Finding] = leaks.findings(split)
    if measured is not None and sounds is not None:
        found += recording_faults.findings(split, measured)
        found += duplicates.identical_recordings(split, measured)
        found += near_sounds.findings(split, sounds)
        found += duration_and_loudness.findings(split, measured)
    found += repeated_texts.findings(split, texts)
    found += near_texts.findings(split, near)
    if styles is not None:
        found += scripted_lines.findings(split, styles, baselines)
    found += gold_transcripts.findings(split, words)
    found += annotations.findings(split, annotated)
    found += trivial_baselines.findings(baselines)
    found += validation_parts.findings(parts)
    if origins:
        found += encoder_origins.findings(split.manifest.corpus, origins)
    found += class_counts.findings(split, counts)
    found.append(duplicates.repeated_rows(split))
    return found, {
        "counts": counts.as_dict(),
        "annotations": annotated.as_dict(),
        "repeated_texts": texts.as_dict(),
        "near_texts": near.as_dict(split),
        "near_sounds": None if sounds is None else sounds.as_dict(split),
        "styles": None if styles is None else styles.as_dict(),
        "words": gold_transcripts.as_dicts(words),
        "validation": [part.as_dict() for part in parts],
        "encoders": encoder_origins.as_dicts(origins),
        "recordings": None if measured is None else recording_measurements.tables(split, measured),
        "baselines": baselines.as_dict(),
    }
