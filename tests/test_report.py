"""The report: three numbers kept apart, pooled values, holes named."""

import csv
import json

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, recall_score

from mmer_pipeline import files, paths
from mmer_pipeline.errors import UserError
from mmer_pipeline.metrics import Predictions, score
from mmer_pipeline.report import read_run, summarise
from mmer_pipeline.report_text import markdown
from mmer_pipeline.runs import digest_of_file
from mmer_pipeline.settings import RunRecord, Settings

LABELS = ["happy", "sad"]
FACTS = {
    "folds": ["1", "2", "3"],
    "corpus": "made up",
    "device": "cpu",
    "platform": "none",
    "python": "3",
    "versions": {},
    "git_commit": None,
    "without_ctc_target": 0,
}


def predictions(truth, predicted):
    probabilities = np.where(np.eye(2)[predicted] == 1, 0.8, 0.2)
    names = tuple(f"u{i}" for i in range(len(truth)))
    return Predictions(names, np.array(truth), probabilities, ("",) * len(truth), ("",) * len(truth))


def write_fold(run, number, truth, epochs, chosen_on=None, **settings):
    """A fold whose held-out predictions of each epoch are given; the last epoch is the final one."""
    fold = paths.fold(run, number)
    record = RunRecord(Settings(fold=number, **settings), {"labels": LABELS, "manifest": "m", "text_features": "t",
                       "speech_features": "s", "held_out": str(number)}, FACTS)  # fmt: skip
    record.write(fold.settings)
    lines = [
        {
            "epoch": epoch + 1,
            "train": {"loss": 1.0, "ce": 1.0, "ctc": None},
            "held_out": score(predictions(truth, predicted), LABELS),
            "validation": score(predictions(*chosen_on[epoch]), LABELS) if chosen_on else None,
            "speed": {"seconds": 1.0, "utterances_per_second": 10.0 * number},
        }
        for epoch, predicted in enumerate(epochs)
    ]
    files.write_text(fold.metrics, "".join(map(files.json_line, lines)))
    fold.model.mkdir(parents=True)
    (fold.model / "model.safetensors").touch()
    final = predictions(truth, epochs[-1])
    with fold.predictions.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["utterance_id", "fold", "speaker", "dialogue", "truth", "prediction",
                         "probability_happy", "probability_sad", "transcript_ctc"])  # fmt: skip
        for i, name in enumerate(final.utterance_ids):
            labels = [LABELS[truth[i]], LABELS[final.predicted[i]]]
            writer.writerow([f"{number}{name}", number, f"s{number}", f"d{number}{i // 2}", *labels,
                             *final.probabilities[i], ""])  # fmt: skip
    evaluation = {
        "identity": record.identity,
        "model_digest": digest_of_file(fold.weights),
        "predictions_digest": digest_of_file(fold.predictions),
        "fold": number,
        "held_out": str(number),
        "labels": LABELS,
        "metrics": lines[-1]["held_out"],
    }
    files.write_json(fold.evaluation, evaluation)


TRUTH = {1: [0, 0, 0, 1], 2: [0, 1, 1, 1, 1, 0], 3: [1, 0]}
EPOCHS = {
    1: [[0, 0, 0, 1], [0, 0, 1, 1], [0, 1, 1, 1]],
    2: [[0, 0, 0, 0, 0, 0], [0, 1, 1, 1, 1, 0], [0, 1, 1, 1, 0, 0]],
    3: [[1, 1], [1, 0], [1, 0]],
}


@pytest.fixture
def run(tmp_path):
    for number in (1, 2, 3):
        write_fold(tmp_path / "r", number, TRUTH[number], EPOCHS[number])
    return tmp_path / "r"


def test_final_is_the_last_epoch_and_oracle_the_best_one(run):
    report = summarise(read_run(run))
    final, oracle = (report["selections"][name] for name in ("final", "oracle"))
    assert [row["epoch"] for row in final["folds"]] == [3, 3, 3]
    assert [row["epoch"] for row in oracle["folds"]] == [1, 2, 2]  # the earliest of equals
    assert [row["wa"] for row in final["folds"]] == [0.5, 5 / 6, 1.0]
    assert oracle["summary"]["wa"]["mean"] == 1.0
    assert oracle["summary"]["wa"]["interval_95"] is None


def test_mean_and_sample_deviation_are_over_folds_and_pooled_is_over_utterances(run):
    summary = summarise(read_run(run))["selections"]["final"]["summary"]
    truth = np.concatenate([TRUTH[n] for n in TRUTH])
    predicted = np.concatenate([EPOCHS[n][-1] for n in TRUTH])
    assert summary["wa"]["mean"] == pytest.approx(np.mean([0.5, 5 / 6, 1.0]))
    assert summary["wa"]["sd"] == pytest.approx(np.std([0.5, 5 / 6, 1.0], ddof=1))
    assert summary["wa"]["pooled"] == pytest.approx(accuracy_score(truth, predicted))
    assert summary["ua"]["pooled"] == pytest.approx(recall_score(truth, predicted, average="macro"))
    low, high = summary["wa"]["interval_95"]
    assert low < summary["wa"]["pooled"] < high


def test_without_a_validation_part_there_is_no_validated_number(run):
    assert summarise(read_run(run))["selections"]["validated"] is None


def test_validated_takes_the_epoch_that_the_validation_part_prefers(tmp_path):
    validation = [([0, 1], [0, 0]), ([0, 1], [0, 1]), ([0, 1], [1, 0])]
    write_fold(tmp_path / "r", 1, TRUTH[1], EPOCHS[1], validation, validation="0.1")
    chosen = summarise(read_run(tmp_path / "r"))["selections"]["validated"]["folds"][0]
    assert (chosen["epoch"], chosen["wa"]) == (2, 0.75)


def test_missing_folds_are_named_with_the_command_that_makes_them(run):
    paths.fold(run, 2).evaluation.unlink()
    (paths.fold(run, 3).model / "model.safetensors").unlink()
    results = read_run(run)
    assert results.missing == {
        2: "trained, not evaluated: mmer-pipe evaluate --run r --fold 2",
        3: "not trained: mmer-pipe train --run r --fold 3",
    }
    text = markdown([summarise(results)])
    assert "1 of 3 folds: THE NUMBERS ARE NOT A CROSS-VALIDATION" in text
    assert "mmer-pipe train --run r --fold 3" in text


def test_a_fold_trained_again_since_its_evaluation_counts_as_not_evaluated(run):
    RunRecord(Settings(fold=1, seed=5), {"labels": LABELS}, FACTS).write(paths.fold(run, 1).settings)
    assert read_run(run).missing[1] == "trained, not evaluated: mmer-pipe evaluate --run r --fold 1"


def test_folds_with_different_settings_make_no_cross_validation(run, tmp_path):
    write_fold(tmp_path / "other", 1, TRUTH[1], EPOCHS[1], alpha=0.5)
    fold = paths.fold(run, 1).directory
    fold.rename(tmp_path / "away")
    paths.fold(tmp_path / "other", 1).directory.rename(fold)
    with pytest.raises(UserError, match=r"different settings(.|\n)*alpha: 0\.5 → 0\.1"):
        read_run(run)


def test_folds_that_name_the_same_encoder_differently_are_one_run(tmp_path):
    write_fold(tmp_path / "r", 1, TRUTH[1], EPOCHS[1], speech_encoder="../models/m")
    write_fold(tmp_path / "r", 2, TRUTH[2], EPOCHS[2], speech_encoder="/models/m")
    assert len(read_run(tmp_path / "r").folds) == 2


def test_the_report_is_plain_json_and_markdown_with_every_fold(run):
    report = summarise(read_run(run))
    assert json.loads(json.dumps(report, allow_nan=False))["confusion"] == [[4, 2], [1, 5]]
    text = markdown([report])
    assert "| 2 | 2 | 6 | 83.33 |" in text
    assert "| happy | 80.00 | 66.67 | 72.73 | 6 | 4 | 2 |" in text
    assert "The oracle is not a result" in text


def test_a_run_without_folds_says_what_to_do(tmp_path):
    with pytest.raises(UserError, match="mmer-pipe train --run nothing"):
        read_run(tmp_path / "nothing")
