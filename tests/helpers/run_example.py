"""Made-up runs on disk: folds whose predictions of every epoch are given."""

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from mmer_pipeline import files, paths, sealed_json
from mmer_pipeline.digests import digest_of_result
from mmer_pipeline.runs import RunRecord, trained_digests
from mmer_pipeline.scoring.metrics import Predictions, score
from mmer_pipeline.settings import Settings

LABELS = ["happy", "sad"]
INPUTS = {"labels": LABELS, "manifest": "m", "text_features": "t", "speech_features": "s"}
FACTS: dict[str, Any] = {
    "folds": ["1", "2", "3"],
    "corpus": "made up",
    "manifest": "/nowhere/manifest.csv",
    "device": "cpu",
    "platform": "none",
    "python": "3",
    "versions": {"numpy": "2"},
    "git_commit": None,
    "without_ctc_target": 0,
}
TRUTH = {1: [0, 0, 0, 1], 2: [0, 1, 1, 1, 1, 0], 3: [1, 0]}
EPOCHS = {
    1: [[0, 0, 0, 1], [0, 0, 1, 1], [0, 1, 1, 1]],
    2: [[0, 0, 0, 0, 0, 0], [0, 1, 1, 1, 1, 0], [0, 1, 1, 1, 0, 0]],
    3: [[1, 1], [1, 0], [1, 0]],
}


def predictions(truth: list[int], predicted: list[int]) -> Predictions:
    """Confident ones (0.8), without transcripts."""
    probabilities = np.where(np.eye(2)[predicted] == 1, 0.8, 0.2)
    names = tuple(f"u{i}" for i in range(len(truth)))
    return Predictions(names, np.array(truth), probabilities, ("",) * len(truth), ("",) * len(truth))


def write_fold(
    run: Path,
    number: int,
    truth: list[int],
    epochs: list[list[int]],
    chosen_on: list[tuple[list[int], list[int]]] | None = None,
    /,
    facts: dict[str, Any] | None = None,
    inputs: dict[str, Any] | None = None,
    validated: list[int] | None = None,
    **settings: Any,
) -> None:
    """An evaluated fold with the held-out predictions of each epoch; utterance i of fold k is `ku<i>`.

    `chosen_on` is the validation part's truth and predictions, an epoch each; `validated` are the predictions of the
    validated model, if it was kept.
    """
    fold = paths.fold(run, number)
    record = RunRecord(
        Settings(fold=number, **settings),
        {**INPUTS, **(inputs or {}), "held_out": str(number)},
        {**FACTS, **(facts or {})},
    )
    lines = [
        _epoch_line(record, epoch, predictions(truth, predicted), predictions(*chosen_on[epoch]) if chosen_on else None)
        for epoch, predicted in enumerate(epochs)
    ]
    files.write_text(fold.metrics, "".join(map(files.json_line, lines)))
    fold.model.mkdir(parents=True, exist_ok=True)
    fold.weights.touch()
    if validated is not None:
        fold.validated_model.mkdir(exist_ok=True)
        fold.validated_weights.touch()
    replace(record, files=trained_digests(fold)).write(fold.settings)
    _write_predictions(fold.predictions, number, predictions(truth, epochs[-1]))
    evaluation = {
        "identity": record.digest,
        "model_digest": digest_of_result(fold.weights),
        "predictions_digest": digest_of_result(fold.predictions),
        "fold": number,
        "held_out": str(number),
        "labels": LABELS,
        "metrics": lines[-1]["held_out"],
    }
    if validated is not None:
        of_validated = predictions(truth, validated)
        _write_predictions(fold.validated_predictions, number, of_validated)
        evaluation["validated"] = {
            "model_digest": digest_of_result(fold.validated_weights),
            "predictions_digest": digest_of_result(fold.validated_predictions),
            "metrics": score(of_validated, LABELS),
        }
    sealed_json.write(fold.evaluation, evaluation)


def edit_json(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change a file of a run as an earlier version could have written it: without a digest of its content."""
    content = json.loads(path.read_text())
    content.pop(sealed_json.SEAL, None)
    change(content)
    path.write_text(json.dumps(content))


def _epoch_line(record: RunRecord, epoch: int, held_out: Predictions, validation: Predictions | None) -> dict[str, Any]:
    """The line of metrics.jsonl of an epoch, counted from 0."""
    has_ctc = bool(record.settings.alpha)
    return {
        "epoch": epoch + 1,
        "train": {"loss": 1.0, "ce": 1.0, "ctc": 2.0 if has_ctc else None},
        "held_out": score(held_out, LABELS),
        "validation": score(validation, LABELS) if validation else None,
        "gradient_norm": {
            "mean": 4.0 - epoch,
            "max": 9.0,
            "emotion": 1.0,
            "ctc": 3.0 if has_ctc else None,
            "clipped": 0.25,
        },
        "speed": {"seconds": 1.5, "utterances_per_second": 10.0 * record.settings.fold},
    }


def _write_predictions(path: Path, number: int, predicted: Predictions) -> None:
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["utterance_id", "fold", "speaker", "dialogue", "truth", "prediction",
                         "probability_happy", "probability_sad", "transcript_ctc"])  # fmt: skip
        for i, name in enumerate(predicted.utterance_ids):
            labels = [LABELS[predicted.truth[i]], LABELS[predicted.predicted[i]]]
            writer.writerow([f"{number}{name}", number, f"s{number}", f"d{number}{i // 2}", *labels,
                             *predicted.probabilities[i], ""])  # fmt: skip


def write_run(run: Path, *, flipped: int = 0, folds: tuple[int, ...] = (1, 2, 3), **settings: Any) -> Path:
    """The folds of `TRUTH` and `EPOCHS`; the first `flipped` final predictions of fold 2 say the other class."""
    for number in folds:
        epochs = [list(epoch) for epoch in EPOCHS[number]]
        if number == 2:
            epochs[-1] = [1 - said if i < flipped else said for i, said in enumerate(epochs[-1])]
        write_fold(run, number, TRUTH[number], epochs, **settings)
    return run


def write_import(path, flipped=0, probabilities=True):
    """An imported result: the example's utterances, of which the first `flipped` are wrong."""
    rows = [(f"{k}u{i}", k, truth) for k in TRUTH for i, truth in enumerate(TRUTH[k])]
    lines = ["utterance_id,truth,prediction" + (",probability_happy,probability_sad" if probabilities else "")]
    for number, (name, _, truth) in enumerate(rows):
        said = 1 - truth if number < flipped else truth
        lines.append(
            f"{name},{LABELS[truth]},{LABELS[said]}"
            + (f",{0.9 - 0.8 * said:.1f},{0.1 + 0.8 * said:.1f}" if probabilities else "")
        )
    path.write_text("\n".join(lines) + "\n")
    return path
