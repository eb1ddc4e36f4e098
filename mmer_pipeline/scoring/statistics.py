"""How sure the numbers are: intervals and paired comparisons that draw dialogues, not utterances.

The utterances of a dialogue share speakers, topic and microphone, and those of several seeds are the same
utterances again: drawn one by one they would give intervals that are too narrow. So a dialogue (a cluster) is
drawn, or changes sides, as a whole, with all its utterances and all its seeds.

Shapes: K clusters, C classes, S samples.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from mmer_pipeline.scoring.metrics import Floats, Integers

SAMPLES = 5000
SEED = 0
LEVEL = 0.95
BLOCK_CELLS = 1 << 20  # clusters times samples that are drawn at a time: 8 MB, however many clusters there are
COMPARED = ("wa", "ua")  # the metrics that pairs of systems are compared by
TIE = 1e-12  # differences of rates that are equal but for rounding

Interval = tuple[float, float]


@dataclass(frozen=True)
class Difference:
    """First − second of two systems in one metric."""

    difference: float
    interval: Interval | None  # 95 %, paired bootstrap; None: a single cluster
    p: float | None  # two-sided; None: a single cluster


def cluster_counts(
    truth: Integers,
    predicted: Integers,
    clusters: Sequence[str],
    classes: int,
    weights: Floats | None = None,
) -> Floats:
    """A confusion matrix a cluster: `[K, C, C]`, rows are the truth, clusters in the order of their names.

    `weights` `[N]` is what a row counts for; 1 where left out.
    """
    names, cluster = np.unique(np.asarray(clusters), return_inverse=True)
    counts = np.zeros((len(names), classes, classes))
    np.add.at(counts, (cluster, truth, predicted), 1.0 if weights is None else weights)
    return counts


def bootstrap_intervals(counts: Floats) -> dict[str, Interval] | None:
    """95 % intervals of the headline metrics by the percentile bootstrap over the clusters of `[K, C, C]`.

    None where there is one cluster alone: nothing can be said then of how others would differ.
    """
    if len(counts) < 2:
        return None
    samples = _sums(_draw, counts)  # [S, C, C]
    return {name: _interval(values) for name, values in rates_of_confusions(samples).items()}


def compare(first: Floats, second: Floats) -> dict[str, Difference]:
    """WA and UA of one system minus those of another, from the same clusters' confusion matrices `[K, C, C]`.

    The interval is the paired percentile bootstrap: both systems over the same drawn clusters. The p-value is
    that of the paired randomisation test (Noreen 1989, "Computer-Intensive Methods for Testing Hypotheses"): were
    the two systems alike, each cluster's two results could be swapped, so p is the share of random swaps, the
    identity among them, with a difference at least as large in either direction. Unlike a share of bootstrap
    samples beyond 0 it stays honest with few clusters: from K of them it is never far below 2 / 2^K.
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
    """Holm's step-down correction of p-values that are looked at together (Holm 1979); None stays None."""
    there = sorted((p, place) for place, p in enumerate(p_values) if p is not None)
    corrected: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, place) in enumerate(there):
        largest = max(largest, min(1.0, (len(there) - rank) * p))
        corrected[place] = largest
    return corrected


def rates_of_confusions(counts: Floats) -> dict[str, Floats]:
    """The headline metrics of many confusion matrices `[n, C, C]` at once: `[n]` each, as `metrics.rates` gives them.

    What does not occur at all has a rate of 0.
    """
    counts = np.where(np.abs(counts) < TIE, 0.0, counts)  # of weighted rows that were added and taken away
    right = np.diagonal(counts, axis1=1, axis2=2)  # [n, C]
    support, said = counts.sum(axis=2), counts.sum(axis=1)  # [n, C]
    there = support > 0
    recall = np.divide(right, support, out=np.zeros_like(right), where=there)
    f1 = np.divide(2 * right, support + said, out=np.zeros_like(right), where=support + said > 0)
    total, classes = support.sum(axis=1), np.maximum(there.sum(axis=1), 1)
    total = np.where(total > 0, total, 1.0)
    return {
        "wa": right.sum(axis=1) / total,
        "ua": recall.sum(axis=1) / classes,
        "wf1": (f1 * support).sum(axis=1) / total,
        "macro_f1": (f1 * there).sum(axis=1) / classes,
    }


def _interval(values: Floats) -> Interval:
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return float(low), float(high)


def _sums(draw: Callable[[np.random.Generator, int, int], Floats], counts: Floats) -> Floats:
    """The counts `[K, …]` of all clusters added up, each as often as a sample has drawn it: `[S, …]`.

    The samples are the same on every call, however many of them are drawn at a time.
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
    """Which clusters change sides in each sample, 1 for those that do: `[samples, K]`."""
    return generator.integers(2, size=(samples, clusters)).astype(np.float64)
