"""Order systems by UA, and say which of them are at chance.

UA is the metric that a report is ordered by: classes count equally whatever their sizes, so that its chance level is
known, and a system that always says the largest class does not profit.
"""

from collections.abc import Sequence
from typing import NamedTuple

from mmer_pipeline.report.report_content import Interval, MetricSummary, PairComparison, Report, System
from mmer_pipeline.report.wording import chance

METRIC = "ua"
SHOWN = ("ua", "wa")  # the order of the two compared metrics where UA comes first


class Claimed(NamedTuple):
    """A score with the interval of the widest claim that can be made about it."""

    value: float
    interval: Interval | None
    is_about_systems: bool  # the interval is for systems that are trained again


def claimed(summary: MetricSummary) -> Claimed:
    """Return the mean with its interval for systems trained again, or else the pooled value of these models."""
    again = summary.trained_again
    if again is not None and again.value is not None and again.interval_95 is not None:
        return Claimed(again.value, again.interval_95, True)
    return Claimed(summary.pooled, summary.interval_95, False)


def ua_of(system: System) -> float:
    """Return the mean UA of a system, final."""
    return system.selections.final.summary[METRIC].mean


def ranked(systems: Sequence[System]) -> list[System]:
    """Sort by UA, highest first, and those that share speakers last; equals keep their order."""
    return sorted(systems, key=lambda system: (system.shares_speakers, -ua_of(system)))


def is_at_chance(report: Report, system: System) -> bool:
    """Whether the interval of a system's UA includes chance; False if there is no interval."""
    low_high = claimed(system.selections.final.summary[METRIC]).interval
    return low_high is not None and low_high[0] <= chance(report)


def reference(report: Report) -> System:
    """Return the system that the others are compared with: that of --against, or else the best."""
    return ranked(report.systems)[0] if report.against is None else report.system(report.against)


def pair_of(report: Report, first: System, second: System) -> PairComparison | None:
    """Return the comparison of two systems as first − second; None if they share no utterance."""
    for pair in report.pairs:
        if (pair.first, pair.second) == (first.name, second.name):
            return pair
        if (pair.first, pair.second) == (second.name, first.name):
            return pair.reversed()
    return None
