"""The computation of features without an encoder, from one waveform at a time.

All of the work is done where recordings are read, in Dask's threads: the compute thread has nothing to compute.
Shape letters: S samples, N rows.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from scipy.fft import dct
from scipy.signal import savgol_filter
from torch import Tensor
from transformers.audio_utils import mel_filter_bank, spectrogram, window_function

from mmer_pipeline.audio import SAMPLE_RATE
from mmer_pipeline.features.acoustic_features import (
    BANDS,
    BINS,
    COEFFICIENTS,
    DELTA_FRAMES,
    FFT,
    FLOOR,
    HIGHEST_HZ,
    HOP,
    LONG_FFT,
    LONG_WINDOW,
    LOWEST_HZ,
    PADDED,
    WINDOW,
    Mel512,
    Mel1024,
    opensmile_version,
)
from mmer_pipeline.features.extractors import Group, SpeechExtractor, read_waveform
from mmer_pipeline.features.speech_features import SpeechItem
from mmer_pipeline.loudness import length_and_loudness, rms_dbfs

Floats = npt.NDArray[np.float32]

LOUDEST = 32_767 / 32_768  # openSMILE's 16 bits have no +1: it would become −1
# The functionals of eGeMAPSv02 that describe pitch, loudness and rate begin like this.
PROSODY = ("F0semitone", "loudness", "VoicedSegments", "MeanVoiced", "StddevVoiced", "MeanUnvoiced", "StddevUnvoiced",
           "equivalentSoundLevel")  # fmt: skip


class HostExtractor(SpeechExtractor):
    """The base of the extractors that compute the rows of each waveform with NumPy or another library of the host."""

    def rows(self, waveform: Floats) -> Floats:
        """The rows `[N, dim]` of one waveform `[S]` at 16 kHz; several threads call this at once."""
        raise NotImplementedError

    def load(self, items: Sequence[SpeechItem]) -> list[Any]:
        """See `Extractor`."""
        return [self.rows(read_waveform(item)) for item in items]

    def compute(self, loaded: Sequence[Any]) -> list[Group]:
        """See `Extractor`."""
        return [Group(torch.from_numpy(rows)[None], [len(rows)]) for rows in loaded]

    def of_waveform(self, waveform: Floats) -> Tensor:
        """See `SpeechExtractor`."""
        return torch.from_numpy(self.rows(waveform))


class _OpensmileExtractor(HostExtractor):
    def __init__(self, level: str) -> None:
        opensmile_version()  # which raises an error if it is not installed
        import opensmile

        self.smile = opensmile.Smile(opensmile.FeatureSet.eGeMAPSv02, opensmile.FeatureLevel(level))

    def rows(self, waveform: Floats) -> Floats:
        """See `HostExtractor`."""
        (values,) = self.smile(np.clip(waveform, -1, LOUDEST), SAMPLE_RATE)  # [dim, N]
        return np.ascontiguousarray(values.T, dtype=np.float32)


class FunctionalsExtractor(_OpensmileExtractor):
    """The functionals of eGeMAPSv02: one row."""

    def __init__(self) -> None:
        super().__init__("func")


class DescriptorsExtractor(_OpensmileExtractor):
    """The low-level descriptors of eGeMAPSv02: a row every 10 ms."""

    def __init__(self) -> None:
        super().__init__("lld")


class ProsodyExtractor(FunctionalsExtractor):
    """The functionals of pitch, loudness and rate."""

    def __init__(self) -> None:
        super().__init__()
        self.columns = [number for number, name in enumerate(self.smile.feature_names) if name.startswith(PROSODY)]

    def rows(self, waveform: Floats) -> Floats:
        """See `HostExtractor`."""
        return super().rows(waveform)[:, self.columns]


class LoudnessExtractor(HostExtractor):
    """The logarithm of the length in seconds, and the level in dBFS: one row."""

    def rows(self, waveform: Floats) -> Floats:
        """See `HostExtractor`."""
        return length_and_loudness([len(waveform) / SAMPLE_RATE], [rms_dbfs(waveform)]).astype(np.float32)


class LogMelExtractor(HostExtractor):
    """Log-mel bands: a row every 10 ms, for each window that is within the recording."""

    def __init__(self) -> None:
        self.bands = mel_filter_bank(FFT // 2 + 1, BANDS, LOWEST_HZ, HIGHEST_HZ, SAMPLE_RATE)  # [bins, bands]
        self.window = window_function(WINDOW, "hann")

    def rows(self, waveform: Floats) -> Floats:
        """See `HostExtractor`."""
        spectrum = spectrogram(
            waveform, self.window, WINDOW, HOP, FFT, power=2.0, center=False, mel_filters=self.bands, log_mel="log"
        )  # [bands, N]
        return np.ascontiguousarray(spectrum.T, dtype=np.float32)


class MfccExtractor(LogMelExtractor):
    """Cepstral coefficients with deltas and double deltas, as librosa computes them of log-mel bands."""

    def rows(self, waveform: Floats) -> Floats:
        """See `HostExtractor`."""
        coefficients = dct(super().rows(waveform), axis=1, norm="ortho")[:, :COEFFICIENTS]  # [N, 13]
        # A polynomial is fitted at the ends, where frames are missing; with fewer frames, the outer ones are repeated.
        mode = "interp" if len(coefficients) >= DELTA_FRAMES else "nearest"
        deltas = [
            savgol_filter(coefficients, DELTA_FRAMES, polyorder=order, deriv=order, axis=0, mode=mode)
            for order in (1, 2)
        ]
        return np.concatenate([coefficients, *deltas], axis=1, dtype=np.float32)


class Mel512Extractor(HostExtractor):
    """Mel spectrograms in decibels: a row every half window, for each window that is within the recording."""

    feature: ClassVar[type[Mel512]] = Mel512

    def __init__(self) -> None:
        size = self.feature.fewest
        self.window = window_function(size, "hann")
        self.bands = mel_filter_bank(PADDED * size // 2 + 1, self.feature.dim, LOWEST_HZ, HIGHEST_HZ, SAMPLE_RATE)

    def rows(self, waveform: Floats) -> Floats:
        """See `HostExtractor`."""
        size = self.feature.fewest
        spectrum = spectrogram(
            waveform, self.window, size, size // 2, PADDED * size, power=2.0, center=False, mel_filters=self.bands,
            mel_floor=FLOOR, log_mel="dB", min_value=FLOOR,
        )  # fmt: skip
        return np.ascontiguousarray(spectrum.T, dtype=np.float32)  # [N, bands]


class Mel1024Extractor(Mel512Extractor):
    """Mel spectrograms with twice the window."""

    feature: ClassVar[type[Mel512]] = Mel1024


class SpectrogramExtractor(HostExtractor):
    """Spectrograms in decibels: a row every 10 ms, for each window that is within the recording."""

    def __init__(self) -> None:
        self.window = window_function(LONG_WINDOW, "hamming")

    def rows(self, waveform: Floats) -> Floats:
        """See `HostExtractor`."""
        power = spectrogram(waveform, self.window, LONG_WINDOW, HOP, LONG_FFT, power=2.0, center=False)  # [bins, N]
        return np.ascontiguousarray(10 * np.log10(power[:BINS].T.clip(FLOOR)), dtype=np.float32)
