"""Batches, tasks and schedulers of an extraction: the same rows in every way of working, and stops in the middle."""

import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.extraction import (
    Work,
    batches_of_a_few,
    speech_extraction,
    text_extraction,
)
from helpers.sockets import listening

from mmer_pipeline import audio
from mmer_pipeline.cluster import connect
from mmer_pipeline.corpora.manifest import Manifest
from mmer_pipeline.features import extraction, workers
from mmer_pipeline.features.extractors import FrameExtractor
from mmer_pipeline.features.feature_file import FeatureFile
from mmer_pipeline.features.speech_features import SpeechItem
from mmer_pipeline.features.text_features import TextItem

text = pytest.fixture(text_extraction)
speech = pytest.fixture(speech_extraction)
small_batches = pytest.fixture(batches_of_a_few)


@pytest.mark.slow
def test_processes_write_what_threads_write(manifest: Manifest, text: Work, speech: Work, small_batches: None) -> None:
    """And listen on nothing, or for one another."""
    before, found = listening(os.getpid()), []

    def watch(*_: int) -> None:
        found.append(listening(os.getpid()) - before)

    for extract, name in ((text, "text.h5"), (speech, "speech.h5")):
        extract(manifest, scheduler="threads", progress=watch)
        assert set().union(*found) == set()
        threads = FeatureFile(Path(name))
        values = [np.array(threads.at(row)) for row in range(16)]
        Path(name).unlink()
        extract(manifest, scheduler="processes", progress=watch)
        assert {host for sockets in found for host, _ in sockets} == {"127.0.0.1"}
        found.clear()
        processes = FeatureFile(Path(name))
        assert processes.value_digests == threads.value_digests
        for row in range(16):
            np.testing.assert_array_equal(processes.at(row), values[row])


def test_one_thread_and_four_write_the_same_bytes(
    manifest: Manifest, text: Work, speech: Work, small_batches: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for extract, name in ((text, "text.h5"), (speech, "speech.h5")):
        written = []
        for threads in (1, 4):
            monkeypatch.setattr(connect, "usable_cores", lambda threads=threads: threads)
            extract(manifest)
            written.append(Path(name).read_bytes())
            Path(name).unlink()
        assert written[0] == written[1]


def test_recordings_are_decoded_while_others_are_computed(
    manifest: Manifest, speech: Work, small_batches: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No batch leaves its arithmetic until a recording of another one has been decoded."""
    monkeypatch.setattr(connect, "usable_cores", lambda: 2)
    compute, load = FrameExtractor.compute, audio.load
    decoded, more = 0, threading.Condition()

    def count(*segment: Any) -> Any:
        nonlocal decoded
        waveform = load(*segment)
        with more:
            decoded += 1
            more.notify_all()
        return waveform

    def wait(extractor: FrameExtractor, waveforms: Any) -> Any:
        mine = sum(len(batch) for batch in waveforms)
        with more:
            assert more.wait_for(lambda: decoded > mine, timeout=10), "nothing is decoded while a batch is computed"
        return compute(extractor, waveforms)

    monkeypatch.setattr(audio, "load", count)
    monkeypatch.setattr(FrameExtractor, "compute", wait)
    assert speech(manifest).computed == 16


class Killed(BaseException):
    """Stands for a kill: nothing in the library catches it."""


@pytest.mark.parametrize("kind", ["text", "speech"])
def test_an_extraction_stopped_in_the_middle_goes_on_with_what_is_missing(
    kind: str, manifest: Manifest, text: Work, speech: Work, small_batches: None
) -> None:
    extract, path = (text, Path("text.h5")) if kind == "text" else (speech, Path("speech.h5"))
    written = 0

    def stop(done: int, total: int) -> None:
        nonlocal written
        assert total == 16
        written += done
        if written >= 5:
            raise Killed

    with pytest.raises(Killed):
        extract(manifest, progress=stop)
    assert not path.exists()
    assert 5 <= written < 16
    assert extract(manifest).computed == 16 - written
    resumed = FeatureFile(path).value_digests
    path.unlink()
    extract(manifest)
    assert FeatureFile(path).value_digests == resumed


def test_many_batches_are_few_tasks_and_few_are_one_each() -> None:
    for count, most in ((0, 0), (1, 1), (499, 499), (1_000, 500), (4_000, 501), (100_000, 12_500)):
        batches = [[number] for number in range(count)]
        tasks = extraction.group_batches(batches)
        assert len(tasks) <= most
        assert [batch for task in tasks for batch in task] == batches
        assert max(map(len, tasks), default=0) <= extraction.BATCHES_PER_TASK


@pytest.mark.parametrize("scheduler", ["threads", pytest.param("processes", marks=pytest.mark.slow)])
def test_batches_that_are_done_together_give_the_same_rows(
    scheduler: str, manifest: Manifest, speech: Work, small_batches: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    speech(manifest)
    alone = FeatureFile(Path("speech.h5")).value_digests
    Path("speech.h5").unlink()
    monkeypatch.setattr(extraction, "MANY_TASKS", 2)
    told: list[int] = []
    speech(manifest, scheduler=scheduler, progress=lambda done, _total: told.append(done))
    assert FeatureFile(Path("speech.h5")).value_digests == alone
    assert sum(told) == 16
    assert max(told) > 4


def test_progress_counts_every_utterance(manifest: Manifest, text: Work, small_batches: None) -> None:
    told: list[tuple[int, int]] = []
    text(manifest, progress=lambda done, total: told.append((done, total)))
    assert told[0] == (0, 16)
    assert len(told) > 3
    assert sum(done for done, _ in told) == 16


def test_text_batches_hold_every_text_within_the_budget() -> None:
    generator = np.random.default_rng(0)
    lengths = [*generator.integers(2, 400, 200).tolist(), 5_000]
    items = [TextItem(number, (1,) * length) for number, length in enumerate(lengths)]
    batches = workers.text_batches(items)
    assert sorted(item.number for batch in batches for item in batch) == list(range(201))
    for batch in batches:
        padded = len(batch) * max(len(item.token_ids) for item in batch)
        assert padded <= workers.TOKENS_PER_BATCH or len(batch) == 1
    assert len(batches[0][0].token_ids) == 5_000  # the longest first


def test_speech_batches_hold_every_recording_within_the_budget() -> None:
    generator = np.random.default_rng(0)
    lengths = [*generator.integers(8_000, 160_000, 100).tolist(), 60 * 16_000]
    items = [SpeechItem(number, Path("a.wav"), None, None, n) for number, n in enumerate(lengths)]
    batches = workers.speech_batches(items)
    assert sorted(item.number for batch in batches for item in batch) == list(range(101))
    for batch in batches:
        seconds = sum(item.samples for item in batch) / 16_000
        assert seconds <= workers.SECONDS_PER_BATCH or len(batch) == 1
    assert batches[0][0].samples == 60 * 16_000
