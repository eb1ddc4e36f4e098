"""Compare every pair of systems: difference, paired bootstrap interval, p-value."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from mmer_pipeline.report.report_content import MetricDifference, PairComparison
from mmer_pipeline.report.run_results import HeldOut, SystemResults
from mmer_pipeline.scoring import statistics
from mmer_pipeline.scoring.metrics import Floats


def compare_all(systems: Sequence[SystemResults], classes: int) -> tuple[PairComparison, ...]:
    """Compare every pair of systems on the utterances that both have.

    Holm's correction is over all pairs, for each metric separately.
    """
    pairs: list[PairComparison] = []
    for number, first in enumerate(systems):
        for second in systems[number + 1 :]:
            shared = set(first.held_out.utterance_ids) & set(second.held_out.utterance_ids)
            if shared:
                pairs.append(_compare(first, second, shared, classes))
    for metric in statistics.COMPARED:
        corrected = statistics.holm([pair.metrics[metric].p for pair in pairs])
        pairs = [_with_holm(pair, metric, p) for pair, p in zip(pairs, corrected, strict=True)]
    return tuple(pairs)


def _compare(first: SystemResults, second: SystemResults, shared: set[str], classes: int) -> PairComparison:
    # The first system's dialogues serve for both.
    cluster = dict(zip(first.held_out.utterance_ids, first.held_out.clusters, strict=True))
    counts = [_shared_counts(system.held_out, cluster, shared, classes) for system in (first, second)]
    metrics = {
        name: MetricDifference(found.difference, found.interval, found.p, p_holm=None)
        for name, found in statistics.compare(*counts).items()
    }
    return PairComparison(first.name, second.name, len(shared), len(counts[0]), metrics)


def _with_holm(pair: PairComparison, metric: str, p_holm: float | None) -> PairComparison:
    entry = replace(pair.metrics[metric], p_holm=p_holm)
    return replace(pair, metrics={**pair.metrics, metric: entry})


def _shared_counts(held_out: HeldOut, cluster: Mapping[str, str], shared: set[str], classes: int) -> Floats:
    """Count confusions by dialogue over the shared utterances; each counts 1 however many seeds predicted it."""
    rows = [row for row, name in enumerate(held_out.utterance_ids) if name in shared]
    names = [held_out.utterance_ids[row] for row in rows]
    _, utterance, predictions = np.unique(np.array(names), return_inverse=True, return_counts=True)
    clusters = [cluster[name] for name in names]
    weights = 1.0 / predictions[utterance]
    return statistics.cluster_counts(held_out.truth[rows], held_out.predicted[rows], clusters, classes, weights)
