"""Compare pairs of systems: about these trained models, and about the systems when they are trained again."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np

from mmer_pipeline.errors import UserError
from mmer_pipeline.report import repeated_training
from mmer_pipeline.report.report_content import MetricDifference, PairComparison
from mmer_pipeline.report.run_results import HeldOut, SystemResults
from mmer_pipeline.scoring import statistics
from mmer_pipeline.scoring.metrics import Floats

# With fewer dialogues, a 95 % bootstrap interval covers the true value in 81 to 92 % of cases
# (`benchmarks/few_dialogues.py`), so that none is given.
FEWEST_CLUSTERS = 20


def compare_all(
    systems: Sequence[SystemResults], classes: int, against: str | None = None
) -> tuple[PairComparison, ...]:
    """Compare every pair of systems, or one system with each other one, on the utterances that both have.

    Holm's correction is over all these pairs, for each metric and each of the two claims separately.

    Raises:
        UserError: there is no system named `against`, or no other.
    """
    pairs: list[PairComparison] = []
    for first, second in _chosen(systems, against):
        shared = set(first.held_out.utterance_ids) & set(second.held_out.utterance_ids)
        if shared:
            pairs.append(_compare(first, second, shared, classes))
    for metric in statistics.COMPARED:
        found = [pair.metrics[metric] for pair in pairs]
        of_models = statistics.holm([entry.p for entry in found])
        of_systems = statistics.holm([entry.trained_again.p for entry in found])
        pairs = [
            _with_holm(pair, metric, p_holm, p_holm_again)
            for pair, p_holm, p_holm_again in zip(pairs, of_models, of_systems, strict=True)
        ]
    return tuple(pairs)


def intervals_of(held_out: HeldOut, classes: int) -> Mapping[str, statistics.Interval | None] | None:
    """Return the intervals of a system's pooled scores; None with fewer than `FEWEST_CLUSTERS` dialogues."""
    counts = statistics.cluster_counts(held_out.truth, held_out.predicted, held_out.clusters, classes)
    return statistics.bootstrap_intervals(counts) if len(counts) >= FEWEST_CLUSTERS else None


def _chosen(systems: Sequence[SystemResults], against: str | None) -> list[tuple[SystemResults, SystemResults]]:
    if against is None:
        return list(combinations(systems, 2))
    others = [system for system in systems if system.name != against]
    references = [system for system in systems if system.name == against]
    if not references or not others:
        names = ", ".join(system.name for system in systems)
        wrong = "there is no other system in this report" if references else "there is no such system in this report"
        raise UserError(
            f"--against {against}: {wrong}. Its systems: {names}. Without --against, all pairs are compared."
        )
    return [(references[0], other) for other in others]


def _compare(first: SystemResults, second: SystemResults, shared: set[str], classes: int) -> PairComparison:
    # The first system's dialogues serve for both.
    cluster = dict(zip(first.held_out.utterance_ids, first.held_out.clusters, strict=True))
    counts = [_shared_counts(system.held_out, cluster, shared, classes) for system in (first, second)]
    again = repeated_training.of_pair(first, second, statistics.COMPARED, classes, shared)
    is_enough = len(counts[0]) >= FEWEST_CLUSTERS
    metrics = {
        name: MetricDifference(
            found.difference, found.interval if is_enough else None, found.p, p_holm=None, trained_again=again[name]
        )
        for name, found in statistics.compare(*counts).items()
    }
    return PairComparison(first.name, second.name, len(shared), len(counts[0]), metrics)


def _with_holm(pair: PairComparison, metric: str, p_holm: float | None, again: float | None) -> PairComparison:
    entry = pair.metrics[metric]
    entry = replace(entry, p_holm=p_holm, trained_again=replace(entry.trained_again, p_holm=again))
    return replace(pair, metrics={**pair.metrics, metric: entry})


def _shared_counts(held_out: HeldOut, cluster: Mapping[str, str], shared: set[str], classes: int) -> Floats:
    """Count confusions by dialogue over the shared utterances; each counts 1 however many seeds predicted it."""
    rows = [row for row, name in enumerate(held_out.utterance_ids) if name in shared]
    names = [held_out.utterance_ids[row] for row in rows]
    _, utterance, predictions = np.unique(np.array(names), return_inverse=True, return_counts=True)
    clusters = [cluster[name] for name in names]
    weights = 1.0 / predictions[utterance]
    return statistics.cluster_counts(held_out.truth[rows], held_out.predicted[rows], clusters, classes, weights)
