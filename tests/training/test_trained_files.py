"""What training leaves in a fold's directory is what evaluate, train and pack accept."""

import json
from pathlib import Path

import pytest
from helpers.pipeline import quick_settings, train
from helpers.run_example import edit_json

from mmer_pipeline import paths
from mmer_pipeline.errors import UserError
from mmer_pipeline.prediction.trained_model import model_of_run
from mmer_pipeline.runs import RunRecord, read_predictions, trained_digests
from mmer_pipeline.training.evaluation import evaluate_fold

RUN = Path("runs/mmer")
FOLD = paths.fold(RUN, 1)


@pytest.fixture
def settings(tiny_text, tiny_speech):
    return quick_settings(tiny_text, tiny_speech)


@pytest.fixture
def trained(corpus, settings):
    """A corpus with a trained fold."""
    train(settings, corpus)
    return corpus


def evaluate():
    return evaluate_fold(RUN, 1, cache=Path("cache"), device="cpu")


def reverse_labels():
    path = FOLD.model / paths.MODEL_CONFIG_NAME
    config = json.loads(path.read_text())
    config["labels"].reverse()
    path.write_text(json.dumps(config))


def test_the_record_of_a_trained_fold_has_the_digests_of_its_files(trained):
    assert RunRecord.read(FOLD.settings, "").files == trained_digests(FOLD)
    assert trained_digests(FOLD).keys() == {"metrics.jsonl", "model/config.json", "model/model.safetensors"}


def test_reversed_labels_make_no_false_truths(trained, settings):
    reverse_labels()
    for use in (evaluate, lambda: train(settings, trained), lambda: model_of_run(RUN)):
        with pytest.raises(UserError, match=r"model/config\.json has changed since it was trained.* --restart"):
            use()
    edit_json(FOLD.settings, lambda record: record.pop("files"))  # as an earlier version recorded it
    with pytest.raises(UserError, match=r"has the classes sad, neutral, angry, happy, expected happy, angry, neutral"):
        evaluate()
    assert not FOLD.predictions.exists()


def test_a_damaged_evaluation_is_computed_again(trained):
    found, _ = evaluate()
    rows = read_predictions(FOLD.predictions)
    for damage in (
        "",
        "[]",
        "{}",
        '{"identity": 3}',
        json.dumps({**found, "metrics": {**found["metrics"], "wa": 0.3}}),
    ):
        FOLD.evaluation.write_text(damage)
        assert evaluate() == (found, True)
    FOLD.predictions.write_bytes(b"\xff")
    assert evaluate() == (found, True)
    assert read_predictions(FOLD.predictions) == rows
    assert evaluate() == (found, False)


def test_a_fold_of_a_version_that_recorded_no_digests_is_evaluated_and_recorded(trained, settings):
    edit_json(FOLD.settings, lambda record: record.pop("files"))
    assert evaluate()[1]
    assert not train(settings, trained)
    assert RunRecord.read(FOLD.settings, "").files == trained_digests(FOLD)
    assert not evaluate()[1]
