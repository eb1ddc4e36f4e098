"""Intervals and paired comparisons that resample dialogues, not utterances.

The utterances of a dialogue share speakers, topic and microphone, and several seeds repeat the same utterances:
resampling single utterances would give intervals that are too narrow. A dialogue (a cluster) is therefore resampled,
or swapped, as a whole, with all its utterances and all its seeds.

Shapes: K clusters, C classes, S samples.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from mmer_pipeline.scoring.metrics import Floats, Integers

SAMPLES = 5000
SEED = 0
LEVEL = 0.95
BLOCK_CELLS = 1 << 20  # clusters times samples drawn at a time: 8 MB, whatever the number of clusters
COMPARED = ("wa", "ua")  # the metrics in which pairs of systems are compared
TIE = 1e-12  # the largest difference between equal rates, due to rounding

Interval = tuple[float, float]


@dataclass(frozen=True)
class Difference:
    """The difference between two systems in one metric, first − second."""

    difference: float
    interval: Interval | None  # 95 %, paired bootstrap; None with a single cluster
    p: float | None  # two-sided; None with a single cluster


def cluster_counts(
    truth: Integers,
    predicted: Integers,
    clusters: Sequence[str],
    classes: int,
    weights: Floats | None = None,
) -> Floats:
    """One confusion matrix per cluster: `[K, C, C]`, rows are the truth, clusters in the order of their names.

    `weights` `[N]` are the weights of the utterances, by default 1.
    """
    names, cluster = np.unique(np.asarray(clusters), return_inverse=True)
    counts = np.zeros((len(names), classes, classes))
    np.add.at(counts, (cluster, truth, predicted), 1.0 if weights is None else weights)
    return counts


def bootstrap_intervals(counts: Floats) -> dict[str, Interval] | None:
    """95 % intervals of the headline metrics by the percentile bootstrap over the clusters of `[K, C, C]`.

    None with a single cluster, which says nothing about the variation between clusters.
    """
    if len(counts) < 2:
        return None
    samples = _sums(_draw, counts)  # [S, C, C]
    return {name: _interval(values) for name, values in rates_of_confusions(samples).items()}


def compare(first: Floats, second: Floats) -> dict[str, Difference]:
    """WA and UA of one system minus those of another, from the same clusters' confusion matrices `[K, C, C]`.

    The interval is from the paired percentile bootstrap, which evaluates both systems on the same resampled clusters.
    The p-value is from the paired randomisation test (Noreen 1989, "Computer-Intensive Methods for Testing
    Hypotheses"): if the systems were equal, the two results of each cluster could be swapped, so p is the share of
    random swaps, including the identity, whose absolute difference is at least as large. Unlike the share of bootstrap
    samples beyond 0, it remains valid with few clusters: with K of them it is never far below 2 / 2^K.
    """
    clusters = len(first)
    one, other = (rates_of_confusions(counts.sum(axis=0, keepdims=True)) for counts in (first, second))
    differences = {name: float(one[name][0] - other[name][0]) for name in COMPARED}
    if clusters < 2:
        return {name: Difference(value, None, None) for name, value in differences.items()}
    drawn = _sums(_draw, np.stack([first, second], axis=1))  # [S, 2, C, C]
    one, other = (rates_of_confusions(drawn[:, side]) for side in (0, 1))
    moved = _sums(_swap, second - first)  # [S, C, C]
    swapped, back = (rates_of_confusions(counts) for counts in (first.sum(axis=0) + moved, second.sum(axis=0) - moved))
    found = {}
    for name, value in differences.items():
        as_large = np.abs(swapped[name] - back[name]) >= abs(value) - TIE
        p = (1 + int(as_large.sum())) / (1 + SAMPLES)
        found[name] = Difference(value, _interval(one[name] - other[name]), p)
    return found


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's step-down correction for a family of p-values (Holm 1979); None stays None."""
    known = sorted((p, position) for position, p in enumerate(p_values) if p is not None)
    corrected: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, position) in enumerate(known):
        largest = max(largest, min(1.0, (len(known) - rank) * p))
        corrected[position] = largest
    return corrected


def rates_of_confusions(counts: Floats) -> dict[str, Floats]:
    """The headline metrics of many confusion matrices `[n, C, C]`, `[n]` each, with the values of `metrics.rates`.

    The rates of an empty matrix are 0.
    """
    counts = np.where(np.abs(counts) < TIE, 0.0, counts)  # rounding errors of weights that were added and subtracted
    correct = np.diagonal(counts, axis1=1, axis2=2)  # [n, C]
    support, predicted = counts.sum(axis=2), counts.sum(axis=1)  # [n, C]
    occurs = support > 0
    recall = np.divide(correct, support, out=np.zeros_like(correct), where=occurs)
    f1 = np.divide(2 * correct, support + predicted, out=np.zeros_like(correct), where=support + predicted > 0)
    total, classes = support.sum(axis=1), np.maximum(occurs.sum(axis=1), 1)
    total = np.where(total > 0, total, 1.0)
    return {
        "wa": correct.sum(axis=1) / total,
        "ua": recall.sum(axis=1) / classes,
        "wf1": (f1 * support).sum(axis=1) / total,
        "macro_f1": (f1 * occurs).sum(axis=1) / classes,
    }


def _interval(values: Floats) -> Interval:
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return float(low), float(high)


def _sums(draw: Callable[[np.random.Generator, int, int], Floats], counts: Floats) -> Floats:
    """The sums of the counts `[K, …]`, each cluster as often as a sample draws it: `[S, …]`.

    The samples are the same on every call, whatever the number drawn at a time.
    """
    generator, clusters = np.random.default_rng(SEED), len(counts)
    step = max(1, BLOCK_CELLS // clusters)
    sizes = [min(step, SAMPLES - first) for first in range(0, SAMPLES, step)]
    return np.concatenate([np.tensordot(draw(generator, size, clusters), counts, axes=1) for size in sizes])


def _draw(generator: np.random.Generator, samples: int, clusters: int) -> Floats:
    """How often each cluster is drawn, with replacement, in each sample: `[samples, K]`."""
    drawn = generator.integers(clusters, size=(samples, clusters)) + clusters * np.arange(samples)[:, None]
    return np.bincount(drawn.ravel(), minlength=drawn.size).reshape(drawn.shape).astype(np.float64)


def _swap(generator: np.random.Generator, samples: int, clusters: int) -> Floats:
    """Which clusters are swapped in each sample, 1 for those that are: `[samples, K]`."""
    return generator.integers(2, size=(samples, clusters)).astype(np.float64)
