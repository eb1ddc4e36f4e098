"""Rich tables of metrics."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text


def scores_line(metrics: Mapping[str, Any]) -> str:
    """The metrics of one part in a line."""
    line = (
        f"WA {metrics['wa']:.3f}  UA {metrics['ua']:.3f}  WF1 {metrics['wf1']:.3f}  "
        f"macro-F1 {metrics['macro_f1']:.3f}  ECE {metrics['ece']:.3f}"
    )
    if metrics["wer"] is not None:
        line += f"  WER {metrics['wer']:.3f}  CER {metrics['cer']:.3f}"
    return line


def class_table(per_class: Mapping[str, Mapping[str, Any]]) -> Table:
    """Precision, recall, F1 and utterances of each class."""
    table = Table("in %")
    for column in ("precision", "recall", "F1", "utterances"):
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
