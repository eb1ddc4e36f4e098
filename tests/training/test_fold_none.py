"""Training on everything: `train --fold none` holds nothing out, and what scores held-out parts ignores its model."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.command_line import fail, succeed
from helpers.pipeline import Silent, metrics, quick_settings, train

from mmer_pipeline import paths, runs

RUN = Path("runs/mmer")


@pytest.fixture
def settings(tiny_text, tiny_speech):
    return replace(quick_settings(tiny_text, tiny_speech), fold=0)


@pytest.fixture
def training(encoders):
    return ["train", *encoders, "--epochs", "2", "--learning-rate", "1e-3"]


class StopError(Exception):
    """Stands for a kill."""


class StopsInTheSecondEpoch(Silent):
    """An observer that ends the run in the middle of its second epoch."""

    def step(self, progress, steps, epochs):  # noqa: ARG002
        if (progress.epoch, progress.step) >= (2, 2):
            raise StopError


def test_every_utterance_is_trained_on_and_nothing_is_held_out(corpus, training):
    shown = succeed(*training, "--fold", "none").stderr
    fold = paths.fold(RUN, 0)
    assert fold.directory == RUN / "fold-none"
    assert fold.weights.is_file()
    facts = json.loads(fold.settings.read_text())["facts"]
    assert facts["utterances"] == {"train": 16, "validation": 0, "test": 0, "left_out": 0}
    assert [line["held_out"] for line in metrics(fold=0)] == [None, None]
    assert "mmer, all utterances  epoch 2/2  CE" in shown
    assert "held-out" not in shown
    assert shown.endswith("Next: mmer-pipe pack mmer\n")


def test_the_next_command_names_the_run_once(corpus, training):
    shown = succeed(*training, "--fold", "none", "--run", "for use").stderr
    assert shown.endswith("Next: mmer-pipe pack 'for use'\n")


def test_a_second_call_does_nothing(corpus, training):
    first = json.loads(succeed(*training, "--fold", "none", "--json").stdout)["folds"]
    assert first == [{"fold": None, "trained": True, "directory": "runs/mmer/fold-none"}]
    again = succeed(*training, "--fold", "none")
    assert "Fold none of runs/mmer has already been trained with these settings; skipping it." in again.stderr


def test_a_run_that_was_stopped_and_resumed_is_that_which_was_not(corpus, settings):
    assert train(settings, corpus)
    with pytest.raises(StopError):
        train(settings, corpus, run=Path("runs/stopped"), save_seconds=0.0, observer=StopsInTheSecondEpoch())
    assert len(runs.read_metrics(paths.fold(Path("runs/stopped"), 0).metrics)) == 1
    assert train(settings, corpus, run=Path("runs/stopped"))
    assert metrics("runs/stopped", 0) == metrics(fold=0)


def test_evaluate_and_report_leave_it_out(corpus, training):
    succeed(*training, "--fold", "none", "--fold", 1, "--fold", 2, "evaluate")
    assert not paths.fold(RUN, 0).evaluation.exists()
    assert runs.trained_folds(RUN) == [1, 2]
    report = json.loads(succeed("report", "--json").stdout)
    assert [row["fold"] for row in report["systems"][0]["selections"]["final"]["folds"]] == [1, 2]
    assert report["holes"] == []


def test_alone_it_is_nothing_to_evaluate_or_to_report(corpus, training):
    succeed(*training, "--fold", "none")
    assert "runs/mmer has no trained folds" in fail("evaluate")
    assert "runs/mmer has no trained folds" in fail("report", "--run", "mmer")
    assert "No trained fold in runs" in fail("report")


def test_a_fraction_can_validate_it(corpus, training):
    shown = succeed(*training, "--fold", "none", "--validation", "0.25").stderr
    assert "validation WA" in shown
    assert [line["validation"]["utterances"] for line in metrics(fold=0)] == [4, 4]
    facts = json.loads(paths.fold(RUN, 0).settings.read_text())["facts"]
    assert (facts["utterances"]["train"], facts["utterances"]["validation"]) == (12, 4)


@pytest.mark.parametrize("validation", ["session", "speaker"])
def test_a_session_or_a_speaker_cannot_validate_it(corpus, training, validation):
    said = fail(*training, "--fold", "none", "--validation", validation)
    assert "--fold none holds nothing out. Expected a fraction such as 0.1, or none." in said
    assert not RUN.exists() or not list(RUN.iterdir())


@pytest.mark.parametrize("number", ["0", "-1", "all"])
def test_other_words_and_numbers_are_usage_errors(number):
    assert "Invalid value for '--fold'" in fail("train", "--fold", number, code=2)
