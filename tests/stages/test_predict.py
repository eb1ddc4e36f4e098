"""`mmer-pipe predict`: inputs, models and true emotions; what cannot be used is named, and the rest is done."""

import csv
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from helpers.command_line import fail, invoke, succeed
from helpers.trained_runs import HEARD, RATE, fake_asr, write_tones

from mmer_pipeline import sealed_json
from mmer_pipeline.prediction import pipeline, recognizer
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


def listed(manifest_path, rows=None, name="list.csv"):
    """A CSV file of the tones of a corpus, with absolute paths."""
    with manifest_path.open(newline="", encoding="utf-8") as stream:
        utterances = list(csv.DictReader(stream))[:rows]
    root = manifest_path.parent.parent / "corpus"
    lines = [{**row, "audio": str(root / row["audio"])} for row in utterances]
    with Path(name).open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, lines[0].keys())
        writer.writeheader()
        writer.writerows(lines)
    return Path(name)


def result(*arguments):
    return json.loads(succeed(*arguments, "--json").stdout)


# --- inputs and models ------------------------------------------------------------------------------------


def test_a_recording_is_a_row_of_a_table(predict):
    write_tones("voice.wav")
    shown = succeed(*predict, "voice.wav")
    assert "voice" in shown.stdout
    assert "(automatic)" in shown.stdout
    assert any(label in shown.stdout for label in LABELS)
    assert "1 utterance in " in shown.stderr


def test_files_and_folders_as_json(predict):
    write_tones("a.wav", "in/b.wav", "in/deep/c.wav")
    found = result(*predict, "in", "a.wav")
    assert found.keys() == {"model", "utterances", "scores", "problems"}
    assert (found["model"], found["scores"], found["problems"]) == ("mmer", None, [])
    rows = found["utterances"]
    assert [row["utterance_id"] for row in rows] == ["b", "c", "a"]
    for row in rows:
        assert row["prediction"] == max(row["probabilities"], key=row["probabilities"].__getitem__)
        assert tuple(row["probabilities"]) == LABELS
        assert (row["transcript"], row["transcript_source"]) == (HEARD, "asr")


def test_options_may_stand_after_the_paths_and_between_them(predict):
    write_tones("a.wav", "b.wav")
    found = result("predict", "a.wav", "--transcripts", "none", "b.wav", *predict[1:], "--fold", 2)
    assert [row["transcript_source"] for row in found["utterances"]] == ["none", "none"]
    assert found["utterances"][0]["probabilities"] != result(*predict, "a.wav", "--fold", 1)["utterances"][0]


def test_the_transcript_of_one_recording(predict, asr):
    write_tones("a.wav", "b.wav")
    (row,) = result(*predict, "a.wav", "--transcript", "Oh no!")["utterances"]
    assert (row["transcript"], row["transcript_source"], asr.asked) == ("Oh no!", "given", 0)
    assert "2 were given" in fail(*predict, "a.wav", "b.wav", "--transcript", "Oh no!")


def test_with_gold_what_has_no_transcript_is_named_and_the_rest_is_done(predict):
    write_tones("a.wav", "b.wav")
    Path("list.csv").write_text("audio,transcript\na.wav,Hello\nb.wav,\n")
    shown = invoke(*predict, "list.csv", "--transcripts", "gold", "--json")
    assert shown.exit_code == 1
    found = json.loads(shown.stdout)
    assert [row["transcript"] for row in found["utterances"]] == ["Hello"]
    assert found["problems"] == [
        "b.wav: the recording has no transcript, and only given ones may be used (gold). Give it, or allow asr."
    ]


def test_the_asr_model_can_be_chosen(predict, monkeypatch):
    asked = []
    monkeypatch.setattr(recognizer, "resolve_encoder", lambda *name: asked.append(name))
    write_tones("a.wav")
    succeed(*predict, "a.wav", "--asr-model", "my/asr", "--asr-revision", "v1")
    Path("mmer.toml").write_text("[predict]\nasr-model = 'toml/asr'\n")
    succeed(*predict, "a.wav")
    assert asked == [("my/asr", "v1"), ("toml/asr", None)]


def test_a_chain_predicts_with_the_run_that_it_trained(corpus, encoders):
    write_tones("x.wav")
    shown = succeed(
        "train", *encoders, "--system", "cai", "--epochs", 1, "--fold", 1, "predict", "x.wav", "--json"
    ).stdout  # fmt: skip
    found = json.loads(shown.splitlines()[-1])
    assert (found["model"], len(found["utterances"])) == ("cai", 1)
    assert result("predict", "x.wav", "--model", "cai")["utterances"] == found["utterances"]


def test_packed_and_run_predict_the_same(predict):
    write_tones("x.wav", "y.wav")
    succeed("pack", "mmer", *predict[1:])
    packed = result("predict", "x.wav", "y.wav", "--model", "mmer-model")
    assert packed["utterances"] == result(*predict, "x.wav", "y.wav")["utterances"]


# --- truth ------------------------------------------------------------------------------------------------


def test_true_emotions_are_scored(predict, trained):
    table = listed(trained / "cache/manifest.csv")
    arguments = [*predict, table, "--truth", "emotion", "--label-map", "iemocap-4"]
    scores = result(*arguments)["scores"]
    assert scores["utterances"] == 16
    assert sum(map(sum, scores["confusion"])) == 16
    assert scores["wa"] == pytest.approx(sum(scores["confusion"][i][i] for i in range(4)) / 16)
    shown = succeed(*arguments).stdout
    assert f"WA {100 * scores['wa']:.2f}  UA {100 * scores['ua']:.2f} on the 16 utterances" in shown
    assert "truth ╲" in shown


def test_a_truth_that_is_no_class_is_named_and_the_rest_is_done(predict):
    write_tones("a.wav", "b.wav", "c.wav", "d.wav")
    Path("list.csv").write_text("audio,emotion\na.wav,hap\nb.wav,joy\nc.wav,\nd.wav,fru\n")
    shown = invoke(*predict, "list.csv", "--truth", "emotion", "--label-map", "iemocap-4", "--json")
    assert shown.exit_code == 1
    found = json.loads(shown.stdout)
    assert [row["truth"] for row in found["utterances"]] == ["happy", None, None, None]  # fru is dropped by the map
    assert found["scores"]["utterances"] == 1
    assert found["problems"] == [
        "The true emotion 'joy' (1 recording) is not one of the model's classes (happy, angry, neutral, sad) and is "
        "not scored. Map it with --label-map."
    ]
    message = fail(*predict, "list.csv", "--truth", "emotion")
    assert "The true emotion 'hap' (1 recording) is not one of the model's classes" in message
    assert "The true emotion 'fru'" in message


@pytest.mark.parametrize("label_map", [[], ["--label-map", "identity"]])
def test_truth_may_be_the_model_s_own_classes(predict, label_map):
    write_tones("a.wav")
    Path("list.csv").write_text("audio,class\na.wav,sad\n")
    assert result(*predict, "list.csv", "--truth", "class", *label_map)["scores"]["utterances"] == 1


def test_wrong_options_are_named_before_anything_is_loaded(predict, monkeypatch):
    monkeypatch.setattr(recognizer.EmotionRecognizer, "__init__", None)
    write_tones("a.wav")
    Path("list.csv").write_text("audio\na.wav\n")
    assert "has no column 'emotion' for --truth" in fail(*predict, "list.csv", "--truth", "emotion")
    assert "no CSV file is among the inputs" in fail(*predict, "a.wav", "--truth", "emotion")
    assert "Give --truth COLUMN, too" in fail(*predict, "a.wav", "--label-map", "iemocap-4", code=2)
    assert "There is no label map 'mine'" in fail(*predict, "list.csv", "--truth", "audio", "--label-map", "mine")
    assert "must end in .csv or .jsonl" in fail(*predict, "a.wav", "-o", "out.txt")
    assert "Missing argument 'PATH…'" in fail(*predict, code=2)


# --- what cannot be used ----------------------------------------------------------------------------------


def test_recordings_that_cannot_be_used_are_named_and_the_rest_is_done(predict):
    write_tones("in/a.wav", "in/b.wav")
    Path("in/empty.wav").touch()
    Path("in/text.wav").write_text("no sound")
    soundfile.write("in/silence.wav", np.zeros(RATE, np.float32), RATE)
    Path("film.mp4").write_bytes(b"\0" * 99)
    shown = invoke(*predict, "in", "film.mp4", "none.wav", "-o", "results.csv", "--json")
    assert shown.exit_code == 1
    assert [row["utterance_id"] for row in read_predictions(Path("results.csv"))] == ["a", "b"]
    found = json.loads(shown.stdout)
    assert len(found["utterances"]) == 2
    assert [problem.partition(":")[0] for problem in found["problems"]] == [
        "none.wav does not exist.", "in/empty.wav", "in/silence.wav", "in/text.wav", "film.mp4",
    ]  # fmt: skip
    assert found["problems"][-1].endswith("Extract the sound: `ffmpeg -i film.mp4 film.wav`.")
    assert shown.stderr.count("Error: ") == 5
    Path("in/empty.wav").unlink()
    shutil.copy("in/a.wav", "in/text.wav")
    assert "Error: in/silence.wav: the recording is silent" in fail(*predict, "in", "-o", "results.csv")
    assert len(read_predictions(Path("results.csv"))) == 3


def test_a_file_that_vanishes_is_named(predict, monkeypatch):
    write_tones("a.wav", "b.wav", "c.wav")
    count = pipeline.audio.sample_count
    monkeypatch.setattr(
        pipeline.audio, "sample_count", lambda path, *times: (count(path, *times), Path("b.wav").unlink(True))[0]
    )
    message = fail(*predict, "a.wav", "b.wav", "c.wav", "-o", "results.csv")
    assert "Error: b.wav: there is no such file." in message
    assert [row["utterance_id"] for row in read_predictions(Path("results.csv"))] == ["a", "c"]


# --- models that cannot be used ---------------------------------------------------------------------------


def refused(*arguments):
    """The message of a command that fails and prints nothing else."""
    shown = invoke(*arguments)
    assert shown.exit_code == 1
    assert shown.stdout == ""
    (message,) = [line for line in shown.stderr.splitlines() if line != "Loading libraries …"]
    return message


def test_a_model_that_is_not_there_lists_the_runs(predict):
    write_tones("a.wav")
    assert "There is no model 'mmre'." in refused(*predict, "a.wav", "--model", "mmre")
    message = refused("predict", "a.wav")
    assert message.startswith("Error: There is no model 'mmer'. Expected a directory written by `mmer-pipe pack`")
    assert message.endswith("Trained runs: none.")


def test_an_id_on_the_hub_without_a_network(predict):
    write_tones("a.wav")
    message = refused(*predict, "a.wav", "--model", "user/name", "-o", "results.csv")
    assert message.startswith("Error: No model user/name: there is no directory of that name in ")
    assert "cannot be reached" in message
    assert message.endswith("Download it on a machine with network access, or give a local directory.")
    assert not Path("results.csv").exists()


def test_a_model_of_another_version(predict):
    write_tones("a.wav")
    succeed("pack", "mmer", *predict[1:])
    path = Path("mmer-model/mmer_model.json")
    sealed_json.write(path, {**sealed_json.read(path, ""), "schema": 7})
    message = refused("predict", "a.wav", "--model", "mmer-model")
    assert message.startswith("Error: mmer-model/mmer_model.json has schema 7 (mmer-pipeline ")
    assert message.endswith("expected 1. Pack the model again with this version, or use the version that packed it.")


def test_an_asr_model_that_is_not_there_stops_the_command(predict):
    write_tones("a.wav", "b.wav")
    assert "Error: No encoder no/asr" in refused(*predict, "a.wav", "b.wav", "--asr-model", "no/asr")
    Path("list.csv").write_text("audio,transcript\na.wav,Hello\n")
    succeed(*predict, "list.csv", "--asr-model", "no/asr", "-o", "results.csv")  # nobody needs it


def test_names_in_any_bytes_are_printed(predict):
    name = Path(os.fsdecode(b"caf\xe9.wav"))
    name.write_bytes(b"broken")
    write_tones("a.wav")
    name.with_name(os.fsdecode(b"ol\xe9.wav")).write_bytes(Path("a.wav").read_bytes())
    shown = invoke(*predict, ".", "--json", "-o", "results.csv")
    assert shown.exit_code == 1
    found = json.loads(shown.stdout)
    assert [row["utterance_id"] for row in found["utterances"]] == ["a", "ol\ufffd"]
    assert found["problems"] == ["caf?.wav: it is damaged or not a recording (Format not recognised)."]
    assert "ol\ufffd" in succeed(*predict, name.with_name(os.fsdecode(b"ol\xe9.wav"))).stdout
