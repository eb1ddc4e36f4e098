"""The tables of the predict command: one row per utterance, and the scores if truth is known."""

from collections.abc import Mapping, Sequence
from textwrap import shorten
from typing import Any

import numpy as np

BAR_WIDTH = 12
MOST_CHARACTERS = 200  # of a transcript; the file has all of it
WIDE = 100  # columns of a terminal that has room for the second class
_EIGHTHS = " ▏▎▍▌▋▊▉"


def bar(share: float, width: int = BAR_WIDTH) -> str:
    """A horizontal bar for a share from 0 to 1, of block characters."""
    full, part = divmod(round(share * width * 8), 8)
    return ("█" * full + (_EIGHTHS[part] if part else "")).ljust(width)


def print_rows(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print a table with a row per utterance: emotion, probability as a bar, the next class, the words."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    if not rows:
        return
    console = Console()
    timed = any(row["start_seconds"] is not None for row in rows)
    cut = len(rows) > 1 and all(row["utterance_id"].endswith(f"-{n:04d}") for n, row in enumerate(rows, start=1))
    table = Table(title=Text(rows[0]["utterance_id"][:-5]) if cut else None, title_justify="left")  # without -0001
    table.add_column("#" if cut else "utterance", overflow="fold")
    if timed:
        table.add_column("seconds", justify="right", no_wrap=True)
    table.add_column("emotion", no_wrap=True)
    table.add_column("probability", no_wrap=True)
    if console.width >= WIDE:
        table.add_column("next", no_wrap=True)
    sources = {row["transcript_source"] for row in rows}
    table.add_column(
        "transcript (automatic)" if sources == {"asr"} else "transcript", ratio=1, min_width=12, overflow="fold"
    )
    for number, row in enumerate(rows, start=1):
        ordered = sorted(row["probabilities"].items(), key=lambda pair: -pair[1])
        (label, most), following = ordered[0], ordered[1:2]
        cells = [Text(str(number) if cut else row["utterance_id"])]
        if timed:
            cells.append(Text(_times(row)))
        cells += [Text(label, style="bold"), Text(f"{bar(most)} {most:.2f}")]
        if console.width >= WIDE:
            cells.append(Text(" ".join(f"{name} {share:.2f}" for name, share in following), style="dim"))
        words = Text(shorten(str(row["transcript"]), MOST_CHARACTERS, placeholder=" …"))
        if row["transcript_source"] == "asr" and len(sources) > 1:
            words.append(" (automatic)", style="dim")
        table.add_row(*cells, words)
    console.print(table)


def _times(row: Mapping[str, Any]) -> str:
    start, end = row["start_seconds"], row["end_seconds"]
    if start is None and end is None:
        return ""
    return f"{start or 0:.2f}–{'' if end is None else f'{end:.2f}'}"


def scores_of(rows: Sequence[Mapping[str, Any]], labels: Sequence[str]) -> dict[str, Any] | None:
    """The metrics of the rows whose truth is known; None if there are none."""
    from sklearn.metrics import confusion_matrix

    from mmer_pipeline.scoring.metrics import rates

    known = [row for row in rows if row["truth"] is not None]
    if not known:
        return None
    number = {label: i for i, label in enumerate(labels)}
    truth, predicted = (np.array([number[row[key]] for row in known]) for key in ("truth", "prediction"))
    confusion = confusion_matrix(truth, predicted, labels=range(len(labels))).tolist()
    return {"utterances": len(known), **rates(truth, predicted, labels), "confusion": confusion}


def print_scores(scores: Mapping[str, Any], labels: Sequence[str]) -> None:
    """Print WA and UA, and the confusion matrix."""
    from rich.console import Console

    from mmer_pipeline.report import single_system_tables
    from mmer_pipeline.report.table_rendering import as_rich

    console = Console()
    line = f"WA {100 * scores['wa']:.2f}  UA {100 * scores['ua']:.2f} on the {scores['utterances']} utterance"
    console.print(f"{line}{'' if scores['utterances'] == 1 else 's'} whose true emotion is known", highlight=False)
    console.print(as_rich(single_system_tables.confusion(scores["confusion"], labels), console.width))
