"""Encoders of filter banks against transformers' own hidden states of each utterance alone."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from helpers.command_line import fail, succeed
from helpers.filter_bank_encoders import WINDOW, filter_bank_encoder
from transformers import AutoFeatureExtractor, AutoModel

from mmer_pipeline import audio
from mmer_pipeline.corpora.manifest import Manifest
from mmer_pipeline.encoders.encoder_files import FILTER_BANK_TYPES, resolve_encoder
from mmer_pipeline.encoders.frozen_speech import FrozenSpeechEncoder, frozen_outline, load_frozen_speech
from mmer_pipeline.encoders.speech import load_speech_encoder, speech_outline
from mmer_pipeline.errors import UserError
from mmer_pipeline.features.feature_file import FeatureFile

LENGTHS = [23_117, 23_117, 16_000, 9_001, 3_000, 700]  # samples; equal ones are side by side


@pytest.fixture(scope="module", params=FILTER_BANK_TYPES)
def directory(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return filter_bank_encoder(tmp_path_factory.mktemp("encoder"), request.param)


@pytest.fixture(scope="module")
def encoder(directory: Path) -> FrozenSpeechEncoder:
    return load_frozen_speech(resolve_encoder(str(directory)), torch.device("cpu"))


def noise(samples: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, samples).astype(np.float32)


def states_alone(directory: Path, waveform: np.ndarray) -> list[np.ndarray]:
    """transformers' hidden states of one waveform, without the frames of padding."""
    extractor, model = AutoFeatureExtractor.from_pretrained(directory), AutoModel.from_pretrained(directory).eval()
    encoder = model.encoder if hasattr(model.config, "encoder_config") or hasattr(model, "decoder") else model
    is_whisper = model.config.model_type == "whisper"
    parts = np.split(waveform, range(WINDOW, len(waveform), WINDOW)) if is_whisper else [waveform]
    windows = []
    for part in parts:
        inputs = extractor(part, sampling_rate=16_000, return_tensors="pt", return_attention_mask=True)
        with torch.no_grad():
            output: Any = encoder(**inputs, output_hidden_states=True)
        if is_whisper:
            real = inputs["attention_mask"][0, ::2].bool()
        else:
            mask = output.attention_mask if hasattr(output, "attention_mask") else inputs["attention_mask"]
            real = mask[0].bool()
        windows.append([state[0][real].numpy() for state in output.hidden_states])
        np.testing.assert_array_equal(output.last_hidden_state[0][real].numpy(), windows[-1][-1])
    return [np.concatenate(frames) for frames in zip(*windows, strict=True)]


def test_a_padded_batch_gives_what_transformers_gives_for_each_utterance_alone(
    directory: Path, encoder: FrozenSpeechEncoder
) -> None:
    waveforms = [encoder.normalise(noise(samples, seed)) for seed, samples in enumerate(LENGTHS)]
    groups = [np.stack(waveforms[:2]), *(waveform[None] for waveform in waveforms[2:])]
    states, mask = encoder.hidden_states([torch.from_numpy(group) for group in groups])
    assert len(states) == encoder.layers + 1
    assert mask.sum(dim=1).tolist() == [encoder.frame_count(samples) for samples in LENGTHS]
    for row, waveform in enumerate(waveforms):
        for state, expected in zip(states, states_alone(directory, waveform), strict=True):
            found = state[row][mask[row]].numpy()
            assert found.shape == expected.shape == (encoder.frame_count(len(waveform)), encoder.hidden_size)
            np.testing.assert_allclose(found, expected, atol=1e-4, rtol=1e-4)


def test_frame_counts_are_the_model_s_and_the_outline_s(directory: Path, encoder: FrozenSpeechEncoder) -> None:
    outline = frozen_outline(resolve_encoder(str(directory)))
    shortest = encoder.fewest_samples
    assert (outline.layers, outline.hidden_size, outline.fewest_samples) == (
        encoder.layers, encoder.hidden_size, shortest,
    )  # fmt: skip
    assert encoder.frame_count(shortest - 1) == 0
    lengths = [shortest, shortest + 1, *range(1_270, 1_300, 3), *range(2_000, 40_000, 1_777), 16_000, 32_000]
    for samples in lengths:
        states, mask = encoder.hidden_states([torch.from_numpy(noise(samples))[None]])
        assert all(state.isfinite().all() for state in states)
        assert {state.shape[1] for state in states} == {mask.shape[1]} == {int(mask.sum())}
        assert encoder.frame_count(samples) == outline.frame_count(samples) == mask.shape[1]


def test_what_cannot_be_trained_can_be_read_and_the_message_says_so(directory: Path) -> None:
    files = resolve_encoder(str(directory))
    for use in (load_speech_encoder, speech_outline):
        with pytest.raises(UserError, match=r"can be read frozen, but not trained.*--system superb.*wav2vec2, hubert"):
            use(files)
    assert not files.normalises


@pytest.mark.parametrize(
    ("name", "value"), [("sampling_rate", 16_001), ("feature_extractor_type", "Wav2Vec2FeatureExtractor")]
)
def test_a_feature_extractor_of_another_encoder_is_refused(
    name: str, value: object, directory: Path, tmp_path: Path
) -> None:
    for path in directory.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    path = tmp_path / "preprocessor_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), name: value}))
    with pytest.raises(UserError, match=r"preprocessor_config\.json is not that of the encoder"):
        frozen_outline(resolve_encoder(str(tmp_path)))
    path.unlink()
    with pytest.raises(UserError, match=r"the feature extractor"):
        frozen_outline(resolve_encoder(str(tmp_path)))


ONE_OF_EACH = pytest.mark.parametrize("directory", FILTER_BANK_TYPES[:3], indirect=True)


@ONE_OF_EACH
def test_layers_are_extracted_and_trained_on(directory: Path, manifest: Manifest, tiny_text: Path) -> None:
    words = ["--text-encoder", str(tiny_text), "--speech-encoder", str(directory)]
    succeed("extract", "--system", "superb", *words)
    (path,) = Path("cache/features/manifest").glob("speech-layers-*.h5")
    for utterance in manifest.utterances[:3]:
        waveform = audio.load(manifest.audio_path(utterance), None, None)
        states = states_alone(directory, waveform)
        expected = [np.concatenate([state.mean(axis=0), state.std(axis=0)]) for state in states]
        np.testing.assert_allclose(FeatureFile(path).rows(utterance.utterance_id), expected, atol=5e-3, rtol=5e-3)
    succeed("train", "--system", "superb", *words, "--fold", "1", "--epochs", "1")
    for system in ("wav2vec2", "mmer"):
        assert "can be read frozen, but not trained" in fail("extract", "--system", system, *words)


@ONE_OF_EACH
def test_a_recording_that_is_too_short_is_named(directory: Path, manifest: Manifest, tiny_text: Path) -> None:
    fewest = load_frozen_speech(resolve_encoder(str(directory)), torch.device("cpu")).fewest_samples
    recording = manifest.audio_path(manifest.utterances[0])
    words = ["--system", "superb", "--text-encoder", str(tiny_text), "--speech-encoder", str(directory)]
    soundfile.write(recording, noise(fewest - 1), 16_000)
    if fewest > 1:  # Whisper's reads a single sample; an empty file is no recording
        assert f"expected at least {fewest} samples at 16 kHz (one frame), found {fewest - 1}" in fail(
            "extract", *words
        )
    soundfile.write(recording, noise(fewest), 16_000)
    succeed("extract", *words)


def test_an_encoder_with_an_adapter_is_refused(tmp_path: Path) -> None:
    files = resolve_encoder(str(filter_bank_encoder(tmp_path, "wav2vec2-bert", add_adapter=True)))
    with pytest.raises(UserError, match="add_adapter"):
        frozen_outline(files)


def test_sizes_of_an_encoder_inside_a_larger_configuration_are_checked(directory: Path, tmp_path: Path) -> None:
    for path in directory.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    facts = json.loads((tmp_path / "config.json").read_text())
    facts.get("encoder_config", facts)["encoder_layers" if "encoder_layers" in facts else "num_hidden_layers"] = 0
    (tmp_path / "config.json").write_text(json.dumps(facts))
    with pytest.raises(UserError, match="layers is 0, expected at least 1"):
        frozen_outline(resolve_encoder(str(tmp_path)))
