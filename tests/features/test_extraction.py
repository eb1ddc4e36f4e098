"""Extraction from end to end on tiny encoders: the values, and what is computed when something changed."""

import os
import shutil
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from transformers import AutoModel, AutoTokenizer, Wav2Vec2FeatureExtractor

from mmer_pipeline import audio, cluster, files, paths
from mmer_pipeline.corpora.manifest import Manifest
from mmer_pipeline.corpora.transcripts import encoder_text
from mmer_pipeline.demo.encoders import tiny_speech_encoder, tiny_text_encoder
from mmer_pipeline.encoders.encoder_files import EncoderFiles, resolve_encoder
from mmer_pipeline.errors import Busy, UserError
from mmer_pipeline.features import extraction, required_features, workers
from mmer_pipeline.features.extraction import Extraction, extract_speech, extract_text
from mmer_pipeline.features.feature_file import FeatureFile
from mmer_pipeline.features.required_features import Request, requests_of
from mmer_pipeline.systems.registry import settings_for

TOLERANCE = {"float16": 1e-3, "float32": 1e-5}
DTYPES = tuple(TOLERANCE)
Work = Callable[..., Extraction]


def quiet(done: int, total: int) -> None:
    pass


@pytest.fixture
def text(tiny_text: Path) -> Work:
    """Extract text features to text.h5 with the usual settings."""

    def extract(manifest: Manifest, encoder: EncoderFiles | None = None, **changes: Any) -> Extraction:
        usual = {
            "annotations": "strip",
            "dtype": "float16",
            "device": "cpu",
            "scheduler": "threads",
            "progress": quiet,
        }
        return extract_text(
            manifest, encoder or resolve_encoder(str(tiny_text)), Path("text.h5"), **{**usual, **changes}
        )

    return extract


@pytest.fixture
def speech(tiny_speech: Path) -> Work:
    """Extract speech features to speech.h5 with the usual settings."""

    def extract(manifest: Manifest, encoder: EncoderFiles | None = None, **changes: Any) -> Extraction:
        usual = {"dtype": "float16", "device": "cpu", "scheduler": "threads", "progress": quiet}
        return extract_speech(
            manifest, encoder or resolve_encoder(str(tiny_speech)), Path("speech.h5"), **{**usual, **changes}
        )

    return extract


@pytest.fixture
def no_models(monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on nothing may be loaded or run."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a model was loaded, or work was handed out")

    monkeypatch.setattr(workers, "_load_text_encoder", refuse)
    monkeypatch.setattr(workers, "_load_frontend", refuse)
    monkeypatch.setattr(workers, "run", refuse)
    monkeypatch.setattr("mmer_pipeline.encoders.text.TextTokenizer", refuse)
    monkeypatch.setattr("mmer_pipeline.encoders.speech.speech_outline", refuse)


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few utterances a batch, so that there are batches to be stopped between."""
    monkeypatch.setattr(workers, "TOKENS_PER_BATCH", 64)
    monkeypatch.setattr(workers, "SECONDS_PER_BATCH", 2.0)


def with_transcript(manifest: Manifest, position: int, transcript: str) -> Manifest:
    utterances = list(manifest.utterances)
    utterances[position] = replace(utterances[position], transcript=transcript)
    return replace(manifest, utterances=tuple(utterances))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("annotations", ["strip", "keep"])
def test_text_features_are_what_transformers_gives_each_transcript_alone(
    annotations: str, dtype: str, manifest: Manifest, text: Work, tiny_text: Path
) -> None:
    done = text(manifest, annotations=annotations, dtype=dtype)
    assert done == Extraction(Path("text.h5"), 16, 16)
    model, tokenizer = AutoModel.from_pretrained(tiny_text).eval(), AutoTokenizer.from_pretrained(tiny_text)
    file = FeatureFile(done.path)
    for utterance in manifest.utterances:
        inputs = tokenizer(encoder_text(utterance.transcript, annotations), return_tensors="pt")
        with torch.no_grad():
            expected = model(**inputs).last_hidden_state[0].numpy()
        values = file.rows(utterance.utterance_id)
        assert values.dtype == dtype
        np.testing.assert_allclose(values, expected, atol=TOLERANCE[dtype], rtol=TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("family", ["wav2vec2", "moonshine"])
def test_speech_features_are_what_transformers_gives_each_recording_alone(
    family: str, dtype: str, manifest: Manifest, speech: Work, tmp_path: Path
) -> None:
    directory = tiny_speech_encoder(tmp_path / "encoder", family)
    done = speech(manifest, resolve_encoder(str(directory)), dtype=dtype)
    assert (done.computed, done.utterances) == (16, 16)
    model = AutoModel.from_pretrained(directory).eval()
    extractor = Wav2Vec2FeatureExtractor.from_pretrained(directory)
    file = FeatureFile(done.path)
    for utterance in manifest.utterances:
        samples, _ = soundfile.read(manifest.audio_path(utterance), dtype="float32")
        waveform = extractor(samples, sampling_rate=16_000, return_tensors="pt").input_values
        with torch.no_grad():
            if family == "moonshine":
                e = model.encoder
                hidden = e.groupnorm(e.conv1(waveform[:, None]).tanh())
                expected = torch.nn.functional.gelu(e.conv3(torch.nn.functional.gelu(e.conv2(hidden))))
            else:
                expected = model.feature_extractor(waveform)
        np.testing.assert_allclose(
            file.rows(utterance.utterance_id), expected[0].T.numpy(), atol=TOLERANCE[dtype], rtol=TOLERANCE[dtype]
        )


def test_a_segment_of_a_recording_gives_the_features_of_the_segment_alone(
    manifest: Manifest, speech: Work, tiny_speech: Path
) -> None:
    first = replace(manifest.utterances[0], start_seconds=0.1, end_seconds=0.35)
    speech(replace(manifest, utterances=(first,)), dtype="float32")
    samples, _ = soundfile.read(manifest.audio_path(first), dtype="float32")
    extractor = Wav2Vec2FeatureExtractor.from_pretrained(tiny_speech)
    with torch.no_grad():
        expected = (
            AutoModel.from_pretrained(tiny_speech)
            .eval()
            .feature_extractor(extractor(samples[1600:5600], sampling_rate=16_000, return_tensors="pt").input_values)
        )
    np.testing.assert_allclose(FeatureFile(Path("speech.h5")).at(0), expected[0].T.numpy(), atol=1e-5)


def test_a_second_run_computes_nothing_and_loads_no_model(
    manifest: Manifest, text: Work, speech: Work, request: pytest.FixtureRequest
) -> None:
    text(manifest)
    speech(manifest)
    before = [Path(name).read_bytes() for name in ("text.h5", "speech.h5")]
    request.getfixturevalue("no_models")
    assert text(manifest).computed == 0
    assert speech(manifest).computed == 0
    assert [Path(name).read_bytes() for name in ("text.h5", "speech.h5")] == before


def test_a_moved_encoder_computes_nothing(
    manifest: Manifest, text: Work, tiny_text: Path, request: pytest.FixtureRequest
) -> None:
    text(manifest)
    copy = resolve_encoder(str(shutil.copytree(tiny_text, "copy")))
    request.getfixturevalue("no_models")
    assert text(manifest, copy).computed == 0


def test_one_changed_transcript_is_one_text_to_encode(manifest: Manifest, text: Work) -> None:
    text(manifest)
    before = FeatureFile(Path("text.h5"))
    before.at(0)  # mapped now: the file is replaced below
    changed = with_transcript(manifest, 5, "Something else altogether!")
    assert text(changed).computed == 1
    after = FeatureFile(Path("text.h5"))
    for utterance in manifest.utterances[:5] + manifest.utterances[6:]:
        np.testing.assert_array_equal(after.rows(utterance.utterance_id), before.rows(utterance.utterance_id))
    assert after.length(5) != before.length(5)
    assert text(changed).computed == 0


def test_an_annotation_that_the_policy_removes_changes_nothing(manifest: Manifest, text: Work) -> None:
    text(manifest)
    transcript = manifest.utterances[5].transcript
    assert text(with_transcript(manifest, 5, f"[SIGH] {transcript} {{BR}}")).computed == 0


def test_another_policy_encodes_every_text_anew(manifest: Manifest, text: Work) -> None:
    text(manifest)
    assert text(manifest, annotations="keep").computed == 16


def test_another_encoder_encodes_every_text_anew(manifest: Manifest, text: Work, tmp_path: Path) -> None:
    text(manifest)
    other = tiny_text_encoder(tmp_path / "other", ["a b"], seed=1)
    assert text(manifest, resolve_encoder(str(other))).computed == 16


def test_fewer_utterances_compute_nothing_and_new_ones_alone_are_computed(manifest: Manifest, text: Work) -> None:
    part = replace(manifest, utterances=manifest.utterances[:10])
    assert text(part).computed == 10
    assert text(manifest).computed == 6
    assert text(part).computed == 0


def test_a_part_of_the_corpus_leaves_the_stamps_of_the_rest_alone(manifest: Manifest, speech: Work) -> None:
    speech(manifest)
    content = Path("speech.h5").read_bytes()
    assert speech(replace(manifest, utterances=manifest.utterances[:10])).computed == 0
    assert Path("speech.h5").read_bytes() == content


def test_a_touched_recording_is_read_and_not_computed_again(
    manifest: Manifest, speech: Work, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    speech(manifest)
    os.utime(manifest.audio_path(manifest.utterances[3]), (1, 1))
    request.getfixturevalue("no_models")
    assert speech(manifest).computed == 0

    def refuse(_: Path) -> bytes:
        raise AssertionError("a recording was read whose stamp is known")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    monkeypatch.setattr(EncoderFiles, "digest", lambda _: FeatureFile(Path("speech.h5")).identity.encoder_digest)
    assert speech(manifest).computed == 0


def test_a_recording_of_many_segments_is_looked_at_once(manifest: Manifest, monkeypatch: pytest.MonkeyPatch) -> None:
    first = manifest.utterances[0]
    cuts = [n / 100 for n in range(20)]
    segments = [replace(first, utterance_id=f"{cut}", start_seconds=cut, end_seconds=cut + 0.1) for cut in cuts]
    manifest = replace(manifest, utterances=(*segments, *manifest.utterances))
    state, seen = required_features._state, []
    monkeypatch.setattr(
        required_features, "_state", lambda path, utterance: seen.append(path) or state(path, utterance)
    )
    inputs = required_features.speech_inputs(manifest, None)
    assert len(set(inputs.stamps.values())) == len(set(inputs.digests.values())) == 36
    assert len(seen) == len(set(seen)) == 16


def test_one_replaced_recording_is_one_to_compute(manifest: Manifest, speech: Work) -> None:
    speech(manifest)
    first, second = (manifest.audio_path(manifest.utterances[position]) for position in (3, 4))
    first.write_bytes(second.read_bytes())
    assert speech(manifest).computed == 1
    file = FeatureFile(Path("speech.h5"))
    np.testing.assert_array_equal(file.at(3), file.at(4))


def test_a_changed_segment_is_one_to_compute(manifest: Manifest, speech: Work) -> None:
    speech(manifest)
    utterances = [replace(manifest.utterances[0], end_seconds=0.3), *manifest.utterances[1:]]
    assert speech(replace(manifest, utterances=tuple(utterances))).computed == 1


@pytest.mark.slow
def test_processes_write_what_threads_write(manifest: Manifest, text: Work, speech: Work, small_batches: None) -> None:
    for extract, name in ((text, "text.h5"), (speech, "speech.h5")):
        extract(manifest, scheduler="threads")
        threads = FeatureFile(Path(name))
        values = [np.array(threads.at(row)) for row in range(16)]
        Path(name).unlink()
        extract(manifest, scheduler="processes")
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
            monkeypatch.setattr(cluster, "usable_cores", lambda threads=threads: threads)
            extract(manifest)
            written.append(Path(name).read_bytes())
            Path(name).unlink()
        assert written[0] == written[1]


def test_recordings_are_decoded_while_others_are_computed(
    manifest: Manifest, speech: Work, small_batches: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No batch leaves its arithmetic until a recording of another one has been decoded."""
    monkeypatch.setattr(cluster, "usable_cores", lambda: 2)
    frames, load = workers._frames, audio.load
    decoded, more = 0, threading.Condition()

    def count(*segment: Any) -> Any:
        nonlocal decoded
        waveform = load(*segment)
        with more:
            decoded += 1
            more.notify_all()
        return waveform

    def wait(model: Any, waveforms: Any) -> Any:
        mine = sum(len(batch) for batch in waveforms)
        with more:
            assert more.wait_for(lambda: decoded > mine, timeout=10), "nothing is decoded while a batch is computed"
        return frames(model, waveforms)

    monkeypatch.setattr(audio, "load", count)
    monkeypatch.setattr(workers, "_frames", wait)
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


@pytest.mark.parametrize("scheduler", ["threads", pytest.param("processes", marks=pytest.mark.slow)])
def test_a_recording_cut_after_planning_is_refused_by_name(scheduler: str, manifest: Manifest, speech: Work) -> None:
    victim = manifest.audio_path(manifest.utterances[7])

    def cut(done: int, _total: int) -> None:
        if not done:
            victim.write_bytes(victim.read_bytes()[:2_000])

    with pytest.raises(UserError, match=victim.name):
        speech(manifest, progress=cut, scheduler=scheduler)
    assert not Path("speech.h5").exists()


def test_a_recording_shortened_after_planning_is_refused_by_name(manifest: Manifest, speech: Work) -> None:
    victim = manifest.audio_path(manifest.utterances[7])

    def shorten(done: int, _total: int) -> None:
        if not done:
            soundfile.write(victim, np.zeros(3_000, np.float32), 16_000)

    with pytest.raises(UserError, match=victim.name) as caught:
        speech(manifest, progress=shorten)
    assert "found 3000" in str(caught.value)


def test_a_missing_recording_is_refused_by_name(manifest: Manifest, speech: Work) -> None:
    victim = manifest.audio_path(manifest.utterances[2])
    victim.unlink()
    with pytest.raises(UserError, match=victim.name) as caught:
        speech(manifest)
    assert manifest.utterances[2].utterance_id in str(caught.value)


def test_a_recording_shorter_than_a_frame_is_refused_with_both_numbers(manifest: Manifest, speech: Work) -> None:
    soundfile.write(manifest.audio_path(manifest.utterances[2]), np.zeros(399, np.float32), 16_000)
    with pytest.raises(UserError) as caught:
        speech(manifest)
    for words in (manifest.utterances[2].utterance_id, "at least 400 samples", "found 399"):
        assert words in str(caught.value)


def test_values_too_large_for_float16_are_refused_with_what_to_do(
    manifest: Manifest, speech: Work, tmp_path: Path
) -> None:
    directory = tiny_speech_encoder(tmp_path / "loud", feat_extract_norm="layer", conv_bias=True)
    model = AutoModel.from_pretrained(directory)
    with torch.no_grad():
        model.feature_extractor.conv_layers[-1].layer_norm.weight.fill_(1e6)
    model.save_pretrained(directory)
    encoder = resolve_encoder(str(directory))
    with pytest.raises(UserError, match="--dtype float32"):
        speech(manifest, encoder)
    assert speech(manifest, encoder, dtype="float32").computed == 16


def test_an_encoder_with_weights_missing_is_refused_before_anything_is_written(
    manifest: Manifest, speech: Work, tiny_speech: Path, tiny_text: Path
) -> None:
    shutil.copytree(tiny_speech, "mixed")
    shutil.copy(tiny_text / "model.safetensors", "mixed/model.safetensors")
    with pytest.raises(UserError, match="lacks weights"):
        speech(manifest, resolve_encoder("./mixed"))
    assert not Path("speech.h5").exists()


def test_a_scheduler_that_does_not_answer_is_refused(
    manifest: Manifest, text: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "CONNECT_SECONDS", 0.2)
    with pytest.raises(UserError, match=r"tcp://127\.0\.0\.1:9"):
        text(manifest, scheduler="tcp://127.0.0.1:9")


@pytest.mark.parametrize(
    ("system", "options", "kinds"),
    [
        ("mmer", {}, ["text", "speech"]),
        ("mmer", {"speech_features": False}, ["text"]),
        ("cai", {}, ["speech"]),
        ("roberta", {}, ["text"]),
        ("roberta", {"finetune_text": True}, []),
    ],
)
def test_a_run_asks_for_the_features_that_its_system_reads(
    system: str, options: dict[str, bool], kinds: list[str]
) -> None:
    assert [request.kind for request in requests_of(settings_for(system, fold=1, **options))] == kinds


def test_a_requested_file_lies_where_a_run_looks_for_it(manifest: Manifest, tiny_text: Path, tmp_path: Path) -> None:
    request = Request("text", str(tiny_text), None, "float16", "strip")
    done = extraction.extract(request, manifest, tmp_path, device="cpu", scheduler="threads", progress=quiet)
    assert done == Extraction(tmp_path / "features/manifest/text-tiny-text-strip-float16.h5", 16, 16)


@pytest.mark.parametrize("kind", ["text", "speech"])
def test_a_file_that_another_process_writes_is_left_to_it_and_one_that_is_whole_needs_no_lock(
    kind: str, manifest: Manifest, text: Work, speech: Work
) -> None:
    extract, path = (text, Path("text.h5")) if kind == "text" else (speech, Path("speech.h5"))
    with files.locked(paths.lock_of(path)), pytest.raises(Busy, match="Another process"):
        extract(manifest)
    assert extract(manifest).computed == 16
    with files.locked(paths.lock_of(path)):
        assert extract(manifest).computed == 0


def test_text_batches_hold_every_text_within_the_budget() -> None:
    generator = np.random.default_rng(0)
    lengths = [*generator.integers(2, 400, 200).tolist(), 5_000]
    items = [workers.TextItem(number, (1,) * length) for number, length in enumerate(lengths)]
    batches = workers.text_batches(items)
    assert sorted(item.number for batch in batches for item in batch) == list(range(201))
    for batch in batches:
        padded = len(batch) * max(len(item.token_ids) for item in batch)
        assert padded <= workers.TOKENS_PER_BATCH or len(batch) == 1
    assert len(batches[0][0].token_ids) == 5_000  # the longest first


def test_speech_batches_hold_every_recording_within_the_budget() -> None:
    generator = np.random.default_rng(0)
    lengths = [*generator.integers(8_000, 160_000, 100).tolist(), 60 * 16_000]
    items = [workers.SpeechItem(number, Path("a.wav"), None, None, n) for number, n in enumerate(lengths)]
    batches = workers.speech_batches(items)
    assert sorted(item.number for batch in batches for item in batch) == list(range(101))
    for batch in batches:
        seconds = sum(item.samples for item in batch) / 16_000
        assert seconds <= workers.SECONDS_PER_BATCH or len(batch) == 1
    assert batches[0][0].samples == 60 * 16_000
