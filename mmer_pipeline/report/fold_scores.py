"""The parts of a fold's evaluation.json and metrics.jsonl that the report uses."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mmer_pipeline.report.trained_runs import GradientNorms

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
    def read(line: Mapping[str, Any], counts: Sequence[int]) -> "Epoch":
        """Read the JSON object of the line; `counts` are the utterances of each class that the fold holds out.

        Raises:
            ValueError: its scores cannot be those of the fold.
        """
        train, validation, speed = line["train"], line["validation"], line["speed"]
        _check(line["held_out"], len(counts), line["epoch"])
        if [sum(row) for row in line["held_out"]["confusion"]] != list(counts):
            raise ValueError(f"epoch {line['epoch']} counts other utterances than the predictions")
        if validation is not None:
            _check(validation, len(counts), line["epoch"])
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


def _check(metrics: Mapping[str, Any] | None, classes: int, epoch: int) -> None:
    """Check that WA belongs to the confusion matrix, from which all other scores are computed.

    Raises:
        ValueError: it does not, or there is none.
    """
    confusion = metrics["confusion"] if metrics else []
    if [len(row) for row in confusion] != [classes] * classes or any(count < 0 for row in confusion for count in row):
        raise ValueError(f"epoch {epoch} has no confusion matrix of {classes} classes")
    correct, total = sum(row[at] for at, row in enumerate(confusion)), sum(map(sum, confusion))
    if not total or metrics is None or abs(metrics["wa"] - correct / total) > _TOLERANCE:
        raise ValueError(f"epoch {epoch} has a WA that is not that of its confusion matrix")
