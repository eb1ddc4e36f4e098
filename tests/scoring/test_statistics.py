"""Intervals and p-values against SciPy and against tables and counts made by hand."""

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import balanced_accuracy_score

from mmer_pipeline.scoring import statistics
from mmer_pipeline.scoring.metrics import HEADLINE, rates
from mmer_pipeline.scoring.statistics import bootstrap_intervals, cluster_counts, compare, holm, rates_of_confusions

LABELS = ["happy", "angry", "neutral", "sad"]


def drawn(count: int = 200, seed: int = 0, skill: float = 0.6) -> tuple[np.ndarray, np.ndarray]:
    """Truth and predictions of unequal classes, right about as often as `skill` says."""
    generator = np.random.default_rng(seed)
    truth = generator.choice(4, count, p=[0.4, 0.3, 0.2, 0.1])
    return truth, np.where(generator.random(count) < skill, truth, generator.integers(0, 4, count))


def two_systems(count: int = 150, first: float = 0.7, second: float = 0.5) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One truth, and the predictions of two systems."""
    generator = np.random.default_rng(3)
    truth = generator.choice(4, count, p=[0.4, 0.3, 0.2, 0.1])
    predicted = [
        np.where(generator.random(count) < skill, truth, generator.integers(0, 4, count)) for skill in (first, second)
    ]
    return truth, predicted[0], predicted[1]


def each(count: int) -> list[str]:
    """Every utterance a cluster of its own."""
    return [str(number) for number in range(count)]


def counts(truth: np.ndarray, predicted: np.ndarray, clusters: list[str] | None = None) -> np.ndarray:
    return cluster_counts(truth, predicted, clusters or each(len(truth)), 4)


def test_metrics_of_many_confusion_matrices_agree_with_those_of_each() -> None:
    pairs = [drawn(30, seed) for seed in range(20)]
    pairs.append((np.array([0, 0, 1]), np.array([3, 0, 3])))  # classes that do not occur
    many = rates_of_confusions(np.stack([counts(*pair).sum(axis=0) for pair in pairs]))
    assert tuple(many) == HEADLINE
    for number, pair in enumerate(pairs):
        expected = rates(*pair, LABELS)
        assert {name: pytest.approx(expected[name]) for name in HEADLINE} == {n: many[n][number] for n in HEADLINE}


def test_the_bootstrap_with_one_utterance_per_cluster_agrees_with_scipy() -> None:
    truth, predicted = drawn(150)
    found = bootstrap_intervals(counts(truth, predicted))
    assert found is not None
    right = (truth == predicted).astype(float)
    wa = stats.bootstrap((right,), np.mean, method="percentile", n_resamples=5000, rng=0).confidence_interval
    assert found["wa"] == pytest.approx((wa.low, wa.high), abs=0.01)
    ua = stats.bootstrap(
        (truth, predicted),
        balanced_accuracy_score,
        paired=True,
        vectorized=False,
        method="percentile",
        n_resamples=1000,
        rng=0,
    ).confidence_interval
    assert found["ua"] == pytest.approx((ua.low, ua.high), abs=0.015)


def test_the_bootstrap_resamples_clusters_and_not_utterances() -> None:
    truth, predicted = drawn(60)
    single = bootstrap_intervals(counts(truth, predicted))
    # Every utterance nine times over: as clusters nothing is gained by it.
    nine_times = np.repeat(truth, 9), np.repeat(predicted, 9)
    nine = bootstrap_intervals(counts(*nine_times, [str(n // 9) for n in range(540)]))
    narrow = bootstrap_intervals(counts(*nine_times))
    assert single is not None
    assert nine is not None
    assert narrow is not None
    for name in HEADLINE:
        assert nine[name] == pytest.approx(single[name], abs=0.02)
    assert narrow["wa"][1] - narrow["wa"][0] < 0.5 * (single["wa"][1] - single["wa"][0])


def test_the_bootstrap_interval_contains_the_value_and_is_reproducible() -> None:
    truth, predicted = drawn(100)
    dialogues = [str(n % 20) for n in range(100)]
    first, again = (bootstrap_intervals(counts(truth, predicted, dialogues)) for _ in range(2))
    assert first == again
    assert first is not None
    backwards = bootstrap_intervals(counts(truth[::-1], predicted[::-1], dialogues[::-1]))
    assert backwards == first
    for name in HEADLINE:
        low, high = first[name]
        assert low < rates(truth, predicted, LABELS)[name] < high


def test_the_paired_bootstrap_with_one_utterance_per_cluster_agrees_with_scipy() -> None:
    truth, first, second = two_systems()
    found = compare(counts(truth, first), counts(truth, second))

    def difference(truth: np.ndarray, first: np.ndarray, second: np.ndarray) -> float:
        return balanced_accuracy_score(truth, first) - balanced_accuracy_score(truth, second)

    right = [(truth == predicted).astype(float) for predicted in (first, second)]
    wa = stats.bootstrap(
        right, lambda a, b, axis: a.mean(axis) - b.mean(axis), paired=True, method="percentile", n_resamples=5000, rng=0
    ).confidence_interval
    assert found["wa"].difference == pytest.approx(right[0].mean() - right[1].mean())
    assert found["wa"].interval == pytest.approx((wa.low, wa.high), abs=0.01)
    ua = stats.bootstrap(
        (truth, first, second), difference, paired=True, vectorized=False, method="percentile", n_resamples=1000, rng=0
    ).confidence_interval
    assert found["ua"].difference == pytest.approx(difference(truth, first, second))
    assert found["ua"].interval == pytest.approx((ua.low, ua.high), abs=0.02)


@pytest.mark.parametrize("skill", [0.7, 0.6, 0.52])
def test_the_p_value_with_one_utterance_per_cluster_agrees_with_scipy_s_permutation_test(skill: float) -> None:
    truth, first, second = two_systems(first=skill)
    found = compare(counts(truth, first), counts(truth, second))
    right = [(truth == predicted).astype(float) for predicted in (first, second)]
    expected = stats.permutation_test(
        right,
        lambda a, b, axis: a.mean(axis) - b.mean(axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=5000,
        rng=0,
    ).pvalue
    assert found["wa"].p == pytest.approx(expected, abs=0.02)


def test_the_p_value_with_few_clusters_agrees_with_counting_all_swaps() -> None:
    # Five dialogues, each a little better for the first system: of 32 swaps two are as extreme.
    truth = np.zeros(50, dtype=int)
    dialogues = [str(n // 10) for n in range(50)]
    second = np.where(np.arange(50) % 10 < 5, 0, 1)
    better = np.where(np.arange(50) % 10 < 6 + np.arange(50) // 10 % 2, 0, 1)
    found = compare(counts(truth, better, dialogues), counts(truth, second, dialogues))
    assert found["wa"].p == 2 / 32
    assert found["wa"].interval is not None
    assert found["wa"].interval[0] > 0  # the bootstrap alone would call this certain


@pytest.mark.parametrize("clusters", [2, 5, 12])
def test_the_p_value_with_few_clusters_is_scipy_s_exact_one(clusters: int) -> None:
    # A difference of ±1 / 60 an utterance: WA of swapped dialogues is that of swapped numbers of right utterances.
    truth, first, second = two_systems(60, second=0.6)
    dialogues = [str(n % clusters) for n in range(60)]
    found = compare(counts(truth, first, dialogues), counts(truth, second, dialogues))
    right = [np.bincount(np.arange(60) % clusters, truth == predicted) for predicted in (first, second)]
    expected = stats.permutation_test(
        right, lambda a, b, axis: (a - b).sum(axis), permutation_type="samples", vectorized=True, n_resamples=np.inf
    )
    assert found["wa"].p == pytest.approx(expected.pvalue)


def test_all_swaps_are_tried_up_to_twelve_clusters() -> None:
    assert [statistics.has_all_swaps(clusters) for clusters in (2, 12, 13, 500)] == [True, True, False, False]
    swaps = statistics._all_swaps(3)
    assert sorted(map(tuple, swaps.tolist())) == sorted({(a, b, c) for a in (0, 1) for b in (0, 1) for c in (0, 1)})


def one_class_in_one_dialogue() -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Happy in ten dialogues, three of four right in each; eight that are angry in one of them, three right."""
    truth = np.array([0] * 40 + [1] * 8)
    predicted = np.array([0, 0, 0, 1] * 10 + [1, 1, 1, 0, 0, 0, 0, 0])
    return truth, predicted, [*(str(n // 4) for n in range(40)), *["0"] * 8]


def test_a_resample_without_a_class_does_not_change_what_ua_is_a_mean_of() -> None:
    # A mended bug: UA is (3/4 + 3/8) / 2 = 0.5625, and the interval was 0.5625 to 0.75, the recall of happy alone.
    truth, predicted, dialogues = one_class_in_one_dialogue()
    assert rates(truth, predicted, LABELS)["ua"] == 0.5625
    found = bootstrap_intervals(counts(truth, predicted, dialogues))
    assert found is not None
    assert found["ua"] == (0.5625, 0.5625)
    other = np.where(truth == 1, 1, predicted)
    difference = compare(counts(truth, other, dialogues), counts(truth, predicted, dialogues))["ua"]
    assert difference.interval == pytest.approx((5 / 16, 5 / 16))


def test_redrawn_samples_are_the_same_on_every_call_and_leave_wa_alone() -> None:
    truth, predicted = drawn(48, seed=4)
    truth[truth == 3] = 0
    truth[:2] = 3  # in two of twelve dialogues
    dialogues = [str(n % 12) for n in range(48)]
    values = counts(truth, predicted, dialogues)
    first, again = bootstrap_intervals(values), bootstrap_intervals(values)
    assert first == again
    assert first is not None
    samples = statistics._sums(statistics._draw, values)
    plain = rates_of_confusions(samples)
    for name in ("wa", "wf1"):
        assert first[name] == tuple(np.quantile(plain[name], [0.025, 0.975]))
    kept = samples.sum(axis=2).all(axis=1)
    assert 0.5 < kept.mean() < 0.95
    for name in ("ua", "macro_f1"):
        # Redrawing is sampling on condition that no class is lacking.
        assert first[name] == pytest.approx(tuple(np.quantile(plain[name][kept], [0.025, 0.975])), abs=0.02)


def test_classes_that_are_too_rare_to_be_redrawn_leave_ua_without_an_interval() -> None:
    truth = np.array([*range(8), *[0] * 8])  # seven classes in one dialogue each
    values = cluster_counts(truth, np.zeros(16, dtype=int), each(16), 8)
    found = bootstrap_intervals(values)
    assert found is not None
    assert found["wa"] is not None
    assert (found["ua"], found["macro_f1"]) == (None, None)
    entry = compare(values, values)
    assert (entry["ua"].interval, entry["ua"].p) == (None, 1.0)
    assert entry["wa"].interval == (0.0, 0.0)


def test_p_values_of_equal_systems_are_uniform() -> None:
    generator = np.random.default_rng(5)
    p_values = []
    for _ in range(60):
        truth = generator.integers(0, 4, 240)
        predicted = [np.where(generator.random(240) < 0.6, truth, generator.integers(0, 4, 240)) for _ in range(2)]
        found = compare(*(counts(truth, each, [str(n // 12) for n in range(240)]) for each in predicted))
        p_values.append(found["ua"].p)
    assert stats.kstest(p_values, "uniform").pvalue > 0.01


def test_two_systems_with_the_same_predictions_do_not_differ() -> None:
    truth, predicted = drawn()
    dialogues = [str(n % 15) for n in range(200)]
    for entry in compare(*[counts(truth, predicted, dialogues)] * 2).values():
        assert (entry.difference, entry.interval, entry.p) == (0.0, (0.0, 0.0), 1.0)


def test_the_reversed_comparison_is_the_mirror_image() -> None:
    truth, first, second = two_systems()
    dialogues = [str(n % 12) for n in range(150)]
    one = compare(counts(truth, first, dialogues), counts(truth, second, dialogues))["ua"]
    other = compare(counts(truth, second, dialogues), counts(truth, first, dialogues))["ua"]
    assert one.interval is not None
    assert other.interval is not None
    assert other.difference == pytest.approx(-one.difference)
    assert other.interval == pytest.approx((-one.interval[1], -one.interval[0]))
    assert other.p == one.p


def test_a_single_cluster_gives_no_interval_and_no_p_value() -> None:
    truth, first, second = two_systems()
    one = ["d"] * 150
    assert bootstrap_intervals(counts(truth, first, one)) is None
    entry = compare(counts(truth, first, one), counts(truth, second, one))["wa"]
    assert entry.difference == pytest.approx((truth == first).mean() - (truth == second).mean())
    assert (entry.interval, entry.p) == (None, None)


def test_swapped_weighted_rows_leave_no_rounding_error_behind() -> None:
    truth, first, second = two_systems(60)
    third = np.full(60, 1 / 3)  # three seeds of each utterance
    sides = [
        cluster_counts(np.tile(truth, 3), np.tile(predicted, 3), each(60) * 3, 4, np.tile(third, 3))
        for predicted in (first, second)
    ]
    found, plain = compare(sides[0], sides[1]), compare(counts(truth, first), counts(truth, second))
    for name in ("wa", "ua"):
        assert found[name].difference == pytest.approx(plain[name].difference)
        assert found[name].interval == pytest.approx(plain[name].interval)
        assert found[name].p == plain[name].p


def test_holm_s_table_by_hand() -> None:
    # Sorted 0.01, 0.02, 0.03, 0.04 times 4, 3, 2, 1, and never less than the one before.
    assert holm([0.02, 0.01, 0.04, 0.03]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.6, 0.5]) == [1.0, 1.0]
    assert holm([]) == []


def test_holm_of_no_known_p_value_is_none() -> None:
    assert holm([None, None]) == [None, None]


def test_holm_counts_only_the_known_p_values() -> None:
    assert holm([None, 0.01, None, 0.2]) == [None, pytest.approx(0.02), None, pytest.approx(0.2)]


@pytest.mark.parametrize("draw", [statistics._draw, statistics._swap])
def test_samples_do_not_depend_on_the_number_drawn_at_a_time(draw, monkeypatch: pytest.MonkeyPatch) -> None:
    # 5,000 samples of 100,000 dialogues would fill 4 GB.
    values = np.random.default_rng(0).random((301, 2, 2))
    at_once = statistics._sums(draw, values)
    sizes = []

    def draw_and_note(generator: np.random.Generator, samples: int, clusters: int) -> np.ndarray:
        sizes.append((samples, clusters))
        return draw(generator, samples, clusters)

    monkeypatch.setattr(statistics, "BLOCK_CELLS", 10_000)
    np.testing.assert_allclose(statistics._sums(draw_and_note, values), at_once)
    assert at_once.shape == (5000, 2, 2)
    assert set(sizes) == {(33, 301), (17, 301)}
    assert sum(samples for samples, _ in sizes) == 5000


def test_every_sample_draws_as_many_clusters_as_there_are() -> None:
    drawn = statistics._draw(np.random.default_rng(0), 2000, 7)
    assert (drawn.sum(axis=1) == 7).all()
    assert drawn.var() == pytest.approx(6 / 7, rel=0.05)  # of a binomial distribution of 7 and 1 / 7


def crossed(clusters: int = 30, models: int = 5) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Truth `[N]`, predictions `[M, N]` of models of different skill, and the cluster of each of four utterances."""
    generator = np.random.default_rng(11)
    truth = generator.integers(0, 4, 4 * clusters)
    skills = np.linspace(0.4, 0.8, models)[:, None]
    predicted = np.where(generator.random((models, len(truth))) < skills, truth, generator.integers(0, 4, len(truth)))
    return truth, predicted, np.repeat(np.arange(clusters), 4)


def test_the_interval_over_clusters_and_models_agrees_with_resampling_rows_and_columns() -> None:
    truth, predicted, cluster = crossed()
    names = [str(number) for number in cluster]
    found = statistics.crossed_intervals(np.stack([counts(truth, row, names) for row in predicted], axis=1))
    assert found is not None
    generator, wa, ua = np.random.default_rng(5), [], []
    for _ in range(1500):
        rows = np.concatenate([np.flatnonzero(cluster == k) for k in generator.integers(30, size=30)])
        models = generator.integers(5, size=5)
        truths, said = np.tile(truth[rows], 5), predicted[models][:, rows].ravel()
        wa.append((truths == said).mean())
        ua.append(balanced_accuracy_score(truths, said))
    for name, values in (("wa", wa), ("ua", ua)):
        assert found[name] == pytest.approx(tuple(np.quantile(values, [0.025, 0.975])), abs=0.012)


def test_a_single_model_is_not_resampled() -> None:
    truth, predicted, cluster = crossed()
    table = counts(truth, predicted[0], [str(number) for number in cluster])
    assert statistics.crossed_intervals(table[:, None]) == bootstrap_intervals(table)
    assert statistics.crossed_intervals(table[:1, None]) is None
