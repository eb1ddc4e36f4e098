"""The lines that `train` prints after each epoch, and the note of a running job of `cv`."""

from pathlib import Path

import pytest

from mmer_pipeline.settings import Settings
from stages.cv_progress import epoch_note
from stages.shared_options import Common
from stages.training_progress import TrainingProgress

COMMON = Common(Path("cache"), Path("runs"), "cpu", as_json=False, quiet=False, tables=True)
SPEED = {"seconds": 1.0, "utterances_per_second": 8.0, "max_batch_seconds": 30.0, "peak_memory_gib": 0.5}


@pytest.fixture
def shown(capsys):
    """A function that prints the lines of epochs: (its number, the last epoch as far as is known)."""

    def show(settings, *epochs, **options):
        progress = TrainingProgress(COMMON, settings, "mmer", **options)
        for number, last in epochs:
            record = {
                "epoch": number, "train": {"ce": 1.0, "ctc": None}, "held_out": {"wa": 0.25, "ua": 0.3},
                "validation": {"wa": 0.5, "ua": 0.6}, "speed": SPEED,
            }  # fmt: skip
            progress.epoch(record, last)
        return capsys.readouterr().err

    return show


def test_an_early_end_says_why_and_how_long_training_took(shown):
    text = shown(Settings(fold=2, epochs=100, patience=3, validation="session"), (4, 100), (5, 5))
    first, second, end, summary = text.splitlines()
    assert first.startswith("mmer, fold 2  epoch   4/100")
    assert " at most " in first
    assert second.startswith("mmer, fold 2  epoch   5/100")
    assert " at most " not in second
    assert end == "mmer, fold 2  ends here: the validation WA has not improved for 3 epochs"
    assert summary.startswith("mmer, fold 2  trained in")


def test_without_patience_the_last_epoch_ends_it(shown):
    text = shown(Settings(fold=2, epochs=5), (4, 5), (5, 5))
    assert " at most 0" not in text.splitlines()[0]
    assert "ends here" not in text
    assert len(text.splitlines()) == 3


def test_training_shows_losses_and_validation_and_the_held_out_part_once_at_the_end(shown):
    first, last, summary = shown(Settings(fold=2, epochs=5, validation="0.1"), (4, 5), (5, 5)).splitlines()
    for line in (first, last):
        assert "CE 1.0000  validation WA 50.00  UA 60.00" in line
        assert "held-out" not in line
    assert summary.endswith("held-out WA 25.00  UA 30.00")


def test_the_held_out_part_is_shown_after_every_epoch_if_asked_for(shown):
    lines = shown(Settings(fold=2, epochs=5), (4, 5), (5, 5), show_held_out=True).splitlines()
    assert all("held-out WA 25.00  UA 30.00" in line for line in lines)


def test_a_cross_validation_shows_losses_and_validation_while_it_trains():
    record = {"train": {"ce": 1.0, "ctc": 20.0}, "validation": {"wa": 0.5}, "held_out": {"wa": 0.25}}
    assert epoch_note(record) == "CE 1.000, CTC 20.0, validation WA 50.00"
    assert epoch_note({**record, "train": {"ce": 1.0, "ctc": None}, "validation": None}) == "CE 1.000"


GRADIENTS = "the gradient of α · CTC is 12 times that of CE"
LOSSES = {  # what was found in the first epoch, from CE, CTC, and the norms of their gradients
    "gradients": ({"ce": 1.5, "ctc": 350.0}, {"emotion": 2.0, "ctc": 24.0}, GRADIENTS),
    "losses": ({"ce": 1.5, "ctc": 350.0}, None, "α · CTC is 23 times CE"),
    "balanced": ({"ce": 1.5, "ctc": 350.0}, {"emotion": 4.0, "ctc": 8.0}, None),
    "learnt": ({"ce": 0.02, "ctc": 57.0}, {"emotion": 0.1, "ctc": 3.0}, None),
    "no CTC head": ({"ce": 1.5, "ctc": None}, {"emotion": None, "ctc": None}, None),
}  # fmt: skip


@pytest.mark.parametrize("case", LOSSES)
def test_a_ctc_loss_that_drowns_the_emotion_loss_is_said_once(case, capsys):
    train, gradients, expected = LOSSES[case]
    settings = Settings(fold=1, epochs=9, alpha=0.0 if train["ctc"] is None else 0.1)
    progress = TrainingProgress(COMMON, settings, "mmer")
    for epoch in (1, 2):
        record = {"epoch": epoch, "train": train, "held_out": None, "validation": None, "speed": SPEED}
        progress.epoch({**record, "gradient_norm": gradients}, 9)
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("Warning")]
    if expected is None:
        assert lines == []
    else:
        advice = "the model learns to spell first, and to recognise emotions late or not at all. Try --alpha 0.01."
        assert lines == [f"Warning: at α = 0.1, {expected}: {advice}"]
