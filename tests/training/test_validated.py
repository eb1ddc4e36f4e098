"""The validated model: the weights of the epoch that the validation part prefers, and an early end (`--patience`)."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import EMOTIONS
from helpers.command_line import fail, succeed
from helpers.pipeline import Silent, metrics, quick_settings, train
from helpers.run_example import edit_json
from huggingface_hub import ModelCard
from safetensors.torch import load_file

from mmer_pipeline import paths
from mmer_pipeline.errors import UserError
from mmer_pipeline.evaluations import NotEvaluated, read_evaluation
from mmer_pipeline.prediction.packing import pack
from mmer_pipeline.prediction.recognizer import EmotionRecognizer
from mmer_pipeline.prediction.trained_model import model_of_run, read_packed_model
from mmer_pipeline.runs import RunRecord, best_epoch, has_ended, read_predictions, validated_epoch
from mmer_pipeline.settings import Settings
from mmer_pipeline.systems.registry import settings_for
from mmer_pipeline.training import evaluation
from mmer_pipeline.training.evaluation import evaluate_fold
from mmer_pipeline.training.loop import Trainer

RUN, STOPPED = Path("runs/mmer"), Path("runs/stopped")


def settings_of(tiny_text, tiny_speech):
    return replace(quick_settings(tiny_text, tiny_speech), validation="speaker", epochs=4, batch_size=8)


def scripted_by(monkeypatch):
    """A function that decides the validation WA of each epoch; the weights after an epoch are in what it returns."""
    score = Trainer._score

    def script(*wa):
        weights = {}

        def scored(self, positions):
            result = score(self, positions)
            if positions == self.fold.validation:
                result["wa"] = wa[self.progress.epoch - 1]
                weights[self.progress.epoch] = {name: value.clone() for name, value in self.model.state_dict().items()}
            return result

        monkeypatch.setattr(Trainer, "_score", scored)
        return weights

    return script


settings = pytest.fixture(settings_of)
scripted = pytest.fixture(scripted_by)


class StopError(Exception):
    """Stands for a kill."""


def kill_at(number, monkeypatch):
    """Kill a run just before the n-th of its files or directories is renamed into its place; 0: never.

    Returns the names of those that were.
    """
    written, rename = [], Path.replace

    def counted(path, target):
        if len(written) + 1 == number:
            raise StopError(target)
        written.append(Path(target).name)
        return rename(path, target)

    monkeypatch.setattr(Path, "replace", counted)
    return written


def validated(run=RUN, fold=1):
    return load_file(paths.fold(run, fold).validated_weights)


def same(weights, expected):
    """Whether saved weights are those of a model; it has more, if its text encoder is frozen."""
    return all(torch.equal(value, expected[name]) for name, value in weights.items())


@pytest.mark.parametrize(("wa", "best"), [([0.5], 1), ([0.5, 0.75, 0.75, 0.25], 2), ([0.1, 0.2, 0.3], 3)])
def test_the_epoch_is_the_best_and_of_equals_the_earliest(wa, best):
    assert best_epoch(wa) == best
    assert validated_epoch([{"validation": {"wa": value}} for value in wa]) == best


def test_without_a_validation_part_there_is_no_validated_epoch():
    assert validated_epoch([]) is None
    assert validated_epoch([{"validation": None}] * 3) is None


def test_patience_begins_when_the_encoders_are_no_longer_frozen():
    settings = Settings(fold=1, epochs=20, patience=2, frozen_epochs=4, validation="speaker")
    worse = [{"validation": {"wa": value}} for value in (0.5, 0.4, 0.3, 0.2, 0.1, 0.0)]
    assert [has_ended(settings, worse[:count]) for count in (3, 4, 5, 6)] == [False, False, False, True]


@pytest.mark.parametrize(
    ("patience", "wa", "ended"),
    [
        (0, [0.5, 0.4, 0.3, 0.2], False),
        (0, [0.5, 0.4, 0.3, 0.2, 0.1], True),  # all epochs
        (2, [], False),
        (2, [0.5, 0.4], False),
        (2, [0.5, 0.4, 0.5], True),  # an equal WA is no improvement
        (2, [0.5, 0.4, 0.6, 0.5], False),
    ],
)
def test_training_ends_after_all_epochs_or_when_patience_is_exhausted(patience, wa, ended):
    settings = Settings(fold=1, epochs=5, patience=patience, validation="speaker")
    assert has_ended(settings, [{"validation": {"wa": value}} for value in wa]) == ended


def test_the_model_of_the_chosen_epoch_is_kept_beside_that_of_the_last(corpus, settings, scripted):
    weights = scripted(0.25, 0.75, 0.75, 0.5)
    assert train(settings, corpus)
    assert same(validated(), weights[2])
    assert not same(validated(), weights[3])
    assert same(load_file(paths.fold(RUN, 1).weights), weights[4])


def test_without_a_validation_part_no_second_model_is_written(corpus, settings):
    assert train(replace(settings, validation="none", epochs=1), corpus)
    assert not paths.fold(RUN, 1).validated_model.exists()


def test_a_run_killed_before_any_of_its_writes_and_resumed_keeps_the_same_models(
    corpus, settings, scripted, monkeypatch
):
    """Between metrics.jsonl, the saved state, `model-validated/` and `model/`, in every epoch."""
    scripted(0.25, 0.75, 0.5)
    settings = replace(settings, epochs=3)
    with monkeypatch.context() as patched:
        written = kill_at(0, patched)
        assert train(settings, corpus)
    epoch = ["metrics.jsonl", "checkpoint.safetensors"]
    assert written[1:] == [
        *(*epoch, "model-validated"), *(*epoch, ".model-validated.old.tmp", "model-validated"), *epoch, "model",
        "settings.json",
    ]  # fmt: skip
    fold, stopped = paths.fold(RUN, 1), paths.fold(STOPPED, 1)
    for number in range(2, len(written) + 1):
        with monkeypatch.context() as patched:
            kill_at(number, patched)
            with pytest.raises(StopError):
                train(settings, corpus, run=STOPPED)
        assert train(settings, corpus, run=STOPPED) == (number < len(written))  # the last write is of digests alone
        assert RunRecord.read(stopped.settings, "").files.keys() == RunRecord.read(fold.settings, "").files.keys()
        assert metrics(STOPPED) == metrics(RUN)
        assert stopped.validated_weights.read_bytes() == fold.validated_weights.read_bytes()
        assert stopped.weights.read_bytes() == fold.weights.read_bytes()
        shutil.rmtree(STOPPED)


def test_an_epoch_that_is_trained_again_with_another_result_leaves_no_weights(corpus, settings, scripted, monkeypatch):
    """On a GPU, an epoch whose state was not saved may come out differently when it is repeated."""
    settings = replace(settings, epochs=2)
    scripted(0.5, 0.75)
    with monkeypatch.context() as patched:
        kill_at(6, patched)  # the state of epoch 2
        with pytest.raises(StopError):
            train(settings, corpus)
    assert [line["validation"]["wa"] for line in metrics()] == [0.5, 0.75]
    first = validated()
    scripted(0.5, 0.25)
    assert train(settings, corpus)
    assert [line["validation"]["wa"] for line in metrics()] == [0.5, 0.25]
    assert same(validated(), first)


class StopsAtTheEndOf(Silent):
    """An observer that asks for a stop when an epoch is over, as Ctrl-C does."""

    asked = False

    def __init__(self, epoch):
        self.last = epoch

    def epoch(self, record, epochs):  # noqa: ARG002
        self.asked = record["epoch"] == self.last

    def stop_requested(self):
        return self.asked


def test_a_run_stopped_after_its_best_epoch_has_that_model(corpus, settings, scripted):
    weights = scripted(0.25, 0.75, 0.5, 0.5)
    with pytest.raises(UserError, match="Stopped in epoch 3 after 0 steps"):
        train(settings, corpus, observer=StopsAtTheEndOf(2))
    assert same(validated(), weights[2])


def test_a_run_with_patience_is_the_longer_run_up_to_its_end_and_is_not_continued(corpus, settings, scripted):
    """Also with the linear schedule, whose end is that of the largest number of epochs."""
    settings = replace(settings, schedule="linear")
    weights = scripted(0.5, 0.25, 0.5, 0.75)
    assert train(replace(settings, patience=2), corpus)
    assert same(validated(), weights[1])
    assert same(load_file(paths.fold(RUN, 1).weights), weights[3])
    assert not train(replace(settings, patience=2), corpus)
    assert train(settings, corpus, run=Path("runs/long"))
    assert len(metrics("runs/long")) == 4
    assert metrics() == metrics("runs/long")[:3]


def test_a_run_killed_at_its_early_end_trains_no_further_epoch(corpus, settings, scripted, monkeypatch):
    settings = replace(settings, patience=1)
    scripted(0.5, 0.25, 1.0, 1.0)
    with monkeypatch.context() as patched:
        kill_at(7, patched)  # the model
        with pytest.raises(StopError):
            train(settings, corpus)
    fold = paths.fold(RUN, 1)
    assert (fold.checkpoint.is_file(), fold.model.exists()) == (True, False)
    assert train(settings, corpus)
    assert fold.weights.is_file()
    assert len(metrics()) == 2


def test_a_stop_requested_in_the_last_epoch_of_an_early_end_lets_it_end(corpus, settings, scripted):
    scripted(0.5, 0.25, 1.0, 1.0)
    assert train(replace(settings, patience=1), corpus, observer=StopsAtTheEndOf(2))
    assert paths.fold(RUN, 1).weights.is_file()


@pytest.mark.parametrize(("name", "option"), [("patience", "--patience 3"), ("average_best", "--average-best 3")])
def test_what_needs_a_validation_part_is_refused_without_one(name, option):
    with pytest.raises(UserError, match=rf"{option} needs a validation part.*Add --validation session"):
        settings_for("mmer", fold=1, **{name: 3})
    assert getattr(settings_for("mmer", fold=1, validation="0.1", **{name: 3}), name) == 3


@pytest.fixture
def fold(corpus, settings, scripted):
    """A fold of two epochs, of which the first was chosen."""
    scripted(0.75, 0.25)
    train(replace(settings, epochs=2), corpus)
    return paths.fold(RUN, 1)


def evaluate():
    return evaluate_fold(RUN, 1, cache=Path("cache"), device="cpu")


def test_both_models_are_evaluated(fold):
    found, computed = evaluate()
    assert computed
    first, last = (line["held_out"] for line in metrics())
    assert found["metrics"]["confusion"] == last["confusion"]
    assert found["validated"]["epoch"] == 1
    assert found["validated"]["metrics"]["confusion"] == first["confusion"]
    headers = [path.read_text().splitlines()[0] for path in (fold.predictions, fold.validated_predictions)]
    assert headers[0] == headers[1]
    assert fold.predictions.read_bytes() != fold.validated_predictions.read_bytes()
    assert evaluate() == (found, False)


def test_an_evaluation_counts_only_for_the_validated_model_and_predictions_it_was_made_from(fold):
    found, _ = evaluate()
    record = RunRecord.read(fold.settings, "")
    predictions = fold.validated_predictions.read_bytes()
    for damage in (
        fold.validated_predictions.unlink,
        lambda: fold.validated_predictions.write_text("edited"),
        lambda: fold.evaluation.write_text(json.dumps({**found, "validated": None})),
        lambda: fold.evaluation.write_text(json.dumps({n: v for n, v in found.items() if n != "validated"})),
    ):
        damage()
        with pytest.raises(NotEvaluated):
            read_evaluation(fold, record, "mmer")
        assert evaluate() == (found, True)
        assert fold.validated_predictions.read_bytes() == predictions
    shutil.copyfile(fold.weights, fold.validated_weights)
    with pytest.raises(UserError, match=r"model-validated/model\.safetensors has changed since .* --restart"):
        evaluate()


def test_without_the_validated_model_the_fold_is_evaluated_as_by_earlier_versions(fold):
    found, _ = evaluate()
    shutil.rmtree(fold.validated_model)
    again, computed = evaluate()
    assert not computed
    assert again == {name: value for name, value in found.items() if name != "validated"}


def test_the_held_out_part_is_predicted_once_if_the_last_epoch_was_chosen(corpus, settings, scripted, monkeypatch):
    scripted(0.25, 0.75)
    train(replace(settings, epochs=2), corpus)
    passes = []
    predict = evaluation.predict
    monkeypatch.setattr(evaluation, "predict", lambda *given: passes.append(1) or predict(*given))
    found, _ = evaluate()
    fold = paths.fold(RUN, 1)
    assert len(passes) == 1
    assert found["validated"]["epoch"] == 2
    assert found["validated"]["metrics"] == found["metrics"]
    assert fold.predictions.read_bytes() == fold.validated_predictions.read_bytes()


def test_the_validated_model_is_packed_with_its_epoch_and_scores(fold):
    found, _ = evaluate()
    succeed("pack", "mmer", "--fold", 1, "--selection", "validated")
    packed = read_packed_model(Path("mmer-model"))
    (member,) = packed.members
    assert (packed.selection, member.epoch, member.digest) == ("validated", 1, found["validated"]["model_digest"])
    card = Path("mmer-model/README.md").read_text()
    assert "validated: the epoch with the highest WA on the validation part (--validation speaker)" in card
    assert "fold 1, without session 1, epoch 1" in card
    result = ModelCard(card).data.eval_results[0]
    assert result.metric_value == pytest.approx(found["validated"]["metrics"]["wa"], abs=1e-4)
    succeed("pack", "mmer", "--fold", 1)
    assert read_packed_model(Path("mmer-model")).members[0].digest == found["model_digest"] != member.digest
    assert "final: the last epoch, no selection" in Path("mmer-model/README.md").read_text()


def test_a_packed_validated_model_predicts_as_evaluate_did(fold):
    evaluate()
    pack(model_of_run(RUN, [1], "validated"), Path("packed"), cross_validation=None)
    expected = {row["utterance_id"]: row for row in read_predictions(fold.validated_predictions)}
    recognizer = EmotionRecognizer.from_pretrained("packed", device="cpu")
    name = next(iter(expected))
    result = recognizer(Path("corpus/session1") / f"{name}.wav", transcript=EMOTIONS[name.split("-")[-1]][1])
    for label, probability in result.probabilities.items():
        assert probability == pytest.approx(float(expected[name][f"probability_{label}"]), abs=5e-3)


def test_a_run_without_a_validated_model_names_the_command_that_makes_one(fold):
    shutil.rmtree(fold.validated_model)
    message = fail("pack", "mmer", "--fold", 1, "--selection", "validated")
    assert "Fold 1 of runs/mmer has no model of the validated epoch" in message
    assert "mmer-pipe train --run mmer --fold 1 --validation speaker" in message
    assert "--restart" in message
    edit_json(fold.settings, lambda record: record["settings"].update(validation="none"))
    message = fail("pack", "mmer", "--fold", 1, "--selection", "validated")
    assert "mmer-pipe train --run mmer-validated --fold 1 --validation session" in message
    assert "--restart" not in message
