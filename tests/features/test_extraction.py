"""Extraction from end to end on tiny encoders: the values, and what is refused."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from helpers.extraction import Work, speech_extraction, text_extraction
from transformers import AutoModel, AutoTokenizer, Wav2Vec2FeatureExtractor

from mmer_pipeline.cluster import remote_scheduler
from mmer_pipeline.corpora.manifest import Manifest
from mmer_pipeline.corpora.transcripts import encoder_text
from mmer_pipeline.demo.encoders import tiny_speech_encoder
from mmer_pipeline.encoders.encoder_files import resolve_encoder
from mmer_pipeline.errors import UserError
from mmer_pipeline.features import extraction
from mmer_pipeline.features.extraction import Extraction
from mmer_pipeline.features.feature_file import FeatureFile

TOLERANCE = {"float16": 1e-3, "float32": 1e-5}
DTYPES = tuple(TOLERANCE)
text = pytest.fixture(text_extraction)
speech = pytest.fixture(speech_extraction)


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
    monkeypatch.setattr(remote_scheduler, "CONNECT_SECONDS", 0.2)
    with pytest.raises(UserError, match=r"tcp://127\.0\.0\.1:9"):
        text(manifest, scheduler="tcp://127.0.0.1:9")


def test_the_size_of_a_large_file_is_said_before_it_is_written(
    manifest: Manifest, speech: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(extraction, "LARGE", 1)
    speech(manifest, report=said.append)
    assert [text for text in said if "speech.h5 will have 0.0 GB; " in text and text.endswith(" GB are free.")]


def test_a_file_that_does_not_fit_on_the_disk_is_refused_before_work_begins(
    manifest: Manifest, speech: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extraction.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 9, 1))
    with pytest.raises(UserError, match=r"speech.h5 needs .* GB, but its disk has 0.0 GB free. Free some"):
        speech(manifest)
