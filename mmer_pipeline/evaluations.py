"""Reading the evaluations of trained folds, which count only for the files that they were made from."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mmer_pipeline import paths, sealed_json
from mmer_pipeline.digests import digest_of_result
from mmer_pipeline.errors import UserError
from mmer_pipeline.json_shapes import mismatch
from mmer_pipeline.runs import GATE_COLUMN, METRICS, PROBABILITY_PREFIX, RunRecord, read_predictions, trained_digests
from mmer_pipeline.scoring.metrics import Floats, Integers
from mmer_pipeline.suggested_commands import evaluate_command, train_command

_MODEL = {"model_digest": str, "predictions_digest": str, "metrics": METRICS}
_EVALUATION = {
    "identity": str,
    "fold?": (int, None),
    "labels": [str],
    "precision?": str,
    "held_out": str,
    **_MODEL,
    "validated?": {"epoch?": (int, None), "averaged?": [int], **_MODEL},
}
_ON_OTHER = {
    "identity": str,
    "fold?": (int, None),
    "labels": [str],
    "precision?": str,
    "corpus": str,
    "manifest": str,
    "inputs": {"manifest": str},
    "shared_speakers": ([str], None),
    **_MODEL,
}


@dataclass(frozen=True)
class PredictionRows:
    """The content of a predictions.csv: N rows."""

    utterance_ids: tuple[str, ...]
    folds: tuple[int, ...]
    speakers: tuple[str, ...]
    dialogues: tuple[str, ...]
    truth: Integers  # [N] class numbers
    predicted: Integers  # [N]
    probabilities: Floats  # [N, C]
    gates: Floats | None  # [N] mean of the acoustic gate; None: a system without one, or an older file


def read_rows(path: Path, labels: Sequence[str]) -> PredictionRows:
    """Read a fold's predictions.csv, whose classes are `labels`.

    Raises:
        UserError: it cannot be read, or a row is incomplete or not valid.
    """
    number = {label: i for i, label in enumerate(labels)}
    rows = read_predictions(path)
    try:
        gates = [row.get(GATE_COLUMN) for row in rows]
        found = PredictionRows(
            utterance_ids=tuple(row["utterance_id"] for row in rows),
            folds=tuple(int(row["fold"]) for row in rows),
            speakers=tuple(row["speaker"] for row in rows),
            dialogues=tuple(row["dialogue"] for row in rows),
            truth=np.array([number[row["truth"]] for row in rows], dtype=np.int64),
            predicted=np.array([number[row["prediction"]] for row in rows], dtype=np.int64),
            probabilities=np.array([[float(row[f"{PROBABILITY_PREFIX}{label}"]) for label in labels] for row in rows]),
            gates=np.array(gates, dtype=np.float64) if all(gates) else None,
        )
    except (KeyError, ValueError) as error:
        raise UserError(f"{path} is damaged ({type(error).__name__}: {error}).") from None
    if not rows or not math.isfinite(found.probabilities.sum()):
        raise UserError(f"{path} is damaged: it has {'a probability that is not finite' if rows else 'no rows'}.")
    return found


class NotEvaluated(UserError):  # noqa: N818 (a state, not a fault)
    """A trained fold has no evaluation that counts; evaluating it again mends this."""


def check_trained(fold: paths.FoldPaths, record: RunRecord, run: str) -> dict[str, str]:
    """Check that the files that training wrote are as it left them, and return their digests, by name.

    Of a fold that an earlier version trained, nothing is known but what its record says. Models that were deleted are
    no concern of this.

    Raises:
        UserError: a file has changed, or the directory has no metrics.jsonl.
    """
    found = trained_digests(fold)
    again = f"{train_command(record.settings, run, record.settings.fold)} --restart"
    if fold.metrics.name not in found:
        raise UserError(f"{fold.metrics.name} is missing: {again}")
    for name, digest in found.items():
        if record.files is not None and record.files.get(name) != digest:
            raise UserError(
                f"{fold.directory / name} has changed since it was trained (its digest is {digest}, expected "
                f"{record.files.get(name)}). Restore it, or train the fold again: {again}"
            )
    return found


def read_evaluation(fold: paths.FoldPaths, record: RunRecord, run: str) -> dict[str, Any]:
    """Read evaluation.json of a trained fold; `run` is the name of the run, for messages.

    An evaluation counts only if it has the record's identity and classes, and belongs to the present weights and
    predictions, those of the validated model included. Its entry "validated" is missing if the fold has no validated
    model.

    Raises:
        NotEvaluated: there is none that counts.
        UserError: a file that training wrote has changed since.
    """
    command = evaluate_command(run, record.settings.fold)
    trained = check_trained(fold, record, run)
    if not (fold.evaluation.is_file() and fold.predictions.is_file() and fold.weights.is_file()):
        raise NotEvaluated(f"trained, not evaluated: {command}")
    evaluation = _read(fold.evaluation, _EVALUATION, record, command)
    expected = {"labels": record.inputs["labels"], "fold": record.settings.fold}
    if "held_out" in record.inputs:
        expected["held_out"] = record.inputs["held_out"]
    for name, value in expected.items():
        if evaluation.get(name, value) != value:
            raise NotEvaluated(
                f"{fold.evaluation}: {name} is {evaluation[name]!r}, expected {value!r} as in {fold.settings.name}: "
                f"{command}"
            )
    models = [(evaluation, fold.weights, fold.predictions)]
    validated = evaluation.pop("validated", None)
    if fold.validated_weights.is_file():
        if validated is None or not fold.validated_predictions.is_file():
            raise NotEvaluated(f"trained, not evaluated: {command}")
        models.append((validated, fold.validated_weights, fold.validated_predictions))
        evaluation["validated"] = validated
    for scored, weights, predictions in models:
        name = weights.relative_to(fold.directory).as_posix()
        _check_scored(scored, trained[name], predictions, evaluation["labels"], command)
    return evaluation


def read_evaluation_on(fold: paths.FoldPaths, corpus: str, identity: str) -> dict[str, Any] | None:
    """Read the evaluation of a fold's model on another corpus; None if there is none for this run and these weights.

    Whether the other corpus has changed since, its entry "inputs" tells.
    """
    there = fold.on(corpus)
    if not (there.evaluation.is_file() and there.predictions.is_file() and fold.weights.is_file()):
        return None
    try:
        evaluation = sealed_json.read(there.evaluation, "mmer-pipe evaluate --manifest")
        if mismatch(evaluation, _ON_OTHER) or evaluation["identity"] != identity:
            return None
        _check_scored(evaluation, digest_of_result(fold.weights), there.predictions, evaluation["labels"], "")
    except UserError:
        return None
    return evaluation


def _read(path: Path, shape: Mapping[str, Any], record: RunRecord, command: str) -> dict[str, Any]:
    try:
        evaluation = sealed_json.read(path, command)
    except UserError as error:
        raise NotEvaluated(str(error)) from None
    if evaluation.get("identity") != record.identity:
        raise NotEvaluated(f"trained, not evaluated: {command}")
    if fault := mismatch(evaluation, shape):
        raise NotEvaluated(f"{path} is no evaluation: {fault}. Run `{command}` to write it again.")
    return evaluation


def _check_scored(
    scored: Mapping[str, Any], weights: str, predictions: Path, labels: Sequence[str], command: str
) -> None:
    """Check that the scores of a model are those of the present weights and predictions.

    Raises:
        NotEvaluated: they are not.
    """
    if scored["model_digest"] != weights:
        raise NotEvaluated(f"trained, not evaluated: {command}")
    if scored["predictions_digest"] != digest_of_result(predictions):
        raise NotEvaluated(f"{predictions} has changed since it was written: {command}")
    try:
        rows = read_rows(predictions, labels)
    except UserError as error:
        raise NotEvaluated(f"{error} Run `{command}` to write it again.") from None
    counts = np.zeros((len(labels), len(labels)), dtype=np.int64)
    np.add.at(counts, (rows.truth, rows.predicted), 1)
    metrics, totals = scored["metrics"], counts.sum(axis=1)
    recalls = counts.diagonal()[totals > 0] / totals[totals > 0]
    expected = {"wa": counts.trace() / len(rows.truth), "ua": recalls.mean(), "utterances": len(rows.truth)}
    is_same = all(math.isclose(metrics[name], value, abs_tol=1e-9) for name, value in expected.items())
    if metrics["confusion"] != counts.tolist() or not is_same:
        raise NotEvaluated(f"the recorded scores are not those of {predictions}: {command}")
