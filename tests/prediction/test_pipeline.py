"""Predicting many recordings: order, windows, cuts, and that a recording that cannot be used is alone in that."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from helpers.trained_runs import HEARD, RATE, FakeAsr, model, recognizer, tone

from mmer_pipeline.demo.voices import VOICES, Line, speak
from mmer_pipeline.errors import UserError
from mmer_pipeline.prediction import pipeline
from mmer_pipeline.prediction.pipeline import ALWAYS, NEVER, predict_items
from mmer_pipeline.prediction.results import Item
from mmer_pipeline.prediction.segmentation import Segment


@pytest.fixture(scope="module")
def mmer(trained):
    return recognizer(model(trained))


def write(name, seconds=0.5, pitch=220.0):
    """Write a tone; returns its item."""
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, tone(seconds, pitch), RATE)
    return Item(path.stem, path)


def several(count):
    """Recordings of different lengths and pitches."""
    return [write(f"r{number}.wav", 0.3 + 0.17 * (number * 3 % 5), 100.0 + 50 * number) for number in range(count)]


def labels(outcomes):
    return [[prediction.probabilities for prediction in outcome.predictions] for outcome in outcomes]


@pytest.fixture
def cut_in_two(monkeypatch):
    """Every recording has two utterances; the paths that were asked for."""
    asked = []

    def segments(path):
        asked.append(path)
        return [Segment(0.1, 0.6), Segment(0.8, 1.4)]

    monkeypatch.setattr(pipeline, "speech_segments", segments)
    return asked


# --- order and windows ------------------------------------------------------------------------------------


def test_outcomes_are_in_the_order_of_the_items_and_those_of_single_calls(mmer):
    items = several(7)
    outcomes = list(predict_items(mmer, items))
    assert [outcome.item for outcome in outcomes] == items
    for item, outcome in zip(items, outcomes, strict=True):
        (prediction,) = outcome.predictions
        assert prediction.probabilities == pytest.approx(mmer(item.path).probabilities, abs=1e-5)
        assert (prediction.start_seconds, prediction.end_seconds, outcome.problem) == (None, None, "")


@pytest.mark.parametrize(("name", "size"), [("WINDOW_UTTERANCES", n) for n in (1, 2, 3, 7)] + [("WINDOW_SECONDS", 0.9)])
def test_windows_change_nothing(mmer, monkeypatch, name, size):
    items = several(7)
    expected = labels(predict_items(mmer, items))
    monkeypatch.setattr(pipeline, name, size)
    found = labels(predict_items(mmer, items))
    for one, other in zip(found, expected, strict=True):
        assert one[0] == pytest.approx(other[0], abs=1e-5)


def test_a_window_is_decoded_ahead_and_no_more(mmer, monkeypatch):
    monkeypatch.setattr(pipeline, "WINDOW_UTTERANCES", 2)
    loaded = []
    load = pipeline.audio.load
    monkeypatch.setattr(pipeline.audio, "load", lambda path, *times: loaded.append(path.name) or load(path, *times))
    outcomes = predict_items(mmer, several(9))
    next(outcomes)
    outcomes.close()  # waits for what the threads have been given
    assert sorted(loaded) == ["r0.wav", "r1.wav", "r2.wav", "r3.wav"]


def test_no_items_have_no_outcomes(mmer):
    assert list(predict_items(mmer, [])) == []


def test_explanations_are_made_on_request(mmer):
    items = several(2)
    assert all(outcome.predictions[0].explanation is None for outcome in predict_items(mmer, items))
    for outcome in predict_items(mmer, items, explain=True):
        assert [word.text for word in outcome.predictions[0].explanation.words] == HEARD.split()


# --- what cannot be used ----------------------------------------------------------------------------------


def bad_recordings():
    """Items that cannot be used, and what is said about each."""
    for name, content in (("empty.wav", b""), ("text.wav", b"no sound"), ("film.mp4", b"\0" * 99), ("a b.mp4", b"\0")):
        Path(name).write_bytes(content)
    write("whole.wav")
    Path("cut.wav").write_bytes(Path("whole.wav").read_bytes()[:2_000])
    soundfile.write("silent.wav", np.zeros(RATE, np.float32), RATE)
    soundfile.write("nan.wav", np.full(RATE, np.nan, np.float32), RATE, subtype="FLOAT")
    short = write("short.wav", 0.01)
    said = {
        "empty.wav": "empty.wav: the file is empty (0 bytes).",
        "text.wav": "text.wav: it is damaged or not a recording (",
        "film.mp4": "Extract the sound: `ffmpeg -i film.mp4 film.wav`.",
        "a b.mp4": "Extract the sound: `ffmpeg -i 'a b.mp4' 'a b.wav'`.",
        "cut.wav": "cut.wav: the file is truncated (",
        "silent.wav": "silent.wav: the recording is silent: no sample is louder than −60 dB. Check the recording.",
        "nan.wav": "nan.wav: it contains values that are not numbers",
        "none.wav": "none.wav: there is no such file.",
        "none.mp4": "none.mp4: there is no such file.",
    }
    items = [(Item(name, Path(name)), text) for name, text in said.items()]
    items.append((short, "short.wav: the recording is too short: expected at least 0.025 s, found 0.010 s."))
    items.append((Item("late", Path("whole.wav"), 7.0, 8.0), "whole.wav: the segment from 7 s to 8 s is not within"))
    return items


@pytest.mark.parametrize("size", [2, 100])
def test_broken_files_leave_the_good_ones_alone(mmer, monkeypatch, size):
    monkeypatch.setattr(pipeline, "WINDOW_UTTERANCES", size)
    good = several(3)
    bad = bad_recordings()
    items = [good[0], *(item for item, _ in bad[:5]), good[1], *(item for item, _ in bad[5:]), good[2]]
    said = dict(bad)
    outcomes = list(predict_items(mmer, items))
    assert [outcome.item for outcome in outcomes] == items
    for outcome in outcomes:
        if outcome.item in good:
            assert len(outcome.predictions) == 1
            assert outcome.problem == ""
        else:
            assert outcome.predictions == ()
            assert said[outcome.item] in outcome.problem
            assert outcome.problem.startswith(str(outcome.item.path))
            assert outcome.problem.endswith((".", "`."))
    assert "ffmpeg" not in next(o.problem for o in outcomes if o.item.path.name == "none.mp4")


def test_a_recording_that_vanishes_after_it_was_found_is_named(mmer, monkeypatch):
    items = several(3)
    count = pipeline.audio.sample_count

    def counted(path, *times):
        samples = count(path, *times)
        if path == items[1].path:
            path.unlink()
        return samples

    monkeypatch.setattr(pipeline.audio, "sample_count", counted)
    outcomes = list(predict_items(mmer, items))
    assert [len(outcome.predictions) for outcome in outcomes] == [1, 0, 1]
    assert outcomes[1].problem == "r1.wav: there is no such file."


def test_a_long_recording_of_which_a_part_cannot_be_read_has_no_predictions(mmer, monkeypatch):
    monkeypatch.setattr(pipeline, "WINDOW_UTTERANCES", 1)  # its parts are in several windows
    segments = [Segment(0.0, 0.5), Segment(0.6, 0.61), Segment(0.7, 1.2)]
    monkeypatch.setattr(pipeline, "speech_segments", lambda _: segments)
    items = [write("long.wav", 1.5), write("other.wav", 1.5)]
    first, second = predict_items(mmer, items, cut=ALWAYS)
    assert first.predictions == second.predictions == ()
    assert first.problem == "long.wav: the recording is too short: expected at least 0.025 s, found 0.010 s."
    assert second.problem.startswith("other.wav: ")


def test_a_missing_transcript_is_the_problem_of_its_recording(trained):
    gold = recognizer(model(trained), transcripts="gold")
    items = [write("a.wav"), Item("b", write("b.wav").path, transcript="Hello"), write("c.wav")]
    outcomes = list(predict_items(gold, items))
    assert [len(outcome.predictions) for outcome in outcomes] == [0, 1, 0]
    assert outcomes[0].problem.startswith(
        "a.wav: the recording has no transcript, and only given ones may be used (gold)"
    )


def test_an_asr_model_that_is_not_there_stops_the_whole_work(trained):
    without = recognizer(model(trained), asr_model="no/such-model")
    without._asr = None
    with pytest.raises(UserError, match=r"No encoder no/such-model"):
        list(predict_items(without, [write("a.wav")]))


# --- cuts -------------------------------------------------------------------------------------------------


def test_a_long_recording_is_cut_at_its_pauses(mmer, monkeypatch, cut_in_two):
    monkeypatch.setattr(pipeline, "LONG_SECONDS", 1.0)
    items = [write("short.wav", 1.0), write("long.wav", 1.5), write("last.wav", 0.4)]
    short, long, last = predict_items(mmer, items)
    assert cut_in_two == [Path("long.wav")]
    assert [len(one.predictions) for one in (short, long, last)] == [1, 2, 1]
    times = [(one.start_seconds, one.end_seconds) for one in long.predictions]
    assert times == [(0.1, 0.6), (0.8, 1.4)]
    waveform = soundfile.read("long.wav", dtype="float32")[0]
    part = mmer(waveform[round(0.1 * RATE) : round(0.6 * RATE)], RATE)
    assert long.predictions[0].probabilities == pytest.approx(part.probabilities, abs=1e-5)


def test_never_cuts_nothing(mmer, monkeypatch, cut_in_two):
    monkeypatch.setattr(pipeline, "LONG_SECONDS", 1.0)
    (outcome,) = predict_items(mmer, [write("long.wav", 1.5)], cut=NEVER)
    assert len(outcome.predictions) == 1
    assert cut_in_two == []


@pytest.mark.parametrize("cut", ["auto", "never"])
def test_what_is_too_long_for_one_utterance_says_what_to_do(mmer, monkeypatch, cut):
    monkeypatch.setattr(pipeline, "MAX_AUDIO_SECONDS", 2.0)
    item = write("talk.wav", 2.5)
    items = [Item("a", item.path, transcript="Hello"), Item("b", item.path, 0.0, 2.3), write("ok.wav")]
    outcomes = list(predict_items(mmer, items, cut=cut))
    assert [len(outcome.predictions) for outcome in outcomes] == [0, 0, 1]
    assert outcomes[0].problem == (
        "talk.wav: it is 2.5 s long, too long for one utterance (at most 2 s). Use --cut always, or give the times of "
        "its utterances in a CSV file."
    )
    assert outcomes[1].problem == (
        "talk.wav: it is 2.3 s long, too long for one utterance (at most 2 s). Give the times of shorter segments."
    )


def test_a_recording_with_a_transcript_or_times_is_not_cut(mmer, monkeypatch, cut_in_two):
    monkeypatch.setattr(pipeline, "LONG_SECONDS", 1.0)
    path = write("long.wav", 2.0).path
    items = [
        Item("a", path, transcript="Hello"),
        Item("b", path, 0.2, 1.7),
        Item("c", path, 0.2),
        Item("d", path, None, 1),
    ]
    outcomes = list(predict_items(mmer, items))
    assert cut_in_two == []
    assert [len(outcome.predictions) for outcome in outcomes] == [1] * 4
    assert outcomes[0].predictions[0].transcript == "Hello"
    assert outcomes[1].predictions[0].start_seconds is None  # the item says it


def test_always_cuts_short_ones_too_and_takes_no_given_transcript(mmer, cut_in_two):
    path = write("short.wav", 1.5).path
    items = [Item("a", path, transcript="Hello"), Item("b", path, 0.2, 1.0, "Hi")]
    whole, segment = predict_items(mmer, items, cut=ALWAYS)
    assert (whole.item, segment.item) == tuple(items)  # as they were asked for, transcript and all
    assert [one.transcript for one in whole.predictions] == [HEARD, HEARD]
    assert [one.transcript for one in segment.predictions] == ["Hi"]


def test_a_recording_without_speech_says_so(mmer):
    items = [write("tone.wav", 1.0, 1000.0), write("r.wav")]
    outcomes = list(predict_items(mmer, items, cut=ALWAYS))
    assert outcomes[0].problem == "tone.wav: no speech was detected in it."
    assert next(predict_items(mmer, items)).predictions  # uncut it is classified


def test_spoken_sentences_are_cut_where_they_pause(mmer):
    lines = [Line(text, VOICES[0], "neu") for text in ("Where is the letter?", "I think it is on the table.")]
    pause = np.zeros(round(1.2 * RATE), np.float32)
    first, second = speak(lines, seed=1)
    soundfile.write("talk.wav", np.concatenate([pause, first, pause, second, pause]), RATE)
    (outcome,) = predict_items(mmer, [Item("talk", Path("talk.wav"))], cut=ALWAYS)
    times = [(one.start_seconds, one.end_seconds) for one in outcome.predictions]
    begins = [1.2, 2.4 + len(first) / RATE]
    assert [start for start, _ in times] == pytest.approx(begins, abs=0.3)
    assert [end for _, end in times] == pytest.approx(
        [begins[0] + len(first) / RATE, begins[1] + len(second) / RATE], abs=0.4
    )


def test_the_asr_model_is_asked_only_for_what_has_no_transcript(trained):
    asr = FakeAsr()
    items = several(4)
    items[1] = Item("given", items[1].path, transcript="Hello")
    shutil.copy(items[0].path, "text.wav")
    Path("text.wav").write_text("broken")
    list(predict_items(recognizer(model(trained), asr), [*items, Item("text", Path("text.wav"))]))
    assert asr.asked == 3
