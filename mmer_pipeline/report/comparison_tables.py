"""Tables that compare systems.

`paper_table.py` has the paper's Table 1, `pair_table.py` the differences between pairs, `single_system_tables.py` the
tables of one system, and `provenance_tables.py` those of settings, inputs and jobs.

Each table is built once and rendered in every format (`table_rendering.py`). A new column is one line: its heading and
the function that makes its cell for the item of a row.
"""

from collections.abc import Callable
from typing import NamedTuple

from mmer_pipeline.report.ranking import is_at_chance
from mmer_pipeline.report.report_content import (
    MetricSummary,
    Report,
    System,
)
from mmer_pipeline.report.table_rendering import Cell, Column, Filled, Table, grouped_table_of, table_of
from mmer_pipeline.report.wording import (
    AGAIN,
    METRIC_NAMES,
    NOTHING,
    chance,
    epoch_caveat,
    folds_and_seeds,
    has_intervals,
    interval,
    percent,
    pooled_interval,
    signed,
    unit,
)
from mmer_pipeline.scoring.metrics import HEADLINE
from mmer_pipeline.scoring.statistics import COMPARED


def mean_and_sd(summary: MetricSummary) -> Cell:
    """Format mean ± sample standard deviation in percent."""
    return Cell(percent(summary.mean), f"± {percent(summary.sd)}" if summary.sd is not None else "")


def pooled_cell(summary: MetricSummary) -> Cell:
    """Format a pooled value and its interval in percent."""
    return Cell(percent(summary.pooled), f"({interval(summary.interval_95)})" if summary.interval_95 else "")


def trained_again_cell(summary: MetricSummary) -> str:
    """Format the interval of the mean for systems that are trained again."""
    found = summary.trained_again
    return NOTHING if found is None or found.interval_95 is None else interval(found.interval_95)


def _named(system: System) -> Cell:
    return Cell(system.title, system=system.name)


_SYSTEM: Filled[System] = (Column("system", "text"), _named)


class _Line(NamedTuple):
    """A row of the short table: a system or a baseline."""

    name: Cell
    ua: Cell
    again: str
    pooled: Cell
    wa: Cell
    folds: str


def overview(report: Report) -> Table:
    """UA and WA of every system, and of chance and cheap baselines below them; the short form of `headline`."""
    lines, baselines = [_line(report, system) for system in report.systems], _baseline_lines(report)
    has_again = any(line.again != NOTHING for line in lines)
    is_even = all(system.is_complete for system in report.systems) and len(
        {line.folds for line, system in zip(lines, report.systems, strict=True) if not system.imported}
    ) < 2  # fmt: skip
    in_brackets = " (95\u00a0%)" if has_intervals(report) else ""
    columns: list[Filled[_Line]] = [
        (Column("system", "text"), lambda line: line.name),
        (Column("UA"), lambda line: line.ua),
        (Column("UA, 95\u00a0%", group=AGAIN), lambda line: line.again)
        if has_again
        else (Column(f"UA pooled{in_brackets}"), lambda line: line.pooled),
        (Column("WA"), lambda line: line.wa),
        *([] if is_even else [(Column("folds ×\u00a0seeds", priority=1), lambda line: line.folds)]),
    ]
    at_chance = any(is_at_chance(report, system) for system in report.systems)
    missing = report.baselines.missing if report.baselines else ""
    about = (
        "trained again: 95 % interval with other seeds, on other speakers"
        if has_again
        else f"pooled: {pooled_interval(report)}"
    )
    return grouped_table_of(
        f"Final, percent: mean ± standard deviation over folds and seeds; {about}.",
        [("", lines), ("Chance and cheap baselines", baselines)],
        columns,
        [
            "At chance: the interval of UA includes chance." if at_chance else "",
            " ".join(filter(None, (epoch_caveat(report), missing))),
        ],
    )


def _line(report: Report, system: System) -> _Line:
    summary = system.selections.final.summary
    flag = "(at chance)" if is_at_chance(report, system) else ""
    return _Line(
        Cell(system.title, flag, system=system.name),
        mean_and_sd(summary["ua"]),
        trained_again_cell(summary["ua"]),
        pooled_cell(summary["ua"]),
        mean_and_sd(summary["wa"]),
        folds_and_seeds(system),
    )


def _baseline_lines(report: Report) -> list[_Line]:
    """Chance with the WA of the majority class, then the baselines, best first."""
    known = report.baselines
    majority = known.majority if known else None
    guessing = Cell(percent(chance(report)))
    wa = Cell(percent(majority.wa)) if majority else Cell(NOTHING)
    lines = [_Line(Cell("chance"), guessing, NOTHING, Cell(NOTHING), wa, NOTHING)]
    rows = [row for row in known.rows if row is not majority] if known else []
    for row in sorted(rows, key=lambda row: -row.ua):
        pooled = Cell(f"({interval(row.ua_interval_95)})" if row.ua_interval_95 else NOTHING)
        lines.append(_Line(Cell(row.name), Cell(percent(row.ua)), NOTHING, pooled, Cell(percent(row.wa)), NOTHING))
    return lines


def headline(report: Report) -> Table:
    """The final numbers of every system."""

    def mean(metric: str) -> Callable[[System], Cell]:
        return lambda system: mean_and_sd(system.selections.final.summary[metric])

    def trained_again(metric: str) -> Callable[[System], str]:
        return lambda system: trained_again_cell(system.selections.final.summary[metric])

    again = [(Column(f"{METRIC_NAMES[metric]} 95\u00a0%", group=AGAIN), trained_again(metric)) for metric in COMPARED]
    has_again = any(fill(system) != NOTHING for _, fill in again for system in report.systems)
    columns: list[Filled[System]] = [
        _SYSTEM,
        (Column("WA"), mean("wa")),
        (Column("UA"), mean("ua")),
        (Column("WF1", priority=1), mean("wf1")),
        (Column("macro-F1", priority=2), mean("macro_f1")),
        *(again if has_again else []),
        (
            Column("WA pooled (95\u00a0%)", priority=1 if has_again else 0),
            lambda system: pooled_cell(system.selections.final.summary["wa"]),
        ),
        (
            Column("oracle\u00a0− final\u00a0WA"),
            lambda system: signed(system.oracle_gap.wa) if system.oracle_gap else NOTHING,
        ),
        (Column("folds ×\u00a0seeds"), folds_and_seeds),
        (Column("utterances", priority=3), lambda system: str(system.utterances)),
        (Column("encoders", "text", priority=4), _encoders),
    ]
    return table_of(
        "Final: last epoch, no selection. Percent: mean ± sample standard deviation over folds and seeds; "
        + ("trained again: 95 % interval of the mean for other seeds and speakers; " if has_again else "")
        + f"pooled over all held-out predictions ({pooled_interval(report)}).",
        report.systems,
        columns,
        [f"Guessing gives a UA of {percent(chance(report))}. {epoch_caveat(report)}".rstrip()],
    )


def _encoders(system: System) -> str:
    return ", ".join(system.encoders.used.values()) or NOTHING


def pooled(report: Report) -> Table:
    """Final scores pooled over all held-out predictions."""

    def of(metric: str) -> Callable[[System], Cell]:
        return lambda system: pooled_cell(system.selections.final.summary[metric])

    columns: list[Filled[System]] = [
        _SYSTEM,
        *((Column(METRIC_NAMES[metric]), of(metric)) for metric in HEADLINE),
        (Column("ECE"), lambda system: percent(system.reliability.ece) if system.reliability else NOTHING),
        (Column("WER"), lambda system: percent(system.spelling.wer) if system.spelling else NOTHING),
        (Column("CER"), lambda system: percent(system.spelling.cer) if system.spelling else NOTHING),
    ]
    return table_of(
        (
            f"Final, percent. In brackets: {pooled_interval(report)}, from a bootstrap of whole {unit(report)}s, not "
            "utterances."
            if has_intervals(report)
            else f"Final, percent: {pooled_interval(report)}."
        ),
        report.systems,
        columns,
        ["ECE: expected calibration error. WER and CER: of the greedy transcripts of CTC heads, mean over folds and "
         "seeds."],
    )  # fmt: skip


def selections(report: Report) -> Table:
    """Final, validated and oracle scores."""

    def mean(name: str, metric: str) -> Callable[[System], Cell | str]:
        def cell(system: System) -> Cell | str:
            selection = system.selections.known.get(name)
            return mean_and_sd(selection.summary[metric]) if selection else NOTHING

        return cell

    def pooled_validated(metric: str) -> Callable[[System], Cell | str]:
        def cell(system: System) -> Cell | str:
            selection = system.selections.validated
            return pooled_cell(selection.summary[metric]) if selection else NOTHING

        return cell

    names = list(dict.fromkeys(name for system in report.systems for name in system.selections.known))
    columns: list[Filled[System]] = [_SYSTEM]
    for name in sorted(names, key=["final", "validated", "oracle"].index):
        columns += [(Column(METRIC_NAMES[metric], group=name), mean(name, metric)) for metric in COMPARED]
        if name == "validated":
            columns += [
                (Column(f"{METRIC_NAMES[metric]} pooled (95\u00a0%)", group=name, priority=1), pooled_validated(metric))
                for metric in COMPARED
            ]
    gap = "oracle − final"
    columns += [
        (Column("WA", group=gap), lambda system: signed(system.oracle_gap.wa) if system.oracle_gap else NOTHING),
        (Column("UA", group=gap), lambda system: signed(system.oracle_gap.ua) if system.oracle_gap else NOTHING),
    ]
    return table_of(
        "Percent, mean ± sample standard deviation over folds and seeds. Oracle − final: what choosing the epoch on "
        "the test fold would have added.",
        report.systems,
        columns,
        ["The oracle is not a result: it chooses the epoch on the test fold, as many published numbers do."],
    )


def class_f1(report: Report) -> Table:
    """F1 of each class by system."""

    def f1(label: str) -> Callable[[System], str]:
        return lambda system: percent(system.per_class[label].f1)

    return table_of(
        "F1 of each class, percent, final, pooled. Precision and recall are in the table of each system.",
        report.systems,
        [_SYSTEM, *((Column(label), f1(label)) for label in report.labels)],
    )
