"""The computation of Resemblyzer's mel frames and speaker embeddings.

Its package also cuts out silence, by webrtcvad; that is left out here. Shape letters: B batch, S samples, N frames.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers.audio_utils import mel_filter_bank, spectrogram, window_function

from mmer_pipeline.audio import SAMPLE_RATE
from mmer_pipeline.devices import resolve_device
from mmer_pipeline.encoders.resemblyzer import BANDS, EXTRA_FRAMES
from mmer_pipeline.encoders.speaker_network import SpeakerNetwork, load_speaker_weights
from mmer_pipeline.features.acoustic_extractors import Floats, HostExtractor
from mmer_pipeline.features.acoustic_features import HOP, WINDOW
from mmer_pipeline.features.extractors import Group
from mmer_pipeline.features.resemblyzer_features import QUIETEST_DBFS


class MelExtractor(HostExtractor):
    """Mel frames as librosa computes them: a row every 10 ms."""

    def __init__(self) -> None:
        nyquist = SAMPLE_RATE / 2
        self.bands = mel_filter_bank(
            WINDOW // 2 + 1, BANDS, 0.0, nyquist, SAMPLE_RATE, norm="slaney", mel_scale="slaney"
        )  # [bins, bands]
        self.window = window_function(WINDOW, "hann")

    def rows(self, waveform: Floats) -> Floats:
        """See `HostExtractor`."""
        padded = np.pad(amplified(waveform), (0, (EXTRA_FRAMES - 1) * HOP))
        spectrum = spectrogram(
            padded, self.window, WINDOW, HOP, WINDOW, power=2.0, center=True, pad_mode="constant",
            mel_filters=self.bands, mel_floor=0.0,
        )  # fmt: skip
        return np.ascontiguousarray(spectrum.T, dtype=np.float32)  # [N, 40]


class EmbeddingExtractor(MelExtractor):
    """Runs the speaker network.

    Raises:
        UserError: its weights are not installed.
    """

    def __init__(self, device: str) -> None:
        super().__init__()
        self.device = resolve_device(device)
        network = SpeakerNetwork()
        load_speaker_weights(network)
        self.network = network.to(self.device).eval()

    @torch.no_grad()
    def compute(self, loaded: Sequence[Any]) -> list[Group]:
        """See `Extractor`."""
        frames = pad_sequence([torch.from_numpy(rows) for rows in loaded], batch_first=True)  # [B, N, 40]
        lengths = torch.tensor([len(rows) for rows in loaded])
        mask = torch.arange(frames.shape[1]) < lengths[:, None]  # [B, N]
        embeddings = self.network(frames.to(self.device), mask.to(self.device))  # [B, 256]
        return [Group(embeddings[:, None], [1] * len(embeddings))]

    def of_waveform(self, waveform: Floats) -> Tensor:
        """See `SpeechExtractor`."""
        (group,) = self.compute([self.rows(waveform)])
        return group.values[0]


def amplified(waveform: Floats) -> Floats:
    """A waveform `[S]`, amplified to −30 dBFS if it is quieter; digital silence stays as it is."""
    power = float(np.square(waveform, dtype=np.float64).mean())
    gain = 10 ** (QUIETEST_DBFS / 20) / power**0.5 if power else 1.0
    return waveform if gain <= 1 else (waveform * gain).astype(np.float32)
