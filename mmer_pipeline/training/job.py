"""The training of one fold: its inputs and its files, the observer of its progress, and the saved model."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from accelerate import Accelerator

from mmer_pipeline import files
from mmer_pipeline.corpora.folds import Fold
from mmer_pipeline.paths import FoldPaths
from mmer_pipeline.settings import Settings
from mmer_pipeline.systems.base import EmotionModel
from mmer_pipeline.training.checkpoint import Progress
from mmer_pipeline.training.examples import Examples
from mmer_pipeline.training.lora import without_lora


class Observer(Protocol):
    """Receives the progress of a run, and can stop it."""

    def step(self, progress: Progress, steps: int, epochs: int) -> None:
        """Called after every few steps; `steps` is the number of steps per epoch."""

    def epoch(self, record: dict[str, Any], epochs: int) -> None:
        """Called after each epoch; `record` is its line in metrics.jsonl, `epochs` the last epoch as far as is known.

        That is `Settings.epochs`, or this epoch if `--patience` ends training here.
        """

    def ran_out_of_memory(self, max_seconds: float) -> None:
        """Called after memory ran out; from now on, micro-batches contain at most `max_seconds` of audio."""

    def stop_requested(self) -> bool:
        """Whether to save the state and stop now."""


@dataclass(frozen=True)
class FoldJob:
    """The training of a model on one fold."""

    settings: Settings
    model: EmotionModel
    examples: Examples
    fold: Fold
    paths: FoldPaths  # the files that it writes
    accelerator: Accelerator
    observer: Observer


def save_model(model: EmotionModel, directory: Path) -> None:
    """Write `model/` or `model-validated/` atomically."""
    with files.replacing_directory(directory) as temporary:
        without_lora(model).save_pretrained(temporary)
