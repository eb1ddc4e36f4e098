"""The tables for a publication (`latex.py`): our systems, and the rows of Table 1 with the kinds of their figures.

Our final WA and UA have a table for themselves.
"""

from collections.abc import Callable
from dataclasses import replace
from itertools import groupby

from mmer_pipeline.report.comparison_tables import mean_and_sd
from mmer_pipeline.report.paper_table import SOURCE_LETTERS, RowCell, certainty, difference, published
from mmer_pipeline.report.published_figures import PublishedKind
from mmer_pipeline.report.published_results import ALPHA_FACTOR
from mmer_pipeline.report.ranking import claimed, pair_of, reference
from mmer_pipeline.report.report_content import (
    MetricDifference,
    Report,
    System,
)
from mmer_pipeline.report.table_1_content import Table1Row
from mmer_pipeline.report.table_rendering import Cell, Column, Filled, RowGroup, Table, grouped_table_of, table_of
from mmer_pipeline.report.wording import (
    METRIC_NAMES,
    NOTHING,
    SMALL,
    folds_and_seeds,
    has_intervals,
    interval,
    p_value,
    percent,
)
from mmer_pipeline.scoring.statistics import COMPARED


def page_results(report: Report) -> Table:
    """Our systems, short enough for a page's width: final WA and UA, intervals, corrected p-values."""
    columns: list[Filled[System]] = [
        (Column("system", "text"), _with_paper_alpha),
        (Column("CV", "word"), _folds_and_seeds),
        (Column("n"), lambda system: f"{system.utterances:,}"),
    ]
    for metric in COMPARED:
        name = METRIC_NAMES[metric]
        columns += [
            (Column(estimate_name(report), group=name), _estimate(report, metric)),
            (Column("95\u00a0%", group=name), _interval(metric)),
            (Column("p", group=name), _p(report, metric)),
        ]
    return table_of("", report.systems, columns)


def column_results(report: Report) -> Table:
    """Our systems, short enough for a column: a group of rows for each metric."""

    def columns(metric: str) -> list[Filled[System]]:
        return [
            (Column("system", "text"), _with_facts if metric == COMPARED[0] else _with_paper_alpha),
            (Column(estimate_name(report)), _estimate(report, metric)),
            (Column("95\u00a0%"), _interval(metric)),
            (Column("p"), _p(report, metric)),
        ]

    tables = [(METRIC_NAMES[metric], table_of("", report.systems, columns(metric))) for metric in COMPARED]
    groups = tuple(RowGroup(name, tuple(table.rows)) for name, table in tables)
    return replace(tables[0][1], groups=groups)


def page_published(report: Report) -> Table:
    """All rows of the paper's Table 1, short enough for a page's width; letters of the kind are `SOURCE_LETTERS`."""
    rows = [row for row in report.table_1.rows if row.published is not None]
    ours: list[Filled[Table1Row]] = [
        (Column("CV", "word", group="ours"), _our_folds(report)),
        (Column("same kind", group="ours"), _same_kind_mean),
    ]
    if report.table_1.comparable:
        ours.append((Column("diff.", group="ours"), lambda row: difference(row).text))
    columns: list[Filled[Table1Row]] = [
        (Column("method", "text"), _published_method),
        (Column("mod.", "word"), lambda row: row.modality or NOTHING),
        (Column("CV", "word", group="published"), lambda row: str(row.folds)),
        (Column("value", group="published"), published),
        (Column("kind", "word", group="published"), _kind_with_letters),
        *ours,
    ]
    return grouped_table_of("", groupby(rows, lambda row: row.group), columns)


def column_published(report: Report) -> Table:
    """The rows of Table 1 with a system of ours, short enough for a column, under the kind of the published figure."""
    rows = [row for row in report.table_1.rows if row.ours is not None and row.published is not None]
    kinds = list(dict.fromkeys(row.kind for row in rows))
    columns: list[Filled[Table1Row]] = [
        (Column("method", "text"), _published_method),
        (Column("CV", "word", group="publ."), lambda row: str(row.folds)),
        (Column("value", group="publ."), published),
        (Column("CV", "word", group="ours"), _our_folds(report)),
        (Column("same kind", group="ours"), _same_kind_mean),
    ]
    groups = [(_heading(kind), [row for row in rows if row.kind == kind]) for kind in kinds]
    return grouped_table_of("", groups, columns)


def has_mixed_claims(report: Report) -> bool:
    """Whether some intervals or p-values are about systems trained again and others about these models only."""
    found = {_is_again(system, metric) for system in report.systems for metric in COMPARED}
    return len(found | {entry.is_about_systems for one in report.systems for entry in _compared(report, one)}) > 1


def paper_alpha(system: System) -> float | None:
    """Return the α that the paper would give a system of ours; None: no CTC head."""
    alpha = float(system.runs[0].settings.get("alpha") or 0) if system.runs else 0.0
    return alpha / ALPHA_FACTOR if alpha else None


def _with_paper_alpha(system: System) -> Cell:
    alpha = paper_alpha(system)
    return Cell(system.title, "" if alpha is None else f"(the paper's α = {alpha:g})")


def _with_facts(system: System) -> Cell:
    """Name a system with folds, seeds and utterances, which have no columns."""
    alpha = paper_alpha(system)
    facts = [_folds_and_seeds(system), f"n = {system.utterances:,}"]
    facts += [f"the paper's α = {alpha:g}"] if alpha else []
    return Cell(system.title, f"({'; '.join(facts)})")


def _folds_and_seeds(system: System) -> str:
    """Count folds and seeds: "5", "5 × 3", "14/15" if some are missing; – for a file without folds."""
    if system.imported and system.folds_expected == 1:
        return NOTHING
    if system.is_complete:
        return folds_and_seeds(system)
    return f"{len(system.selections.final.folds)}/{system.folds_expected * max(1, len(system.seeds))}"


def _our_folds(report: Report) -> RowCell:
    return lambda row: NOTHING if row.ours is None else _folds_and_seeds(report.system(row.ours))


def _published_method(row: Table1Row) -> Cell:
    """Name a published method, with the α of ours where it has one: it is not the paper's."""
    return Cell(row.method, f"(ours: α = {ALPHA_FACTOR * row.paper_alpha:g})" if row.paper_alpha else "")


def estimate_name(report: Report) -> str:
    """Name the estimates of our systems: "pooled" if all are; where only some are, a dagger marks these."""
    return "pooled" if all(_is_pooled(report, one, metric) for one in report.systems for metric in COMPARED) else "mean"


def _is_pooled(report: Report, system: System, metric: str) -> bool:
    """Whether a system's interval is that of the pooled value, so that this is the estimate which it belongs to."""
    return has_intervals(report) and not _is_again(system, metric)


def _estimate(report: Report, metric: str) -> Callable[[System], Cell]:
    """Give the value that the interval is of: the mean over folds and seeds, or the pooled value."""
    dagger = "†" if has_mixed_claims(report) else ""

    def cell(system: System) -> Cell:
        summary = system.selections.final.summary[metric]
        return Cell(percent(summary.pooled) + dagger) if _is_pooled(report, system, metric) else mean_and_sd(summary)

    return cell


def _is_again(system: System, metric: str) -> bool:
    return claimed(system.selections.final.summary[metric]).is_about_systems


def _interval(metric: str) -> Callable[[System], str]:
    """Give the interval of the widest claim."""

    def cell(system: System) -> str:
        low_high = claimed(system.selections.final.summary[metric]).interval
        return NOTHING if low_high is None else interval(low_high)

    return cell


def _compared(report: Report, system: System) -> list[MetricDifference]:
    """Return the differences, in WA and UA, between a system and the reference; [] for the reference."""
    pair = pair_of(report, system, reference(report))
    return [] if pair is None else [pair.metrics[metric] for metric in COMPARED]


def _p(report: Report, metric: str) -> Callable[[System], str]:
    mixed = has_mixed_claims(report)

    def cell(system: System) -> str:
        found = _compared(report, system)
        if not found:
            return NOTHING
        difference = found[COMPARED.index(metric)]
        _, p_holm = difference.strongest
        is_marked = mixed and p_holm is not None and not difference.is_about_systems
        text = "<0.001" if p_holm is not None and p_holm < SMALL else p_value(p_holm)
        return text + ("†" if is_marked else "")

    return cell


def _kind_with_letters(row: Table1Row) -> Cell | str:
    if row.kind is None:
        return NOTHING
    sources = dict.fromkeys(fact.source for fact in (row.kind.metric, row.kind.selection) if fact.source)
    return Cell(row.kind.name, f"({''.join(SOURCE_LETTERS[source] for source in sources)})" if sources else "")


def _heading(kind: PublishedKind | None) -> str:
    """Name the kind of the published figures that follow."""
    if kind is None:
        return "Not in Table 1"
    known = [fact for fact in (kind.metric, kind.selection) if fact.known]
    return f"Published: {kind.name}" + (f" ({certainty(known)})" if known else "")


def _same_kind_mean(row: Table1Row) -> str:
    return NOTHING if row.same_kind is None else percent(row.same_kind.mean)
