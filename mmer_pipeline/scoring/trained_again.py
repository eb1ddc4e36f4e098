"""Intervals and tests about systems that are trained again and tested on other speakers, from folds and seeds.

A cross-validation with several seeds gives each system a table of one metric: a row for each unit (a fold, which holds
out speakers or a session) and a column for each seed. Units and seeds are both random (two-way random effects), as
cases and readers are in the analysis of multi-reader multi-case studies (Obuchowski and Rockette 1995, "Hypothesis
testing of diagnostic accuracy for multiple readers and multiple tests: an ANOVA approach with dependent observations";
Hillis 2007, "A comparison of denominator degrees of freedom methods for multiple observer ROC analysis"). The variance
of the mean has two parts:

- S² / U, where S² is the sample variance over units of the mean over seeds (for two systems, of the difference of
  these means). It contains what differs between speakers, the noise of few utterances, and the luck of each training.
- the sum over systems of (MS_seed - MS_error) / (U R), if it is above 0: some seeds are better in all units alike,
  which averaging over units does not reduce.

The degrees of freedom are Satterthwaite's. Without the second part, this is the t test over units of the means over
seeds. `benchmarks/significance.py` shows by simulation that it holds its level.

Shapes: U units, R seeds. Leading dimensions, written as …, are independent experiments.
"""

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mmer_pipeline.scoring.metrics import Floats

LEVEL = 0.95
ALPHA = 0.05
POWER = 0.8  # with which the numbers of units and seeds are planned
MOST_UNITS = 1000  # beyond it, no number of units is given
MOST_SEEDS = 100
MOST_NONCENTRAL = 1e4  # beyond it, the power is 1 with two units too
TINY = 1e-12


@dataclass(frozen=True)
class Estimate:
    """A mean, or a difference of two means, with its two-way random-effects variance; arrays `[…]`."""

    value: Floats
    error: Floats  # standard error
    df: Floats  # degrees of freedom, Satterthwaite
    unit_variance: Floats  # S²: between units, of means over seeds
    luck: Floats  # the part of S² that is the luck of single trainings (MS_error / R), which more seeds reduce
    seed_variance: Floats  # the part of the squared error that is due to seeds that differ in all units alike

    @property
    def low(self) -> Floats:
        """The lower end of the 95 % interval."""
        return self.value - self._reach

    @property
    def high(self) -> Floats:
        """The upper end of the 95 % interval."""
        return self.value + self._reach

    @property
    def p(self) -> Floats:
        """The two-sided p-value of the hypothesis that the true value is 0."""
        from scipy import stats

        return np.asarray(2 * stats.t.sf(np.abs(self.value) / self.error, self.df))

    @property
    def _reach(self) -> Floats:
        from scipy import stats

        return np.asarray(self.error * stats.t.ppf((1 + LEVEL) / 2, self.df))


def estimate(first: Floats, second: Floats | None = None) -> Estimate:
    """Estimate the mean of a system from `[…, U, R]`, or the difference of the means of two systems.

    The systems have the same units. Their seeds are not paired, and their numbers may differ. At least two units and
    two seeds are needed.
    """
    tables = [first] if second is None else [first, second]
    of_units = first.mean(axis=-1) if second is None else first.mean(axis=-1) - second.mean(axis=-1)  # […, U]
    units = of_units.shape[-1]
    unit_variance = of_units.var(axis=-1, ddof=1)
    luck, seed_variance, of_seeds = (np.zeros_like(unit_variance) for _ in range(3))
    for table in tables:
        seeds = table.shape[-1]
        ms_seed, ms_error = _mean_squares(table)
        luck = luck + ms_error / seeds
        seed_variance = seed_variance + (ms_seed - ms_error) / (units * seeds)
        of_seeds = of_seeds + (ms_seed / (units * seeds)) ** 2 / (seeds - 1)
    of_folds, is_added = unit_variance / units, seed_variance > 0
    variance = of_folds + np.where(is_added, seed_variance, 0)
    spent = of_folds**2 / (units - 1) + np.where(is_added, of_seeds, 0)  # Satterthwaite's denominator
    df = np.divide(variance**2, spent, out=np.full_like(variance, units - 1), where=spent > 0)
    seed_variance = np.maximum(seed_variance, 0)
    return Estimate(of_units.mean(axis=-1), np.sqrt(variance), df, unit_variance, luck, seed_variance)


def _mean_squares(table: Floats) -> tuple[Floats, Floats]:
    """Return the mean squares of seeds and of the residual of `[…, U, R]`, as in a two-way analysis of variance."""
    units, seeds = table.shape[-2:]
    of_units, of_seeds = table.mean(axis=-1, keepdims=True), table.mean(axis=-2, keepdims=True)
    mean = table.mean(axis=(-2, -1), keepdims=True)
    residual = table - of_units - of_seeds + mean
    ms_seed = units * ((of_seeds - mean) ** 2).sum(axis=(-2, -1)) / (seeds - 1)
    return ms_seed, (residual**2).sum(axis=(-2, -1)) / ((units - 1) * (seeds - 1))


def units_needed(difference: float, variance: float, seed_variance: float = 0.0, fewest: int = 2) -> int | None:
    """Return how many units a t test needs to find a difference with a power of 80 %, at least `fewest`.

    `variance` is that of the difference between units, `seed_variance` the part of the squared error that more units do
    not reduce. None: more than `MOST_UNITS`.
    """
    return _least(fewest, MOST_UNITS, lambda units: _power(difference, variance + units * seed_variance, units))


def seeds_needed(difference: float, found: Estimate, units: int, seeds: int) -> int | None:
    """Return how many seeds of each system a t test needs to find a difference with the units that there are.

    `found` is the estimate (without leading dimensions) from `seeds` seeds of each system. More seeds reduce the luck
    of training, not what differs between units. None: no number up to `MOST_SEEDS` is enough.
    """
    luck = min(float(found.luck), float(found.unit_variance))
    lasting = float(found.unit_variance) - luck
    reduced = (luck + units * float(found.seed_variance)) * seeds
    return _least(seeds + 1, MOST_SEEDS, lambda number: _power(difference, lasting + reduced / number, units))


def _least(low: int, high: int, power: Callable[[int], float]) -> int | None:
    """Return the least number from `low` to `high` with enough power, which grows with it; None: not even `high`."""
    number = bisect_left(range(low, high + 1), True, key=lambda number: power(number) >= POWER) + low
    return number if number <= high else None


def _power(difference: float, variance: float, units: int) -> float:
    """Return the power of a two-sided t test, as the F test that it is: SciPy's noncentral t distribution has gaps."""
    from scipy import stats

    noncentrality = units * difference**2 / max(variance, TINY)
    return float(stats.ncf.sf(stats.f.ppf(1 - ALPHA, 1, units - 1), 1, units - 1, min(noncentrality, MOST_NONCENTRAL)))
