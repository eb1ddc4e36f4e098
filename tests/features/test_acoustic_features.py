"""Features without an encoder: against the libraries called directly, and from the recording to the evaluation."""

import json
import pickle
from importlib import metadata
from pathlib import Path

import numpy as np
import opensmile
import pytest
import torch
from helpers.command_line import fail, succeed
from transformers.audio_utils import mel_filter_bank

from mmer_pipeline import audio
from mmer_pipeline.audit.recording_measurements import measure
from mmer_pipeline.corpora.manifest import Manifest
from mmer_pipeline.errors import UserError
from mmer_pipeline.features.feature import Feature
from mmer_pipeline.features.feature_file import FeatureFile
from mmer_pipeline.features.required_features import feature_of
from mmer_pipeline.settings import Settings
from mmer_pipeline.systems.registry import settings_for

RATE = audio.SAMPLE_RATE
VECTORS = ("egemaps", "prosody", "loudness")
FRAMES = ("egemaps-lld", "log-mel", "mfcc", "resemblyzer-mel", "mel-512", "mel-1024", "spectrogram")
NAMES = (*VECTORS, *FRAMES)


def feature(name: str) -> Feature:
    return feature_of(name, Settings(fold=1))


def speech_like(samples: int) -> np.ndarray:
    """A tone whose pitch rises, in noise, `[S]`."""
    time = np.arange(samples) / RATE
    noise = np.random.default_rng(samples).normal(0, 0.01, samples)
    return (0.3 * np.sin(2 * np.pi * (150 + 40 * time) * time) * np.cos(9 * time) + noise).astype(np.float32)


def rows(name: str, waveform: np.ndarray) -> np.ndarray:
    return feature(name).extractor(None, "cpu").of_waveform(waveform).numpy()


def lengths_to_try(fewest: int) -> list[int]:
    """Around the first frames, at the edges of frames, and elsewhere."""
    edges = [fewest + 160 * frame + offset for frame in (0, 1, 2, 7, 40) for offset in (0, 1, 159)]
    return [*edges, *np.random.default_rng(0).integers(fewest, 20_000, 8).tolist()]


@pytest.mark.parametrize(("name", "level"), [("egemaps", "func"), ("egemaps-lld", "lld")])
def test_egemaps_is_what_opensmile_says(name: str, level: str) -> None:
    smile = opensmile.Smile(opensmile.FeatureSet.eGeMAPSv02, opensmile.FeatureLevel(level))
    waveform = speech_like(RATE)
    expected = smile.process_signal(waveform, RATE)
    np.testing.assert_array_equal(rows(name, waveform), expected.to_numpy())
    assert expected.shape[1] == feature(name).shape(None).dim


def test_prosody_is_pitch_loudness_and_rate_of_egemaps() -> None:
    smile = opensmile.Smile(opensmile.FeatureSet.eGeMAPSv02, opensmile.FeatureLevel.Functionals)
    waveform = speech_like(RATE)
    expected = smile.process_signal(waveform, RATE)
    parts = ("F0", "loudness", "Voiced", "Unvoiced", "equivalentSoundLevel")
    chosen = [name for name in expected.columns if any(part in name for part in parts) and "slope" not in name
              and not name.endswith(("V_sma3nz_amean", "V_sma3nz_stddevNorm")) and "amplitude" not in name
              and "logRelF0" not in name]  # fmt: skip
    found = rows("prosody", waveform)
    np.testing.assert_array_equal(found, expected[chosen].to_numpy())
    assert found.shape == (1, feature("prosody").shape(None).dim)


def test_full_scale_does_not_turn_into_its_opposite() -> None:
    """openSMILE's 16 bits have no +1."""
    waveform = np.clip(4 * speech_like(RATE), -1, 1)
    almost = np.clip(waveform, -1, 0.99996)
    np.testing.assert_allclose(rows("egemaps", waveform), rows("egemaps", almost), rtol=1e-3, atol=1e-3)


def test_loudness_is_what_the_audit_measures(manifest: Manifest) -> None:
    utterance = manifest.utterances[0]
    measured = measure(manifest, utterance)
    found = rows("loudness", audio.load(manifest.audio_path(utterance)))
    np.testing.assert_allclose(found, [[np.log(measured.seconds), measured.rms_dbfs]], rtol=1e-6)


def test_log_mel_is_mel_bands_of_a_fourier_transform_by_torch() -> None:
    waveform = speech_like(RATE)
    window = torch.hann_window(400).double()
    frames = torch.from_numpy(waveform).double().unfold(0, 400, 160) * window  # [N, 400]
    power = torch.fft.rfft(frames, 512).abs().square()  # [N, 257]
    bands = mel_filter_bank(257, 80, 0.0, 8000.0, RATE)
    np.testing.assert_allclose(rows("log-mel", waveform), np.log(power.numpy() @ bands), atol=1e-3)


def test_mfcc_are_cosines_of_log_mel_and_slopes_and_curvatures_over_nine_frames() -> None:
    waveform = speech_like(RATE)
    numbers, bands = np.arange(13)[:, None], np.arange(80)
    cosines = np.sqrt(2 / 80) * np.cos(np.pi * numbers * (2 * bands + 1) / 160)  # [13, 80]
    cosines[0] /= np.sqrt(2)
    expected = rows("log-mel", waveform).astype(np.float64) @ cosines.T  # [N, 13]
    found = rows("mfcc", waveform)
    np.testing.assert_allclose(found[:, :13], expected, atol=1e-3)
    offsets = np.arange(-4, 5)
    for frame in (4, 20, len(expected) - 5):
        curve = np.polynomial.polynomial.polyfit(offsets, expected[frame - 4 : frame + 5], 2)  # [3, 13]
        np.testing.assert_allclose(found[frame, 13:26], curve[1], atol=1e-3)
        np.testing.assert_allclose(found[frame, 26:], 2 * curve[2], atol=1e-3)


@pytest.mark.parametrize(("name", "size", "count"), [("mel-512", 512, 128), ("mel-1024", 1024, 256)])
def test_mel_spectrograms_are_decibels_of_mel_bands_of_a_fourier_transform_by_torch(
    name: str, size: int, count: int
) -> None:
    waveform = speech_like(RATE)
    waveform[: RATE // 4] = 0  # digital silence has the floor, 1e-10
    frames = torch.from_numpy(waveform).double().unfold(0, size, size // 2) * torch.hann_window(size).double()
    power = torch.fft.rfft(frames, 4 * size).abs().square().numpy() @ mel_filter_bank(
        2 * size + 1, count, 0.0, 8000.0, RATE
    )
    found = rows(name, waveform)
    np.testing.assert_allclose(found, 10 * np.log10(power.clip(1e-10)), atol=1e-3)
    assert (found[0] == -100).all()


def test_spectrograms_are_decibels_of_the_lower_bins_of_a_fourier_transform_by_torch() -> None:
    waveform = speech_like(RATE)
    frames = torch.from_numpy(waveform).double().unfold(0, 640, 160) * torch.hamming_window(640).double()
    power = torch.fft.rfft(frames, 800).abs().square().numpy()[:, :200]
    np.testing.assert_allclose(rows("spectrogram", waveform), 10 * np.log10(power.clip(1e-10)), atol=1e-2)


@pytest.mark.parametrize("name", NAMES)
def test_as_many_rows_are_planned_as_computed(name: str) -> None:
    one = feature(name)
    fewest = one.fewest_samples(None)  # type: ignore[attr-defined]
    extractor = one.extractor(None, "cpu")
    tried = lengths_to_try(fewest)
    planned = one.lengths(tried, None)  # type: ignore[attr-defined]
    for samples, expected in zip(tried, planned, strict=True):
        found = extractor.of_waveform(speech_like(samples))  # type: ignore[attr-defined]
        assert found.shape == (expected, one.shape(None).dim), samples
        assert found.isfinite().all()
    assert one.lengths([fewest - 1], None) == [0]  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", NAMES)
def test_a_silent_recording_has_rows(name: str) -> None:
    assert np.isfinite(rows(name, np.zeros(RATE, np.float32))).all()


@pytest.mark.parametrize("name", NAMES)
def test_a_feature_can_be_sent_to_another_process(name: str) -> None:
    assert pickle.loads(pickle.dumps(feature(name))) == feature(name)


@pytest.mark.parametrize("name", NAMES)
def test_the_file_has_the_rows_of_each_recording(name: str, manifest: Manifest) -> None:
    succeed("extract", "--system", "probe", "--inputs", name, "--dtype", "float32")
    file = FeatureFile(feature_of(name, Settings(fold=1, dtype="float32")).path(Path("cache"), manifest.path))
    extractor = feature(name).extractor(None, "cpu")
    for utterance in manifest.utterances[:3]:
        waveform = audio.load(manifest.audio_path(utterance))
        expected = extractor.of_waveform(waveform).numpy()  # type: ignore[attr-defined]
        np.testing.assert_array_equal(file.rows(utterance.utterance_id), expected)


@pytest.mark.parametrize("system", ["svm", "loudness", "probe:log-mel"])
def test_systems_are_extracted_for_trained_and_evaluated(system: str, manifest: Manifest) -> None:
    name, _, inputs = system.partition(":")
    words = ["--system", name, *(["--inputs", inputs] if inputs else [])]
    succeed("extract", *words)
    succeed("train", *words, "--fold", "1")
    succeed("evaluate", "--run", name)
    assert Path(f"runs/{name}/fold-1/evaluation.json").is_file()


def test_the_report_names_no_encoder_of_a_system_without_one(manifest: Manifest) -> None:
    succeed("extract", "--system", "loudness")
    succeed("train", "--system", "loudness", "--fold", "1")
    succeed("evaluate", "--run", "loudness", "report", "--run", "loudness")
    (system,) = json.loads(Path("runs/loudness/report.json").read_text())["systems"]
    assert system["encoders"] == {"text": None, "speech": None}
    assert "reads the recording." in Path("runs/loudness/methods.md").read_text()


def test_a_support_vector_machine_reads_egemaps_and_its_version_is_known(manifest: Manifest) -> None:
    assert settings_for("svm", fold=1).inputs == "egemaps"
    succeed("extract", "--system", "svm")
    identity = FeatureFile(feature("egemaps").path(Path("cache"), manifest.path)).identity
    assert identity.policy == f"eGeMAPSv02, opensmile {opensmile.__version__}"


def test_without_opensmile_the_message_says_how_to_install_it(
    manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr("mmer_pipeline.features.acoustic_features.metadata.version", missing)
    with pytest.raises(UserError, match="require the package opensmile"):
        feature("egemaps").extractor(None, "cpu")
    assert "pip install 'mmer-pipeline[opensmile]'" in fail("extract", "--system", "svm")
