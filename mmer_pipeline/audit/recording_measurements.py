"""Facts of the recordings: each is decoded once, as the speech encoders receive it.

Shapes: N utterances.
"""

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mmer_pipeline.audio import SAMPLE_RATE, AudioError, load, probe_header
from mmer_pipeline.audit.corpus_split import Mask, Split
from mmer_pipeline.audit.sound_fingerprint import Hashes, Samples, sound_hashes
from mmer_pipeline.corpora.manifest import Manifest
from mmer_pipeline.corpora.transcripts import spoken_words
from mmer_pipeline.corpora.utterances import Utterance
from mmer_pipeline.loudness import FLOOR_DBFS, dbfs, rms_dbfs
from mmer_pipeline.scoring.metrics import Floats

SILENT_DBFS = -75.0  # even whispers from a distance reach −65
FULL_SCALE = 0.999  # of ±1; 16 bits reach 0.99997
CLIPPED_RUN = 3  # consecutive samples at full scale that count as clipping
FRAME = SAMPLE_RATE // 50  # 20 ms
PAUSE_DB = 40.0  # how far below the loudest frame a pause is
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)

Progress = Callable[[int, int], None]  # called with the number of recordings decoded, and the number of all


@dataclass(frozen=True)
class Recording:
    """Facts of one utterance's recording as 16 kHz mono; rate and channels are those of the file."""

    seconds: float
    sample_rate_hz: int
    channels: int
    digest: str  # of the samples: the same in any lossless container
    rms_dbfs: float  # around the mean; a full-scale sine has −3
    dc: float  # mean sample
    clipped: int  # samples in runs at full scale
    pauses: float  # share of 20 ms frames at least 40 dB below the loudest
    hashes: Hashes = field(repr=False, compare=False)  # the fingerprint, see `sound_fingerprint`


@dataclass(frozen=True)
class Recordings:
    """Facts of all recordings as arrays; NaN where a recording could not be decoded."""

    facts: tuple[Recording | AudioError, ...]
    decoded: Mask  # [N]
    seconds: Floats  # [N]
    rms_dbfs: Floats  # [N]
    letters_per_second: Floats  # [N] letters and digits; NaN if the transcript has no words

    @property
    def audible(self) -> Mask:
        """[N] decoded and not silent."""
        return self.decoded & (self.rms_dbfs > SILENT_DBFS)

    def values(self, name: str) -> Floats:
        """[N] one fact of every recording; 0 where a recording could not be decoded."""
        return np.array([getattr(f, name) if isinstance(f, Recording) else 0 for f in self.facts], dtype=np.float64)


def measure_all(manifest: Manifest, progress: Progress | None = None) -> tuple[Recording | AudioError, ...]:
    """Measure every utterance's recording, in the manifest's order; an unusable recording gives its error.

    Decodes in one thread per processor; each holds the samples of one utterance. `progress` is called after each.
    """
    facts: list[Recording | AudioError] = []

    def measured(utterance: Utterance) -> Recording | AudioError:
        try:
            return measure(manifest, utterance)
        except AudioError as error:
            return error

    with ThreadPoolExecutor(max_workers=min(16, os.cpu_count() or 1)) as pool:
        for fact in pool.map(measured, manifest.utterances):
            facts.append(fact)
            if progress is not None:
                progress(len(facts), len(manifest.utterances))
    return tuple(facts)


def measure(manifest: Manifest, utterance: Utterance) -> Recording:
    """Measure one utterance's recording.

    Raises:
        AudioError: the recording cannot be read; see `audio.load`.
    """
    path = manifest.audio_path(utterance)
    samples = load(path, utterance.start_seconds, utterance.end_seconds)  # [samples]
    info = probe_header(path)
    return Recording(
        seconds=len(samples) / SAMPLE_RATE,
        sample_rate_hz=info.sample_rate_hz,
        channels=info.channels,
        digest=hashlib.blake2b(samples.tobytes(), digest_size=16).hexdigest(),
        rms_dbfs=rms_dbfs(samples),
        dc=float(samples.mean(dtype=np.float64)),
        clipped=_clipped(samples),
        pauses=_pauses(samples),
        hashes=sound_hashes(samples),
    )


def audio_digest(manifest: Manifest, facts: Sequence[Recording | AudioError]) -> str | None:
    """Digest of every id with its samples, 16 hex digits, independent of the (lossless) container.

    None if a recording could not be read.
    """
    digest = hashlib.blake2b(digest_size=8)
    for utterance, fact in zip(manifest.utterances, facts, strict=True):
        if not isinstance(fact, Recording):
            return None
        digest.update(f"{utterance.utterance_id}\x1f{fact.digest}\x1e".encode())
    return digest.hexdigest()


def collect(split: Split, facts: Sequence[Recording | AudioError]) -> Recordings:
    """Put the facts into arrays."""
    decoded = np.array([isinstance(fact, Recording) for fact in facts])
    recordings = Recordings(tuple(facts), decoded, *[np.full(len(facts), np.nan)] * 3)
    seconds = np.where(decoded, recordings.values("seconds"), np.nan)
    rms_dbfs = np.where(decoded, recordings.values("rms_dbfs"), np.nan)
    letters = np.array([len(spoken_words(u.transcript).replace(" ", "")) for u in split.utterances], dtype=np.float64)
    return Recordings(tuple(facts), decoded, seconds, rms_dbfs, np.where(letters > 0, letters, np.nan) / seconds)


def tables(split: Split, recordings: Recordings) -> dict[str, Any]:
    """Loudness, length and pauses by class, and the file formats, as plain values for JSON."""
    formats = Counter(
        (fact.sample_rate_hz, fact.channels) for fact in recordings.facts if isinstance(fact, Recording)
    ).most_common()
    pauses = recordings.values("pauses")
    classes = []
    for number, label in enumerate(split.labels):
        members = recordings.audible & (split.truth == number)
        spoken = members & np.isfinite(recordings.letters_per_second)
        classes.append(
            {
                "label": label,
                "recordings": int(members.sum()),
                "loudness_dbfs": _spread(recordings.rms_dbfs[members]),
                "seconds": _spread(recordings.seconds[members]),
                "letters_per_second": _spread(recordings.letters_per_second[spoken]),
                "pauses": float(pauses[members].mean()) if members.any() else None,
            }
        )
    return {
        "hours": float(np.nansum(recordings.seconds) / 3600),
        "formats": [{"sample_rate_hz": rate, "channels": n, "recordings": count} for (rate, n), count in formats],
        "classes": classes,
        "floor_dbfs": FLOOR_DBFS,
    }


def _spread(values: Floats) -> dict[str, Any] | None:
    """Mean, sample standard deviation and quantiles; None without values."""
    if not len(values):
        return None
    return {
        "mean": float(values.mean()),
        "sd": float(values.std(ddof=1)) if len(values) > 1 else None,
        "quantiles": np.quantile(values, QUANTILES).tolist(),
    }


def _clipped(samples: Samples) -> int:
    """The number of samples in runs of `CLIPPED_RUN` or more at full scale."""
    edges = np.flatnonzero(np.diff(np.abs(samples) >= FULL_SCALE, prepend=False, append=False))
    runs = edges[1::2] - edges[::2]
    return int(runs[runs >= CLIPPED_RUN].sum())


def _pauses(samples: Samples) -> float:
    frames = samples[: len(samples) // FRAME * FRAME].reshape(-1, FRAME)  # [frames, samples]
    if not len(frames):
        return 0.0
    loudness = dbfs(np.square(frames).mean(axis=1, dtype=np.float64))
    return float((loudness <= max(loudness.max() - PAUSE_DB, FLOOR_DBFS)).mean())
