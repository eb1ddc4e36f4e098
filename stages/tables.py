"""Rich tables of metrics."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from mmer_pipeline.report.formats import (
    METRIC_NAMES,
    NOTHING,
    SELECTIONS,
    Report,
    System,
    folds_and_seeds,
    interval,
    mean_and_sd,
    p_value,
    percent,
    pooled,
    row_names,
    signed,
    signed_interval,
)
from mmer_pipeline.scoring.metrics import HEADLINE


def scores_line(metrics: Mapping[str, Any]) -> str:
    """The metrics of one part in a line."""
    line = (
        f"WA {metrics['wa']:.3f}  UA {metrics['ua']:.3f}  WF1 {metrics['wf1']:.3f}  "
        f"macro-F1 {metrics['macro_f1']:.3f}  ECE {metrics['ece']:.3f}"
    )
    if metrics["wer"] is not None:
        line += f"  WER {metrics['wer']:.3f}  CER {metrics['cer']:.3f}"
    return line


def class_table(per_class: Mapping[str, Mapping[str, Any]], of: str = "utterances") -> Table:
    """Precision, recall, F1 of each class, and how many utterances (or what `of` says) it has."""
    table = Table("in %")
    for column in ("precision", "recall", "F1", of):
        table.add_column(column, justify="right")
    for label, row in per_class.items():
        values = (f"{100 * row[name]:.2f}" for name in ("precision", "recall", "f1"))
        table.add_row(Text(label), *values, str(row["support"]))
    return table


def confusion_table(confusion: Sequence[Sequence[int]], labels: Sequence[str]) -> Table:
    """Counts: a row for each true class, a column for each predicted one."""
    table = Table("truth \\ predicted")
    for label in labels:
        table.add_column(Text(label), justify="right")
    for label, row in zip(labels, confusion, strict=True):
        table.add_row(Text(label), *map(str, row))
    return table


def summary_table(system: System) -> Table:
    """The three numbers of a system, each as mean ± sd and pooled over all utterances, in percent."""
    table = Table("mean ± sd, %")
    for metric in HEADLINE:
        table.add_column(METRIC_NAMES[metric], justify="right")
    for name in SELECTIONS:
        selection = system["selections"][name]
        if selection is None:
            table.add_row(name, *[NOTHING] * len(HEADLINE), end_section=True)
            continue
        summaries = [selection["summary"][metric] for metric in HEADLINE]
        table.add_row(name, *map(mean_and_sd, summaries))
        table.add_row("  pooled", *(percent(summary["pooled"]) for summary in summaries), end_section=name != "final")
        if name == "final":
            table.add_row("  95 %", *map(interval, summaries), end_section=True)
    return table


def fold_table(system: System) -> Table:
    """WA and UA of every fold and seed under each selection, in percent."""
    several = len(system["seeds"]) > 1
    table = Table(*(["seed"] if several else []), "fold", "held\nout", "utt.")
    chosen = [name for name in SELECTIONS if system["selections"][name] is not None]
    for name in chosen:
        table.add_column(f"{name}\n  WA    UA", justify="right")
        if name != "final":  # which is always the last epoch
            table.add_column("at\nepoch", justify="right")
    for index, fold in enumerate(system["selections"]["final"]["folds"]):
        cells: list[str | Text] = [str(fold["seed"])] if several else []
        cells += [str(fold["fold"]), Text(fold["held_out"]), str(fold["utterances"])]
        for name in chosen:
            entry = system["selections"][name]["folds"][index]
            cells.append(f"{percent(entry['wa'])} {percent(entry['ua'])}")
            if name != "final":
                cells.append(str(entry["epoch"]))
        table.add_row(*cells)
    return table


def comparison_table(report: Report) -> Table:
    """A row a system: final WA and UA, pooled WA with its interval, and what the oracle would add."""
    table = Table("final, %", "folds")
    for column in ("WA", "UA", "WA pooled\n(95 %)", "oracle −\nfinal WA"):
        table.add_column(column, justify="right")
    names = row_names(report)
    for system in report["systems"]:
        summary, gap = system["selections"]["final"]["summary"], system["oracle_gap"]
        table.add_row(
            Text(names[system["name"]]),
            folds_and_seeds(system),
            mean_and_sd(summary["wa"]).replace(" ±", "\n±"),
            mean_and_sd(summary["ua"]).replace(" ±", "\n±"),
            pooled(summary["wa"]).replace(" (", "\n("),
            signed(gap["wa"]) if gap else NOTHING,
        )
    return table


def pair_table(report: Report) -> Table:
    """A row a pair of systems: the differences in WA and UA, their intervals and corrected p-values."""
    table = Table("first − second, points")
    for metric in ("WA", "UA"):
        table.add_column(f"{metric}\n(95 %)", justify="right")
        table.add_column("p\n(Holm)", justify="right")
    names = row_names(report)
    for pair in report["pairs"]:
        cells: list[str | Text] = [Text(f"{names[pair['first']]} −\n{names[pair['second']]}")]
        for entry in pair["metrics"].values():
            cells += [f"{signed(entry['difference'])}\n{signed_interval(entry)}", p_value(entry["p_holm"])]
        table.add_row(*cells)
    return table
