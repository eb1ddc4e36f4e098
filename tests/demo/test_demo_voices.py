"""The synthetic speakers: audible, different by emotion, and reproducible."""

import subprocess
import sys

import numpy as np
import pytest

from mmer_pipeline.demo.voices import PROSODY, SAMPLE_RATE, VOICES, Line, speak
from mmer_pipeline.errors import UserError

TEXT = "I really thought that you would call me today."


def decibels(waveform: np.ndarray) -> float:
    return float(10 * np.log10(np.mean(waveform**2)))


@pytest.fixture(scope="module")
def spoken() -> dict[str, list[np.ndarray]]:
    """Emotion → the same sentence by every voice."""
    lines = [Line(TEXT, voice, emotion) for emotion in PROSODY for voice in VOICES]
    waveforms = iter(speak(lines, seed=3))
    return {emotion: [next(waveforms) for _ in VOICES] for emotion in PROSODY}


def test_every_session_has_an_f_and_an_m_voice_and_no_two_are_alike() -> None:
    assert [voice.speaker for voice in VOICES] == [f"Ses{n:02d}_{sex}" for n in range(1, 6) for sex in "FM"]
    assert len({voice.espeak_name for voice in VOICES}) == 10


def test_voices_are_audible_and_as_long_as_a_sentence(spoken: dict[str, list[np.ndarray]]) -> None:
    for waveform in (waveform for waveforms in spoken.values() for waveform in waveforms):
        assert waveform.dtype == np.float32
        assert np.abs(waveform).max() <= 1.0
        assert -40 < decibels(waveform) < -6
        assert 1.0 < len(waveform) / SAMPLE_RATE < 4.5


def test_angry_is_louder_and_faster_than_neutral_and_neutral_than_sad(spoken: dict[str, list[np.ndarray]]) -> None:
    level = {emotion: np.mean([decibels(waveform) for waveform in spoken[emotion]]) for emotion in PROSODY}
    seconds = {emotion: np.mean([len(waveform) for waveform in spoken[emotion]]) for emotion in PROSODY}
    assert level["ang"] > level["neu"] + 3 > level["sad"] + 6
    assert seconds["ang"] < seconds["neu"] < seconds["sad"]


def test_the_same_call_gives_the_same_samples_and_another_seed_different_ones() -> None:
    lines = [Line(TEXT, voice, "hap") for voice in VOICES]
    first, again, other = speak(lines, 1), speak(lines, 1), speak(lines, 2)
    for one, same, different in zip(first, again, other, strict=True):
        np.testing.assert_array_equal(one, same)
        assert not np.array_equal(one, different)


def test_a_tag_is_not_spoken_and_a_line_with_only_tags_is_a_laugh() -> None:
    voice = VOICES[0]
    plain, tagged, laugh = (
        speak([Line(text, voice, "hap")], 0)[0] for text in (TEXT, f"[LAUGHTER] {TEXT}", "[LAUGHTER]")
    )
    np.testing.assert_array_equal(plain, tagged)
    assert 0.3 < len(laugh) / SAMPLE_RATE < 3


def test_no_lines_give_no_waveforms() -> None:
    assert speak([], 0) == []


def test_a_missing_espeak_is_a_user_error_that_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises(UserError, match="pip install espeakng-loader"):
        speak([Line(TEXT, VOICES[0], "neu")], 0)


def test_an_espeak_that_does_not_load_is_a_user_error_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    import espeakng_loader

    monkeypatch.setattr(espeakng_loader, "get_library_path", lambda: "/nowhere/libespeak-ng.so")
    with pytest.raises(UserError, match=r"(?s)/nowhere/libespeak-ng.so.*pip install"):
        speak([Line(TEXT, VOICES[0], "neu")], 0)


def test_an_espeak_that_dies_without_a_message_is_a_user_error(monkeypatch: pytest.MonkeyPatch) -> None:
    died = subprocess.CompletedProcess([], -11, b"", b"")
    monkeypatch.setattr(subprocess, "run", lambda *_args, **_options: died)
    with pytest.raises(UserError, match="ended with code -11"):
        speak([Line(TEXT, VOICES[0], "neu")], 0)
