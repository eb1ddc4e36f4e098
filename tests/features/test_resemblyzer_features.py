"""Resemblyzer's mel frames and embeddings: against librosa's and its package's numbers, and as features of a corpus."""

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.command_line import fail, succeed
from helpers.speaker_weights import install_speaker_weights, remove_speaker_weights
from torch import Tensor, nn

from mmer_pipeline import audio
from mmer_pipeline.corpora.manifest import Manifest
from mmer_pipeline.encoders.resemblyzer import EXTRA_FRAMES, weights_file
from mmer_pipeline.encoders.speaker_network import SpeakerNetwork, window_starts
from mmer_pipeline.errors import UserError
from mmer_pipeline.features.feature_file import FeatureFile
from mmer_pipeline.features.required_features import feature_of
from mmer_pipeline.features.resemblyzer_extractors import MelExtractor, amplified
from mmer_pipeline.settings import Settings

RATE = audio.SAMPLE_RATE
TIME = np.arange(RATE) / RATE
QUIET = (0.004 * np.sin(2 * np.pi * (150 + 400 * TIME) * TIME) * (1 + np.cos(9 * TIME))).astype(np.float32)


def test_mel_frames_are_those_of_librosa_in_resemblyzer() -> None:
    """Bands 2, 5, 9 and 14 of the frames 0, 37 and 100, as printed by Resemblyzer 0.1.4 with librosa 0.11."""
    found = MelExtractor().rows(QUIET)
    assert found.shape == (101 + EXTRA_FRAMES - 1, 40)
    expected = [
        [0.0996158, 0.000713166, 7.19378e-05, 1.29403e-05],
        [5.69093e-10, 7.3187e-05, 1.90611e-10, 7.85898e-13],
        [1.97057e-06, 2.9968e-06, 1.2161e-05, 1.71411e-05],
    ]
    np.testing.assert_allclose(found[np.ix_([0, 37, 100], [2, 5, 9, 14])], expected, rtol=1e-3, atol=1e-9)


@pytest.mark.parametrize("samples", [1, 159, 160, 1601, 4000])
def test_all_frames_after_those_that_are_stored_are_silent(samples: int) -> None:
    loud = 1e6 * QUIET[-samples:]  # also with silence after it, too loud to be amplified
    found, longer = MelExtractor().rows(loud), MelExtractor().rows(np.pad(loud, (0, 3000)))
    assert len(found) == samples // 160 + EXTRA_FRAMES
    np.testing.assert_array_equal(longer[: len(found)], found)
    assert (longer[len(found) :] == 0).all()


def test_only_quiet_recordings_are_amplified() -> None:
    assert np.sqrt(np.square(amplified(QUIET)).mean()) == pytest.approx(10 ** (-30 / 20), rel=1e-4)
    loud = QUIET * 40
    assert amplified(loud) is loud
    silence = np.zeros(100, np.float32)
    assert amplified(silence) is silence


@pytest.mark.parametrize(
    ("samples", "starts"),
    [
        (1, [0]),
        (25_600, [0]),
        (31_519, [0]),
        (31_520, [0, 77]),
        (43_839, [0, 77]),
        (43_840, [0, 77, 154]),
        (100_000, [0, 77, 154, 231, 308, 385, 462]),
    ],
)
def test_windows_begin_where_resemblyzer_begins_them(samples: int, starts: list[int]) -> None:
    """As printed by its `compute_partial_slices(samples, 1.3, 0.75)`."""
    assert list(window_starts(samples // 160)) == starts


@torch.no_grad()
def test_an_embedding_is_a_plain_composition_of_modules() -> None:
    torch.manual_seed(0)
    network = SpeakerNetwork().eval()
    frames = torch.rand(1, 300 + EXTRA_FRAMES, 40)
    lstm = nn.LSTM(40, 256, 3, batch_first=True)
    lstm.load_state_dict(network.lstm.state_dict())

    def of(window: Tensor) -> Tensor:
        last = lstm(window)[0][:, -1]
        positive = network.linear(last).relu()[0]
        return positive / positive.norm()

    padded = torch.cat([frames, torch.zeros(1, 100, 40)], dim=1)
    mean = torch.stack([of(padded[:, start : start + 160]) for start in (0, 77, 154)]).mean(dim=0)
    found = network(frames, torch.ones(frames.shape[:2], dtype=torch.bool))[0]
    torch.testing.assert_close(found, mean / mean.norm())
    assert sum(p.numel() for p in network.parameters()) == 1_423_616


def test_embeddings_are_stored_for_a_corpus_and_a_probe_reads_them(
    manifest: Manifest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    network = install_speaker_weights(monkeypatch, tmp_path / "site")
    words = ["--system", "probe", "--inputs", "resemblyzer", "--dtype", "float32"]
    succeed("extract", *words)
    feature = feature_of("resemblyzer", Settings(fold=1, dtype="float32"))
    file = FeatureFile(feature.path(Path("cache"), manifest.path))
    extractor = MelExtractor()
    for utterance in manifest.utterances[:3]:
        frames = extractor.of_waveform(audio.load(manifest.audio_path(utterance)))[None]
        with torch.no_grad():
            expected = network(frames, torch.ones(frames.shape[:2], dtype=torch.bool)).numpy()
        np.testing.assert_allclose(file.rows(utterance.utterance_id), expected, atol=1e-6)
    remove_speaker_weights(monkeypatch)  # what is stored is read without them
    succeed("train", *words, "--fold", "1")


def test_without_the_package_the_message_says_how_to_install_it(
    manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    remove_speaker_weights(monkeypatch)
    shown = " ".join(fail("extract", "--system", "probe", "--inputs", "resemblyzer").split())
    assert "`pip install --no-deps Resemblyzer==0.1.4`" in shown
    succeed("extract", "--system", "probe", "--inputs", "resemblyzer-mel")  # which needs no weights


def test_other_weights_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    install_speaker_weights(monkeypatch, tmp_path / "site")
    weights_file().write_bytes(b"no weights")
    with pytest.raises(UserError, match=r"pretrained\.pt is damaged, or of another version than 0\.1\.4: "):
        feature_of("resemblyzer", Settings(fold=1)).extractor(None, "cpu")
