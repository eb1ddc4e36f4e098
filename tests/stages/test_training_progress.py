"""The line that `train` prints after each epoch."""

from pathlib import Path

import pytest

from mmer_pipeline.settings import Settings
from stages.shared_options import Common
from stages.training_progress import TrainingProgress

COMMON = Common(Path("cache"), Path("runs"), "cpu", as_json=False, quiet=False, tables=True)
SPEED = {"seconds": 1.0, "utterances_per_second": 8.0, "max_batch_seconds": 30.0, "peak_memory_gib": 0.5}


@pytest.fixture
def shown(capsys):
    """A function that prints the lines of epochs: (its number, the last epoch as far as is known)."""

    def show(settings, *epochs):
        progress = TrainingProgress(COMMON, settings)
        for number, last in epochs:
            record = {
                "epoch": number, "train": {"ce": 1.0, "ctc": None}, "held_out": {"wa": 0.5, "ua": 0.5},
                "validation": {"wa": 0.5}, "speed": SPEED,
            }  # fmt: skip
            progress.epoch(record, last)
        return capsys.readouterr().err

    return show


def test_an_early_end_says_why_and_how_long_training_took(shown):
    text = shown(Settings(fold=2, epochs=100, patience=3, validation="session"), (4, 100), (5, 5))
    first, second, end, summary = text.splitlines()
    assert first.startswith("Fold 2  epoch   4/100")
    assert " at most " in first
    assert second.startswith("Fold 2  epoch   5/100")
    assert " at most " not in second
    assert end == "Fold 2  ends here: the validation WA has not improved for 3 epochs"
    assert summary.startswith("Fold 2  trained in")


def test_without_patience_the_last_epoch_ends_it(shown):
    text = shown(Settings(fold=2, epochs=5), (4, 5), (5, 5))
    assert " at most 0" not in text.splitlines()[0]
    assert "ends here" not in text
    assert len(text.splitlines()) == 3
