"""Recordings as a caller in Python may have them: a path, the bytes of a file, or samples."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mmer_pipeline import audio
from mmer_pipeline.errors import UserError

Audio = str | Path | bytes | npt.NDArray[np.floating[Any]]


def as_waveform(source: Audio, sample_rate_hz: int | None = None) -> npt.NDArray[np.float32]:
    """Read a recording as 16 kHz mono: float32 `[S]`.

    Raises:
        AudioError: the file cannot be read; samples have another shape, or values that are not numbers.
        UserError: it is something else, or samples without a rate.
    """
    if isinstance(source, (str, Path)):
        return audio.load(Path(source))
    if isinstance(source, bytes):
        return audio.load_bytes(source)
    if hasattr(source, "__array__"):  # such as a tensor on the CPU
        source = np.asarray(source)
    if not isinstance(source, np.ndarray) or not source.ndim:
        raise UserError(
            f"Expected the path or the bytes of a file, or a NumPy array; found {type(source).__name__}. A list is a "
            "batch of these: make an array of a list of samples."
        )
    if sample_rate_hz is None:
        raise UserError("Samples need their rate: recognizer(samples, 16000).")
    return audio.convert(source, sample_rate_hz)
