"""Files of a run that were changed, cut, copied or damaged: each is named with the command that makes it again."""

import json
import shutil

import pytest
from helpers.run_example import EPOCHS, TRUTH, edit_json, write_fold, write_run

from mmer_pipeline import paths, sealed_json
from mmer_pipeline.errors import UserError
from mmer_pipeline.evaluations import read_evaluation
from mmer_pipeline.report.run_results import read_systems
from mmer_pipeline.runs import RunRecord, trained_folds

EVALUATE = "mmer-pipe evaluate --run r --fold 2"
TRAIN = "mmer-pipe train --run r --fold 2"
RESTART = f"{TRAIN} --epochs 3 --restart"


@pytest.fixture
def run(tmp_path):
    return write_run(tmp_path / "r", epochs=3)


def hole(run):
    """Why fold 2 is missing; the others are read as before."""
    (system,), holes = read_systems([run])
    assert [fold.number for fold in system.runs[0].folds] == [1, 3]
    (found,) = holes
    assert (found.run, found.fold) == ("r", 2)
    assert len(found.why) < 1000
    return found.why


def rewritten(path, change):
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


def cut(path, lines):
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:lines]))


CHANGES = {
    "a better mean": (
        lambda fold: rewritten(fold.evaluation, lambda value: value["metrics"].update(wa=0.99)),
        "evaluation.json was changed after it was written", EVALUATE),
    "another confusion matrix": (
        lambda fold: rewritten(fold.evaluation, lambda value: value["metrics"].update(confusion=[[9, 0], [0, 9]])),
        "evaluation.json was changed after it was written", EVALUATE),
    "an edited prediction": (
        lambda fold: fold.predictions.write_text(fold.predictions.read_text().replace("sad", "happy")),
        "predictions.csv has changed since it was written", EVALUATE),
    "epochs cut off": (
        lambda fold: cut(fold.metrics, 1), "metrics.jsonl has changed since it was trained", RESTART),
    "half a line": (
        lambda fold: fold.metrics.write_text(fold.metrics.read_text()[:-40]),
        "metrics.jsonl has changed since it was trained", RESTART),
    "no epochs": (lambda fold: fold.metrics.unlink(), "metrics.jsonl is missing", RESTART),
    "another configuration": (
        lambda fold: (fold.model / "config.json").write_text('{"labels": ["sad", "happy"]}'),
        "model/config.json has changed since it was trained", RESTART),
    "other weights": (
        lambda fold: fold.weights.write_bytes(b"x"), "model.safetensors has changed since it was trained", RESTART),
    "another seed": (
        lambda fold: rewritten(fold.settings, lambda value: value["settings"].update(seed=2)),
        "settings.json was changed after it was written", f"{TRAIN} --restart"),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_a_changed_file_is_named_with_the_command_that_mends_it(run, name):
    change, said, command = CHANGES[name]
    change(paths.fold(run, 2))
    why = hole(run)
    assert said in why
    assert command in why


def test_a_fold_copied_over_another_is_not_counted_twice(run):
    fold = paths.fold(run, 2).directory
    shutil.rmtree(fold)
    shutil.copytree(paths.fold(run, 1).directory, fold)
    assert "fold-2/settings.json is that of fold-1: the directory was copied or renamed" in hole(run)


@pytest.mark.parametrize("name", ["fold-01", "fold-1 (copy)", "fold-²", "fold-0", "fold-4"])
def test_a_copy_beside_the_folds_is_no_fold(run, name):
    shutil.copytree(paths.fold(run, 1).directory, run / name)
    (system,), holes = read_systems([run])
    assert [fold.number for fold in system.runs[0].folds] == [1, 2, 3]
    assert holes == []
    assert trained_folds(run) == ([1, 2, 3, 4] if name == "fold-4" else [1, 2, 3])


def as_by_an_earlier_version(fold):
    edit_json(fold.settings, lambda record: record.pop("files"))
    edit_json(fold.evaluation, lambda evaluation: evaluation)


def of_an_epoch(path, epoch, **changes):
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    lines[epoch - 1]["held_out"] |= changes
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))


OLD_CHANGES = {
    "epochs cut off": (lambda fold: cut(fold.metrics, 1), "metrics.jsonl has 1 epochs, expected 3", RESTART),
    "half a line": (
        lambda fold: fold.metrics.write_text(fold.metrics.read_text()[:-40]), "line 3: not readable JSON", "--restart"),
    "a better epoch": (
        lambda fold: of_an_epoch(fold.metrics, 2, wa=0.5), "epoch 2: WA is not that of the confusion", RESTART),
    "other utterances": (
        lambda fold: of_an_epoch(fold.metrics, 2, confusion=[[1, 0], [0, 1]], wa=1.0),
        "epoch 2: it counts other utterances than the predictions", RESTART),
    "a ragged matrix": (
        lambda fold: of_an_epoch(fold.metrics, 2, confusion=[[1], [0, 1]]), "epoch 2: it has no confusion", RESTART),
    "an epoch twice": (
        lambda fold: fold.metrics.write_text(fold.metrics.read_text().replace('"epoch": 3', '"epoch": 2')),
        "line 3: epoch is 2, expected 3", "--restart"),
    "another confusion matrix": (
        lambda fold: edit_json(fold.evaluation, lambda value: value["metrics"].update(confusion=[[3, 0], [0, 3]])),
        "the recorded scores are not those of", EVALUATE),
    "another order of the classes": (
        lambda fold: edit_json(fold.evaluation, lambda value: value["labels"].reverse()),
        "labels is ['sad', 'happy'], expected ['happy', 'sad'] as in settings.json", EVALUATE),
    "another held-out part": (
        lambda fold: edit_json(fold.evaluation, lambda value: value.update(held_out="1")),
        "held_out is '1', expected '2' as in settings.json", EVALUATE),
}  # fmt: skip


@pytest.mark.parametrize("name", OLD_CHANGES)
def test_a_fold_of_an_earlier_version_is_checked_as_far_as_can_be(run, name):
    change, said, command = OLD_CHANGES[name]
    as_by_an_earlier_version(paths.fold(run, 2))
    assert read_systems([run])[1] == []
    change(paths.fold(run, 2))
    why = hole(run)
    assert said in why
    assert command in why


CONTENTS = [b"", b"{", b"\xff\xfe{}", b"null", b"[]", b"3", b'{"a": NaN}', b"[" * 100_000, b'{"identity": 1e999}', None]


@pytest.mark.parametrize("content", CONTENTS, ids=lambda content: str(content)[:20])
@pytest.mark.parametrize("name", ["settings.json", "metrics.jsonl", "evaluation.json", "predictions.csv"])
def test_a_damaged_file_is_one_message_and_the_other_folds_are_read(run, name, content):
    fold = paths.fold(run, 2)
    as_by_an_earlier_version(fold)
    path = fold.directory / name
    path.unlink()
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    why = hole(run)
    assert EVALUATE in why or TRAIN in why or "--restart" in why


WRONG = [
    ("settings", "epochs", "3"), ("settings", "alpha", -1), ("settings", "alpha", True), ("settings", "fold", 2.0),
    ("settings", "seed", None), ("settings", "precision", "fp8"), ("settings", "system", ["mmer"]),
    ("inputs", "labels", "happy"), ("inputs", "labels", [1, 2]), ("inputs", "manifest", None),
    ("facts", "folds", 3), ("facts", "folds", [1]), ("facts", "versions", []), ("facts", "revisions", {"text": 1}),
    ("facts", "manifest", 3), ("facts", "corpus", None),
]  # fmt: skip


@pytest.mark.parametrize(("part", "key", "value"), WRONG)
def test_a_value_of_another_type_in_the_settings_is_named(run, part, key, value):
    edit_json(paths.fold(run, 2).settings, lambda record: record[part].update({key: value}))
    why = hole(run)
    assert key in why
    assert "restart" in why


def test_scores_and_record_of_a_fold_say_the_same_as_before(run):
    """The digest of a file is not part of what is read."""
    fold = paths.fold(run, 1)
    record = RunRecord.read(fold.settings, "")
    assert sealed_json.SEAL in json.loads(fold.settings.read_text())
    assert sealed_json.SEAL not in read_evaluation(fold, record, "r")


def test_folds_with_another_order_of_classes_do_not_join_others(run, monkeypatch):
    monkeypatch.setattr("helpers.run_example.LABELS", ["sad", "happy"])
    write_fold(run, 2, TRUTH[2], EPOCHS[2], epochs=3, inputs={"labels": ["sad", "happy"]})
    with pytest.raises(UserError, match=r"labels: \['happy', 'sad'\] → \['sad', 'happy'\]"):
        read_systems([run])
