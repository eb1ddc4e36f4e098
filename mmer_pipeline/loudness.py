"""Length and loudness of recordings: the numbers of the audit's baseline and of the feature `loudness`."""

import numpy as np
import numpy.typing as npt

FLOOR_DBFS = -120.0  # the level assigned to digital silence

Floats = npt.NDArray[np.float64]


def dbfs(power: npt.ArrayLike) -> Floats:
    """Mean squares in decibels relative to full scale, at least `FLOOR_DBFS`."""
    return 10 * np.log10(np.maximum(np.asarray(power, dtype=np.float64), 10 ** (FLOOR_DBFS / 10)))


def rms_dbfs(samples: npt.NDArray[np.float32]) -> float:
    """Level of samples `[S]` around their mean; a full-scale sine has −3 dBFS."""
    mean = np.float32(samples.mean(dtype=np.float64))
    return float(dbfs(np.square(samples - mean).mean(dtype=np.float64)))


def length_and_loudness(seconds: npt.ArrayLike, level_dbfs: npt.ArrayLike) -> Floats:
    """Lengths in seconds and levels, each `[N]` → logarithms of the lengths, and levels: `[N, 2]`."""
    return np.stack([np.log(seconds), np.asarray(level_dbfs, dtype=np.float64)], axis=1)
