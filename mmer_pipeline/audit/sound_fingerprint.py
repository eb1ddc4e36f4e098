"""Fingerprints of recordings that survive another level, another sampling rate and cut ends.

A frame's bits say in which bands, relative to the next one, the energy rises: the sub-fingerprints of Haitsma and
Kalker (2002). Two frames together are a hash. Copies have many hashes in common, wherever they begin; other recordings,
even of the same sentence by the same speaker, have hardly any. Equal hashes are found by sorting, so that the time does
not grow with the number of pairs.

Shapes: S samples at 16 kHz, F frames, B bands.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.fft import irfft, next_fast_len, rfft

from mmer_pipeline.audio import SAMPLE_RATE

WINDOW, HOP = 1024, 256  # samples: 64 and 16 ms
BANDS = 17  # B; 16 differences of neighbours
LOWEST_HZ, HIGHEST_HZ = 300.0, 3000.0  # kept by telephones and by files of 8 kHz
SMOOTHED, LAG, APART = 10, 6, 6  # frames: of a sum of energies, between two of them, between the halves of a hash
SHORTEST = WINDOW + HOP * (SMOOTHED + LAG + APART)  # samples with a hash: 0.42 s
COMMON_HASHES = 3  # of a pair of recordings that are compared
NEIGHBOURS = 8  # recordings with the same hash that one is paired with
SAME_SOUND = 0.4  # cross-correlation; other takes reach 0.22, copies with a fifth of their length cut off 0.48 and more

Samples = npt.NDArray[np.float32]
Hashes = npt.NDArray[np.uint32]

_FREQUENCIES = np.fft.rfftfreq(WINDOW, 1 / SAMPLE_RATE)
_EDGES = np.geomspace(LOWEST_HZ, HIGHEST_HZ, BANDS + 1)
_BINS = slice(int(np.searchsorted(_FREQUENCIES, LOWEST_HZ)), int(np.searchsorted(_FREQUENCIES, HIGHEST_HZ)))
_BAND_OF_BIN = np.searchsorted(_EDGES, _FREQUENCIES[_BINS], side="right") - 1
_BANDS = (_BAND_OF_BIN[:, None] == np.arange(BANDS)).astype(np.float32)  # [bins, B]
_TAPER = np.hanning(WINDOW).astype(np.float32)


def sound_hashes(samples: Samples) -> Hashes:
    """Compute the different hashes of a waveform `[S]`; none if it is digital silence or shorter than `SHORTEST`."""
    if len(samples) < SHORTEST:
        return np.zeros(0, dtype=np.uint32)
    frames = np.lib.stride_tricks.sliding_window_view(samples, WINDOW)[::HOP] * _TAPER  # [F, WINDOW]
    energy = np.square(np.abs(rfft(frames, axis=1)[:, _BINS])) @ _BANDS  # [F, B]
    if energy.max() < np.finfo(np.float32).tiny * 1e10:  # digital silence, or as good as
        return np.zeros(0, dtype=np.uint32)
    level = np.log(energy + 1e-10 * energy.max())
    total = np.cumsum(np.vstack([np.zeros((1, BANDS)), level]), axis=0)
    tilt = np.diff(total[SMOOTHED:] - total[:-SMOOTHED], axis=1)  # [F', B - 1]
    bits = (tilt[LAG:] > tilt[:-LAG]) @ (1 << np.arange(BANDS - 1))
    hashes = (bits[:-APART] << (BANDS - 1) | bits[APART:]).astype(np.uint32)
    return np.unique(hashes[hashes != 0])  # 0: digital silence


def similar_pairs(hashes: Sequence[Hashes]) -> list[tuple[int, int]]:
    """The pairs of recordings, by position, with at least `COMMON_HASHES` hashes in common."""
    owners = np.repeat(np.arange(len(hashes)), [len(one) for one in hashes])
    every = np.concatenate([*hashes, np.zeros(0, dtype=np.uint32)])
    order = np.argsort(every, kind="stable")
    every, owners = every[order], owners[order]
    found = []
    for distance in range(1, NEIGHBOURS + 1):
        first, second = owners[:-distance], owners[distance:]
        same = (every[distance:] == every[:-distance]) & (first != second)
        found.append(first[same] * len(hashes) + second[same])  # first < second: the sorting is stable
    pairs, counts = np.unique(np.concatenate(found), return_counts=True)
    return [divmod(pair, len(hashes)) for pair in pairs[counts >= COMMON_HASHES].tolist()]


def cross_correlation(first: Samples, second: Samples) -> float:
    """The highest generalised cross-correlation with phase transform (Knapp and Carter 1976), 0 to 1.

    Only frequencies of `LOWEST_HZ` to `HIGHEST_HZ` count, all of them alike: a common tone or hum is no similarity.
    """
    size = next_fast_len(len(first) + len(second), real=True)
    band = slice(int(LOWEST_HZ * size / SAMPLE_RATE), int(HIGHEST_HZ * size / SAMPLE_RATE))
    cross = np.zeros(size // 2 + 1, dtype=np.complex64)
    product = rfft(first, size)[band] * np.conj(rfft(second, size)[band])
    cross[band] = product / np.maximum(np.abs(product), np.finfo(np.float32).tiny)
    correlation = irfft(cross, size) * (size / 2 / max(1, len(product)))
    return float(np.abs(correlation).max())
