"""What a run's directory holds, for whoever reads it without loading a model."""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from mmer_pipeline import files, paths
from mmer_pipeline.digests import digest_of_result
from mmer_pipeline.errors import UserError

PREDICTION_COLUMNS = ("utterance_id", "fold", "speaker", "dialogue", "truth", "prediction")
PROBABILITY_PREFIX = "probability_"  # before a class's name
TRANSCRIPT_COLUMN = "transcript_ctc"


def trained_folds(run: Path) -> list[int]:
    """The folds of a run that have a model, in order.

    Raises:
        UserError: there is none.
    """
    found = sorted(
        int(path.name.removeprefix("fold-"))
        for path in run.glob("fold-*")
        if path.name.removeprefix("fold-").isdigit() and paths.FoldPaths(path).weights.is_file()
    )
    if not found:
        raise UserError(f"No trained fold in {run}. Run `mmer-pipe train --run {run.name}` first.")
    return found


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl, one an epoch; none where there is no file.

    Raises:
        UserError: a line is not JSON.
    """
    return files.read_json_lines(path) if path.is_file() else []


def write_predictions(path: Path, labels: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Write predictions.csv: the columns above, one probability a class, the greedy CTC transcript."""
    with files.replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow([*PREDICTION_COLUMNS, *(f"{PROBABILITY_PREFIX}{label}" for label in labels), TRANSCRIPT_COLUMN])
        writer.writerows(rows)


def read_evaluation(fold: paths.FoldPaths, identity: str) -> dict[str, Any] | None:
    """evaluation.json, or None where the fold is not evaluated.

    It counts only as what `evaluate` wrote of this model: same identity, same weights, same predictions.csv.
    """
    if not (fold.evaluation.is_file() and fold.predictions.is_file() and fold.weights.is_file()):
        return None
    try:
        evaluation = files.read_json(fold.evaluation, "mmer-pipe evaluate")
    except UserError:
        return None
    made_of = {
        "identity": identity,
        "model_digest": digest_of_result(fold.weights),
        "predictions_digest": digest_of_result(fold.predictions),
    }
    whole = isinstance(evaluation, dict) and made_of.items() <= evaluation.items()
    return evaluation if whole else None


def read_predictions(path: Path) -> list[dict[str, str]]:
    """The rows of predictions.csv, a column name → cell each."""
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))
