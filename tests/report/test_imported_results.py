"""Predictions from elsewhere: what is taken from whom, and one clear message for every bad file."""

import numpy as np
import pytest
from helpers.run_example import LABELS, TRUTH, write_run

from mmer_pipeline.errors import UserError
from mmer_pipeline.report.imported_results import classes_of, known_utterances, read_import, read_rows
from mmer_pipeline.report.run_results import read_systems

HEADER = "utterance_id,truth,prediction,probability_happy,probability_sad"
ROW = "1u0,happy,sad,0.25,0.75"


@pytest.fixture
def known(tmp_path):
    return known_utterances(read_systems([write_run(tmp_path / "r")])[0])


def bring(tmp_path, text, known=None, labels=None):
    path = tmp_path / "theirs.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    rows = read_rows(path)
    return read_import("theirs", path, rows, labels or classes_of(rows), known or {})


def test_fold_speaker_and_dialogue_are_those_of_our_own_runs(tmp_path, known):
    system, notes = bring(tmp_path, f"{HEADER},fold,speaker\n{ROW},7,someone\n2u5,happy,happy,1,0,,\n", known, LABELS)
    rows = system.held_out
    assert rows.folds == (1, 2)
    assert rows.speakers == ("s1", "s2")
    assert rows.clusters == ("1/d10", "2/d22")
    assert system.held_outs == {1: "1", 2: "2"}
    assert rows.truth.tolist() == [0, 0]
    assert rows.predicted.tolist() == [1, 0]
    assert rows.probabilities.tolist() == [[0.25, 0.75], [1.0, 0.0]]
    assert notes == ["theirs has no prediction for 10 utterances of our runs; comparisons leave them out."]


def test_without_any_run_the_file_says_where_an_utterance_belongs(tmp_path):
    text = "utterance_id,fold,speaker,dialogue,truth,prediction\na,2,S,D,joy,rage\nb,1,S,,rage,rage\nc,1,,,joy,joy\n"
    system, notes = bring(tmp_path, text)
    assert system.held_out.folds == (2, 1, 1)
    assert system.held_out.clusters == ("2/D", "1/S", "1/c")
    assert system.held_out.probabilities is None
    assert notes == []


def test_a_file_without_folds_is_one_part_when_it_stands_alone(tmp_path):
    system, _ = bring(tmp_path, "utterance_id,truth,prediction\na,x,x\nb,y,x\n")
    assert system.held_outs == {1: "all"}


def test_an_empty_truth_is_that_of_our_own_runs(tmp_path, known):
    text = "utterance_id,truth,prediction,fold\n1u0,,sad,\n2u1,,sad,\n2u5,happy,sad,\nnew,sad,sad,3\n"
    system, _ = bring(tmp_path, text, known, LABELS)
    assert [LABELS[number] for number in system.held_out.truth] == ["happy", "sad", "happy", "sad"]


def test_an_empty_truth_is_not_a_class(tmp_path):
    text = "utterance_id,truth,prediction\na,,joy\nb,rage,joy\n"
    (tmp_path / "theirs.csv").write_text(text)
    assert classes_of(read_rows(tmp_path / "theirs.csv")) == ["joy", "rage"]


def test_an_empty_truth_without_any_run_is_refused(tmp_path):
    message = (
        r"line 2: truth is empty, and there is no run to take it from\. Expected one of happy, sad: "
        r"fill in the column, or report the file together with a run of its corpus\."
    )
    with pytest.raises(UserError, match=message):
        bring(tmp_path, f"{HEADER}\n1u0,,sad,0.5,0.5\n")


def test_an_utterance_that_our_runs_lack_is_counted_and_said(tmp_path, known):
    everything = "".join(f"{fold}u{i},{LABELS[truth]},sad\n" for fold in TRUTH for i, truth in enumerate(TRUTH[fold]))
    _, notes = bring(
        tmp_path,
        "utterance_id,truth,prediction,fold\n" + everything.replace("\n", ",\n") + "new,sad,sad,3\n",
        known,
        LABELS,
    )
    assert notes == [
        "theirs has predictions for 1 utterances that are in none of our runs; comparisons leave them out."
    ]


def test_a_prediction_that_is_not_the_most_probable_class_counts_and_is_said(tmp_path, known):
    system, notes = bring(tmp_path, f"{HEADER}\n1u0,happy,happy,0.25,0.75\n", known, LABELS)
    assert system.held_out.predicted.tolist() == [0]
    assert any("In 1 rows of theirs the prediction is not the most probable class" in note for note in notes)


def test_a_spreadsheet_s_byte_order_mark_and_rounding_are_taken(tmp_path):
    system, _ = bring(tmp_path, b"\xef\xbb\xbf" + f"{HEADER}\na,happy,sad,0.333,0.6666\n".encode())
    assert np.allclose(system.held_out.probabilities, [[0.333, 0.6666]])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("utterance_id,truth\na,b\n", r"missing columns: prediction\. Found: utterance_id, truth\. Required"),
        ("utterance_id;truth;prediction\n", "separated by `;`"),
        (f"{HEADER}\n", "no rows below its header"),
        ("", "missing columns: utterance_id, truth, prediction. Found: none"),
        (b"\xff\xfe\x00u", "not a UTF-8 CSV file"),
        (f'{HEADER}\n"1u0,happy', "not a UTF-8 CSV file"),
        (f"{HEADER}\n1u0,happy\n", "line 2: expected 5 cells, found 2"),
        (f"{HEADER}\n{ROW},more,still\n", "line 2: expected 5 cells, found 7"),
        (f"{HEADER}\n,happy,sad,0.5,0.5\n", "line 2: utterance_id is empty"),
        (f"{HEADER}\n{ROW}\n{ROW}\n", "line 3: utterance_id '1u0' already appears on line 2"),
        (f"{HEADER}\n1u0,happy,bored,0.5,0.5\n", "line 2: prediction is 'bored', expected one of happy, sad"),
        (f"{HEADER}\n1u0,sad,sad,0.5,0.5\n", "line 2: the truth of 1u0 is sad, but happy in our runs"),
        (f"{HEADER}\nnew,,sad,0.5,0.5\n", r"line 2: truth is empty, and new is in none of our runs\. Exp"),
        (f"{HEADER}\n1u0,happy,sad,0.5,x\n", "line 2: probability_sad is 'x'"),
        (f"{HEADER}\n1u0,happy,sad,0.5,nan\n", "line 2: probability_sad is 'nan'"),
        (f"{HEADER}\n1u0,happy,sad,1.5,-0.5\n", "line 2: probability_sad is '-0.5'"),
        (f"{HEADER}\n1u0,happy,sad,2.5,0.75\n", "line 2: the probabilities add up to 3.25"),
        (f"{HEADER}\nnew,happy,sad,0.5,0.5\n", "new is in none of our runs, and the file does not give its fold"),
        (f"{HEADER},fold\nnew,happy,sad,0.5,0.5,first\n", "line 2: fold is 'first'"),
        ("utterance_id,truth,prediction,probability_sad\n1u0,happy,sad,1\n", "expected probability_happy, prob"),
    ],
)  # fmt: skip
def test_a_bad_file_gets_one_clear_message(tmp_path, known, text, message):
    with pytest.raises(UserError, match=message):
        bring(tmp_path, text, known, LABELS)


def test_a_file_that_is_not_there_or_is_a_directory(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        read_rows(tmp_path / "nothing.csv")
    with pytest.raises(UserError, match="cannot be read: Is a directory"):
        read_rows(tmp_path)
