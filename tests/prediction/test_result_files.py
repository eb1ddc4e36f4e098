"""Files of results: what they contain, and that a command that was killed goes on where it was."""

import csv
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mmer_pipeline import files, paths
from mmer_pipeline.corpora.transcripts import ASR
from mmer_pipeline.errors import Busy, UserError
from mmer_pipeline.prediction.inputs import find_items
from mmer_pipeline.prediction.result_files import ResultFile, request_key, rows_of
from mmer_pipeline.prediction.results import GIVEN, Item, Prediction
from mmer_pipeline.report.imported_results import Import, read_imports
from mmer_pipeline.runs import read_predictions

LABELS = ("happy", "sad")
ITEM = Item("talk", Path("in/talk.wav"), 1.5, None, "Hello.", "hap", "S", "D", "2")
OUTPUT = Path("out/results.csv")
PARTIAL = paths.partial_results(OUTPUT)


def prediction(happy: float = 0.75, start: float | None = None, end: float | None = None) -> Prediction:
    label = "happy" if happy > 0.5 else "sad"
    return Prediction(
        label, {"happy": happy, "sad": 1 - happy}, "hello", ASR, "HELO", start_seconds=start, end_seconds=end
    )


def rows(name: str) -> list[dict]:
    return rows_of(Item(name, Path(f"{name}.wav")), [prediction()], None, LABELS)


def write(path: Path, recordings: list[list[dict]]) -> None:
    with ResultFile(path, LABELS, "model") as results:
        for number, recording in enumerate(recordings):
            results.add({str(number): recording})
        results.finish(map(str, range(len(recordings))))


def names(path: Path) -> list[str]:
    return [row["utterance_id"] for row in read_predictions(path)]


def interrupted(*keys: str, identity: str = "model") -> None:
    """Do what a command does that is stopped after these recordings: it never comes to `finish`."""
    with ResultFile(OUTPUT, LABELS, identity) as results:
        for key in keys:
            results.add({key: rows(key)})


def test_one_prediction_is_a_row_with_the_item_s_own_id_and_times():
    (row,) = rows_of(ITEM, [prediction(np.float32(0.1))], "happy", LABELS)
    assert json.loads(json.dumps(row)) == row == {
        "utterance_id": "talk",
        "fold": "2",
        "speaker": "S",
        "dialogue": "D",
        "truth": "happy",
        "prediction": "sad",
        "probabilities": {"happy": 0.1, "sad": 0.9},
        "transcript_ctc": "HELO",
        "audio": "in/talk.wav",
        "start_seconds": 1.5,
        "end_seconds": None,
        "transcript": "hello",
        "transcript_source": "asr",
    }  # fmt: skip


def test_the_utterances_of_a_long_recording_have_numbers_and_times_of_their_own():
    made = rows_of(ITEM, [prediction(start=1.5, end=4.0), prediction(start=np.float64(4), end=9)], None, LABELS)
    times = [(row["utterance_id"], row["start_seconds"], row["end_seconds"]) for row in made]
    assert times == [("talk-0001", 1.5, 4.0), ("talk-0002", 4.0, 9.0)]
    assert {row["truth"] for row in made} == {None}
    json.dumps(made)


def test_a_csv_file_begins_with_the_columns_of_a_run_s_predictions():
    write(OUTPUT, [rows_of(ITEM, [prediction()], "happy", LABELS), rows("x")])
    assert OUTPUT.read_text() == (
        "utterance_id,fold,speaker,dialogue,truth,prediction,probability_happy,probability_sad,transcript_ctc,"
        "audio,start_seconds,end_seconds,transcript,transcript_source\n"
        "talk,2,S,D,happy,happy,0.750000,0.250000,HELO,in/talk.wav,1.5,,hello,asr\n"
        "x,,,,,happy,0.750000,0.250000,HELO,x.wav,,,hello,asr\n"
    )


def test_json_lines_have_the_same_names():
    path = Path("results.jsonl")
    write(path, [rows("x"), rows("ü")])
    assert files.read_json_lines(path) == rows("x") + rows("ü")
    assert "ü" in path.read_text(encoding="utf-8")


def test_the_report_imports_a_csv_file_of_results():
    write(OUTPUT, [rows_of(ITEM, [prediction()], "sad", LABELS)])
    (system,), classes, _ = read_imports([Import(OUTPUT, "ours")], [], [], [])
    assert (system.name, classes) == ("ours", list(LABELS))
    assert (system.held_out.truth.tolist(), system.held_out.predicted.tolist()) == ([1], [0])
    assert (system.held_out.folds, system.held_out.speakers, system.held_out.clusters) == ((2,), ("S",), ("2/D",))
    assert system.held_out.probabilities.tolist() == [[0.75, 0.25]]


def test_a_csv_file_of_results_can_be_predicted_again():
    Path("talk.wav").touch()
    output = Path("results.csv")
    write(output, [rows_of(Item("talk", Path("talk.wav"), 1.5), [prediction()], "sad", LABELS)])
    assert find_items([output], truth="truth").items == [Item("talk", Path("talk.wav"), 1.5, None, "hello", "sad")]


def test_cells_of_several_lines_and_undecodable_names_are_read_back():
    said = Prediction("happy", {"happy": 1.0, "sad": 0.0}, 'one\r\ntwo\rthree, "four"', GIVEN)
    write(OUTPUT, [rows_of(Item("a", Path(os.fsdecode(b"caf\xe9.wav"))), [said], None, LABELS)])
    with OUTPUT.open(newline="", encoding="utf-8") as stream:
        (row,) = csv.DictReader(stream)
    assert row["transcript"] == 'one\ntwo\nthree, "four"'
    assert row["audio"] == "caf\ufffd.wav"


def test_the_rows_are_in_the_order_of_the_inputs_and_those_of_other_inputs_are_left_out():
    interrupted("c", "b", "old")
    with ResultFile(OUTPUT, LABELS, "model") as results:
        results.add({"a": rows("a")})
        results.finish(["a", "b", "unreadable", "c"])
    assert names(OUTPUT) == ["a", "b", "c"]


def test_an_interrupted_command_goes_on():
    interrupted("a", "b")
    assert not OUTPUT.exists()
    with ResultFile(OUTPUT, LABELS, "model") as results:
        assert results.done == {"a": rows("a"), "b": rows("b")}
        results.add({"c": rows("c")})
        results.finish(results.done)
    assert names(OUTPUT) == ["a", "b", "c"]
    assert not PARTIAL.exists()


def test_a_killed_command_has_kept_every_finished_recording():
    code = (
        "import os, signal; from pathlib import Path; from mmer_pipeline.prediction.result_files import ResultFile\n"
        f"with ResultFile(Path({str(OUTPUT)!r}), {LABELS!r}, 'model') as results:\n"
        "    results.add({'a': []}); os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == -signal.SIGKILL
    with ResultFile(OUTPUT, LABELS, "model") as results:
        assert results.done == {"a": []}


@pytest.mark.parametrize(
    "torn", ['{"recordings": {"b', '{"recordings": {"b": []}}', '{"recordings": "b"}\n', "\x00\x00\n", "[]\n"]
)
def test_a_torn_last_line_is_dropped(torn):
    interrupted("a")
    before = PARTIAL.read_text()
    PARTIAL.write_text(before + torn)
    with ResultFile(OUTPUT, LABELS, "model") as results:
        assert results.done == {"a": rows("a")}
        assert PARTIAL.read_text() == before
        results.add({"b": rows("b")})
    with ResultFile(OUTPUT, LABELS, "model") as results:
        assert list(results.done) == ["a", "b"]


@pytest.mark.parametrize("content", ["", '{"schema": 1, "iden', '{"schema": 0, "identity": "model"}\n', "3\n"])
def test_a_partial_file_with_a_bad_header_is_begun_anew(content):
    interrupted()
    PARTIAL.write_text(content)
    with ResultFile(OUTPUT, LABELS, "model") as results:
        assert results.done == {}
        results.add({"a": rows("a")})
    with ResultFile(OUTPUT, LABELS, "model") as results:
        assert list(results.done) == ["a"]


def test_results_of_another_model_are_not_used():
    interrupted("a", identity="another")
    with ResultFile(OUTPUT, LABELS, "model") as results:
        assert results.done == {}
        results.add({"b": rows("b")})
        results.finish(["a", "b"])
    assert names(OUTPUT) == ["b"]


def test_an_earlier_file_stays_until_the_new_one_is_complete():
    write(OUTPUT, [rows("old")])
    interrupted("new")
    assert names(OUTPUT) == ["old"]
    write(OUTPUT, [rows("new")])
    assert names(OUTPUT) == ["new"]


def test_without_any_result_the_file_has_no_rows():
    write(OUTPUT, [])
    assert len(OUTPUT.read_text().splitlines()) == 1


def test_a_part_of_a_long_recording_does_not_take_another_recording_s_id():
    parts = rows_of(Item("talk", Path("talk.wav")), [prediction(start=0), prediction(start=2)], None, LABELS)
    write(OUTPUT, [parts, rows("talk-0001")])
    assert names(OUTPUT) == ["talk-0001-2", "talk-0002", "talk-0001"]


def test_only_one_process_writes_a_file():
    with (
        ResultFile(OUTPUT, LABELS, "model"),
        pytest.raises(Busy, match="Another process"),
        ResultFile(OUTPUT, LABELS, "model"),
    ):
        pass


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("results.txt", r"must end in \.csv or \.jsonl \(JSON lines\), such as results\.csv"),
        ("results", r"must end in \.csv or \.jsonl"),
        ("folder.csv", r"folder\.csv is a folder"),
    ],
)
def test_a_wrong_name_is_refused_at_once(name, message):
    Path("folder.csv").mkdir()
    with pytest.raises(UserError, match=message):
        ResultFile(Path(name), LABELS, "model")


def test_a_directory_that_cannot_be_written_is_named():
    Path("file").touch()
    results = ResultFile(Path("file/results.csv"), LABELS, "model")
    with pytest.raises(UserError, match=r"file/results\.csv cannot be written: "), results:
        pass


def test_a_key_stands_for_a_recording_as_it_is_and_all_that_was_asked():
    path = Path("a.wav")
    path.write_bytes(b"one")
    items = [
        Item("a", path),
        Item("b", path),
        Item("a", path, 1.0),
        Item("a", path, None, 1.0),
        Item("a", path, transcript="x"),
        Item("a", path, truth="x"),
        Item("a", path, speaker="x"),
        Item("a", path, dialogue="x"),
        Item("a", path, fold="1"),
        Item("a", Path("none.wav")),
    ]
    keys = [request_key(item) for item in items]
    assert len(set(keys)) == len(items)
    assert keys == [request_key(item) for item in items]
    path.write_bytes(b"other")
    assert not set(keys[:-1]) & {request_key(item) for item in items}
