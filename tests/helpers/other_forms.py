"""Recordings of noise, and corpora in other forms as plain facts."""

from pathlib import Path

import numpy as np
import soundfile

from mmer_pipeline.corpora.readers import ReaderOptions, Reading, read_corpus

RATE = 16_000


def record(root: Path, *names: str) -> Path:
    """Write recordings of one second."""
    for number, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, np.random.default_rng(number).normal(0, 0.1, RATE).astype(np.float32), RATE)
    return root


def facts(reading: Reading) -> list[tuple[object, ...]]:
    """Describe each utterance of a reading."""
    return [
        (u.utterance_id, u.audio, u.start_seconds, u.end_seconds, u.speaker, u.emotion, u.transcript)
        for u in reading.utterances
    ]


def read(form: str, root: Path, speaker_pattern: str | None = None, **columns: str) -> Reading:
    """Read a corpus in one of the forms."""
    return read_corpus(form, root, ReaderOptions(columns, speaker_pattern))
