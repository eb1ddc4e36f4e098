"""The parts of a fold's evaluation.json and metrics.jsonl that the report uses."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmer_pipeline.errors import UserError
from mmer_pipeline.report.trained_runs import GradientNorms
from mmer_pipeline.runs import RunRecord, has_ended
from mmer_pipeline.suggested_commands import train_command

_TOLERANCE = 1e-9
Confusion = Sequence[Sequence[int]]  # [C, C] counts, rows are the truth


@dataclass(frozen=True)
class Scores:
    """The metrics that the report uses, as evaluation.json and metrics.jsonl have them."""

    wa: float  # a fraction
    ua: float
    confusion: Confusion
    wer: float | None  # None: no reference to spell
    cer: float | None

    @staticmethod
    def read(metrics: Mapping[str, Any]) -> "Scores":
        """Read a JSON object of metrics."""
        return Scores(metrics["wa"], metrics["ua"], metrics["confusion"], metrics["wer"], metrics["cer"])


@dataclass(frozen=True)
class Evaluation:
    """The part of evaluation.json that the report uses."""

    held_out: str  # the value that the fold holds out: a session, a speaker
    labels: tuple[str, ...]
    utterances: int
    scores: Scores
    validated: Confusion | None  # of the validated model; None: the fold has none

    @staticmethod
    def read(value: Mapping[str, Any]) -> "Evaluation":
        """Read the JSON object of the file."""
        metrics, labels = value["metrics"], tuple(value["labels"])
        validated = value["validated"]["metrics"]["confusion"] if "validated" in value else None
        return Evaluation(str(value["held_out"]), labels, metrics["utterances"], Scores.read(metrics), validated)


@dataclass(frozen=True)
class Epoch:
    """The part of a line of metrics.jsonl that the report uses."""

    number: int  # counted from 1
    ce: float  # training loss, the mean over the epoch
    ctc: float | None  # None: no CTC head
    held_out: Scores
    validation: Scores | None  # None: no validation part
    seconds: float  # of training
    utterances_per_second: float
    gradient_norms: GradientNorms | None  # None: written by version 0.1.0

    @staticmethod
    def read(line: Mapping[str, Any]) -> "Epoch":
        """Read the JSON object of the line."""
        train, validation, speed = line["train"], line["validation"], line["speed"]
        return Epoch(
            number=line["epoch"],
            ce=train["ce"],
            ctc=train["ctc"],
            held_out=Scores.read(line["held_out"]),
            validation=None if validation is None else Scores.read(validation),
            seconds=speed["seconds"],
            utterances_per_second=speed["utterances_per_second"],
            gradient_norms=GradientNorms(**line["gradient_norm"]) if line.get("gradient_norm") else None,
        )


def check_epochs(
    path: Path, lines: Sequence[Mapping[str, Any]], counts: Sequence[int], record: RunRecord, run: str
) -> None:
    """Check that the epochs of a fold that an earlier version trained are complete and can be its own.

    `counts` are the utterances of each class that it holds out.

    Raises:
        UserError: they are not.
    """
    again = f"{train_command(record.settings, run, record.settings.fold)} --restart"
    if not has_ended(record.settings, lines):
        raise UserError(f"{path} has {len(lines)} epochs, expected {record.settings.epochs}: {again}")
    for line in lines:
        fault = _fault(line["held_out"], len(counts))
        if not fault and line["validation"] is not None:
            fault = _fault(line["validation"], len(counts))
        if not fault and [sum(row) for row in line["held_out"]["confusion"]] != list(counts):
            fault = "it counts other utterances than the predictions"
        if fault:
            raise UserError(f"{path}, epoch {line['epoch']}: {fault}. Restore it, or train the fold again: {again}")


def _fault(metrics: Mapping[str, Any] | None, classes: int) -> str:
    """Say why metrics cannot be those of an epoch; "" if they can."""
    confusion = metrics["confusion"] if metrics else []
    if [len(row) for row in confusion] != [classes] * classes or any(count < 0 for row in confusion for count in row):
        return f"it has no confusion matrix of {classes} classes"
    correct, total = sum(row[at] for at, row in enumerate(confusion)), sum(map(sum, confusion))
    if not total or metrics is None or abs(metrics["wa"] - correct / total) > _TOLERANCE:
        return "WA is not that of the confusion matrix"
    return ""
