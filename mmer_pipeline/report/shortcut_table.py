"""The points that shortcuts of the protocol add: shared speakers, and an epoch that is chosen on the held-out part.

The same system, trained on folds of several kinds, is compared with itself: last epoch, sessions left out.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby

from mmer_pipeline.corpora.random_folds import RANDOM
from mmer_pipeline.report.comparison_tables import mean_and_sd
from mmer_pipeline.report.frozen_systems import FITTED
from mmer_pipeline.report.report_content import MetricSummary, Report, System
from mmer_pipeline.report.table_rendering import Cell, Column, Filled, Table, grouped_table_of
from mmer_pipeline.report.wording import METRIC_NAMES, NOTHING, held_out_parts, signed
from mmer_pipeline.scoring.statistics import COMPARED

TITLE = "What shortcuts of the protocol add"
_SELECTIONS = {"final": "last epoch", "oracle": "best epoch on the held-out part"}
_ORDER = {"session": 0, "speaker": 1, RANDOM: 3}  # of the folds
_OTHERS = 2  # place of folds of other kinds
_OF_FOLDS = ("folds", "fold", "validation")  # settings that may differ between the rows of a system


@dataclass(frozen=True)
class _Row:
    system: System
    selection: str
    reference: System  # with the last epoch

    def summary(self, metric: str) -> MetricSummary:
        """The scores of the row."""
        return self.system.selections.known[self.selection].summary[metric]


def shared_speakers(report: Report) -> str:
    """Say which systems were tested on speakers that they were trained on, by random folds; "" if none was."""
    systems = [system.title for system in report.systems if system.shares_speakers]
    if not systems:
        return ""
    return (
        f"SPEAKERS ARE SHARED between training and held-out parts (--folds {RANDOM}): {', '.join(systems)}. These "
        "numbers tell nothing about unknown speakers. Do not report them as results."
    )


def shortcuts(report: Report) -> Table | None:
    """The table, with rows for every system that was trained on folds of several kinds; None if there is none."""
    groups = _groups(report)
    if not groups:
        return None
    rows = [row for group in groups for row in _rows(group)]

    def score(metric: str) -> Callable[[_Row], Cell]:
        return lambda row: mean_and_sd(row.summary(metric))

    def added(metric: str) -> Callable[[_Row], str]:
        def cell(row: _Row) -> str:
            is_reference = row.system is row.reference and row.selection == "final"
            before = row.reference.selections.final.summary[metric].mean
            return NOTHING if is_reference else signed(row.summary(metric).mean - before)

        return cell

    columns: list[Filled[_Row]] = [(Column("held out", "text"), _held_out), (Column("epoch", "text"), _epoch)]
    for metric in reversed(COMPARED):
        name = METRIC_NAMES[metric]
        columns += [(Column("score", group=name), score(metric)), (Column("added", group=name), added(metric))]
    return grouped_table_of(
        f"{TITLE}. Percent, mean ± sample standard deviation over folds and seeds; added: in percentage points, to the "
        "first row of the same system.",
        groupby(rows, lambda row: row.reference.title),
        columns,
        ["Only the rows with the last epoch and without shared speakers are results."],
    )


def _groups(report: Report) -> list[list[System]]:
    """Systems that differ in their folds alone, without those that have folds of one kind only."""
    found = defaultdict(list)
    for system in report.systems:
        if system.runs:
            settings = system.runs[0].settings
            kept = {name: str(value) for name, value in settings.items() if name not in (*_OF_FOLDS, "seed")}
            found[tuple(sorted(kept.items()))].append(system)
    groups = [sorted(group, key=lambda system: _place(_folds(system))) for group in found.values()]
    return [group for group in groups if len({_folds(system) for system in group}) > 1]


def _rows(group: Sequence[System]) -> list[_Row]:
    selections = [name for name in _SELECTIONS if all(name in system.selections.known for system in group)]
    if group[0].system in FITTED:  # without epochs
        selections = selections[:1]
    return [_Row(system, selection, group[0]) for system in group for selection in selections]


def _folds(system: System) -> str:
    return str(system.runs[0].settings["folds"]) if system.runs else ""


def _place(folds: str) -> tuple[int, str]:
    return _ORDER.get(folds, _OTHERS), folds


def _held_out(row: _Row) -> str:
    folds = _folds(row.system)
    parts = held_out_parts(folds) or f"parts by {folds}"
    return f"{parts} (speakers shared)" if folds == RANDOM else parts


def _epoch(row: _Row) -> str:
    return _SELECTIONS[row.selection]
