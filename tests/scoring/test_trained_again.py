"""Claims about systems that are trained again, against SciPy, statsmodels and tables made by hand."""

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.power import TTestPower

from mmer_pipeline.scoring import trained_again
from mmer_pipeline.scoring.trained_again import estimate, seeds_needed, units_needed


def tables(units: int = 5, first: int = 3, second: int = 3, by_seed: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Two systems' values by unit and seed; by_seed is the deviation of seeds that are better in all units."""
    generator = np.random.default_rng(1)
    of_units = generator.normal(0, 3, (units, 1))
    return tuple(
        70 + difference + of_units + generator.normal(0, 1, (units, seeds)) + generator.normal(0, by_seed, seeds)
        for difference, seeds in ((1.5, first), (0.0, second))
    )


def without_seed_effect(table: np.ndarray) -> np.ndarray:
    """The table with equal means of all seeds."""
    return table - table.mean(axis=0) + table.mean()


@pytest.mark.parametrize(("first", "second"), [(3, 3), (5, 2)])
def test_without_an_effect_of_seeds_it_is_scipy_s_paired_t_test_over_means_of_folds(first: int, second: int) -> None:
    one, other = map(without_seed_effect, tables(first=first, second=second))
    found = estimate(one, other)
    expected = stats.ttest_rel(one.mean(axis=1), other.mean(axis=1))
    assert found.p == pytest.approx(expected.pvalue)
    assert found.df == pytest.approx(expected.df)
    low_high = expected.confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((low_high.low, low_high.high))
    assert found.seed_variance == 0


def test_the_mean_of_a_system_without_an_effect_of_seeds_has_scipy_s_t_interval() -> None:
    table = without_seed_effect(tables()[0])
    found = estimate(table)
    means = table.mean(axis=1)
    expected = stats.t.interval(0.95, len(means) - 1, loc=means.mean(), scale=stats.sem(means))
    assert (found.low, found.high) == pytest.approx(expected)


def test_a_two_way_table_by_hand() -> None:
    # Seeds 1 and 2 are 68 and 76 in the mean, units 70 and 74; the residuals are ±1.
    # MS_seed = 2 · (16 + 16) / 1 = 64; MS_error = 4 · 1 / 1 = 4; S² = (4 + 4) / 1 = 8.
    table = np.array([[67.0, 73.0], [69.0, 79.0]])
    found = estimate(table)
    assert found.value == 72
    assert (found.unit_variance, found.luck) == (8, 2)
    assert found.seed_variance == pytest.approx((64 - 4) / 4)
    variance = 8 / 2 + 15
    assert found.error == pytest.approx(variance**0.5)
    assert found.df == pytest.approx(variance**2 / (4**2 / 1 + (64 / 4) ** 2 / 1))


def test_the_parts_of_two_systems_that_are_due_to_seeds_are_added_before_they_are_compared_with_0() -> None:
    steady = np.array([[1.0, -1.0], [-1.0, 1.0]])  # MS_seed = 0, MS_error = 4
    moving = np.array([[0.0, 1.0], [0.0, 1.0]])  # MS_seed = 1, MS_error = 0
    assert estimate(moving).seed_variance == pytest.approx(1 / 4)
    assert estimate(moving, steady).seed_variance == 0  # (1 - 4) / 4 is below it
    assert estimate(2 * moving, steady / 2).seed_variance == pytest.approx((4 - 1) / 4)


def test_many_experiments_at_once_are_those_of_each() -> None:
    pairs = [tables(first=4, by_seed=deviation) for deviation in (0.0, 1.0, 3.0)]
    many = estimate(*map(np.stack, zip(*pairs, strict=True)))
    for number, pair in enumerate(pairs):
        one = estimate(*pair)
        assert (one.value, one.low, one.high, one.p) == pytest.approx(
            (many.value[number], many.low[number], many.high[number], many.p[number])
        )


def test_the_reversed_difference_is_the_mirror_image() -> None:
    one, other = tables(first=4, by_seed=1.0)
    found, back = estimate(one, other), estimate(other, one)
    assert (found.value, found.low, found.high) == pytest.approx((-back.value, -back.high, -back.low))
    assert found.p == pytest.approx(back.p)


@pytest.mark.parametrize(
    ("units", "seeds", "by_seed"), [(5, 3, 0.0), (5, 3, 1.0), (10, 3, 1.0), (5, 5, 0.5), (10, 3, 2.0)]
)
def test_equally_good_systems_are_seldom_told_apart_and_the_true_value_is_mostly_in_the_interval(
    units: int, seeds: int, by_seed: float
) -> None:
    generator = np.random.default_rng(2)
    shape = (4000, units, seeds)
    one, other = (
        generator.normal(0, 1, shape)
        + generator.normal(0, by_seed, (4000, 1, seeds))
        + generator.normal(0, 1, (4000, units, 1))
        for _ in range(2)
    )
    found = estimate(one, other)
    assert 0.01 < (found.p < 0.05).mean() < 0.065
    assert (((found.low <= 0) & (found.high >= 0)) == (found.p >= 0.05)).all()
    alone = estimate(one)
    assert ((alone.low <= 0) & (alone.high >= 0)).mean() > 0.92


@pytest.mark.parametrize("difference", [0.5, 1.0, 2.5])
def test_the_units_needed_are_those_of_statsmodels(difference: float) -> None:
    expected = TTestPower().solve_power(difference / 1.7, power=0.8, alpha=0.05)
    assert units_needed(difference, 1.7**2) == np.ceil(expected)
    assert units_needed(-difference, 1.7**2) == np.ceil(expected)


def test_a_huge_difference_needs_two_or_three_units_and_a_tiny_one_no_number() -> None:
    assert units_needed(100.0, 1e-4) == 2
    assert units_needed(100.0, 1e-4, fewest=6) == 6  # what is there was not enough
    assert units_needed(1.0, 1.0, seed_variance=0.05) > units_needed(1.0, 1.0)
    assert units_needed(1.0, 1.0, seed_variance=1.0) is None  # more units do not reduce it
    assert units_needed(10.0, 1.0) == 3
    assert units_needed(0.001, 1.0) is None
    assert units_needed(0.0, 1.0) is None


def test_the_seeds_needed_reduce_only_what_is_luck() -> None:
    generator = np.random.default_rng(3)
    one, other = (
        without_seed_effect(generator.normal(0, 1, (10, 1)) + generator.normal(0, 2, (10, 3))) for _ in range(2)
    )
    found = estimate(one, other)
    assert 0 < found.luck < found.unit_variance
    seeds = seeds_needed(2.0, found, units=10, seeds=3)
    assert seeds is not None
    assert seeds > 4
    lasting = found.unit_variance - found.luck
    power = [
        TTestPower().power(2.0 / (lasting + found.luck * 3 / number) ** 0.5, 10, 0.05) for number in (seeds - 1, seeds)
    ]
    assert power[0] < trained_again.POWER <= power[1]
    assert seeds_needed(0.1, found, units=10, seeds=3) is None
