"""Intervals and paired comparisons of trained models, which resample dialogues, not utterances.

They are about these models on other dialogues; `trained_again.py` is about systems that are trained again.

The utterances of a dialogue share speakers, topic and microphone, and several seeds repeat the same utterances:
resampling single utterances would give intervals that are too narrow. A dialogue (a cluster) is therefore resampled,
or swapped, as a whole, with all its utterances and all its seeds.

Shapes: K clusters, C classes, S samples.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mmer_pipeline.scoring.metrics import Floats, Integers

SAMPLES = 5000
SEED = 0
LEVEL = 0.95
BLOCK_CELLS = 1 << 20  # clusters times samples drawn at a time: 8 MB, whatever the number of clusters
COMPARED = ("wa", "ua")  # the metrics in which pairs of systems are compared
OF_CLASSES = ("ua", "macro_f1")  # the metrics that are means over the classes that occur
REDRAWS = 40  # the most times that a sample which lacks a class is drawn again
TIE = 1e-12  # the largest difference between equal rates, due to rounding

Interval = tuple[float, float]


@dataclass(frozen=True)
class Difference:
    """The difference between two systems in one metric, first − second."""

    difference: float
    interval: Interval | None  # 95 %, paired bootstrap; None with a single cluster, or for UA with too rare classes
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


def bootstrap_intervals(counts: Floats) -> dict[str, Interval | None] | None:
    """95 % intervals of the headline metrics by the percentile bootstrap over the clusters of `[K, C, C]`.

    None with a single cluster, which says nothing about the variation between clusters. A single interval is None if
    it needs every class, and the classes are too rare for that (see `_bootstrap_rates`).
    """
    if len(counts) < 2:
        return None
    (rates,) = _bootstrap_rates(counts[:, None])
    return {name: _interval(values) for name, values in rates.items()}


def crossed_intervals(counts: Floats) -> dict[str, Interval | None] | None:
    """95 % intervals of the headline metrics over clusters and models together, from `[K, M, C, C]`.

    Every one of M models scores every cluster. Both are resampled, independently of each other (the pigeonhole
    bootstrap: Owen 2007, "The pigeonhole bootstrap", Annals of Applied Statistics 1(2)). A single model is not
    resampled, which gives `bootstrap_intervals`. None as there.
    """
    clusters, models = counts.shape[:2]
    if clusters < 2:
        return None
    drawn = _draw(np.random.default_rng([SEED, 2]), SAMPLES, models)  # [S, M]
    (rates,) = _bootstrap_rates(counts, drawn)
    return {name: _interval(values) for name, values in rates.items()}


def compare(first: Floats, second: Floats) -> dict[str, Difference]:
    """WA and UA of one system minus those of another, from the same clusters' confusion matrices `[K, C, C]`.

    The interval is from the paired percentile bootstrap, which evaluates both systems on the same resampled clusters.
    The p-value is from the paired randomisation test (Noreen 1989, "Computer-Intensive Methods for Testing
    Hypotheses"): if the systems were equal, the two results of each cluster could be swapped, so p is the share of
    swaps, including the identity, whose absolute difference is at least as large. With few clusters (2^K ≤ `SAMPLES`)
    these are all swaps, so that p is exact; otherwise they are drawn. Unlike the share of bootstrap samples beyond 0,
    p remains valid with few clusters: with K of them it cannot be below 2 / 2^K.
    """
    clusters = len(first)
    one, other = (rates_of_confusions(counts.sum(axis=0, keepdims=True)) for counts in (first, second))
    differences = {name: float(one[name][0] - other[name][0]) for name in COMPARED}
    if clusters < 2:
        return {name: Difference(value, None, None) for name, value in differences.items()}
    one, other = _bootstrap_rates(np.stack([first, second], axis=1))
    is_exact = has_all_swaps(clusters)
    moved = np.tensordot(_all_swaps(clusters), second - first, axes=1) if is_exact else _sums(_swap, second - first)
    swapped, back = (rates_of_confusions(counts) for counts in (first.sum(axis=0) + moved, second.sum(axis=0) - moved))
    found = {}
    for name, value in differences.items():
        as_large = np.abs(swapped[name] - back[name]) >= abs(value) - TIE
        # All swaps include the identity; of drawn ones it is one more.
        p = float(as_large.mean()) if is_exact else (1 + int(as_large.sum())) / (1 + SAMPLES)
        found[name] = Difference(value, _interval(one[name] - other[name]), p)
    return found


def has_all_swaps(clusters: int) -> bool:
    """Whether `compare` tries every swap of that many clusters, so that p is exact."""
    return clusters < SAMPLES.bit_length()


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's step-down correction for a family of p-values (Holm 1979); None stays None."""
    from statsmodels.stats.multitest import multipletests  # slow to load, and most commands do without it

    known = [position for position, p in enumerate(p_values) if p is not None]
    corrected: list[float | None] = [None] * len(p_values)
    if known:
        values = multipletests([p_values[position] for position in known], method="holm")[1]
        for position, value in zip(known, values.tolist(), strict=True):
            corrected[position] = value
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


def _bootstrap_rates(counts: Floats, drawn: Floats | None = None) -> list[dict[str, Floats]]:
    """The metrics `[S]` of all bootstrap samples, for each side of `[K, sides, C, C]`; the sides have the same truth.

    With `drawn` `[S, sides]`, the sides are models, of which each sample has as many of each as it says: one result.

    A sample that lacks a class would change what UA and macro-F1 are means of. For these two it is drawn again, up to
    `REDRAWS` times; if a sample still lacks a class, which is then very rare, they have no values (`[0]`).
    """
    samples = _sums(_draw, counts)  # [S, sides, C, C]
    found = _rates_of_sides(samples, drawn)
    occurs = counts[:, 0].sum(axis=(0, 2)) > 0  # [C]
    lacking = _lacking(samples, occurs)
    if not len(lacking):
        return found
    generator = np.random.default_rng([SEED, 1])
    for _ in range(REDRAWS):
        samples[lacking] = _sums(_draw, counts, generator, len(lacking))
        lacking = lacking[_lacking(samples[lacking], occurs)]
        if not len(lacking):
            break
    for rates, whole in zip(found, _rates_of_sides(samples, drawn), strict=True):
        rates.update({name: whole[name][: 0 if len(lacking) else None] for name in OF_CLASSES})
    return found


def _rates_of_sides(samples: Floats, drawn: Floats | None) -> list[dict[str, Floats]]:
    """The metrics `[S]` of each side of `[S, sides, C, C]`, or of all sides together as `drawn` `[S, sides]` says."""
    if drawn is not None:
        return [rates_of_confusions(np.einsum("sm,smij->sij", drawn, samples))]
    return [rates_of_confusions(samples[:, side]) for side in range(samples.shape[1])]


def _lacking(samples: Floats, occurs: npt.NDArray[np.bool_]) -> Integers:
    """The numbers of the samples `[S, sides, C, C]` without any utterance of a class that occurs."""
    support = samples[:, 0].sum(axis=2)[:, occurs]
    return np.flatnonzero((support <= 0).any(axis=1))


def _interval(values: Floats) -> Interval | None:
    if not len(values):
        return None
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return float(low), float(high)


def _sums(
    draw: Callable[[np.random.Generator, int, int], Floats],
    counts: Floats,
    generator: np.random.Generator | None = None,
    samples: int = SAMPLES,
) -> Floats:
    """The sums of the counts `[K, …]`, each cluster as often as a sample draws it: `[S, …]`.

    Without a generator, the samples are the same on every call, whatever the number drawn at a time.
    """
    generator, clusters = generator or np.random.default_rng(SEED), len(counts)
    step = max(1, BLOCK_CELLS // clusters)
    sizes = [min(step, samples - first) for first in range(0, samples, step)]
    return np.concatenate([np.tensordot(draw(generator, size, clusters), counts, axes=1) for size in sizes])


def _draw(generator: np.random.Generator, samples: int, clusters: int) -> Floats:
    """How often each cluster is drawn, with replacement, in each sample: `[samples, K]`."""
    drawn = generator.integers(clusters, size=(samples, clusters)) + clusters * np.arange(samples)[:, None]
    return np.bincount(drawn.ravel(), minlength=drawn.size).reshape(drawn.shape).astype(np.float64)


def _swap(generator: np.random.Generator, samples: int, clusters: int) -> Floats:
    """Which clusters are swapped in each sample, 1 for those that are: `[samples, K]`."""
    return generator.integers(2, size=(samples, clusters)).astype(np.float64)


def _all_swaps(clusters: int) -> Floats:
    """Every way to swap some of the clusters, 1 for those that are: `[2^K, K]`."""
    return (np.arange(2**clusters)[:, None] >> np.arange(clusters) & 1).astype(np.float64)
