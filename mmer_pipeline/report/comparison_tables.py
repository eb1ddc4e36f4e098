"""Tables that compare systems.

`paper_table.py` has the paper's Table 1, `single_system_tables.py` the tables of one system, and
`provenance_tables.py` those of settings, inputs and jobs.

Each table is built once and rendered in every format (`table_rendering.py`). A new column is one line: its heading and
the function that makes its cell for the item of a row.
"""

from collections.abc import Callable
from dataclasses import replace

from mmer_pipeline.report.report_content import (
    MetricSummary,
    PairComparison,
    Report,
    System,
)
from mmer_pipeline.report.table_rendering import Cell, Column, Filled, Table, table_of
from mmer_pipeline.report.wording import (
    METRIC_NAMES,
    NOTHING,
    PAIRS_NOTE,
    chance,
    epoch_caveat,
    folds_and_seeds,
    interval,
    p_value,
    percent,
    signed,
    signed_interval,
)
from mmer_pipeline.scoring.metrics import HEADLINE
from mmer_pipeline.scoring.statistics import COMPARED

SIGNIFICANT = 0.05  # Holm-corrected p-values below it are shown in bold


def mean_and_sd(summary: MetricSummary) -> Cell:
    """Format mean ± sample standard deviation in percent."""
    return Cell(percent(summary.mean), f"± {percent(summary.sd)}" if summary.sd is not None else "")


def pooled_cell(summary: MetricSummary) -> Cell:
    """Format a pooled value and its interval in percent."""
    return Cell(percent(summary.pooled), f"({interval(summary.interval_95)})" if summary.interval_95 else "")


def _named(system: System) -> Cell:
    return Cell(system.title, system=system.name)


_SYSTEM: Filled[System] = (Column("system", "text"), _named)


def headline(report: Report) -> Table:
    """The final numbers of every system."""

    def mean(metric: str) -> Callable[[System], Cell]:
        return lambda system: mean_and_sd(system.selections.final.summary[metric])

    columns: list[Filled[System]] = [
        _SYSTEM,
        (Column("WA"), mean("wa")),
        (Column("UA"), mean("ua")),
        (Column("WF1", priority=1), mean("wf1")),
        (Column("macro-F1", priority=2), mean("macro_f1")),
        (Column("WA pooled (95\u00a0%)"), lambda system: pooled_cell(system.selections.final.summary["wa"])),
        (
            Column("oracle\u00a0− final\u00a0WA"),
            lambda system: signed(system.oracle_gap.wa) if system.oracle_gap else NOTHING,
        ),
        (Column("folds ×\u00a0seeds"), folds_and_seeds),
        (Column("utterances", priority=3), lambda system: str(system.utterances)),
        (Column("encoders", "text", priority=4), _encoders),
    ]
    return table_of(
        "Final: last epoch, no selection. Percent: mean ± sample standard deviation over folds and seeds; pooled over "
        "all held-out predictions, with the 95 % interval.",
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
        "Final, percent. In brackets: 95 % bootstrap interval that resamples whole dialogues, not utterances.",
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


def pairs(report: Report) -> Table:
    """Differences between pairs of systems, with intervals and p-values."""

    def significant(pair: PairComparison, metric: str) -> bool:
        p = pair.metrics[metric].p_holm
        return p is not None and p < SIGNIFICANT

    def difference(metric: str) -> Callable[[PairComparison], Cell]:
        def cell(pair: PairComparison) -> Cell:
            entry = pair.metrics[metric]
            low_high = f"({signed_interval(entry.interval_95)})" if entry.interval_95 else ""
            return Cell(signed(entry.difference), low_high, strong=significant(pair, metric))

        return cell

    def p(metric: str) -> Callable[[PairComparison], str]:
        return lambda pair: p_value(pair.metrics[metric].p)

    def p_holm(metric: str) -> Callable[[PairComparison], Cell]:
        return lambda pair: Cell(p_value(pair.metrics[metric].p_holm), strong=significant(pair, metric))

    columns: list[Filled[PairComparison]] = [
        (Column("first − second", "text"), lambda pair: Cell(f"{title(pair.first)} −", title(pair.second)))
    ]
    for metric in COMPARED:
        group = METRIC_NAMES[metric]
        columns += [
            (Column("difference (95\u00a0%)", group=group), difference(metric)),
            (Column("p", group=group, priority=1), p(metric)),
            (Column("p (Holm)", group=group), p_holm(metric)),
        ]
    columns += [
        (Column("utterances", priority=2), lambda pair: str(pair.utterances)),
        (Column("dialogues", priority=2), lambda pair: str(pair.clusters)),
    ]

    def title(name: str) -> str:
        return report.system(name).title

    found = {metric: sum(significant(pair, metric) for pair in report.pairs) for metric in COMPARED}
    return table_of(
        "First − second, pooled, final, in percentage points, on the utterances that both have, each counted once. "
        "95 %: paired bootstrap over dialogues. p: paired randomisation test that swaps whole dialogues; Holm: "
        "corrected for the number of pairs, WA and UA separately.",
        report.pairs,
        columns,
        [f"In bold: p (Holm) < {SIGNIFICANT} ({found['wa']} of {len(report.pairs)} pairs in WA, {found['ua']} in UA). "
         f"{PAIRS_NOTE}"],
    )  # fmt: skip


def validated_pairs(report: Report) -> Table:
    """As `pairs`, of the models of the validated epochs."""
    table = pairs(replace(report, pairs=report.validated_pairs))
    return replace(table, caption=table.caption.replace(", final,", ", validated,"))


def class_f1(report: Report) -> Table:
    """F1 of each class by system."""

    def f1(label: str) -> Callable[[System], str]:
        return lambda system: percent(system.per_class[label].f1)

    return table_of(
        "F1 of each class, percent, final, pooled. Precision and recall are in the table of each system.",
        report.systems,
        [_SYSTEM, *((Column(label), f1(label)) for label in report.labels)],
    )
