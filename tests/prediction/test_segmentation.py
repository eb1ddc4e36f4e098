"""Cutting long recordings at pauses: synthesised and real speech, and what is not speech."""

import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import silero_vad
import soundfile
from silero_vad.sequence_vad import SileroVADSequence

from mmer_pipeline import audio
from mmer_pipeline.audio import SAMPLE_RATE, AudioError
from mmer_pipeline.demo.voices import VOICES, Line, speak
from mmer_pipeline.prediction import segmentation
from mmer_pipeline.prediction.segmentation import (
    Segment,
    speech_probabilities,
    speech_segments,
    speech_segments_of_samples,
)

REPOSITORY = Path(__file__).resolve().parents[2]
SENTENCES = (
    "I really thought that you would call me today.",
    "Nobody told us about the meeting in the morning.",
    "There is a table in the kitchen and a lamp on it.",
)
FRAME_SECONDS = segmentation.FRAME_SAMPLES / SAMPLE_RATE


def noise(seconds: float, level_db: float = -50.0) -> np.ndarray:
    samples = np.random.default_rng(0).standard_normal(round(seconds * SAMPLE_RATE))
    return (10 ** (level_db / 20) * samples).astype(np.float32)


def trimmed(samples: np.ndarray) -> np.ndarray:
    """Speech without the silence at its ends."""
    loudness = np.convolve(samples**2, np.ones(320) / 320, "same")
    loud = np.flatnonzero(loudness > loudness.max() / 1000)
    return samples[loud[0] : loud[-1] + 1]


def join(utterances: list[np.ndarray], pauses_seconds: list[float]) -> tuple[np.ndarray, list[Segment]]:
    """A recording in faint noise, with a second of only that at both ends, and where its utterances are."""
    parts, spans, position = [], [], 0
    for pause, utterance in zip([1.0, *pauses_seconds], utterances, strict=True):
        parts += [np.zeros(round(pause * SAMPLE_RATE), np.float32), utterance]
        start = position + round(pause * SAMPLE_RATE)
        position = start + len(utterance)
        spans.append(Segment(start / SAMPLE_RATE, position / SAMPLE_RATE))
    samples = np.concatenate([*parts, np.zeros(SAMPLE_RATE, np.float32)])
    return samples + noise(len(samples) / SAMPLE_RATE, -60.0), spans


def overlap(one: Segment, other: Segment) -> float:
    return min(one.end_seconds, other.end_seconds) - max(one.start_seconds, other.start_seconds)


def sliced(samples: np.ndarray, size: int) -> Iterator[np.ndarray]:
    return (samples[first : first + size] for first in range(0, len(samples), size))


@pytest.fixture(scope="module")
def spoken() -> list[np.ndarray]:
    """Three sentences without silence at their ends."""
    return [trimmed(samples) for samples in speak([Line(text, VOICES[2], "neu") for text in SENTENCES], seed=1)]


@pytest.mark.parametrize("suffix", ["wav", "flac"])
def test_utterances_are_found_where_they_are(tmp_path: Path, spoken: list[np.ndarray], suffix: str) -> None:
    samples, spans = join(spoken, [0.9, 1.2])
    path = tmp_path / f"a.{suffix}"
    soundfile.write(path, samples, SAMPLE_RATE)
    segments = speech_segments(path)
    assert len(segments) == 3
    for segment, span in zip(segments, spans, strict=True):
        assert segment.start_seconds == pytest.approx(span.start_seconds, abs=0.25)
        assert segment.end_seconds == pytest.approx(span.end_seconds, abs=0.4)
        assert segment.start_seconds == round(segment.start_seconds, 3)
        assert segment.end_seconds == round(segment.end_seconds, 3)


def test_a_recording_and_its_samples_give_the_same_segments(tmp_path: Path, spoken: list[np.ndarray]) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, join(spoken, [0.9, 1.2])[0], SAMPLE_RATE, subtype="FLOAT")
    assert speech_segments(path) == speech_segments_of_samples(audio.load(path)) != []


def test_times_are_those_of_a_recording_at_another_rate_with_two_channels(
    tmp_path: Path, spoken: list[np.ndarray]
) -> None:
    samples, _ = join(spoken, [0.9, 1.2])
    path = tmp_path / "a.wav"
    times = np.arange(0, len(samples) / SAMPLE_RATE, 1 / 48_000)
    at_48_khz = np.interp(times, np.arange(len(samples)) / SAMPLE_RATE, samples)
    soundfile.write(path, np.stack((at_48_khz, np.zeros_like(at_48_khz)), axis=1), 48_000)
    for segment, expected in zip(speech_segments(path), speech_segments_of_samples(samples), strict=True):
        assert segment.start_seconds == pytest.approx(expected.start_seconds, abs=4 * FRAME_SECONDS)
        assert segment.end_seconds == pytest.approx(expected.end_seconds, abs=4 * FRAME_SECONDS)


@pytest.mark.parametrize("size", [1, 100, 511, 512, 513, 5000, 1 << 20])
def test_block_sizes_make_no_difference_to_the_probabilities_of_silero_vad(spoken: list[np.ndarray], size: int) -> None:
    samples = join(spoken, [0.9, 1.2])[0][: 33_333 if size == 1 else -100]
    model = silero_vad.load_silero_vad(sequence=True)
    assert isinstance(model, SileroVADSequence)
    probabilities, count = speech_probabilities(sliced(samples, size))
    assert count == len(samples)
    np.testing.assert_allclose(probabilities, model.audio_forward(samples), atol=1e-5)


@pytest.mark.parametrize("count", [0, 1, 511, 512, 513, 1024])
def test_the_last_frame_is_filled_with_zeros(count: int) -> None:
    samples = noise(1.0)[:count]
    probabilities, found = speech_probabilities([samples])
    assert found == count
    assert len(probabilities) == -(-count // 512)
    filled = np.pad(samples, (0, -count % 512))
    np.testing.assert_array_equal(probabilities, speech_probabilities([filled])[0])


def test_a_pause_separates_utterances_only_if_it_is_long_enough(spoken: list[np.ndarray]) -> None:
    samples, spans = join(spoken, [0.5, 0.5])
    assert len(speech_segments_of_samples(samples)) == 1
    segments = speech_segments_of_samples(samples, min_pause_seconds=0.2)
    assert len(segments) == 3
    assert all(overlap(segment, span) > 1 for segment, span in zip(segments, spans, strict=True))
    assert all(one.end_seconds <= other.start_seconds for one, other in pairwise(segments))


def test_a_long_utterance_is_cut_at_its_longest_pause(spoken: list[np.ndarray]) -> None:
    samples, spans = join([*spoken, spoken[0]], [0.3, 0.45, 0.3])
    whole = speech_segments_of_samples(samples)
    assert len(whole) == 1
    longest = spans[3].end_seconds - spans[0].start_seconds - 0.5
    first, second = speech_segments_of_samples(samples, max_seconds=longest)
    assert first.end_seconds == pytest.approx(spans[1].end_seconds, abs=0.4)
    assert second.start_seconds == pytest.approx(spans[2].start_seconds, abs=0.25)
    assert (first.start_seconds, second.end_seconds) == (whole[0].start_seconds, whole[0].end_seconds)


def test_speech_without_a_pause_is_cut_hard_and_none_of_it_is_lost(
    spoken: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = round(10 / FRAME_SECONDS)
    monkeypatch.setattr(
        segmentation, "speech_probabilities", lambda _blocks: (np.ones(frames, np.float32), frames * 512)
    )
    segments = speech_segments_of_samples(spoken[0], max_seconds=3.0)
    assert len(segments) == 4
    assert all(one.end_seconds == other.start_seconds for one, other in pairwise(segments))
    assert all(2.5 < segment.end_seconds - segment.start_seconds <= 3 for segment in segments[:-1])
    assert (segments[0].start_seconds, segments[-1].end_seconds) == (0.0, frames * FRAME_SECONDS)


@pytest.mark.parametrize("max_seconds", [1.0, 1.2345, 5.0, 20.0, float("inf")])
@pytest.mark.parametrize("min_pause_seconds", [0.0, 0.1, 0.6, 2.0])
def test_segments_are_in_order_disjoint_within_the_recording_and_not_too_long(
    max_seconds: float, min_pause_seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = np.random.default_rng(0)
    for _ in range(20):
        count, width = random.integers(1, 3000), random.integers(1, 50)
        probabilities = np.convolve(random.random(count), np.ones(width) / width)[:count] ** random.uniform(0.2, 3)
        samples = int(count * 512 - random.integers(512))
        monkeypatch.setattr(segmentation, "speech_probabilities", lambda _blocks, found=(probabilities, samples): found)
        segments = speech_segments_of_samples(noise(0), max_seconds=max_seconds, min_pause_seconds=min_pause_seconds)
        for segment in segments:
            assert 0 <= segment.start_seconds < segment.end_seconds <= samples / SAMPLE_RATE
            assert segment.end_seconds - segment.start_seconds <= max_seconds + 1e-9
        assert all(one.end_seconds <= other.start_seconds for one, other in pairwise(segments))


def test_speech_up_to_the_end_ends_with_the_recording(spoken: list[np.ndarray]) -> None:
    speech = spoken[0][: len(spoken[0]) // 2 - len(spoken[0]) // 2 % 16 + 7]
    (segment,) = speech_segments_of_samples(speech)
    assert segment.start_seconds == 0.0
    assert segment.end_seconds == (len(speech) - 7) / SAMPLE_RATE


@pytest.mark.parametrize("level_db", [-60.0, -40.0, -20.0])
def test_what_is_not_speech_has_no_segments(tmp_path: Path, level_db: float) -> None:
    seconds = np.arange(10 * SAMPLE_RATE) / SAMPLE_RATE
    tone = (10 ** (level_db / 20) * np.sin(2 * np.pi * 440 * seconds)).astype(np.float32)
    for samples in (noise(10, level_db), tone, np.zeros_like(tone), tone[:0], tone[:100]):
        assert speech_segments_of_samples(samples) == []
    path = tmp_path / "a.wav"
    soundfile.write(path, noise(10, level_db), SAMPLE_RATE)
    assert speech_segments(path) == []


def test_ten_minutes_need_no_more_memory_than_a_few_blocks() -> None:
    block = noise(audio.BLOCK_FRAMES / SAMPLE_RATE)
    speech_probabilities([block])  # the network is loaded
    tracemalloc.start()
    try:
        probabilities, samples = speech_probabilities(block.copy() for _ in range(37))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (len(probabilities), samples) == (37 * 512, 37 * len(block))
    assert peak < 8 * block.nbytes


def test_threads_share_the_network(spoken: list[np.ndarray]) -> None:
    recordings = [join([sentence], [])[0] for sentence in spoken] * 4
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(speech_segments_of_samples, recordings)) == [
            speech_segments_of_samples(samples) for samples in recordings
        ]


def test_the_import_leaves_the_number_of_torchs_threads() -> None:
    code = """
import torch
torch.set_num_threads(3)
from mmer_pipeline.prediction import segmentation
segmentation._network()
assert torch.get_num_threads() == 3, torch.get_num_threads()
"""
    subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, check=True)


def test_damaged_and_missing_recordings_are_audio_errors(tmp_path: Path) -> None:
    path = tmp_path / "a.flac"
    soundfile.write(path, noise(60.0), SAMPLE_RATE)
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(AudioError, match=r"a\.flac"):
        speech_segments(path)
    with pytest.raises(AudioError, match="no such file"):
        speech_segments(tmp_path / "none.wav")


def test_a_longest_segment_of_less_than_a_second_is_refused() -> None:
    with pytest.raises(ValueError, match=r"at least 1 s, found 0\.5 s"):
        speech_segments_of_samples(noise(1.0), max_seconds=0.5)


@pytest.mark.real
def test_read_sentences_are_found_and_not_merged(shared: Path) -> None:
    files = sorted((shared / "data/librispeech60/flac").rglob("*.flac"))
    pauses = np.random.default_rng(0).uniform(0.7, 1.5, len(files) - 1).tolist()
    samples, spans = join([audio.load(file) for file in files], pauses)
    segments = speech_segments_of_samples(samples)
    overlapping = [[segment for segment in segments if overlap(segment, span) > 0] for span in spans]
    assert all(overlapping)  # none is missed
    assert all(sum(overlap(segment, span) > 0.1 for span in spans) == 1 for segment in segments)
    assert sum(len(each) == 1 for each in overlapping) > 30  # many of the others have longer pauses within
    starts = [abs(each[0].start_seconds - span.start_seconds) for each, span in zip(overlapping, spans, strict=True)]
    ends = [abs(each[-1].end_seconds - span.end_seconds) for each, span in zip(overlapping, spans, strict=True)]
    assert np.median(starts) < 0.2  # they begin and end with some silence of their own
    assert np.median(ends) < 0.2


@pytest.mark.real
def test_acted_sentences_are_found_unless_they_are_shouted(shared: Path) -> None:
    files = sorted((shared / "data/ravdess4/audio").rglob("*.flac"))[::8]
    samples, spans = join([audio.load(file) for file in files], [0.5] * (len(files) - 1))
    segments = speech_segments_of_samples(samples)
    found = [sum(overlap(segment, span) > 0.5 for segment in segments) for span in spans]
    assert found.count(0) <= 0.02 * len(files)
    assert found.count(1) >= 0.96 * len(files)
