"""The paper's Table 1 as a table of the report, and its two forms for a publication (`latex.py`).

A published figure is shown with what it most likely is, and next to it our figure of the same kind. Our final WA and UA
have columns for themselves.
"""

from collections.abc import Callable
from itertools import groupby

from mmer_pipeline.report.comparison_tables import mean_and_sd
from mmer_pipeline.report.published_figures import Fact, PublishedKind
from mmer_pipeline.report.report_content import Report, Table1Row
from mmer_pipeline.report.table_rendering import Cell, Column, Filled, Table, grouped_table_of
from mmer_pipeline.report.wording import ALPHA_NOTE, NOTHING, not_comparable, percent, signed

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
        (Column("folds", "word", priority=1), lambda row: str(row.folds)),
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


def page_table(report: Report) -> Table:
    """All rows, short enough for a page's width; the letters in the column of the kind are `SOURCE_LETTERS`."""
    same_kind: list[Filled[Table1Row]] = [(Column("ours", group="same kind"), _same_kind_mean)]
    if report.table_1.comparable:
        same_kind.append((Column("diff.", group="same kind"), lambda row: _difference(row).text))
    columns: list[Filled[Table1Row]] = [
        (Column("method", "text"), _short_method),
        (Column("mod.", "word"), lambda row: row.modality or NOTHING),
        (Column("CV", "word"), lambda row: str(row.folds)),
        (Column("value", group="published"), _published),
        (Column("kind", "word", group="published"), _kind_with_letters),
        *same_kind,
        (Column("WA", group="ours, final"), _final(report, "wa")),
        (Column("UA", group="ours, final"), _final(report, "ua")),
    ]
    return grouped_table_of("", groupby(report.table_1.rows, lambda row: row.group), columns)


def column_table(report: Report) -> Table:
    """The rows with a system of ours, short enough for a column, under the kind of the published figure."""
    ours = [row for row in report.table_1.rows if row.ours is not None]
    kinds = sorted(dict.fromkeys(row.kind for row in ours), key=lambda kind: kind is None)  # rows of ours last
    columns: list[Filled[Table1Row]] = [
        (Column("method", "text"), _short_method),
        (Column("publ.", group="same kind"), _published),
        (Column("ours", group="same kind"), _same_kind_mean),
        (Column("WA", group="ours, final"), _final(report, "wa")),
        (Column("UA", group="ours, final"), _final(report, "ua")),
    ]
    groups = [(_heading(kind), [row for row in ours if row.kind == kind]) for kind in kinds]
    return grouped_table_of("", groups, columns)


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
