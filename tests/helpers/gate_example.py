"""Acoustic gates for the made-up report and for made-up runs on disk."""

import csv
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from helpers.report_example import LABELS, TRANSCRIPTS, with_system
from helpers.run_example import edit_json
from mmer_pipeline import paths
from mmer_pipeline.digests import digest_of_result
from mmer_pipeline.report.gate_content import ClassGates, GatedUtterance, Gates
from mmer_pipeline.report.report_content import Report
from mmer_pipeline.runs import GATE_COLUMN


def with_gates(report: Report) -> Report:
    """The report with gates of its first system."""
    return with_system(report, 0, lambda system: replace(system, gates=gates_example()))


def gates_example() -> Gates:
    """Gates of all four classes, and of utterances whose names and transcripts are markup, very long, or both."""
    low = (0.535, 0.502, 0.507, 0.484)
    return Gates(
        per_class={
            label: ClassGates(168, start + 0.024, start, start + 0.025, start + 0.05)
            for label, start in zip(LABELS, low, strict=True)
        },
        highest=tuple(_utterance(number, 0.06 - 0.002 * number) for number in range(10)),
        lowest=tuple(_utterance(number + 10, -0.07 + 0.002 * number) for number in range(10)),
    )


def write_gates(run: Path, fold: int, gates: Sequence[float | str]) -> None:
    """Add the column of gates to the predictions of an evaluated fold."""
    there = paths.fold(run, fold)
    with there.predictions.open(newline="") as stream:
        header, *rows = csv.reader(stream)
    with there.predictions.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow([*header, GATE_COLUMN])
        writer.writerows([*row, gate] for row, gate in zip(rows, gates, strict=True))
    digest = digest_of_result(there.predictions)
    edit_json(there.evaluation, lambda evaluation: evaluation.update(predictions_digest=digest))


def _utterance(number: int, above: float) -> GatedUtterance:
    names = ("03-01-04-02-02-02-24", "Ses05M_script03_2_<i>M042</i>|&", "an_utterance_of_a_very_long_name_" * 4)
    return GatedUtterance(
        utterance_id=f"{number}-{names[number % len(names)]}",
        fold=number % 5 + 1,
        speaker=("Actor_24", "", "<u>nobody</u> | & of a very long name that goes on and on")[number % 3],
        truth=LABELS[number % 4],
        prediction=LABELS[number // 2 % 4],
        gate=0.53 + above,
        above_fold=above,
        transcript=TRANSCRIPTS[number % len(TRANSCRIPTS)],
    )
