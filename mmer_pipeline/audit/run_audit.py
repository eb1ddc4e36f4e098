"""Audit a corpus and its folds: run every check, and collect the findings and the tables behind them."""

from typing import Any

from mmer_pipeline.audit import (
    annotations,
    class_counts,
    duplicates,
    duration_and_loudness,
    leaks,
    recording_faults,
    recording_measurements,
    repeated_texts,
    trivial_baselines,
)
from mmer_pipeline.audit.corpus_split import split_by
from mmer_pipeline.audit.finding import SEVERITIES, Finding
from mmer_pipeline.audit.recording_measurements import Progress
from mmer_pipeline.corpora.manifest import Manifest

SCHEMA = 2  # of the dict that `make_audit` returns


def make_audit(
    manifest: Manifest, *, column: str = "session", audio: bool = True, progress: Progress | None = None
) -> dict[str, Any]:
    """Audit a corpus with folds by a column, or with its official split ("split").

    With `audio`, every recording is decoded once; `progress` is called after each.

    Returns:
        Plain values, the content of `audit.json`: what was audited, `findings` (the most severe first), and the
        tables behind them.

    Raises:
        UserError: the column has only one value, or the corpus has no official split.
    """
    split = split_by(manifest, column)
    facts = recording_measurements.measure_all(manifest, progress) if audio else None
    measured = None if facts is None else recording_measurements.collect(split, facts)
    counts, annotated = class_counts.count(split), annotations.read_annotations(split)
    texts, baselines = repeated_texts.look_up(split), trivial_baselines.try_baselines(split, measured)
    found: list[Finding] = leaks.findings(split)
    if measured is not None:
        found += recording_faults.findings(split, measured)
        found += duplicates.identical_recordings(split, measured)
        found += duration_and_loudness.findings(split, measured)
    found += repeated_texts.findings(split, texts)
    found += annotations.findings(split, annotated)
    found += trivial_baselines.findings(baselines)
    found += class_counts.findings(split, counts)
    found.append(duplicates.repeated_rows(split))
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
        "counts": counts.as_dict(),
        "annotations": annotated.as_dict(),
        "repeated_texts": texts.as_dict(),
        "recordings": None if measured is None else recording_measurements.tables(split, measured),
        "baselines": baselines.as_dict(),
    }
