"""Testing on other corpora: classes by name, what is refused, what is skipped, and the report's rows."""

import json
import shlex
from pathlib import Path

import pytest
from helpers.command_line import fail, invoke, succeed
from helpers.other_corpora import ORDER, copy_trained, write_other
from sklearn.metrics import accuracy_score, recall_score

from mmer_pipeline import paths
from mmer_pipeline.corpora.manifest import read_manifest
from mmer_pipeline.corpora.utterances import COLUMNS
from mmer_pipeline.runs import read_predictions
from mmer_pipeline.training.other_corpus import evaluate_on

OTHER = Path("other/cache/manifest.csv")


@pytest.fixture
def place(trained, tmp_path):
    """The working directory with trained runs `mmer`, `all` and `roberta`."""
    copy_trained(trained, "mmer", "all", "roberta")
    return tmp_path


def extract_other(encoders, manifest=OTHER):
    succeed("extract", "--cache-dir", manifest.parent, "--manifest", manifest, *encoders)


def evaluation(run="mmer", fold=1, corpus="elsewhere"):
    return json.loads(paths.fold(Path("runs") / run, fold).on(corpus).evaluation.read_text())


def test_every_model_scores_the_whole_corpus_and_classes_are_matched_by_name(place, encoders):
    write_other(Path("other"))
    extract_other(encoders)
    result = json.loads(succeed("--json", "evaluate", "--manifest", OTHER).stdout)
    assert [entry["fold"] for entry in result["models"]] == [1, 2]
    truth = {u.utterance_id: next(c for c, of in ORDER.items() if u.emotion in of)
             for u in read_manifest(OTHER).utterances}  # fmt: skip
    for entry in result["models"]:
        rows = read_predictions(paths.fold(Path("runs/mmer"), entry["fold"]).on("elsewhere").predictions)
        assert {row["utterance_id"]: row["truth"] for row in rows} == truth
        said = [row["prediction"] for row in rows]
        assert entry["metrics"]["wa"] == accuracy_score([row["truth"] for row in rows], said)
        assert entry["labels"] == ["happy", "angry", "neutral", "sad"]  # the models' order


def test_scores_do_not_depend_on_the_order_of_the_other_corpus_s_classes(place, encoders):
    write_other(Path("other"))
    write_other(Path("again"), classes=dict(reversed(ORDER.items())), name="again")
    for name in ("other", "again"):
        extract_other(encoders, Path(name) / "cache/manifest.csv")
        succeed("evaluate", "--fold", 1, "--manifest", Path(name) / "cache/manifest.csv")
    assert evaluation()["metrics"] == evaluation(corpus="again")["metrics"]


def test_ua_is_over_the_classes_that_the_other_corpus_has(place, encoders):
    write_other(Path("other"), classes={"neutral": ("neu",), "sad": ("sad",)}, drop=("hap", "ang"))
    extract_other(encoders)
    stdout = succeed("evaluate", "--fold", 2, "--manifest", OTHER).stdout
    rows = read_predictions(paths.fold(Path("runs/mmer"), 2).on("elsewhere").predictions)
    columns = [[row[name] for row in rows] for name in ("truth", "prediction")]
    assert len(rows) == 8
    expected = recall_score(*columns, labels=["neutral", "sad"], average="macro", zero_division=0)
    assert evaluation(fold=2)["metrics"]["ua"] == pytest.approx(expected)
    assert "The models also know happy, angry, which the corpus lacks: predicting one is an error." in stdout


def test_a_class_that_the_models_do_not_know_is_refused_with_the_command_that_maps_it(place):
    classes = {"bored": ("sad",), "neutral": ("neu",), "angry": ("ang",), "happy": ("hap",)}
    write_other(Path("other"), classes=classes)
    for command in (["evaluate"], ["cv", "--test-on", OTHER]):
        message = fail(*command, *(["--manifest", OTHER] if command == ["evaluate"] else []))
        assert "classes that the models do not know: bored." in message
        assert "bored, neutral, angry, happy" in message
        assert "classes of the models: happy, angry, neutral, sad" in message
        assert "mmer-pipe prepare CORPUS --root " in message
        assert "--name elsewhere --label-map labels.toml" in message


def test_the_command_that_maps_the_classes_is_the_one_that_prepared_the_corpus(place):
    write_other(Path("other"))
    table = Path("other/corpus/calls.csv")
    table.write_text(Path(OTHER).read_text().replace("speaker", "voice").replace(",sad,", ",bored,"))
    prepare = ["prepare", "csv", "--root", table, "--column", "speaker=voice", "--manifest", OTHER]
    succeed(*prepare)
    said = fail("evaluate", "--manifest", OTHER)
    command = said.splitlines()[-1].removeprefix("  mmer-pipe ")
    assert shlex.split(command) == [*map(str, prepare), "--label-map", "labels.toml"]
    Path("labels.toml").write_text('drop = ["bored"]\n[classes]\nhappy = ["hap"]\nangry = ["ang"]\nneutral = ["neu"]\n')
    succeed(*shlex.split(command))
    assert "Run `mmer-pipe extract" in fail("evaluate", "--manifest", OTHER)  # the classes are in order


def test_recordings_of_the_training_corpus_are_refused_under_other_names(place, encoders):
    write_other(Path("other"), gain=1)
    extract_other(encoders)
    message = fail("evaluate", "--manifest", OTHER)
    assert "16 of 16 utterances of other/cache/manifest.csv are also in the training corpus" in message


def test_the_corpus_of_training_is_not_another_one(place):
    assert "16 of 16 utterances" in fail("evaluate", "--manifest", "cache/manifest.csv")
    assert "16 of 16 utterances" in fail("cv", "--test-on", "cache/manifest.csv")


def test_missing_features_are_asked_for_with_the_command_that_makes_them(place):
    write_other(Path("other"))
    message = fail("evaluate", "--fold", 1, "--manifest", OTHER)
    command = message.partition("Run `mmer-pipe ")[2].partition("`")[0]
    succeed(*shlex.split(command))
    succeed("evaluate", "--fold", 1, "--manifest", OTHER)


def test_an_evaluation_is_skipped_until_the_other_corpus_changes(place, encoders):
    manifest = write_other(Path("other"))
    extract_other(encoders)
    options = {"cache": Path("cache"), "device": "cpu"}
    before, computed = evaluate_on(Path("runs/roberta"), 1, manifest, **options)
    assert computed
    assert evaluate_on(Path("runs/roberta"), 1, manifest, **options) == (before, False)
    rows = OTHER.read_text().splitlines()
    OTHER.write_text("\n".join(rows[:-1]) + "\n")
    after, computed = evaluate_on(Path("runs/roberta"), 1, read_manifest(OTHER), **options)
    assert (computed, after["metrics"]["utterances"]) == (True, 15)


def test_two_corpora_of_one_name_do_not_overwrite_each_other(place, encoders):
    write_other(Path("other"))
    write_other(Path("again"), classes=dict(reversed(ORDER.items())))
    for name in ("other", "again"):
        extract_other(encoders, Path(name) / "cache/manifest.csv")
    succeed("evaluate", "--fold", 1, "--manifest", OTHER)
    message = fail("evaluate", "--fold", 1, "--manifest", "again/cache/manifest.csv")
    assert "has the same name, elsewhere" in message
    assert "prepare … --name NAME" in message
    two = ["--test-on", OTHER, "--test-on", "again/cache/manifest.csv"]
    assert "have the same name, elsewhere" in fail("cv", *two)


def test_speakers_with_a_name_that_training_has_are_warned_about(place, encoders):
    manifest = write_other(Path("other"))
    OTHER.write_text(OTHER.read_text().replace("other-1F,", "1F,"))
    extract_other(encoders)
    assert "1 speakers have the same name in the training corpus (1F)" in invoke(
        "evaluate", "--fold", 1, "--manifest", manifest.path
    ).stderr.replace("\n", " ")


def test_dialogues_of_two_sessions_with_one_name_stay_apart(place, encoders):
    write_other(Path("other"))
    header, *rows = OTHER.read_text().splitlines()
    cells = [row.split(",", len(COLUMNS) - 1) for row in rows]
    for row in cells:
        row[COLUMNS.index("dialogue")] = "d1"
    OTHER.write_text("\n".join([header, *(",".join(row) for row in cells)]) + "\n")
    extract_other(encoders)
    succeed("evaluate", "--run", "roberta", "--manifest", OTHER)
    written = read_predictions(paths.fold(Path("runs/roberta"), 1).on("elsewhere").predictions)
    assert {row["dialogue"] for row in written} == {"1/d1", "2/d1"}


def test_a_model_that_holds_nothing_out_is_scored_on_other_corpora_only(place, encoders):
    write_other(Path("other"))
    extract_other(encoders)
    assert "holds nothing out" in fail("evaluate", "--run", "all", "--fold", "none", code=2)
    succeed("evaluate", "--run", "all", "--manifest", OTHER)
    report = json.loads(succeed("--json", "report", "--run", "all").stdout)
    assert [(row["trained_on"], row["models"]) for row in report["other_corpora"]] == [("folds", 1), ("everything", 1)]


def test_cv_extracts_and_tests_and_the_report_has_rows_of_their_own(tmp_path, manifest, encoders):
    write_other(tmp_path / "other")
    command = ["cv", "--systems", "roberta", "--seeds", "1,2", *encoders, "--epochs", 1, "--test-on", OTHER]
    succeed(*command)
    report = json.loads(Path("runs/report/report.json").read_text())
    (row,) = report["other_corpora"]
    assert (row["corpus"], row["system"], row["models"], row["utterances"]) == ("elsewhere", "roberta", 4, 16)
    scores = [evaluation(run, fold)["metrics"]["ua"] for run in ("roberta", "roberta-seed2") for fold in (1, 2)]
    assert row["summary"]["ua"]["mean"] == pytest.approx(sum(scores) / 4)
    (system,) = report["systems"]
    assert {fold["utterances"] for fold in system["selections"]["final"]["folds"]} == {8}
    assert "On other corpora" in Path("runs/report/report.html").read_text()
    again = json.loads(succeed("--json", *command).stdout)
    assert {job["state"] for job in again["jobs"]} == {"was done"}
