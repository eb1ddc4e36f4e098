"""Files of other programs are read as they are: scikit-learn, Hugging Face, nkululeko."""

import json

import numpy as np
import pandas as pd
import pytest
from helpers.run_example import LABELS, TRUTH, write_run
from scipy.special import softmax
from sklearn.metrics import accuracy_score

from mmer_pipeline.corpora.labels import LabelMap
from mmer_pipeline.corpora.manifest import write_manifest
from mmer_pipeline.corpora.utterances import Utterance
from mmer_pipeline.errors import UserError
from mmer_pipeline.report.build_report import make_report
from mmer_pipeline.report.class_names import names_of, numbers_by_truth
from mmer_pipeline.report.imported_results import Import, read_import
from mmer_pipeline.report.known_utterances import Known, KnownUtterances
from mmer_pipeline.report.run_results import read_systems

IDS = [f"{fold}u{number}" for fold, truths in TRUTH.items() for number in range(len(truths))]
TRUTHS = [LABELS[truth] for truths in TRUTH.values() for truth in truths]
SHORT = {"happy": "hap", "sad": "Sad"}


@pytest.fixture
def run(tmp_path):
    """A run whose manifest has recordings, `session-1/rec-1u0.wav` …, two of them of the same name."""
    utterances = [
        Utterance(name, audio_of(name), None, None, f"s{name[0]}", name[0], f"d{name[:2]}",
                  "exc" if name == "2u0" else emotion, "")
        for name, emotion in zip(IDS, TRUTHS, strict=True)
    ]  # fmt: skip
    classes = LabelMap("own", {"happy": ("happy", "exc"), "sad": ("sad",)}, ())
    (tmp_path / "corpus").mkdir()
    write_manifest(tmp_path / "manifest.csv", utterances, root=tmp_path / "corpus", corpus="made up", label_map=classes)
    return write_run(tmp_path / "r", facts={"manifest": str(tmp_path / "manifest.csv")})


def audio_of(name):
    return f"session-{name[0]}/" + ("same.wav" if name in ("1u1", "2u1") else f"rec-{name}.wav")


@pytest.fixture
def known(run):
    return KnownUtterances.of(read_systems([run])[0])


def bring(path, known, labels=LABELS):
    system, _, notes = read_import("theirs", Import(path), labels, known)
    return system.held_out, notes


def labels_of(numbers):
    return [LABELS[number] for number in numbers]


def test_scikit_learn_s_variables_without_ids_are_scored_but_not_matched(run, tmp_path):
    """A file sorted by class has every truth of the manifest's order, and yet other utterances."""
    frame = pd.DataFrame({"y_true": TRUTHS, "y_pred": ["sad"] * len(IDS), "proba_sad": 0.75, "proba_happy": 0.25})
    frame.to_csv(tmp_path / "svm.csv")
    report = make_report([run], [Import(tmp_path / "svm.csv"), Import(tmp_path / "svm.csv", "again")])
    theirs = report.system("svm")
    assert (theirs.utterances, theirs.folds_expected, theirs.is_complete, theirs.speakers) == (len(IDS), 1, True, ())
    assert theirs.selections.final.summary["wa"].pooled == pytest.approx(accuracy_score(TRUTHS, frame.y_pred))
    assert report.pairs == ()
    assert report.held_out.utterances == len(IDS)
    assert any("svm does not say which utterance a row is about, so it is scored by itself" in n for n in report.notes)


def test_rows_without_ids_and_without_truths_are_refused(tmp_path, known):
    (tmp_path / "t.csv").write_text("y_pred\nsad\n")
    with pytest.raises(UserError, match=r"missing columns: utterance_id, or audio .*, or truth"):
        bring(tmp_path / "t.csv", known)


def test_the_trainer_s_label_ids_and_logits_with_the_model_s_config(tmp_path, known):
    logits = np.array([[2.0, -1.0], [0.5, 0.25]])
    frame = pd.DataFrame({"id": ["1u0", "1u3"], "label_ids": [1, 0], "predictions": logits.tolist()})
    (tmp_path / "config.json").write_text(json.dumps({"id2label": {"0": "SADNESS", "1": "hap"}}))
    for name, write in (("t.csv", lambda path: frame.to_csv(path, index=False)),
                        ("t.jsonl", lambda path: frame.to_json(path, orient="records", lines=True))):  # fmt: skip
        write(tmp_path / name)
        held_out, notes = bring(tmp_path / name, known)
        assert labels_of(held_out.truth) == ["happy", "sad"]
        assert labels_of(held_out.predicted) == ["sad", "sad"]
        assert np.allclose(held_out.probabilities, softmax(logits, axis=1)[:, ::-1])
        assert "0 = sad, 1 = happy (config.json)" in notes[0]


def test_numbers_of_classes_are_told_from_the_truth(tmp_path, known):
    frame = pd.DataFrame({"file": [f"/data/{audio_of(name)}" for name in IDS],
                          "label": [1.0 if truth == "happy" else 0.0 for truth in TRUTHS],
                          "pred": 0, "logit_0": 3.0, "logit_1": 1.0})  # fmt: skip
    frame.to_csv(tmp_path / "t.csv", index=False)
    held_out, notes = bring(tmp_path / "t.csv", known)
    assert list(held_out.utterance_ids) == IDS
    assert labels_of(held_out.predicted) == ["sad"] * len(IDS)
    assert np.allclose(held_out.probabilities, softmax([1.0, 3.0]))
    assert "0 = sad, 1 = happy (from the true classes)" in notes[0]


def test_numbers_that_do_not_agree_with_the_truth_mean_nothing():
    assert numbers_by_truth([("0", "sad"), ("LABEL_1", "happy"), ("0.0", "sad")]) == {0: "sad", 1: "happy"}
    assert numbers_by_truth([("0", "sad"), ("0", "happy")]) is None
    assert numbers_by_truth([("0", "sad"), ("1", "sad")]) is None
    assert numbers_by_truth([("sad", "sad")]) is None


SCORES = [{"label": "Sad", "score": 0.75}, {"label": "hap", "score": 0.25}]


@pytest.mark.parametrize(
    "value",
    [
        [{"file": "C:\\data\\session-1\\same.wav", "scores": SCORES}, {"file": "rec-2u0.wav", "scores": SCORES}],
        {"session-1/same.wav": SCORES, "x/rec-2u0.flac": SCORES},
        [["session-1/same.wav", SCORES], ["2u0.wav", SCORES]],
    ],
    ids=["objects", "by name", "pairs"],
)
def test_a_pipeline_s_labels_and_scores_without_truths(tmp_path, known, value):
    (tmp_path / "p.json").write_text(json.dumps(value))
    held_out, notes = bring(tmp_path / "p.json", known)
    assert held_out.utterance_ids == ("1u1", "2u0")
    assert labels_of(held_out.truth) == ["happy", "happy"]
    assert labels_of(held_out.predicted) == ["sad", "sad"]
    assert held_out.probabilities.tolist() == [[0.25, 0.75]] * 2
    assert "2 utterances found by the names of their recordings" in notes[0]
    assert "Sad = sad" in notes[0]


def test_a_recording_that_two_utterances_have_is_not_guessed(known):
    assert known.by_recording("same.wav") is None
    assert known.by_recording("/elsewhere/session-2/same.wav") == "2u1"


def test_a_recording_is_found_before_an_id_of_the_same_name(tmp_path):
    place = [Known(1, "1", "s", f"1/d{number}", number) for number in range(2)]
    known = KnownUtterances(
        {"1": place[0], "2": place[1]}, tuple(LABELS),
        paths={"1": ("2.wav",), "2": ("1.wav",)},
    )  # fmt: skip
    (tmp_path / "t.csv").write_text("file,truth,prediction\n1.wav,sad,sad\n2,happy,sad\n")
    held_out, _ = bring(tmp_path / "t.csv", known)
    assert held_out.utterance_ids == ("2", "1")


def test_the_suffix_of_a_recording_does_not_matter_where_names_repeat(known):
    assert known.by_recording("session-2/same.npy") == "2u1"
    assert known.by_recording("D:\\x\\session-1\\same") == "1u1"
    assert known.by_recording("session-3/same.npy") is None


class Counted(dict):
    """A dictionary that counts how often somebody goes through all of it."""

    walks = 0

    def items(self):
        self.walks += 1
        return super().items()


@pytest.mark.parametrize("path", ["{}/same.wav", "corpus/{}/same.wav", "{}\\same"])
def test_each_of_many_recordings_of_the_same_name_is_found_without_looking_at_all_others(path):
    ids = [f"u{number}" for number in range(100)]
    paths = Counted({name: ("corpus", name, "same.wav") for name in ids})
    known = KnownUtterances({name: Known(1, "1", "s", "d", 0) for name in ids}, tuple(LABELS), paths=paths)
    assert [known.by_recording(path.format(name)) for name in ids] == ids
    assert known.by_recording("same.wav") is None
    assert paths.walks == 1


def test_the_best_label_of_a_pipeline_is_not_the_truth(tmp_path, known):
    (tmp_path / "p.csv").write_text("file,label,score\nrec-1u0.wav,sad,0.9\n")
    held_out, _ = bring(tmp_path / "p.csv", known)
    assert (labels_of(held_out.truth), labels_of(held_out.predicted)) == (["happy"], ["sad"])


def test_nkululeko_s_result_file(tmp_path, known):
    """As its `Reporter.print_probabilities` writes it: the index, a column per class, and what it adds."""
    frame = pd.DataFrame({"happiness": [1.5, -0.5], "sadness": [0.5, 2.5], "predicted": ["happiness", "sadness"],
                          "truth": ["happiness", "sadness"], "uncertainty": 0.1, "correct": True})  # fmt: skip
    frame.index = pd.MultiIndex.from_tuples([("./rec-1u0.wav", "0 days", ""), ("./rec-1u3.wav", "0 days", "")],
                                            names=["file", "start", "end"])  # fmt: skip
    frame.to_csv(tmp_path / "results.csv")
    held_out, notes = bring(tmp_path / "results.csv", known)
    assert held_out.utterance_ids == ("1u0", "1u3")
    assert np.allclose(held_out.probabilities, softmax([[1.5, 0.5], [-0.5, 2.5]], axis=1))
    assert "taken as logits (softmax)" in " ".join(notes)


def test_names_of_classes_are_translated_only_where_there_is_one_meaning():
    ours = ["happy", "angry", "neutral", "sad"]
    assert names_of(["hap", "ANGER", "neu", "Sad"], ours, {}).of == dict(
        zip(["hap", "ANGER", "neu", "Sad"], ours, strict=True)
    )
    assert names_of(["exc"], ours, {}).of == {}
    assert names_of(["exc"], ours, {"exc": "happy"}).of == {"exc": "happy"}
    assert names_of(["hap"], ["happy", "joy"], {}).of == {}
    assert names_of(["calm"], ours, {}).of == {}


def test_a_part_of_the_corpus_is_not_a_cross_validation_of_one_fold(run, tmp_path):
    path = tmp_path / "fold1.csv"
    path.write_text("utterance_id,prediction\n" + "".join(f"{name},sad\n" for name in IDS if name[0] == "1"))
    report = make_report([run], [Import(path)])
    theirs = report.system("fold1")
    assert (theirs.folds_expected, theirs.is_complete, theirs.utterances) == (3, False, 4)
    assert report.pairs[0].utterances == 4
    assert any("4 of the 12 utterances of our runs, all in fold 1." in note for note in report.notes)


def test_utterances_that_our_runs_lack_are_left_out_and_counted(run, tmp_path):
    path = tmp_path / "more.csv"
    path.write_text("utterance_id,prediction\n" + "".join(f"{name},sad\n" for name in [*IDS, "new1", "new2"]))
    report = make_report([run], [Import(path)])
    assert report.system("more").utterances == 12
    assert "2 rows of more are left out: our runs do not have these utterances." in report.notes


def test_scores_that_are_neither_probabilities_nor_logits_are_not_used(tmp_path, known):
    (tmp_path / "t.csv").write_text("id,prediction,happy,sad\n1u0,sad,30,70\n")
    held_out, notes = bring(tmp_path / "t.csv", known)
    assert held_out.probabilities is None
    assert "theirs: its scores do not add up to 1, and are not used as probabilities." in notes
