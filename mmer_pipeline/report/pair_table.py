"""The table of pairs of systems: what holds for the systems when they are trained again, and for these models."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import NamedTuple

from mmer_pipeline.report.ranking import METRIC, SHOWN, pair_of, reference
from mmer_pipeline.report.report_content import (
    Interval,
    MetricDifference,
    PairComparison,
    Report,
    System,
    TrainedAgain,
)
from mmer_pipeline.report.table_rendering import Cell, Column, Filled, Table, grouped_table_of
from mmer_pipeline.report.wording import (
    AGAIN,
    METRIC_NAMES,
    MODELS,
    NOTHING,
    claims_note,
    needed,
    p_value,
    percent,
    signed,
    signed_interval,
    unit,
)
from mmer_pipeline.scoring.statistics import COMPARED

SIGNIFICANT = 0.05  # Holm-corrected p-values below it are shown in bold


class _Row(NamedTuple):
    """A pair in one metric."""

    pair: PairComparison
    found: MetricDifference


class _Compared(NamedTuple):
    """The difference of a system to the reference in one metric."""

    system: System
    found: MetricDifference


def is_significant(found: MetricDifference) -> bool:
    """Whether the widest claim that can be made about a difference is significant."""
    _, p_holm = found.strongest
    return p_holm is not None and p_holm < SIGNIFICANT


def pairs(report: Report) -> Table:
    """Differences between pairs of systems, with intervals and p-values, for both claims."""
    rows = {metric: [_Row(pair, pair.metrics[metric]) for pair in report.pairs] for metric in COMPARED}
    has_systems = any(row.found.is_about_systems for of_metric in rows.values() for row in of_metric)

    def title(name: str) -> str:
        return report.system(name).title

    columns: list[Filled[_Row]] = [
        (Column("first − second", "text"), lambda row: Cell(f"{title(row.pair.first)} −", title(row.pair.second))),
        *(_of_systems() if has_systems else []),
        *_of_models(priority=1 if has_systems else 0),
        (Column("at most"), _at_most),
        (Column("would need", "word"), _would_need),
        (Column("utterances", priority=2), lambda row: str(row.pair.utterances)),
        (Column(f"{unit(report)}s", priority=2), lambda row: str(row.pair.clusters)),
    ]
    return grouped_table_of(
        "First − second, final, in percentage points, on the utterances that both have.",
        [(METRIC_NAMES[metric], of_metric) for metric, of_metric in rows.items()],
        columns,
        [_bold(rows["wa"], rows["ua"]), claims_note(report), _how_to_read(report)],
    )


def differences(report: Report) -> Table:
    """Differences to the best system, or to the reference of --against: the widest claim of each; see `pairs`."""
    other = reference(report)
    found = [(system, pair_of(report, system, other)) for system in report.systems if system is not other]
    rows = [(system, pair) for system, pair in found if pair is not None]
    claims = dict.fromkeys(_claim(pair.metrics[METRIC]) for _, pair in rows)
    has_interval = any(pair.metrics[metric].strongest[0] for _, pair in rows for metric in SHOWN)
    columns: list[Filled[_Compared]] = [
        (Column("system", "text"), lambda row: Cell(row.system.title, system=row.system.name)),
        (
            Column("difference (95\u00a0%)" if has_interval else "difference"),
            lambda row: _difference(row.found.strongest_value, row.found.strongest[0], is_significant(row.found)),
        ),
        (Column("p (Holm)"), lambda row: Cell(p_value(row.found.strongest[1]), strong=is_significant(row.found))),
    ]
    if len(claims) > 1:
        columns.append((Column("claim", "word"), lambda row: _claim(row.found)))
    kind = "the reference" if report.against is not None else "the best"
    return grouped_table_of(
        f"Differences to {other.title}, {kind}, in percentage points{_of_what(list(claims))}.",
        [
            (METRIC_NAMES[metric], [_Compared(system, pair.metrics[metric]) for system, pair in rows])
            for metric in SHOWN
        ],
        columns,
        [_short_note(report, claims, has_interval=has_interval)],
    )


def _claim(found: MetricDifference) -> str:
    return AGAIN if found.is_about_systems else MODELS


def _of_what(claims: Sequence[str]) -> str:
    """Say about what all differences are, and of which values: not those of each column of scores; "" if mixed."""
    if len(claims) != 1:
        return ""
    return f", between {'means of systems trained again' if claims[0] == AGAIN else 'pooled values of these models'}"


def _short_note(report: Report, claims: Collection[str], *, has_interval: bool) -> str:
    """Say what the differences are about."""
    meanings = {
        AGAIN: "with other seeds, on other speakers",
        MODELS: f"on other {unit(report)}s; training again may give another result",
    }
    said = " ".join(f"{name.capitalize()}: {meaning}." for name, meaning in meanings.items() if name in claims)
    number = len(report.pairs)
    over = f" over {number} pairs" if number > 1 else ""
    possible = "whatever its interval covers is possible" if has_interval else "without an interval, nothing limits it"
    return (
        f"{said} In bold: p < {SIGNIFICANT} after Holm's correction{over}. A difference that is not in bold has not "
        f"been shown to be zero: {possible}."
    )


def validated_pairs(report: Report) -> Table:
    """As `pairs`, of the models of the validated epochs."""
    table = pairs(replace(report, pairs=report.validated_pairs))
    return replace(table, caption=table.caption.replace(", final,", ", validated,"))


def _of_systems() -> list[Filled[_Row]]:
    def difference(row: _Row) -> Cell | str:
        again = row.found.trained_again
        return NOTHING if again.p is None else _difference(again.value or 0.0, again.interval_95, _strong(row, True))

    def p_of(row: _Row) -> TrainedAgain:
        return row.found.trained_again

    return [
        (Column("difference (95\u00a0%)", group=AGAIN), difference),
        (Column("p", group=AGAIN, priority=1), lambda row: p_value(p_of(row).p)),
        (
            Column("p (Holm)", group=AGAIN),
            lambda row: Cell(p_value(p_of(row).p_holm), strong=_strong(row, True)),
        ),
    ]


def _of_models(priority: int) -> list[Filled[_Row]]:
    def difference(row: _Row) -> Cell:
        return _difference(row.found.difference, row.found.interval_95, _strong(row, False))

    return [
        (Column("difference (95\u00a0%)", group=MODELS, priority=priority), difference),
        (Column("p", group=MODELS, priority=1), lambda row: p_value(row.found.p)),
        (
            Column("p (Holm)", group=MODELS),
            lambda row: Cell(p_value(row.found.p_holm), strong=_strong(row, False)),
        ),
    ]


def _difference(value: float, low_high: Interval | None, strong: bool) -> Cell:
    return Cell(signed(value), f"({signed_interval(low_high)})" if low_high else "", strong=strong)


def _strong(row: _Row, about_systems: bool) -> bool:
    return is_significant(row.found) and row.found.is_about_systems == about_systems


def _at_most(row: _Row) -> str:
    """Give the largest difference that is not excluded, unless the difference is significant."""
    low_high, _ = row.found.strongest
    if low_high is None or is_significant(row.found):
        return NOTHING
    return percent(max(map(abs, low_high)), 1)


def _would_need(row: _Row) -> str:
    found = row.found.trained_again
    return NOTHING if found.p_holm is not None and found.p_holm < SIGNIFICANT else needed(found)


def _how_to_read(report: Report) -> str:
    family = "all pairs" if report.against is None else f"the pairs with {report.system(report.against).title}"
    return (
        f"Holm: corrected for {family}, for WA, UA and the two claims separately. At most: the largest difference, in "
        "either direction, that the interval does not exclude. Would need: the folds (with several seeds), or the "
        f"seeds with these folds, with which the test of “{AGAIN}” would find the observed difference with a power of "
        "80\u00a0% (–: unknown, or very many)."
    )


def _bold(*rows: Sequence[_Row]) -> str:
    found = [sum(is_significant(row.found) for row in of_metric) for of_metric in rows]
    claims = {row.found.is_about_systems for of_metric in rows for row in of_metric}
    about = f"“{AGAIN}”" if claims == {True} else f"“{MODELS}”, which says nothing about the systems"
    if len(claims) > 1:
        about = f"“{AGAIN}” where that is known, otherwise for “{MODELS}”"
    return (
        f"In bold: p (Holm) < {SIGNIFICANT} for {about}: {found[0]} of {len(rows[0])} pairs in WA, {found[1]} in UA. A "
        "difference that is not in bold has not been shown to be zero; it is at most as large as the column “at most” "
        "says."
    )
