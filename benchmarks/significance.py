"""Do the report's tests hold their level, and its intervals their coverage? Simulated cross-validations answer.

Two systems are trained on five or ten folds with 1, 3 or 5 seeds (`simulated_results.py`). The questions are about
systems that are trained again and tested on other speakers. Writes `significance.md`: false positives at 0.05 of two
systems that are equally good, the coverage of 95 % intervals, and power, for the report's methods and alternatives.

Shapes: N experiments, F folds, R seeds, K dialogues, C classes, S samples.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import count, product

import numpy as np
from scipy import stats

from benchmarks.measure import Bench, Figure
from benchmarks.simulated_results import SEEDS, TRUE_UA, Results, Setting, simulate
from mmer_pipeline.scoring import statistics, trained_again
from mmer_pipeline.scoring.metrics import Floats

EXPERIMENTS, QUICK_EXPERIMENTS, BLOCK = 2000, 8, 200  # a block is simulated at a time
FOLDS = (5, 10)
LUCKS = (0.0, 0.014, 0.021, 0.03)
SPREADS = (0.0, 0.022, 0.034)
NUMBERS_OF_SEEDS = (1, 3, SEEDS)
OTHER = {"folds": {"by_fold": 0.015}, "seeds": {"by_seed": 0.01}}  # in which the equal systems also differ at random
DIFFERENCES = (0.01, 0.02, 0.03, 0.05)
MOST_FALSE_POSITIVES, LEAST_COVERAGE = 0.07, 0.92
FLIPS = 2000
REPORT = "significance.md"

OURS, TODAY = "two-way random effects", "dialogue swaps"
BOOTSTRAP = "dialogue bootstrap"
METHODS = (TODAY, "sign flips of cells", "t over cells", "corrected t over cells", "t over folds", OURS)


def swaps(results: Results, seeds: int) -> Floats:
    """p-values of `statistics.compare` for the first seeds: swaps of dialogues, drawn as it draws them."""
    correct = results.correct[:, :, :seeds].mean(axis=2)  # [N, 2, K, C]
    support = results.support.sum(axis=0) * results.support.shape[1]
    contribution = ((correct[:, 0] - correct[:, 1]) / support).sum(axis=-1)  # [N, K] to the difference in UA
    drawn = np.abs((1 - 2 * _draws(statistics._swap, contribution.shape[1])) @ contribution.T)  # [S, N]
    as_large = drawn >= np.abs(contribution.sum(axis=1)) - statistics.TIE
    return np.asarray((1 + as_large.sum(axis=0)) / (1 + statistics.SAMPLES))


def bootstrap(results: Results, seeds: int) -> tuple[Floats, Floats]:
    """Intervals of `statistics.bootstrap_intervals` for the first system's pooled UA: `[N]` low and high."""
    correct = results.correct[:, 0, :seeds].mean(axis=1)  # [N, K, C]
    drawn = _draws(statistics._draw, correct.shape[1])  # [S, K]
    support = drawn @ results.support  # [S, C]
    right = np.tensordot(drawn, correct, axes=(1, 1))  # [S, N, C]
    tail = (1 - statistics.LEVEL) / 2
    low, high = np.quantile((right / support[:, None]).mean(axis=-1), [tail, 1 - tail], axis=0)
    return low, high


@lru_cache
def _draws(draw: Callable[[np.random.Generator, int, int], Floats], clusters: int) -> Floats:
    return draw(np.random.default_rng(statistics.SEED), statistics.SAMPLES, clusters)


def cell_flips(first: Floats, second: Floats) -> Floats:
    """p-values `[N]` of flipping the sign of the difference of each fold and seed, `[N, F, R]` for each system."""
    cells = (first - second).reshape(len(first), -1)
    signs = np.random.default_rng(0).choice([-1.0, 1.0], (FLIPS, cells.shape[1]))
    as_large = np.abs(signs @ cells.T) >= np.abs(cells.sum(axis=1)) - statistics.TIE
    return np.asarray((1 + as_large.sum(axis=0)) / (1 + FLIPS))


def cell_t(first: Floats, second: Floats, overlap: float = 0.0) -> Floats:
    """p-values `[N]` of a paired t test over folds and seeds.

    `overlap` is the ratio of test to training data by which Nadeau and Bengio (2003, "Inference for the generalization
    error") raise the variance.
    """
    cells = (first - second).reshape(len(first), -1)
    number = cells.shape[1]
    error = np.sqrt(cells.var(axis=1, ddof=1) * (1 / number + overlap))
    return np.asarray(2 * stats.t.sf(np.abs(cells.mean(axis=1)) / error, number - 1))


def fold_t(first: Floats, second: Floats) -> Floats:
    """p-values `[N]` of a paired t test over folds of the means over seeds."""
    return np.asarray(stats.ttest_rel(first.mean(axis=-1), second.mean(axis=-1), axis=1).pvalue)


def p_values(results: Results, seeds: int) -> dict[str, Floats]:
    """p-values `[N]` of every method for the first seeds of both systems."""
    first, second = results.ua[:, 0, :, :seeds], results.ua[:, 1, :, :seeds]
    found = {
        TODAY: swaps(results, seeds),
        "sign flips of cells": cell_flips(first, second),
        "t over cells": cell_t(first, second),
        "corrected t over cells": cell_t(first, second, overlap=1 / (first.shape[1] - 1)),
        "t over folds": fold_t(first, second),
    }
    if seeds > 1:
        found[OURS] = trained_again.estimate(first, second).p
    return found


def intervals(results: Results, seeds: int) -> dict[str, tuple[Floats, Floats]]:
    """95 % intervals of the first system's UA: `[N]` low and high by method."""
    found = {BOOTSTRAP: bootstrap(results, seeds)}
    if seeds > 1:
        ours = trained_again.estimate(results.ua[:, 0, :, :seeds])
        found[OURS] = (ours.low, ours.high)
    return found


@dataclass(frozen=True)
class Outcome:
    """The shares of a setting's experiments, by number of seeds and method."""

    setting: Setting
    rejected: Mapping[int, Mapping[str, float]]  # p < 0.05
    covered: Mapping[int, Mapping[str, float]]  # the interval contains the true UA
    power: Mapping[int, Mapping[float, float]]  # p < 0.05 of the report's method, by true difference


def run(setting: Setting, experiments: int, seed: int) -> Outcome:
    """Simulate the experiments of a setting; for the power, the first system's values are raised by a difference."""
    generator = np.random.default_rng(seed)
    rejected: dict[int, dict[str, float]] = {seeds: defaultdict(float) for seeds in NUMBERS_OF_SEEDS}
    covered: dict[int, dict[str, float]] = {seeds: defaultdict(float) for seeds in NUMBERS_OF_SEEDS}
    power: dict[int, dict[float, float]] = {seeds: defaultdict(float) for seeds in NUMBERS_OF_SEEDS}
    for first in range(0, experiments, BLOCK):
        results = simulate(setting, min(BLOCK, experiments - first), generator)
        for seeds in NUMBERS_OF_SEEDS:
            for name, p in p_values(results, seeds).items():
                rejected[seeds][name] += float((p < trained_again.ALPHA).sum()) / experiments
            for name, (low, high) in intervals(results, seeds).items():
                covered[seeds][name] += float(((low <= TRUE_UA) & (high >= TRUE_UA)).sum()) / experiments
            if seeds > 1:
                one, other = results.ua[:, 0, :, :seeds], results.ua[:, 1, :, :seeds]
                for difference in DIFFERENCES:
                    p = trained_again.estimate(one + difference, other).p
                    power[seeds][difference] += float((p < trained_again.ALPHA).sum()) / experiments
    return Outcome(setting, rejected, covered, power)


def settings() -> dict[str, list[Setting]]:
    """The settings by kind: equally good systems, and those that also differ by fold or by seed at random."""
    grid = list(product(FOLDS, LUCKS))
    return {
        "equal": [Setting(folds, luck, spread) for folds, luck in grid for spread in SPREADS],
        **{name: [Setting(folds, luck, SPREADS[1], **more) for folds, luck in grid] for name, more in OTHER.items()},
    }


def figures(bench: Bench) -> Iterator[Figure]:
    """Simulate every setting, write the tables, and give the worst rates of the report's methods."""
    experiments = bench.count(EXPERIMENTS, QUICK_EXPERIMENTS)
    number = count()
    outcomes = {
        kind: [run(setting, experiments, next(number)) for setting in of_kind] for kind, of_kind in settings().items()
    }
    (bench.output / REPORT).write_text(report(outcomes, experiments), encoding="utf-8")
    several = [seeds for seeds in NUMBERS_OF_SEEDS if seeds > 1]
    every = [outcome for of_kind in outcomes.values() for outcome in of_kind]
    size = f"{experiments:,} × {len(every)}"
    for method, target in ((TODAY, None), (OURS, MOST_FALSE_POSITIVES)):
        worst = max(outcome.rejected[seeds][method] for outcome in every for seeds in several)
        yield Figure(
            f"false positives at 0.05, {method}", size, worst, "",
            target=f"at most {target}" if target else "", met=worst <= target if target else None,
            note="the most in any setting",
        )  # fmt: skip
    for method, least in ((BOOTSTRAP, None), (OURS, LEAST_COVERAGE)):
        worst = min(outcome.covered[seeds][method] for outcome in every for seeds in several)
        yield Figure(
            f"coverage of 95 % intervals, {method}", size, worst, "",
            target=f"at least {least}" if least else "", met=worst >= least if least else None,
            note="the least in any setting",
        )  # fmt: skip


def report(outcomes: Mapping[str, Sequence[Outcome]], experiments: int) -> str:
    """The tables in Markdown."""
    parts = [
        f"{experiments:,} simulated experiments for each combination; percent; luck, spread and differences in points.",
        "## False positives at 0.05: two equally good systems",
        _table(("folds", "seeds", "luck", *METHODS), _false_positives(outcomes["equal"])),
        *(
            f"## The same, where the systems also differ between {kind} at random ({100 * deviation:g} points)\n\n"
            + _table(("folds", "seeds", "luck", *METHODS), _false_positives(outcomes[kind]))
            for kind, more in OTHER.items()
            for deviation in more.values()
        ),
        "## Coverage of 95 % intervals of a system's UA: the least for any luck",
        _table(("folds", "seeds", "spread", BOOTSTRAP, OURS), _coverage(outcomes["equal"])),
        f"## Power of {OURS}, by true difference",
        _table(("folds", "seeds", "luck", *(f"{100 * d:g}" for d in DIFFERENCES)), _power(outcomes["equal"])),
    ]
    return "\n\n".join(parts) + "\n"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---:"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _false_positives(outcomes: Sequence[Outcome]) -> Iterator[list[str]]:
    for folds, seeds, luck in product(FOLDS, NUMBERS_OF_SEEDS, LUCKS):
        rejected = [o.rejected[seeds] for o in outcomes if (o.setting.folds, o.setting.luck) == (folds, luck)]
        yield [str(folds), str(seeds), f"{100 * luck:g}", *(_mean(rejected, method) for method in METHODS)]


def _mean(shares: Sequence[Mapping[str, float]], method: str) -> str:
    known = [entry[method] for entry in shares if method in entry]
    return f"{100 * float(np.mean(known)):.1f}" if known else "–"


def _coverage(outcomes: Sequence[Outcome]) -> Iterator[list[str]]:
    for folds, seeds, spread in product(FOLDS, NUMBERS_OF_SEEDS, SPREADS):
        covered = [o.covered[seeds] for o in outcomes if (o.setting.folds, o.setting.spread) == (folds, spread)]
        least = [
            f"{100 * min(entry[method] for entry in covered):.1f}" if method in covered[0] else "–"
            for method in (BOOTSTRAP, OURS)
        ]
        yield [str(folds), str(seeds), f"{100 * spread:g}", *least]


def _power(outcomes: Sequence[Outcome]) -> Iterator[list[str]]:
    for folds, seeds, luck in product(FOLDS, NUMBERS_OF_SEEDS[1:], LUCKS):
        power = [o.power[seeds] for o in outcomes if (o.setting.folds, o.setting.luck) == (folds, luck)]
        found = [f"{100 * float(np.mean([entry[difference] for entry in power])):.0f}" for difference in DIFFERENCES]
        yield [str(folds), str(seeds), f"{100 * luck:g}", *found]
