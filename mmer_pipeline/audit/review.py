"""What a careful reviewer would ask of a corpus and its folds, before any number is believed."""

from typing import Any

from mmer_pipeline.audit import (
    annotations,
    class_counts,
    leaks,
    recordings,
    recurring,
    sounds,
    trivial_baselines,
)
from mmer_pipeline.audit.finding import SEVERITIES, Finding
from mmer_pipeline.audit.recordings import Progress
from mmer_pipeline.audit.split import split_by
from mmer_pipeline.corpora.manifest import Manifest

SCHEMA = 1  # of the dict that `make_audit` returns


def make_audit(
    manifest: Manifest, *, column: str = "session", audio: bool = True, progress: Progress | None = None
) -> dict[str, Any]:
    """Look at a corpus that is cut into folds by a column, or by its own "split"; `audio` decodes every recording once.

    Returns plain values, the schema of `audit.json`: what was looked at, `findings` (the gravest first), and the
    tables behind them. `progress` is called after each recording.

    Raises:
        UserError: the column has one value alone, or the corpus has no split of its own.
    """
    split = split_by(manifest, column)
    facts = recordings.measure_all(manifest, progress) if audio else None
    heard = None if facts is None else sounds.sounds_of(split, facts)
    counted, noted = class_counts.count(split), annotations.read_annotations(split)
    looked_up, tried = recurring.look_up(split), trivial_baselines.try_baselines(split, heard)
    found: list[Finding] = [
        *leaks.findings(split),
        *([] if heard is None else sounds.findings(split, heard)),
        *recurring.findings(split, looked_up),
        *annotations.findings(split, noted),
        *trivial_baselines.findings(tried),
        *class_counts.findings(split, counted),
    ]
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
        "fingerprint": manifest.digest,
        "audio_fingerprint": None if facts is None else recordings.fingerprint(manifest, facts),
        "severities": {name: sum(finding.severity == name for finding in found) for name in order},
        "findings": [finding.as_dict() for finding in found],
        "counts": counted.as_dict(),
        "annotations": noted.as_dict(),
        "recurring": looked_up.as_dict(),
        "sounds": None if heard is None else sounds.tables(split, heard),
        "baselines": tried.as_dict(),
    }
