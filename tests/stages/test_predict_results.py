"""`mmer-pipe predict --output` and `--explain`: what they write, and how a killed command goes on."""

import json
import os
import signal
from pathlib import Path

import pytest
from helpers.command_line import fail, invoke, succeed
from helpers.trained_runs import HEARD, copy_run, fake_asr, write_tones

from mmer_pipeline import files, paths
from mmer_pipeline.prediction import explanation_files, pipeline
from mmer_pipeline.prediction.recognizer import EmotionRecognizer
from mmer_pipeline.prediction.segmentation import Segment
from mmer_pipeline.runs import read_predictions

LABELS = ("happy", "angry", "neutral", "sad")


@pytest.fixture(autouse=True)
def asr(monkeypatch):
    """Instead of an ASR model: the fake that the command uses."""
    return fake_asr(monkeypatch)


@pytest.fixture
def predict(trained):
    """The command, with the trained runs."""
    return ["predict", "--runs-dir", trained / "runs"]


def result(*arguments):
    return json.loads(succeed(*arguments, "--json").stdout)


def test_results_as_csv_and_as_json_lines(predict):
    write_tones("a.wav", "b.wav")
    shown = succeed(*predict, "a.wav", "b.wav", "-o", "out/results.csv")
    assert "2 utterances in " in shown.stderr
    assert "; wrote out/results.csv" in shown.stderr
    lines = result(*predict, "a.wav", "b.wav", "--output", "results.jsonl")["utterances"]
    assert files.read_json_lines(Path("results.jsonl")) == lines
    for row, line in zip(read_predictions(Path("out/results.csv")), lines, strict=True):
        assert (row["utterance_id"], row["prediction"]) == (line["utterance_id"], line["prediction"])
        assert {label: float(row[f"probability_{label}"]) for label in LABELS} == line["probabilities"]
    assert not list(Path.cwd().rglob("*.partial.jsonl"))


def test_a_long_recording_gives_a_row_per_utterance(predict, monkeypatch):
    monkeypatch.setattr(pipeline, "speech_segments", lambda _: [Segment(0.0, 0.6), Segment(0.7, 1.2)])
    write_tones("talk.wav", "talk-0001.wav", seconds=1.5)
    Path("list.csv").write_text("audio,transcript\ntalk.wav,Hello\n")
    rows = result(*predict, "list.csv", "talk-0001.wav", "--cut", "always", "--explain", "out")["utterances"]
    names = ["talk-0001-2", "talk-0002", "talk-0001-0001", "talk-0001-0002"]
    assert [row["utterance_id"] for row in rows] == names
    assert [row["start_seconds"] for row in rows] == [0.0, 0.7] * 2
    assert {row["transcript"] for row in rows} == {HEARD}  # a given one is not that of a part
    assert sorted(path.stem for path in Path("out").glob("*.json")) == sorted(names)
    assert "0.70–1.20" in succeed(*predict, "list.csv", "--cut", "always").stdout


def interrupted_after(monkeypatch, windows, action):
    """Let `action` happen in the given call of the recognizer; windows have two recordings."""
    monkeypatch.setattr(pipeline, "WINDOW_UTTERANCES", 2)
    predict, calls = EmotionRecognizer.predict, []

    def counted(self, *arguments, **options):
        calls.append(1)
        if len(calls) == windows:
            action()
        return predict(self, *arguments, **options)

    monkeypatch.setattr(EmotionRecognizer, "predict", counted)


def crash():
    raise RuntimeError("the power went out")


@pytest.mark.parametrize("name", ["results.csv", "results.jsonl"])
def test_a_killed_command_goes_on_and_gives_the_same_file(predict, monkeypatch, asr, name):
    write_tones(*(f"in/{letter}.wav" for letter in "abcdefg"))
    with monkeypatch.context() as patch:
        interrupted_after(patch, 3, crash)
        with pytest.raises(RuntimeError, match="power"):
            invoke(*predict, "in", "-o", name)
    assert not Path(name).exists()
    asr.asked = 0
    monkeypatch.setattr(pipeline, "WINDOW_UTTERANCES", 2)
    assert "Continuing: 4 of 7 recordings are finished." in succeed(*predict, "in", "-o", name).stderr
    assert asr.asked == 3
    whole = Path(f"whole-{name}")
    succeed(*predict, "in", "-o", whole)
    assert Path(name).read_bytes() == whole.read_bytes()


def test_a_command_killed_among_recordings_that_are_classified_together_gives_the_same_digits(predict, monkeypatch):
    write_tones(*(f"in/{letter}.wav" for letter in "abcde"), seconds=0.3)
    succeed(*predict, "in", "-o", "whole.csv", "--explain", "whole")
    write, written = explanation_files.write_explanation, []

    def killed_at_the_third(*arguments):
        written.append(arguments)
        return crash() if len(written) == 3 else write(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(explanation_files, "write_explanation", killed_at_the_third)
        with pytest.raises(RuntimeError, match="power"):
            invoke(*predict, "in", "-o", "results.csv", "--explain", "out")
    succeed(*predict, "in", "-o", "results.csv", "--explain", "out")
    for path in [Path("whole.csv"), *Path("whole").glob("*.json")]:
        found = Path("results.csv") if path.suffix == ".csv" else Path("out") / path.name
        assert found.read_bytes() == path.read_bytes()


def test_other_options_begin_anew(predict, monkeypatch, asr):
    write_tones(*(f"in/{letter}.wav" for letter in "abcd"))
    for more in ([], ["--transcripts", "asr"], ["--fold", 1], ["--cut", "never"], ["--explain", "out"]):
        with monkeypatch.context() as patch:
            interrupted_after(patch, 2, crash)
            with pytest.raises(RuntimeError, match="power"):
                invoke(*predict, "in", "-o", "results.csv", *more)
        asr.asked = 0
    succeed(*predict, "in", "-o", "results.csv", "--explain", "out")
    assert asr.asked == 2
    assert len(list(Path("out").glob("*.png"))) == 4


def test_a_stopped_command_says_that_it_can_go_on(predict, monkeypatch):
    write_tones(*(f"in/{letter}.wav" for letter in "abcde"))
    with monkeypatch.context() as patch:
        interrupted_after(patch, 2, lambda: os.kill(os.getpid(), signal.SIGTERM))
        message = fail(*predict, "in", "-o", "results.csv")
    assert "Stopped. 4 of 5 recordings are finished; the same command continues from there." in message
    assert "Continuing: 4 of 5" in succeed(*predict, "in", "-o", "results.csv").stderr
    assert len(read_predictions(Path("results.csv"))) == 5


def test_two_commands_do_not_write_one_file(predict):
    write_tones("a.wav")
    with files.locked(paths.lock_of(Path("results.csv"))):
        assert "Another process" in fail(*predict, "a.wav", "-o", "results.csv")


def test_a_recording_that_changes_meanwhile_keeps_its_row(predict, monkeypatch):
    write_tones("a.wav", "b.wav")
    load = pipeline.audio.load

    def touched(path, *times):
        samples = load(path, *times)
        os.utime(path, (0, 0))
        return samples

    monkeypatch.setattr(pipeline.audio, "load", touched)
    assert len(result(*predict, "a.wav", "b.wav", "-o", "results.csv")["utterances"]) == 2
    assert len(read_predictions(Path("results.csv"))) == 2


def test_a_report_reads_the_results_of_a_corpus_folder(predict, trained):
    copy_run(trained, "mmer")
    succeed(*predict, trained / "corpus", "-o", "asr.csv")
    assert {row["truth"] for row in read_predictions(Path("asr.csv"))} == {""}
    report = json.loads(
        succeed("report", "--run", "mmer", "--import", "asr.csv", "--name", "with ASR", "--json").stdout
    )
    systems = {system["name"]: system for system in report["systems"]}
    assert systems.keys() == {"mmer", "with ASR"}
    assert systems["with ASR"]["selections"]["final"]["summary"]["wa"]["pooled"] is not None


@pytest.mark.parametrize("content", ["audio,notes\na.wav,mine\n", "just words\n"])
def test_a_file_of_something_else_is_never_replaced(predict, content):
    write_tones("a.wav")
    Path("mine.csv").write_text(content)
    assert "mine.csv exists, and is not a file of results" in fail(*predict, "a.wav", "-o", "mine.csv")
    assert Path("mine.csv").read_text() == content
    Path("mine.jsonl").write_text(content)
    assert "is not a file of results" in fail(*predict, "a.wav", "-o", "mine.jsonl")


def test_the_output_is_never_an_input(predict):
    write_tones("a.wav")
    succeed(*predict, "a.wav", "-o", "results.csv")
    before = Path("results.csv").read_text()
    assert "results.csv is an input" in fail(*predict, "results.csv", "-o", "results.csv", code=2)
    assert Path("results.csv").read_text() == before
    succeed(*predict, "a.wav", "-o", "results.csv")  # results are replaced by results


def test_columns_that_are_not_read_are_named(predict):
    write_tones("a.wav")
    Path("list.csv").write_text("audio,begin,emotion\na.wav,0.1,happy\n")
    shown = succeed(*predict, "list.csv").stderr
    assert "note: list.csv: not reading the columns begin. Known columns: audio, utterance_id, start_seconds" in shown


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--transcripts", "asr"], "--transcripts asr does not read it"),
        (["--cut", "always"], "--cut always makes several"),
    ],
)
def test_a_transcript_that_would_not_be_read_is_refused(predict, options, said):
    write_tones("a.wav")
    assert said in fail(*predict, "a.wav", "--transcript", "Hello", *options, code=2)
    assert "--transcript is empty" in fail(*predict, "a.wav", "--transcript", " ", code=2)
