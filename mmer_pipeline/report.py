"""The report: all folds of a run in one place, and three numbers that are never mixed up.

final: the last epoch, no selection; the headline. validated: the epoch that is best on the validation part.
oracle: the epoch that is best on the held-out fold itself, as most published numbers are; never used for
anything else. "Best" is the highest WA, the earliest epoch of those.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mmer_pipeline import paths
from mmer_pipeline.errors import UserError
from mmer_pipeline.metrics import (
    HEADLINE,
    bootstrap_intervals,
    calibration_error,
    rates_of_confusion,
)
from mmer_pipeline.runs import PROBABILITY_PREFIX, read_evaluation, read_metrics, read_predictions, trained_folds
from mmer_pipeline.settings import RunRecord

SELECTIONS = ("final", "validated", "oracle")
SELECTED_BY = "wa"
_PER_FOLD = ("fold",)  # settings that differ between the folds of a run
_PER_FOLD_INPUTS = ("held_out",)


@dataclass(frozen=True)
class FoldResult:
    """One evaluated fold."""

    number: int
    record: RunRecord
    evaluation: dict[str, Any]  # evaluation.json
    epochs: list[dict[str, Any]]  # metrics.jsonl
    predictions: list[dict[str, str]]  # predictions.csv

    def chosen(self, selection: str) -> tuple[int, dict[str, Any]] | None:
        """The epoch that a selection takes and its held-out metrics; None where it had nothing to choose on."""
        if selection == "final":
            return self.epochs[-1]["epoch"], self.evaluation["metrics"]
        part = "held_out" if selection == "oracle" else "validation"
        if self.epochs[0][part] is None:
            return None
        best = max(self.epochs, key=lambda line: (line[part][SELECTED_BY], -line["epoch"]))
        return best["epoch"], best["held_out"]


@dataclass(frozen=True)
class RunResults:
    """All folds of a run that are there, and what is not."""

    name: str
    folds: list[FoldResult]
    missing: dict[int, str]  # fold number → what is missing and the command that makes it


def read_run(run: Path) -> RunResults:
    """Read every evaluated fold of a run.

    Raises:
        UserError: no fold is evaluated, or the folds were trained with different settings.
    """
    results, missing = [], {}
    total = 0
    for number in trained_folds(run):
        fold_paths = paths.fold(run, number)
        record = RunRecord.read(fold_paths.settings, f"mmer-pipe train --run {run.name} --fold {number}")
        total = max(total, len(record.facts["folds"]))
        evaluation = read_evaluation(fold_paths, record.identity)
        if evaluation is None:
            missing[number] = f"trained, not evaluated: mmer-pipe evaluate --run {run.name} --fold {number}"
            continue
        predictions = read_predictions(fold_paths.predictions)
        results.append(FoldResult(number, record, evaluation, read_metrics(fold_paths.metrics), predictions))
    for number in range(1, total + 1):
        if number not in missing and number not in {result.number for result in results}:
            missing[number] = f"not trained: {record.settings.train_command(run.name, number)}"
    if not results:
        raise UserError(f"No fold of {run} is evaluated. Run `mmer-pipe evaluate --run {run.name}` first.")
    _check_same_settings(run, results)
    return RunResults(run.name, results, dict(sorted(missing.items())))


def _check_same_settings(run: Path, results: Sequence[FoldResult]) -> None:
    first = results[0]
    for other in results[1:]:
        differences = [
            line
            for line in first.record.differences(other.record)
            if line.split(":")[0] not in (*_PER_FOLD, *_PER_FOLD_INPUTS)
        ]
        if differences:
            listed = "\n  ".join(differences)
            raise UserError(
                f"Folds {first.number} and {other.number} of {run} were trained with different settings or features; "
                f"they make no cross-validation:\n  {listed}\n"
                "Train one of them again with --restart, or keep them apart with --run NAME."
            )


def summarise(results: RunResults) -> dict[str, Any]:
    """Everything that the report says of a run, as plain values for JSON."""
    first = results.folds[0]
    labels: list[str] = first.evaluation["labels"]
    settings = {name: value for name, value in asdict(first.record.settings).items() if name not in _PER_FOLD}
    pooled_confusion = _pooled(results, "final")
    final = rates_of_confusion(pooled_confusion, labels)
    return {
        "run": results.name,
        "corpus": first.record.facts["corpus"],
        "labels": labels,
        "folds_expected": len(first.record.facts["folds"]),
        "missing": results.missing,
        "selections": {name: _selection(results, name, labels) for name in SELECTIONS},
        "per_class": final["per_class"],
        "confusion": pooled_confusion.tolist(),
        "ece_pooled": calibration_error(*_probabilities(results, labels)),
        "spelling": _spelling(results),
        "settings": settings,
        "inputs": {name: value for name, value in first.record.inputs.items() if name not in _PER_FOLD_INPUTS},
        "made_with": {fold.number: fold.record.facts for fold in results.folds},
        "utterances_per_second": {fold.number: _speed(fold) for fold in results.folds},
    }


def _selection(results: RunResults, selection: str, labels: list[str]) -> dict[str, Any] | None:
    """Per fold, mean ± sample sd over folds, pooled; None where a fold had nothing to choose on."""
    chosen = {fold.number: fold.chosen(selection) for fold in results.folds}
    folds = []
    for fold in results.folds:
        pick = chosen[fold.number]
        if pick is None:
            return None
        epoch, metrics = pick
        scores = {name: metrics[name] for name in HEADLINE}
        folds.append(
            {"fold": fold.number, "held_out": fold.evaluation["held_out"], "epoch": epoch,
             "utterances": metrics["utterances"], **scores}
        )  # fmt: skip
    pooled = rates_of_confusion(_pooled(results, selection), labels)
    intervals = _intervals(results, labels) if selection == "final" else {}
    summary = {}
    for name in HEADLINE:
        values = np.array([row[name] for row in folds])
        summary[name] = {
            "mean": float(values.mean()),
            "sd": float(values.std(ddof=1)) if len(values) > 1 else None,
            "pooled": pooled[name],
            "interval_95": list(intervals[name]) if name in intervals else None,
        }
    return {"folds": folds, "summary": summary}


def _pooled(results: RunResults, selection: str) -> np.ndarray:
    picks = [fold.chosen(selection) for fold in results.folds]
    return np.asarray(np.sum([pick[1]["confusion"] for pick in picks if pick is not None], axis=0))


def _intervals(results: RunResults, labels: list[str]) -> Mapping[str, tuple[float, float]]:
    rows = [row for fold in results.folds for row in fold.predictions]
    number = {label: i for i, label in enumerate(labels)}
    truth, predicted = (np.array([number[row[side]] for row in rows]) for side in ("truth", "prediction"))
    return bootstrap_intervals(truth, predicted, [f"{row['fold']}/{row['dialogue']}" for row in rows], len(labels))


def _probabilities(results: RunResults, labels: list[str]) -> tuple[np.ndarray, np.ndarray]:
    rows = [row for fold in results.folds for row in fold.predictions]
    probabilities = np.array([[float(row[f"{PROBABILITY_PREFIX}{label}"]) for label in labels] for row in rows])
    return probabilities, np.array([labels.index(row["truth"]) for row in rows])


def _spelling(results: RunResults) -> dict[str, float] | None:
    """Mean WER and CER of the folds; None where no CTC head was trained or nothing can be spelt."""
    metrics = [fold.evaluation["metrics"] for fold in results.folds]
    if not results.folds[0].record.settings.alpha or any(entry["wer"] is None for entry in metrics):
        return None
    return {name: float(np.mean([entry[name] for entry in metrics])) for name in ("wer", "cer")}


def _speed(fold: FoldResult) -> float:
    return float(np.median([line["speed"]["utterances_per_second"] for line in fold.epochs]))
