"""Speaker embeddings: against transformers called directly, and from the recording to the evaluation."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.command_line import fail, succeed
from transformers import AutoFeatureExtractor, AutoModelForAudioXVector, Wav2Vec2FeatureExtractor, WavLMConfig

from mmer_pipeline import audio
from mmer_pipeline.corpora.manifest import Manifest
from mmer_pipeline.encoders.encoder_files import resolve_encoder
from mmer_pipeline.features.feature_file import FeatureFile
from mmer_pipeline.features.required_features import feature_of
from mmer_pipeline.features.speaker_features import Speaker
from mmer_pipeline.settings import Settings
from mmer_pipeline.systems.registry import settings_for
from mmer_pipeline.systems.titles import title


@pytest.fixture(scope="module")
def speakers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny speaker encoder with random weights."""
    directory = tmp_path_factory.mktemp("speakers") / "tiny-sv"
    config = WavLMConfig(
        hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, conv_dim=(16,) * 7,
        tdnn_dim=(16, 16, 16, 16, 24), xvector_output_dim=20, num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=2, apply_spec_augment=False,
    )  # fmt: skip
    torch.manual_seed(0)
    AutoModelForAudioXVector.from_config(config).save_pretrained(directory)
    Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(directory)
    return directory


def speaker(directory: Path) -> Speaker:
    found = feature_of("speaker", Settings(fold=1, speech_encoder=str(directory)))
    assert isinstance(found, Speaker)
    return found


@torch.no_grad()
def test_embeddings_are_those_of_transformers(speakers: Path) -> None:
    one, files = speaker(speakers), resolve_encoder(str(speakers))
    waveform = np.random.default_rng(0).normal(0, 0.1, 16_000).astype(np.float32)
    inputs = AutoFeatureExtractor.from_pretrained(speakers)(waveform, sampling_rate=16_000, return_tensors="pt")
    expected = AutoModelForAudioXVector.from_pretrained(speakers).eval()(inputs["input_values"]).embeddings
    found = one.extractor(files, "cpu").of_waveform(waveform)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    assert one.shape(files).dim == found.shape[1]


@torch.no_grad()
def test_a_recording_that_is_long_enough_has_a_row(speakers: Path) -> None:
    one, files = speaker(speakers), resolve_encoder(str(speakers))
    fewest = one.fewest_samples(files)
    extractor = one.extractor(files, "cpu")
    assert one.lengths([fewest - 1, fewest, fewest + 1, 9 * fewest], files) == [0, 1, 1, 1]
    noise = np.random.default_rng(0).normal(0, 0.1, 9 * fewest).astype(np.float32)
    assert extractor.of_waveform(noise[:fewest]).isfinite().all()
    assert extractor.of_waveform(noise).shape == (1, 20)
    with pytest.warns(UserWarning, match="degrees of freedom"):  # of a single frame
        assert not extractor.of_waveform(noise[: fewest - 1]).isfinite().all()


def test_a_probe_reads_speaker_embeddings(speakers: Path, manifest: Manifest) -> None:
    words = ["--system", "probe", "--inputs", "speaker", "--speech-encoder", str(speakers)]
    succeed("extract", *words)
    succeed("train", *words, "--fold", "1")
    succeed("evaluate", "--run", "probe")
    assert Path("runs/probe/fold-1/evaluation.json").is_file()
    one = speaker(speakers)
    file, utterance = FeatureFile(one.path(Path("cache"), manifest.path)), manifest.utterances[0]
    alone = one.extractor(resolve_encoder(str(speakers)), "cpu")
    with torch.no_grad():
        expected = alone.of_waveform(audio.load(manifest.audio_path(utterance)))
    np.testing.assert_allclose(file.rows(utterance.utterance_id), expected, atol=2e-3)
    assert pickle.loads(pickle.dumps(one)) == one


def test_an_encoder_without_speaker_embeddings_is_refused(encoders: list[str], manifest: Manifest) -> None:
    said = " ".join(fail("extract", "--system", "probe", "--inputs", "speaker", *encoders).split())
    assert "gives no speaker embeddings: expected an architecture that ends in ForXVector, found Wav2Vec2Model" in said


def test_the_title_names_the_speaker_encoder() -> None:
    settings = settings_for("probe", fold=1, inputs="speaker", speech_encoder="microsoft/wavlm-base-plus-sv")
    assert title(vars(settings)) == "Probe (speaker, wavlm-base-plus-sv)"
