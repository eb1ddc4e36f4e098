"""Training of systems that are fitted at once, in place of epochs (`System.is_fitted`)."""

import time
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator

from mmer_pipeline import files
from mmer_pipeline.corpora.folds import Fold
from mmer_pipeline.paths import FoldPaths
from mmer_pipeline.scoring.metrics import score
from mmer_pipeline.settings import Settings
from mmer_pipeline.systems.base import EmotionModel
from mmer_pipeline.training.examples import Examples
from mmer_pipeline.training.inference import predict
from mmer_pipeline.training.loop import Observer, save_model


def fit_fold(
    settings: Settings,
    model: EmotionModel,
    examples: Examples,
    fold: Fold,
    paths: FoldPaths,
    accelerator: Accelerator,
    observer: Observer,
) -> None:
    """Fit a system on the training part, and write `metrics.jsonl` with one line, `model/`, and `model-validated/`.

    An interrupted fit leaves nothing and begins again, as it takes seconds.

    Raises:
        UserError: the training part has a single class.
    """
    began = time.perf_counter()
    model.to(accelerator.device).eval()
    truth = np.array([examples.labels[position] for position in fold.train], dtype=np.int64)
    groups = [examples.manifest.utterances[position].speaker for position in fold.train]
    chosen = model.fit(_summaries(model, examples, fold, accelerator), truth, groups, settings)
    seconds = time.perf_counter() - began
    record = {
        "epoch": 1,
        "train": _train_loss(model, examples, fold, accelerator),
        "held_out": score(predict(model, examples, fold.test, accelerator), model.labels) if fold.test else None,
        "validation": score(predict(model, examples, fold.validation, accelerator), model.labels)
        if fold.validation
        else None,
        "chosen": chosen,
        "speed": {
            "seconds": round(seconds, 3),
            "utterances_per_second": round(len(fold.train) / max(seconds, 1e-9), 2),
        },
    }
    if accelerator.is_main_process:
        files.write_text(paths.metrics, files.json_line(record))
        for directory in (paths.model, *([paths.validated_model] if fold.validation else [])):
            save_model(model, directory)
        observer.epoch(record, 1)
    accelerator.wait_for_everyone()


def _summaries(model: EmotionModel, examples: Examples, fold: Fold, accelerator: Accelerator) -> list[Any]:
    """The summaries of the training part, one array `[n, …]` for each input."""
    parts = []
    with torch.inference_mode():
        for batch in examples.batches(fold.train):
            inputs = batch.to(accelerator.device).inputs
            parts.append([summary.cpu().numpy() for summary in model.summaries(inputs)])
    return [np.concatenate(arrays) for arrays in zip(*parts, strict=True)]


def _train_loss(model: EmotionModel, examples: Examples, fold: Fold, accelerator: Accelerator) -> dict[str, Any]:
    predictions = predict(model, examples, fold.train, accelerator)
    probabilities = predictions.probabilities[np.arange(len(fold.train)), predictions.truth]
    cross_entropy = float(-np.log(np.maximum(probabilities, 1e-12)).mean())
    return {"loss": cross_entropy, "ce": cross_entropy, "ctc": None}
