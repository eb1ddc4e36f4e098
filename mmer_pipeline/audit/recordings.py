"""What can be said of a recording without listening: each is decoded once, as the speech encoders hear it."""

import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import soundfile

from mmer_pipeline.audio import SAMPLE_RATE, AudioError, load
from mmer_pipeline.corpora.manifest import Manifest
from mmer_pipeline.corpora.utterances import Utterance

FLOOR_DBFS = -120.0  # what digital silence is said to have
FULL_SCALE = 0.999  # of ±1; 16 bits reach 0.99997
CLIPPED_RUN = 3  # samples at full scale in a row: a wave whose top is cut off
FRAME = SAMPLE_RATE // 50  # 20 ms
QUIET_DB = 40.0  # below the loudest frame: pauses and room

Samples = npt.NDArray[np.float32]
Progress = Callable[[int, int], None]  # gets how many recordings are decoded, and of how many


@dataclass(frozen=True)
class Recording:
    """Facts of one utterance's recording, as 16 kHz mono; rate and channels are the file's own."""

    seconds: float
    sample_rate_hz: int
    channels: int
    digest: str  # of the samples: the same in any lossless container
    rms_dbfs: float  # around its mean; a full-scale sine has −3
    dc: float  # the mean sample
    clipped: int  # samples that stand in a run at full scale
    quiet: float  # the share of 20 ms frames that are 40 dB or more below the loudest


def measure_all(manifest: Manifest, progress: Progress | None = None) -> tuple[Recording | AudioError, ...]:
    """Facts of every utterance, in the manifest's order, or what is wrong with its recording.

    Threads decode, one a processor; each holds the samples of one utterance. `progress` is called after each.
    """
    facts: list[Recording | AudioError] = []

    def one(utterance: Utterance) -> Recording | AudioError:
        try:
            return measure(manifest, utterance)
        except AudioError as error:
            return error

    with ThreadPoolExecutor(max_workers=min(16, os.cpu_count() or 1)) as pool:
        for fact in pool.map(one, manifest.utterances):
            facts.append(fact)
            if progress is not None:
                progress(len(facts), len(manifest.utterances))
    return tuple(facts)


def measure(manifest: Manifest, utterance: Utterance) -> Recording:
    """Facts of one utterance.

    Raises:
        AudioError: it cannot be read; see `audio.load`.
    """
    path = manifest.audio_path(utterance)
    samples = load(path, utterance.start_seconds, utterance.end_seconds)  # [samples]
    info = soundfile.info(path)
    mean = float(samples.mean(dtype=np.float64))
    return Recording(
        seconds=len(samples) / SAMPLE_RATE,
        sample_rate_hz=int(info.samplerate),
        channels=int(info.channels),
        digest=hashlib.blake2b(samples.tobytes(), digest_size=16).hexdigest(),
        rms_dbfs=float(_dbfs(np.square(samples - np.float32(mean)).mean(dtype=np.float64))),
        dc=mean,
        clipped=_clipped(samples),
        quiet=_quiet(samples),
    )


def _dbfs(power: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Mean squares in decibels below full scale; silence has the floor."""
    return 10 * np.log10(np.maximum(np.asarray(power, dtype=np.float64), 10 ** (FLOOR_DBFS / 10)))


def _clipped(samples: Samples) -> int:
    """Samples in runs of `CLIPPED_RUN` or more at full scale."""
    edges = np.flatnonzero(np.diff(np.abs(samples) >= FULL_SCALE, prepend=False, append=False))
    runs = edges[1::2] - edges[::2]
    return int(runs[runs >= CLIPPED_RUN].sum())


def _quiet(samples: Samples) -> float:
    frames = samples[: len(samples) // FRAME * FRAME].reshape(-1, FRAME)  # [frames, samples]
    if not len(frames):
        return 0.0
    loudness = _dbfs(np.square(frames).mean(axis=1, dtype=np.float64))
    return float((loudness <= max(loudness.max() - QUIET_DB, FLOOR_DBFS)).mean())


def fingerprint(manifest: Manifest, facts: Sequence[Recording | AudioError]) -> str | None:
    """Digest of every id with its samples, 16 hex digits: another container gives the same, another sample does not.

    None where a recording could not be read.
    """
    digest = hashlib.blake2b(digest_size=8)
    for utterance, fact in zip(manifest.utterances, facts, strict=True):
        if not isinstance(fact, Recording):
            return None
        digest.update(f"{utterance.utterance_id}\x1f{fact.digest}\x1e".encode())
    return digest.hexdigest()
