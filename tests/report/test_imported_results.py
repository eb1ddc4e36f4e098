"""Predictions from elsewhere: what is taken from whom, and one clear message for every bad file."""

from dataclasses import replace

import numpy as np
import openpyxl
import pytest
from helpers.run_example import LABELS, TRUTH, write_run

from mmer_pipeline.errors import UserError
from mmer_pipeline.report.imported_results import Import, name_of, read_import
from mmer_pipeline.report.known_utterances import KnownUtterances
from mmer_pipeline.report.run_results import read_systems

IDS = [f"{fold}u{number}" for fold, truths in TRUTH.items() for number in range(len(truths))]
HEADER = "utterance_id,truth,prediction,probability_happy,probability_sad"
ROW = "1u0,happy,sad,0.25,0.75"


@pytest.fixture
def known(tmp_path):
    return KnownUtterances.of(read_systems([write_run(tmp_path / "r")])[0])


def bring(tmp_path, text, known=None, labels=(), columns=None, name="theirs.csv"):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    system, _, notes = read_import("theirs", Import(path, columns=columns or {}), labels, known or KnownUtterances())
    return system, notes


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
    assert notes == [
        "theirs has predictions for 2 of the 12 utterances of our runs, all in folds 1, 2. Its own row is about these "
        "alone; comparisons use the utterances that both systems have."
    ]


@pytest.mark.parametrize(
    ("folds", "other"),
    [
        ({}, 0),
        ({name: "c" if name[0] == "1" else "ab"[int(name[0]) - 2] for name in IDS}, 0),
        ({"2u0": "1", "2u1": "3"}, 2),
        (dict.fromkeys(IDS, "1"), 6),
    ],
    ids=["same", "other names", "two moved", "one fold"],
)
def test_folds_that_contradict_ours_are_counted_and_ours_kept(tmp_path, known, folds, other):
    rows = "".join(f"{name},sad,{folds.get(name, name[0])}\n" for name in IDS)
    system, notes = bring(tmp_path, f"utterance_id,prediction,fold\n{rows}", known, LABELS)
    assert system.held_out.folds == tuple(int(name[0]) for name in IDS)
    said = f"theirs has {other} of 12 utterances in other folds than our runs"
    assert [note.startswith(said) for note in notes] == ([True] if other else [])


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


def test_a_file_that_is_alone_gives_the_classes(tmp_path):
    (tmp_path / "theirs.csv").write_text("truth,prediction\nsad,Happiness\nhappy,SAD\nhappy,calm\n")
    system, labels, notes = read_import("theirs", Import(tmp_path / "theirs.csv"), (), KnownUtterances())
    assert labels == ["happy", "sad", "calm"]
    assert system.held_out.predicted.tolist() == [0, 1, 2]
    assert notes == ["theirs was read with Happiness = happy, SAD = sad."]


def test_an_empty_truth_without_any_run_is_refused(tmp_path):
    message = (
        r"row 2: truth is empty, and no run has this utterance\. "
        r"Fill in the truth, or report the file together with a run of its corpus\."
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
        ("utterance_id,truth\na,b\n", r"missing columns: prediction\. Found: utterance_id, truth\. .*--import-column"),
        ("truth\na\n", r"missing columns: prediction\. F"),
        (f"{HEADER}\n", "no rows below its header"),
        ("", "is empty"),
        (b"u\xff\xfe\x00", "is not text in UTF-8"),
        (f'{HEADER}\n"1u0,happy', "row 2: not CSV"),
        ("utterance_id,truth,truth,prediction\na,b,b,b\n", "column truth appears twice"),
        (f"{HEADER}\n1u0,happy\n", "row 2: expected 5 cells, found 2"),
        (f"{HEADER}\n{ROW},more,still\n", "row 2: expected 5 cells, found 7"),
        (f"{HEADER}\n,happy,sad,0.5,0.5\n", "row 2: utterance_id is empty"),
        (f"{HEADER}\n{ROW}\n{ROW}\n", "row 3: utterance_id '1u0' already appears in row 2"),
        (f"{HEADER}\n1u0,happy,bored,0.5,0.5\n", "row 2: prediction is 'bored', expected one of happy, sad"),
        (f"{HEADER}\n1u0,sad,sad,0.5,0.5\n", "row 2: the truth of 1u0 is sad, but happy in our runs"),
        (f"{HEADER},fold\nnew,,sad,0.5,0.5,1\n", r"row 2: truth is empty, and our runs do not have this utterance"),
        (f"{HEADER}\n1u0,happy,sad,0.5,x\n", "row 2: probability_sad is 'x'"),
        (f"{HEADER}\n1u0,happy,sad,0.5,nan\n", "row 2: probability_sad is 'nan'"),
        (f"{HEADER}\n1u0,happy,sad,1.5,-0.5\n", "row 2: probability_sad is '-0.5'"),
        (f"{HEADER}\n1u0,happy,sad,2.5,0.75\n", "row 2: the probabilities add up to 3.25"),
        (f"{HEADER}\nnew,happy,sad,0.5,0.5\n", "none of its 1 utterances is in our runs: 'new' is not like '1u0'"),
        (f"{HEADER},fold\nnew,happy,sad,0.5,0.5,first\n", "row 2: fold is 'first'"),
        ("utterance_id,truth,prediction,probability_sad\n1u0,happy,sad,1\n", "expected probability_happy, prob"),
        ("utterance_id,truth,prediction\n1u0,,1\n", r"prediction is '1', expected one of .*config\.json"),
        ("[1]", "entry 1: expected an object with the recording"),
        ('[{"a": 1]', "is not JSON"),
        ('[[{"label": "sad", "score": 1}]]', "found a list of labels without a recording"),
    ],
)
def test_a_bad_file_gets_one_clear_message(tmp_path, known, text, message):
    with pytest.raises(UserError, match=message):
        bring(tmp_path, text, known, LABELS)


def test_a_file_that_is_not_there_or_is_a_directory(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        read_import("x", Import(tmp_path / "nothing.csv"), (), KnownUtterances())
    with pytest.raises(UserError, match="cannot be read: Is a directory"):
        read_import("x", Import(tmp_path), (), KnownUtterances())


def test_all_faults_are_in_one_message_and_equal_ones_on_one_line(tmp_path, known):
    text = "utterance_id,truth,prediction\n1u0,happy,bored\n1u1,happy,bored\n1u2,sad,sad\n,sad,sad\n"
    with pytest.raises(UserError) as error:
        bring(tmp_path, text, known, LABELS)
    assert str(error.value).splitlines()[1:] == [
        "  row 5: utterance_id is empty",
        "  row 2 (and 1 more): prediction is 'bored', expected one of happy, sad",
        "  row 4: the truth of 1u2 is sad, but happy in our runs",
        "Both must be scored against the same labels. Correct the file or the label map; or give --import-column "
        "truth=, so that the file's truth is not read, but that of our runs.",
    ]


def test_a_conflict_through_a_label_map_shows_the_map_and_the_way_out_works(tmp_path, known):
    mapped = replace(known, corpus_labels={"hap": "happy", "sadness": "happy", "sad": "sad"})  # sadness: a slip
    text = "utterance_id,truth,prediction\n1u0,hap,sad\n1u3,sadness,sad\n"
    with pytest.raises(UserError) as error:
        bring(tmp_path, text, mapped, LABELS)
    assert "row 3: the truth of 1u3 is happy ('sadness'), but sad in our runs" in str(error.value)
    assert "same labels (our label map: happy = hap, sadness; sad = sad). Correct" in str(error.value)
    system, _ = bring(tmp_path, text, mapped, LABELS, {"truth": ""})
    assert system.held_out.truth.tolist() == [0, 1]


@pytest.mark.parametrize("form", ["sep=", "cp1252", "utf-16", "blank rows", "workbook"])
def test_an_import_may_be_every_table_that_prepare_reads(tmp_path, known, form):
    rows = [["utterance_id", "prediction", "Bemerkung"], ["1u0", "sad", "grün"], ["1u1", "happy", ""]]
    text = "".join(";".join(row) + "\n" for row in rows)
    if form == "workbook":
        book = openpyxl.Workbook()
        for row in rows:
            book.active.append(row)
        book.save(tmp_path / "t.xlsx")
        data, name = (tmp_path / "t.xlsx").read_bytes(), "t.xlsx"
    else:
        marked = {"sep=": "sep=;\n" + text, "blank rows": text + ";;\n"}.get(form, text)
        data, name = marked.encode(form if form in ("cp1252", "utf-16") else "utf-8"), "t.csv"
    system, notes = bring(tmp_path, data, known, LABELS, name=name)
    assert system.held_out.utterance_ids == ("1u0", "1u1")
    assert system.held_out.predicted.tolist() == [1, 0]
    assert any("not UTF-8" in note for note in notes) == (form == "cp1252")


def test_many_faults_are_counted(tmp_path, known):
    text = "utterance_id,truth,prediction\n" + "".join(f"{name},,odd{n}\n" for n, name in enumerate(IDS * 2))
    with pytest.raises(UserError) as error:
        bring(tmp_path, text, known, LABELS)
    lines = str(error.value).splitlines()
    assert lines[0].endswith("has 36 faults:")
    assert lines[-1] == "  and 16 more faults"
    assert len(lines) == 22


def test_a_column_of_another_name_is_given(tmp_path, known):
    system, notes = bring(tmp_path, "utt;wahr;geraten\n1u0;Happy;SAD\n", known, LABELS,
                          {"truth": "wahr", "prediction": "geraten"})  # fmt: skip
    assert (system.held_out.truth.tolist(), system.held_out.predicted.tolist()) == ([0], [1])
    assert notes[0] == "theirs was read with utterance_id = utt; Happy = happy, SAD = sad."


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            {"truht": "wahr"},
            r"--import-column truht=…: there is no such role\. Expected ROLE=COLUMN, where",
        ),
        ({"truth": "x"}, "'x' .* is not in the f"),
    ],
)
def test_a_given_column_that_does_not_exist_is_refused(tmp_path, known, columns, message):
    with pytest.raises(UserError, match=message):
        bring(tmp_path, "utterance_id,truth,prediction\n1u0,happy,sad\n", known, LABELS, columns)


def test_a_role_that_the_file_does_not_have_is_given_without_a_column(tmp_path, known):
    text = "utterance_id,label,prediction\n1u0,sad,sad\n"
    with pytest.raises(UserError, match="the truth of 1u0 is sad, but happy in our runs"):
        bring(tmp_path, text, known, LABELS)
    assert bring(tmp_path, text, known, LABELS, {"truth": ""})[0].held_out.truth.tolist() == [0]


def test_columns_are_matched_as_those_of_a_corpus(tmp_path, known):
    text = "Utterance-ID;Gefühl;Prediccion\n1u0;happy;sad\n"
    system, _ = bring(tmp_path, text, known, LABELS)
    assert (system.held_out.truth.tolist(), system.held_out.predicted.tolist()) == ([0], [1])
    text = "utt_id,y_pred,pred\n1u0,sad,happy\n"
    with pytest.raises(UserError, match=r'prediction: --import-column prediction="y_pred" or .*prediction="pred", or'):
        bring(tmp_path, text, known, LABELS)
    assert bring(tmp_path, text, known, LABELS, {"prediction": "pred"})[0].held_out.predicted.tolist() == [0]


def test_names_come_from_the_file_or_the_folder_of_a_file_that_says_nothing(tmp_path):
    named = {
        path: name_of(Import(tmp_path / path), ()) for path in ("a/svm.csv", "a/results.csv", "b/test_preds.jsonl")
    }
    assert list(named.values()) == ["svm", "a", "b"]
    assert name_of(Import(tmp_path / "b/svm.csv"), ["svm"]) == "b/svm"
    assert name_of(Import(tmp_path / "a/results.csv"), ["a", "a/results"]) == "a-2"
    with pytest.raises(UserError, match=r"The name svm is already used .* Choose another --name"):
        name_of(Import(tmp_path / "x.csv", "svm"), ["svm"])
