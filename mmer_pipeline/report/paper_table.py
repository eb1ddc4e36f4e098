"""The paper's Table 1 as a table of the report; `publication_tables.py` has the tables for a publication.

A published figure is shown with what it most likely is, and next to it our figure of the same kind.
"""

from collections.abc import Callable
from itertools import groupby

from mmer_pipeline.report.comparison_tables import mean_and_sd
from mmer_pipeline.report.published_figures import Fact
from mmer_pipeline.report.report_content import (
    Report,
)
from mmer_pipeline.report.table_1_content import Table1Row
from mmer_pipeline.report.table_rendering import Cell, Column, Filled, Table, grouped_table_of
from mmer_pipeline.report.wording import (
    ALPHA_NOTE,
    NOTHING,
    folds_and_seeds,
    not_comparable,
    percent,
    signed,
)

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

RowCell = Callable[[Table1Row], Cell | str]


def table_1(report: Report) -> Table:
    """The paper's Table 1 with our systems."""
    comparable = report.table_1.comparable
    columns: list[Filled[Table1Row]] = [
        (Column("method", "text"), _method(report)),
        (Column("published"), published),
        (Column("kind, most likely", "text"), _kind),
        (Column("ours, same\u00a0kind"), _same_kind),
        *([(Column("ours − published"), difference)] if comparable else []),
        (Column("our final\u00a0WA"), _final(report, "wa")),
        (Column("our final\u00a0UA"), _final(report, "ua")),
        (Column("modality", "word", priority=1), lambda row: row.modality or NOTHING),
        (Column("folds", "word", priority=1), _both_folds(report)),
        (Column("trained parameters", priority=1), _parameters(report)),
        (Column("hours of training", priority=1), _hours(report)),
        (Column("our encoders", "text", priority=2), _encoders(report)),
    ]
    remarks = [f"{row.method}: {row.remark}." for row in report.table_1.rows if row.remark]
    rebuilt = [f"{row.method}: {row.not_rebuilt}." for row in report.table_1.rows if row.not_rebuilt]
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
            " ".join(["Not rebuilt.", *rebuilt]) if rebuilt else "",
        ],
    )


def _method(report: Report) -> RowCell:
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


def _both_folds(report: Report) -> RowCell:
    """Give the published number of folds, and ours where it is another."""

    def cell(row: Table1Row) -> str:
        if row.ours is None or row.published is None:
            return str(row.folds)
        ours = folds_and_seeds(report.system(row.ours))
        return str(row.folds) if ours == str(row.folds) else f"{row.folds}; ours {ours}"

    return cell


def _final(report: Report, metric: str) -> RowCell:
    def cell(row: Table1Row) -> Cell | str:
        return NOTHING if row.ours is None else mean_and_sd(report.system(row.ours).selections.final.summary[metric])

    return cell


def _parameters(report: Report) -> RowCell:
    """Give the number of parameters that ours trains."""

    def cell(row: Table1Row) -> str:
        runs = () if row.ours is None else report.system(row.ours).runs
        counts = [fold.job_facts.trained_parameters for run in runs for fold in run.folds]
        return f"{counts[0]:,}" if counts and counts[0] is not None else NOTHING

    return cell


def _hours(report: Report) -> RowCell:
    """Give the time that all folds and seeds of ours took to train."""

    def cell(row: Table1Row) -> str:
        runs = () if row.ours is None else report.system(row.ours).runs
        seconds = sum(fold.training_seconds for run in runs for fold in run.folds)
        return f"{seconds / 3600:.2f}" if seconds else NOTHING

    return cell


def _encoders(report: Report) -> RowCell:
    def cell(row: Table1Row) -> str:
        used = {} if row.ours is None else report.system(row.ours).encoders.used
        return ", ".join(used.values()) or NOTHING

    return cell


def published(row: Table1Row) -> str:
    """Format the published figure in percent."""
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
    return Cell(row.kind.name, f"({'; '.join(filter(None, (*parts, certainty(list(facts.values())))))})")


def certainty(facts: list[Fact]) -> str:
    """Say how sure the known facts are, and their sources: "likely: inferred"; the least sure one decides."""
    known = [fact for fact in facts if fact.known]
    least = max((fact.certainty or "" for fact in known), key=["sure", "likely", "unsure"].index)
    sources = dict.fromkeys(fact.source for fact in known if fact.certainty == least)
    return f"{least}: {', '.join(map(str, sources))}"


def _same_kind(row: Table1Row) -> Cell | str:
    if row.same_kind is None:
        return NOTHING
    return Cell(percent(row.same_kind.mean), "" if row.same_kind.sd is None else f"± {percent(row.same_kind.sd)}")


def difference(row: Table1Row) -> Cell:
    """Format the difference of ours to the published figure, with the kind of both."""
    if row.difference is None or row.kind is None:
        return Cell(NOTHING)
    return Cell(signed(row.difference), row.kind.name)
