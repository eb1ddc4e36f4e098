"""Evaluation of a trained fold: the saved model, loaded afresh, over the held-out part."""

from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from mmer_pipeline import files, paths
from mmer_pipeline.devices import is_main_process
from mmer_pipeline.digests import digest_of_result
from mmer_pipeline.runs import read_evaluation, write_predictions
from mmer_pipeline.scoring.metrics import score
from mmer_pipeline.settings import RunRecord
from mmer_pipeline.training.assembly import load_model
from mmer_pipeline.training.fold import Scored, score_fold


def evaluate_fold(run: Path, number: int, *, cache: Path, device: str) -> tuple[dict[str, Any], bool]:
    """Write `evaluation.json` and `predictions.csv` of a fold; returns the former and whether it was computed now.

    Raises:
        Busy: another process trains or evaluates this fold.
        UserError: the fold is not trained, or its inputs have changed since.
    """
    fold_paths = paths.fold(run, number)
    record = RunRecord.read(fold_paths.settings, f"mmer-pipe train --run {run.name} --fold {number}")
    if not fold_paths.weights.is_file():
        load_model(fold_paths.model, record.settings.system)  # says what is missing
    is_main = is_main_process()
    with files.locked(fold_paths.lock) if is_main else nullcontext():
        before = read_evaluation(fold_paths, record.identity)
        if before is not None:
            return before, False
        scored = score_fold(run, number, cache=cache, device=device)
        evaluation = {
            "identity": record.identity,
            "fold": number,
            "held_out": scored.fold.held_out,
            "labels": list(scored.labels),
            "precision": scored.precision,
            "metrics": score(scored.predictions, scored.labels),
        }
        if is_main:  # of several processes, which have shared the work
            write_predictions(fold_paths.predictions, scored.labels, _rows(scored))
            evaluation["model_digest"] = digest_of_result(fold_paths.weights)
            evaluation["predictions_digest"] = digest_of_result(fold_paths.predictions)
            files.write_json(fold_paths.evaluation, evaluation)
    return evaluation, True


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
