"""Versions of a recording that `--augment` names: another speed, or added noise. Torch is not imported.

A version is written as its kind and its amount, such as "speed-0.9" or "noise-20"; several are joined by +.
"""

import math
import re
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mmer_pipeline import audio
from mmer_pipeline.digests import digest_of
from mmer_pipeline.errors import UserError

NONE = "none"  # of `--augment`: recordings are read as they are
SPEED, NOISE = "speed", "noise"
_LIMITS = {SPEED: (0.5, 2.0), NOISE: (0.0, 60.0)}  # factors, dB
_EXPECTED = (
    f"{NONE}, or versions joined by +, such as speed-0.9+speed-1.1+noise-20: speed-FACTOR from 0.5 to 2 except 1, "
    "noise-DECIBELS from 0 to 60 (the signal-to-noise ratio)"
)


@dataclass(frozen=True)
class Version:
    """A change of a waveform."""

    kind: str  # SPEED or NOISE
    amount: float  # factor of the speed, with which pitch changes; or the signal-to-noise ratio in dB

    def __str__(self) -> str:
        return f"{self.kind}-{self.amount:g}"

    def samples(self, count: int) -> int:
        """Number of samples of a waveform of `count` samples at 16 kHz after the change."""
        return audio.samples_at_16_khz(count, self._read_rate_hz) if self.kind == SPEED else count

    def samples_before(self, count: int) -> int:
        """Number of samples that become at least `count`."""
        return math.ceil(count * self._read_rate_hz / audio.SAMPLE_RATE) if self.kind == SPEED else count

    def of(self, waveform: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """The changed waveform: float32 `[samples]` at 16 kHz, as the given one.

        Speed is changed by resampling, as Kaldi's and torchaudio's speed perturbation do: 0.9 makes a recording
        1 / 0.9 as long. Noise is white and Gaussian, drawn from a generator that the samples seed: the same recording
        gets the same noise, whoever computes it and when.
        """
        if self.kind == SPEED:
            return audio.convert(waveform, self._read_rate_hz)
        seed = int(digest_of(np.ascontiguousarray(waveform).tobytes()), 16)
        noise = np.random.default_rng(seed).standard_normal(len(waveform))
        power = np.square(waveform, dtype=np.float64).mean() / 10 ** (self.amount / 10)
        changed: npt.NDArray[np.float32] = (waveform + np.sqrt(power) * noise).astype(np.float32)
        return changed

    @property
    def _read_rate_hz(self) -> int:
        """The rate as whose samples those at 16 kHz are read, for another speed."""
        return round(self.amount * audio.SAMPLE_RATE)


def versions(augment: str) -> tuple[Version, ...]:
    """The versions that a value of `--augment` names, without the recordings as they are.

    Raises:
        UserError: it names none, one that does not exist, or one twice.
    """
    found = () if augment == NONE else tuple(map(version, augment.split("+")))
    if len(set(found)) < len(found):
        raise UserError(f"--augment {augment}: a version is named twice. Expected {_EXPECTED}.")
    return found


def version(name: str) -> Version:
    """A version by its name.

    Raises:
        UserError: there is no such version.
    """
    found = re.fullmatch(rf"({SPEED}|{NOISE})-(\d{{1,2}}(?:\.\d{{1,4}})?)", name, re.ASCII)
    if found is not None:
        made = Version(found[1], float(found[2]))
        low, high = _LIMITS[made.kind]
        if low <= made.amount <= high and made != Version(SPEED, 1.0):
            return made
    raise UserError(f"--augment: there is no version {name[:50]!r}. Expected {_EXPECTED}.")
