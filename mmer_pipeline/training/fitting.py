"""Training of systems that are fitted at once, in place of epochs (`System.is_fitted`)."""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from mmer_pipeline import files
from mmer_pipeline.scoring.metrics import score
from mmer_pipeline.training.inference import predict
from mmer_pipeline.training.job import FoldJob, save_model


def fit_fold(job: FoldJob) -> None:
    """Fit a system on the training part, and write `metrics.jsonl` with one line, `model/`, and `model-validated/`.

    An interrupted fit leaves nothing and begins again, as it takes seconds.

    Raises:
        UserError: the training part has a single class.
    """
    model, examples, fold, accelerator = job.model, job.examples, job.fold, job.accelerator
    began = time.perf_counter()
    model.to(accelerator.device).eval()
    chosen = model.fit(_summaries(job), *examples.truth_and_groups(fold.train), job.settings)
    seconds = time.perf_counter() - began
    record = {
        "epoch": 1,
        "train": _train_loss(job),
        "held_out": _score(job, fold.test),
        "validation": _score(job, fold.validation),
        "chosen": chosen,
        "speed": {
            "seconds": round(seconds, 3),
            "utterances_per_second": round(len(fold.train) / max(seconds, 1e-9), 2),
        },
    }
    if accelerator.is_main_process:
        files.write_text(job.paths.metrics, files.json_line(record))
        for directory in (job.paths.model, *([job.paths.validated_model] if fold.validation else [])):
            save_model(model, directory)
        job.observer.epoch(record, 1)
    accelerator.wait_for_everyone()


def _summaries(job: FoldJob) -> list[Any]:
    """The summaries of the training part, one array `[n, …]` for each input."""
    parts = []
    with torch.inference_mode():
        for batch in job.examples.batches(job.fold.train):
            inputs = batch.to(job.accelerator.device).inputs
            parts.append([summary.cpu().numpy() for summary in job.model.summaries(inputs)])
    return [np.concatenate(arrays) for arrays in zip(*parts, strict=True)]


def _score(job: FoldJob, part: Sequence[int]) -> dict[str, Any] | None:
    """The scores of a part; None if it is empty."""
    return score(predict(job.model, job.examples, part, job.accelerator), job.model.labels) if part else None


def _train_loss(job: FoldJob) -> dict[str, Any]:
    predictions = predict(job.model, job.examples, job.fold.train, job.accelerator)
    probabilities = predictions.probabilities[np.arange(len(predictions.truth)), predictions.truth]
    cross_entropy = float(-np.log(np.maximum(probabilities, 1e-12)).mean())
    return {"loss": cross_entropy, "ce": cross_entropy, "ctc": None}
