"""How often does a bootstrap interval over few dialogues cover the true UA? Simulated dialogues answer.

The recall of a class varies from dialogue to dialogue, and all classes of a dialogue vary together, as speakers do. The
report gives no interval for fewer than `comparisons.FEWEST_CLUSTERS` dialogues; this is where that number is from.

Shapes: K dialogues, C classes.
"""

from collections.abc import Iterator

import numpy as np
from scipy.special import expit

from benchmarks.measure import Bench, Figure
from mmer_pipeline.report.comparisons import FEWEST_CLUSTERS
from mmer_pipeline.scoring import statistics
from mmer_pipeline.scoring.metrics import Floats

DIALOGUES = (5, 6, 8, 10, 15, 20, 25, 40)
EXPERIMENTS, QUICK_EXPERIMENTS = 1000, 4
MEAN, OF_DIALOGUE, OF_CLASS = 0.4, 0.7, 0.35  # log odds of a right answer, and their standard deviations
CLASSES, FEWEST, MOST = 4, 3, 12  # utterances of a class in a dialogue


def figures(bench: Bench) -> Iterator[Figure]:
    """Percent of the intervals that cover the true UA, by number of dialogues."""
    random = np.random.default_rng(0)
    experiments = bench.count(EXPERIMENTS, QUICK_EXPERIMENTS)
    true = float(expit(MEAN + np.hypot(OF_DIALOGUE, OF_CLASS) * random.standard_normal(1_000_000)).mean())
    for dialogues in DIALOGUES:
        covered = sum(covers(simulate(random, dialogues), true) for _ in range(experiments)) / experiments
        given = dialogues >= FEWEST_CLUSTERS
        yield Figure(
            "coverage of 95 % intervals of UA", f"{dialogues} dialogues", 100 * covered, "%",
            target="≥ 92 where an interval is given" if given else "", met=covered >= 0.92 if given else None,
            note="" if given else "the report gives no interval",
        )  # fmt: skip


def covers(counts: Floats, true: float) -> bool:
    """Whether the interval of one simulated corpus covers the true UA."""
    intervals = statistics.bootstrap_intervals(counts)
    assert intervals is not None, "there are several dialogues"
    low_high = intervals["ua"]
    return low_high is not None and low_high[0] <= true <= low_high[1]


def simulate(random: np.random.Generator, dialogues: int) -> Floats:
    """Confusion matrices of dialogues `[K, C, C]`; a wrong answer is the next class."""
    odds = MEAN + OF_DIALOGUE * random.standard_normal((dialogues, 1)) + OF_CLASS * random.standard_normal(
        (dialogues, CLASSES)
    )  # fmt: skip
    support = random.integers(FEWEST, MOST, (dialogues, CLASSES))
    right = random.binomial(support, expit(odds))
    counts = np.zeros((dialogues, CLASSES, CLASSES))
    classes = np.arange(CLASSES)
    counts[:, classes, classes] = right
    counts[:, classes, (classes + 1) % CLASSES] = support - right
    return counts
