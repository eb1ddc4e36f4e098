"""Explanations: attention and gate of each word, as numbers of the recognizer and as files."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from helpers.trained_runs import RATE, model, recognizer, tone
from matplotlib import image

from mmer_pipeline.audio import AudioError
from mmer_pipeline.pages.plotting import MOST_PIXELS
from mmer_pipeline.prediction.explanation_files import MEANING, WORD_LENGTH, write_explanation
from mmer_pipeline.prediction.recognizer import _padded
from mmer_pipeline.prediction.results import Explanation, Prediction, Word

TEXT = "[LAUGHTER]  Oh,  that is wonderful news!"
WORDS = ["Oh,", "that", "is", "wonderful", "news!"]


@pytest.fixture(scope="module")
def mmer(trained):
    return recognizer(model(trained))


def explained(made, text=TEXT, seconds=0.8):
    return made(tone(seconds), RATE, transcript=text, explain=True)


# --- numbers ----------------------------------------------------------------------------------------------


def test_the_words_are_those_of_the_transcript_without_annotations(mmer):
    assert [word.text for word in explained(mmer).explanation.words] == WORDS
    assert mmer(tone(0.8), RATE, transcript=TEXT).explanation is None  # nobody asked


def test_the_attention_of_a_word_adds_up_to_1_over_the_frames(mmer):
    explanation = explained(mmer).explanation
    frames = mmer._speech.frame_count(round(0.8 * RATE))
    assert len(explanation.frame_seconds) == frames
    for word in explanation.words:
        assert len(word.attention) == frames
        assert min(word.attention) > 0
        assert sum(word.attention) == pytest.approx(1.0)


def test_the_frames_lie_within_the_utterance(mmer):
    times = explained(mmer).explanation.frame_seconds
    np.testing.assert_allclose(np.diff(times), 0.02)  # wav2vec2: 50 frames per second
    assert times[0] == pytest.approx(0.0125)  # the middle of 25 ms
    assert times[-1] < 0.8


def test_the_gate_is_the_mean_over_all_tokens_and_special_ones_belong_to_no_word(mmer):
    prediction = explained(mmer)
    text = " ".join(WORDS)
    tokens = mmer._tokenizer.words(text)
    (ids,) = mmer._tokenizer([text])
    with torch.inference_mode():
        (row,) = mmer._inputs([tone(0.8)], [text])
        view = mmer._members[0].view(**_padded([row]))
    gate = view.gate[0].double().numpy()  # [M]
    assert len(gate) == len(ids)
    assert prediction.gate == prediction.explanation.gate == pytest.approx(gate.mean(), rel=1e-6)
    assert {position for _, positions in tokens for position in positions} == {*range(1, len(ids) - 1)}
    for word, (name, positions) in zip(prediction.explanation.words, tokens, strict=True):
        assert word.text == name
        assert 0 < word.gate < 1
        assert word.gate == pytest.approx(gate[positions].mean(), rel=1e-6)
        np.testing.assert_allclose(word.attention, view.attention[0, positions].mean(dim=0).numpy(), rtol=1e-5)


def test_an_ensemble_averages_its_explanations(trained):
    single = [explained(recognizer(model(trained, "mmer", fold))).explanation for fold in (1, 2)]
    both = explained(recognizer(model(trained, "mmer", 1, 2))).explanation
    for number, word in enumerate(both.words):
        mean = np.mean([one.words[number].attention for one in single], axis=0)
        np.testing.assert_allclose(word.attention, mean, rtol=1e-6)
        assert word.gate == pytest.approx(np.mean([one.words[number].gate for one in single]))
    assert both.gate == pytest.approx(np.mean([one.gate for one in single]))


@pytest.mark.parametrize("run", ["cai", "roberta", "tuned"])
def test_what_does_not_combine_words_and_speech_has_nothing_to_explain(trained, run):
    prediction = explained(recognizer(model(trained, run)))
    assert prediction.explanation is None
    assert prediction.gate is None
    assert write_explanation(Path("out"), "a", Path("a.wav"), prediction) == []
    assert not Path("out").exists()


def test_a_model_with_a_trained_text_encoder_explains_from_its_words(trained):
    prediction = explained(recognizer(model(trained, "mmer-tuned")))
    words = prediction.explanation.words
    assert [word.text for word in words] == WORDS
    assert all(sum(word.attention) == pytest.approx(1.0) for word in words)
    assert all(0 < word.gate < 1 for word in words)


def test_without_a_gate_there_is_attention_alone(trained):
    prediction = explained(recognizer(model(trained, "no-gate")))
    assert prediction.gate is None
    assert prediction.explanation.gate is None
    assert [word.gate for word in prediction.explanation.words] == [None] * len(WORDS)
    assert all(sum(word.attention) == pytest.approx(1.0) for word in prediction.explanation.words)


def test_words_beyond_the_encoder_s_limit_are_left_out(mmer):
    found = explained(mmer, " ".join(["home"] * 400)).explanation.words
    assert 0 < len(found) < 400


# --- files ------------------------------------------------------------------------------------------------


def made_up(words=WORDS, gate=0.5, frames=40, **changes):
    """A prediction for a recording of 0.8 s; each word attends to a different moment."""
    weights = np.full((len(words), frames), 0.5 / frames)
    weights[np.arange(len(words)), np.arange(len(words)) * 2 % frames] += 0.5
    shown = tuple(Word(word, gate, tuple(row.tolist())) for word, row in zip(words, weights, strict=True))
    explanation = Explanation(shown, tuple((0.0125 + 0.02 * np.arange(frames)).tolist()), gate)
    prediction = Prediction("happy", {"happy": 0.75, "sad": 0.25}, " ".join(words), "given", explanation=explanation)
    return replace(prediction, **changes)


@pytest.fixture
def recording():
    soundfile.write("a.wav", tone(0.8), RATE)
    return Path("a.wav")


def test_the_file_has_every_number(mmer, recording):
    prediction = mmer(recording, transcript=TEXT, explain=True)
    json_path, picture = write_explanation(Path("out/deep"), "a", recording, prediction)
    assert (json_path, picture) == (Path("out/deep/a.json"), Path("out/deep/a.png"))
    value = json.loads(json_path.read_text(encoding="utf-8"))
    assert value.keys() == {
        "utterance_id", "prediction", "probabilities", "transcript", "transcript_source", "meaning", "gate",
        "frame_seconds", "words",
    }  # fmt: skip
    assert (value["utterance_id"], value["prediction"], value["meaning"]) == ("a", prediction.label, MEANING)
    assert value["probabilities"] == prediction.probabilities
    assert value["gate"] == prediction.gate
    assert [word["word"] for word in value["words"]] == WORDS
    for found, word in zip(value["words"], prediction.explanation.words, strict=True):
        np.testing.assert_allclose(found["attention"], word.attention, atol=1e-6)
        assert found["gate"] == word.gate
        peak = prediction.explanation.frame_seconds[int(np.argmax(word.attention))]
        assert found["peak_seconds"] == pytest.approx(peak, abs=1e-4)


def test_the_picture_is_the_same_each_time_and_higher_with_more_words(recording):
    pictures = [
        write_explanation(Path(out), "a", recording, made_up(words))[1]
        for out, words in (("one", WORDS), ("two", WORDS), ("three", WORDS * 3))
    ]
    assert pictures[0].read_bytes() == pictures[1].read_bytes()
    heights = [image.imread(picture).shape[0] for picture in pictures]
    assert heights[2] > heights[0] > 300


@pytest.mark.parametrize(
    "prediction",
    [
        made_up(words=()),
        made_up(gate=None),
        made_up(frames=1, words=["one"]),
        made_up(words=["$x$", "$\\frac", "a_b", "<b>", "%s", "你好", "\x07", "🙂", "e\u0301", "x" * 400]),
        made_up(label="$$ 你", probabilities={"$$ 你": 1.0}),
        made_up(words=["word"] * 500),
        made_up(start_seconds=0.2, end_seconds=0.5, frames=14),
    ],
    ids=["no words", "no gate", "one frame", "odd words", "odd class", "many words", "a part"],
)
def test_every_explanation_can_be_drawn(recording, prediction):
    json_path, picture = write_explanation(Path("out"), "a", recording, prediction)
    assert 300 < image.imread(picture).shape[0] <= MOST_PIXELS
    words = [word["word"] for word in json.loads(json_path.read_text(encoding="utf-8"))["words"]]
    assert words == [word.text for word in prediction.explanation.words]
    assert WORD_LENGTH < 400


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("Ses01F_impro01_F000", "Ses01F_impro01_F000.json"),
        ("grün.2-b", "grün.2-b.json"),
        ("a/b", "a_b-*.json"),
        ("../../a", ".._.._a-*.json"),
        ("a b\n", "a_b_-*.json"),
        ("x" * 300, f"{'x' * 50}-*.json"),
        ("你" * 300, f"{'你' * 50}-*.json"),
    ],
)
def test_any_id_becomes_a_file_name(recording, name, file):
    json_path, picture = write_explanation(Path("out"), name, recording, made_up())
    assert json_path.match(file)
    assert json_path.parent == picture.parent == Path("out")
    assert json.loads(json_path.read_text(encoding="utf-8"))["utterance_id"] == name


def test_ids_that_differ_have_files_of_their_own(recording):
    names = ["a/b", "a_b", "a b", "a//b", "a", "x" * 50, "x" * 51, "x" * 52]
    written = {path for name in names for path in write_explanation(Path("out"), name, recording, made_up())}
    assert len(written) == len(list(Path("out").iterdir())) == 2 * len(names)


def test_ids_that_are_the_same_file_to_the_system_have_files_of_their_own(recording):
    """As on a disk of macOS or Windows, where "A" and "a" are."""
    kept = write_explanation(Path("out"), "A", recording, made_up())
    for path in kept:
        Path("out", path.name.lower()).symlink_to(path.name)
    for _ in range(2):  # the second time, its own files are there
        json_path, picture = write_explanation(Path("out"), "a", recording, made_up())
        assert json_path.match("a-*.json")
        assert picture.match("a-*.png")
    assert write_explanation(Path("out"), "A", recording, made_up()) == kept


def test_a_recording_that_vanished_is_named_and_nothing_is_written():
    with pytest.raises(AudioError, match=r"gone\.wav: there is no such file"):
        write_explanation(Path("out"), "a", Path("gone.wav"), made_up())
    assert not Path("out").exists()
