"""The paper's Table 1 as a table of the report, and the tables for a publication (`latex.py`).

A published figure is shown with what it most likely is, and next to it our figure of the same kind. For a publication,
our final WA and UA have a table for themselves.
"""

from collections.abc import Callable
from dataclasses import replace
from itertools import groupby

from mmer_pipeline.report.comparison_tables import mean_and_sd
from mmer_pipeline.report.published_figures import Fact, PublishedKind
from mmer_pipeline.report.published_results import ALPHA_FACTOR
from mmer_pipeline.report.ranking import claimed, pair_of, reference
from mmer_pipeline.report.report_content import MetricDifference, Report, System, Table1Row
from mmer_pipeline.report.table_rendering import Cell, Column, Filled, RowGroup, Table, grouped_table_of, table_of
from mmer_pipeline.report.wording import (
    ALPHA_NOTE,
    METRIC_NAMES,
    NOTHING,
    SMALL,
    folds_and_seeds,
    has_intervals,
    interval,
    not_comparable,
    p_value,
    percent,
    signed,
)
from mmer_pipeline.scoring.statistics import COMPARED

SPLITS = {"session": "sessions held out", "speaker": "speakers held out", "random": "speakers shared"}
KIND_NOTE = (
    "Kind: what the published figure most likely is, and where that is known from. Oracle: the epoch is the best one "
    "on the held-out part; final: it is the last one. Sure: read in the authors' code, the abstract or the paper. "
    "Likely: inferred from the code, or said by another publication (secondary). Unsure: not verified."
)
AUTHORS_NOTE = (
    "The code of MMER's authors computes UA under the name `wa` and keeps the epoch in which it is best on the "
    "held-out session, so the figures of their rows but RoBERTa's are most likely oracle UA."
)
SAME_KIND_NOTE = (
    "Ours, same kind: an oracle's epoch is chosen by the metric shown. It serves this comparison only: our results are "
    "the final WA and UA. –: the kind is not known well enough, or our runs have no such figure."
)
SOURCE_LETTERS = {"abstract": "A", "code": "C", "inferred": "I", "paper": "P", "secondary": "S", "unverified": "U"}
SOURCE_LEGEND = (
    "A: abstract, C: code (sure); I: inferred from the code, S: another publication (likely); U: not verified."
)

_RowCell = Callable[[Table1Row], Cell | str]


def table_1(report: Report) -> Table:
    """The paper's Table 1 with our systems."""
    comparable = report.table_1.comparable
    columns: list[Filled[Table1Row]] = [
        (Column("method", "text"), _method(report)),
        (Column("published"), _published),
        (Column("kind, most likely", "text"), _kind),
        (Column("ours, same\u00a0kind"), _same_kind),
        *([(Column("ours − published"), _difference)] if comparable else []),
        (Column("our final\u00a0WA"), _final(report, "wa")),
        (Column("our final\u00a0UA"), _final(report, "ua")),
        (Column("modality", "word", priority=1), lambda row: row.modality or NOTHING),
        (Column("folds", "word", priority=1), _both_folds(report)),
        (Column("our encoders", "text", priority=2), _encoders(report)),
    ]
    remarks = [f"{row.method}: {row.remark}." for row in report.table_1.rows if row.remark]
    return grouped_table_of(
        f"Percent: as published for IEMOCAP, always under the name WA, and ours on {report.corpus} (mean ± sample "
        "standard deviation). Modality in the paper's notation: a, speech; t, text.",
        groupby(report.table_1.rows, lambda row: row.group),
        columns,
        [
            "" if comparable else not_comparable(report),
            KIND_NOTE,
            AUTHORS_NOTE,
            SAME_KIND_NOTE,
            ALPHA_NOTE,
            " ".join(["Remarks.", *remarks]) if remarks else "",
        ],
    )


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
        ours.append((Column("diff.", group="ours"), lambda row: _difference(row).text))
    columns: list[Filled[Table1Row]] = [
        (Column("method", "text"), _published_method),
        (Column("mod.", "word"), lambda row: row.modality or NOTHING),
        (Column("CV", "word", group="published"), lambda row: str(row.folds)),
        (Column("value", group="published"), _published),
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
        (Column("value", group="publ."), _published),
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


def _our_folds(report: Report) -> _RowCell:
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


def _method(report: Report) -> _RowCell:
    def cell(row: Table1Row) -> Cell:
        if row.ours is None:
            return Cell(row.method)
        title = report.system(row.ours).title
        more = f"/ {title}" if title != row.method else _short_method(row).more
        return Cell(row.method, more, system=row.ours)

    return cell


def _short_method(row: Table1Row) -> Cell:
    """Name the method; of a row of ours with α, also say the α that the paper would give it."""
    of_ours = row.kind is None and row.paper_alpha
    return Cell(row.method, f"(the paper's α = {row.paper_alpha:g})" if of_ours else "")


def _both_folds(report: Report) -> _RowCell:
    """Give the published number of folds, and ours where it is another."""

    def cell(row: Table1Row) -> str:
        if row.ours is None or row.published is None:
            return str(row.folds)
        ours = folds_and_seeds(report.system(row.ours))
        return str(row.folds) if ours == str(row.folds) else f"{row.folds}; ours {ours}"

    return cell


def _final(report: Report, metric: str) -> _RowCell:
    def cell(row: Table1Row) -> Cell | str:
        return NOTHING if row.ours is None else mean_and_sd(report.system(row.ours).selections.final.summary[metric])

    return cell


def _encoders(report: Report) -> _RowCell:
    def cell(row: Table1Row) -> str:
        used = {} if row.ours is None else report.system(row.ours).encoders.used
        return ", ".join(used.values()) or NOTHING

    return cell


def _published(row: Table1Row) -> str:
    return NOTHING if row.published is None else percent(row.published)


def _kind(row: Table1Row) -> Cell | str:
    """Name the kind, then the split, what is unknown, and how the rest is known."""
    if row.kind is None:
        return NOTHING
    facts = {"metric": row.kind.metric, "epoch": row.kind.selection, "split": row.kind.split}
    unknown = [name for name, fact in facts.items() if not fact.known]
    if len(unknown) == len(facts):
        return Cell(row.kind.name)
    parts = [SPLITS.get(row.kind.split.value, ""), f"{', '.join(unknown)} unknown" if unknown else ""]
    return Cell(row.kind.name, f"({'; '.join(filter(None, (*parts, _certainty(list(facts.values())))))})")


def _certainty(facts: list[Fact]) -> str:
    """Say how sure the known facts are, and their sources: "likely: inferred"; the least sure one decides."""
    known = [fact for fact in facts if fact.known]
    least = max((fact.certainty or "" for fact in known), key=["sure", "likely", "unsure"].index)
    sources = dict.fromkeys(fact.source for fact in known if fact.certainty == least)
    return f"{least}: {', '.join(map(str, sources))}"


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
    return f"Published: {kind.name}" + (f" ({_certainty(known)})" if known else "")


def _same_kind(row: Table1Row) -> Cell | str:
    if row.same_kind is None:
        return NOTHING
    return Cell(percent(row.same_kind.mean), "" if row.same_kind.sd is None else f"± {percent(row.same_kind.sd)}")


def _same_kind_mean(row: Table1Row) -> str:
    return NOTHING if row.same_kind is None else percent(row.same_kind.mean)


def _difference(row: Table1Row) -> Cell:
    if row.difference is None or row.kind is None:
        return Cell(NOTHING)
    return Cell(signed(row.difference), row.kind.name)
