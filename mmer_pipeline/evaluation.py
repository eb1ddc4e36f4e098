"""Evaluation of a trained fold: the saved model, loaded afresh, over the held-out part."""

import csv
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmer_pipeline import files, paths
from mmer_pipeline.errors import UserError
from mmer_pipeline.experiment import MODEL_WEIGHTS, Scored, load_model, score_fold
from mmer_pipeline.metrics import score
from mmer_pipeline.settings import RunRecord

PREDICTION_COLUMNS = ("utterance_id", "fold", "speaker", "dialogue", "truth", "prediction")
PROBABILITY_PREFIX = "probability_"


def trained_folds(run: Path) -> list[int]:
    """The folds of a run that have a model, in order.

    Raises:
        UserError: there is none.
    """
    found = sorted(
        int(path.name.removeprefix("fold-"))
        for path in run.glob("fold-*")
        if path.name.removeprefix("fold-").isdigit() and (paths.FoldPaths(path).model / MODEL_WEIGHTS).is_file()
    )
    if not found:
        raise UserError(f"No trained fold in {run}. Run `mmer-pipe train --run {run.name}` first.")
    return found


def evaluate_fold(run: Path, number: int, *, cache: Path, device: str) -> tuple[dict[str, Any], bool]:
    """Write `evaluation.json` and `predictions.csv` of a fold; returns the former and whether it was computed now.

    Raises:
        UserError: the fold is not trained, or its inputs have changed since.
    """
    fold_paths = paths.fold(run, number)
    record = RunRecord.read(fold_paths.settings, f"mmer-pipe train --run {run.name} --fold {number}")
    weights = fold_paths.model / MODEL_WEIGHTS
    if not weights.is_file():
        load_model(fold_paths.model)  # says what is missing
    with weights.open("rb") as stream:
        model_digest = hashlib.file_digest(stream, "sha256").hexdigest()[:16]
    if fold_paths.evaluation.is_file() and fold_paths.predictions.is_file():
        before = files.read_json(fold_paths.evaluation, "mmer-pipe evaluate")
        if before.get("model_digest") == model_digest and before.get("identity") == record.identity:
            return before, False
    scored = score_fold(run, number, cache=cache, device=device)
    evaluation = {
        "identity": record.identity,
        "model_digest": model_digest,
        "fold": number,
        "held_out": scored.fold.held_out,
        "labels": list(scored.labels),
        "metrics": score(scored.predictions, scored.labels),
    }
    _write_predictions(fold_paths.predictions, scored)
    files.write_json(fold_paths.evaluation, evaluation)
    return evaluation, True


def _write_predictions(path: Path, scored: Scored) -> None:
    with files.replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        probabilities = [f"{PROBABILITY_PREFIX}{label}" for label in scored.labels]
        writer.writerow([*PREDICTION_COLUMNS, *probabilities, "transcript_ctc"])
        writer.writerows(_rows(scored))


def _rows(scored: Scored) -> Iterator[list[str]]:
    predictions = scored.predictions
    for row, position in enumerate(scored.fold.test):
        utterance = scored.manifest.utterances[position]
        yield [
            utterance.utterance_id,
            str(scored.fold.number),
            utterance.speaker,
            utterance.dialogue,
            scored.labels[predictions.truth[row]],
            scored.labels[predictions.predicted[row]],
            *(f"{probability:.6f}" for probability in predictions.probabilities[row]),
            predictions.transcripts[row],
        ]
