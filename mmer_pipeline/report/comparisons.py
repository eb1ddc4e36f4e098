"""Every pair of systems compared: difference, paired bootstrap interval, p-value."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mmer_pipeline.report.results import HeldOut, SystemResults
from mmer_pipeline.scoring import statistics
from mmer_pipeline.scoring.metrics import Floats


def compare_all(systems: Sequence[SystemResults], classes: int) -> list[dict[str, Any]]:
    """Every pair of systems with utterances in common, compared on these; plain values for JSON.

    Holm's correction is over all pairs of a metric.
    """
    pairs: list[dict[str, Any]] = []
    for number, first in enumerate(systems):
        for second in systems[number + 1 :]:
            shared = sorted(set(first.held_out.utterance_ids) & set(second.held_out.utterance_ids))
            if not shared:
                continue
            # Both by the first one's dialogues.
            cluster = dict(zip(first.held_out.utterance_ids, first.held_out.clusters, strict=True))
            counts = [_shared_counts(system.held_out, cluster, set(shared), classes) for system in (first, second)]
            found = statistics.compare(*counts)
            metrics = {
                name: {
                    "difference": entry.difference,
                    "interval_95": list(entry.interval) if entry.interval else None,
                    "p": entry.p,
                }
                for name, entry in found.items()
            }
            pairs.append(
                {"first": first.name, "second": second.name, "utterances": len(shared),
                 "clusters": len(counts[0]), "metrics": metrics}
            )  # fmt: skip
    for name in statistics.COMPARED:
        entries = [pair["metrics"][name] for pair in pairs]
        for entry, corrected in zip(entries, statistics.holm([entry["p"] for entry in entries]), strict=True):
            entry["p_holm"] = corrected
    return pairs


def _shared_counts(held_out: HeldOut, cluster: Mapping[str, str], shared: set[str], classes: int) -> Floats:
    """Confusion matrices by cluster over the shared utterances, each counting 1 however many seeds predicted it."""
    rows = [row for row, name in enumerate(held_out.utterance_ids) if name in shared]
    names = [held_out.utterance_ids[row] for row in rows]
    _, utterance, predictions = np.unique(np.array(names), return_inverse=True, return_counts=True)
    clusters = [cluster[name] for name in names]
    weights = 1.0 / predictions[utterance]
    return statistics.cluster_counts(held_out.truth[rows], held_out.predicted[rows], clusters, classes, weights)
