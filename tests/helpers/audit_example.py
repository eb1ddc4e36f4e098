"""A corpus for the tests of the audit, whose rows and recordings a test changes before it is read."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import soundfile

from mmer_pipeline.corpora.labels import BUILT_IN
from mmer_pipeline.corpora.manifest import Manifest, read_manifest, write_manifest
from mmer_pipeline.corpora.utterances import Utterance

RATE = 16_000


def changed(manifest: Manifest, change: Callable[[int, Utterance], dict[str, object]]) -> Manifest:
    """The manifest with every row changed as `change(number, row)` says."""
    rows = [replace(row, **change(number, row)) for number, row in enumerate(manifest.utterances)]  # type: ignore[arg-type]
    return rewritten(manifest, rows)


def rewritten(manifest: Manifest, rows: list[Utterance], label_map: str = "iemocap-4") -> Manifest:
    write_manifest(manifest.path, rows, root=manifest.root, corpus=manifest.corpus, label_map=BUILT_IN[label_map])
    return read_manifest(manifest.path)


def texts_alone(rows: list[tuple[str, str, str]], path: Path, corpus: str = "ours") -> Manifest:
    """A manifest of (session, emotion, transcript), without recordings; a speaker and a dialogue a session."""
    utterances = [
        Utterance(f"u{n}", f"u{n}.wav", None, None, session, session, session, emotion, transcript)
        for n, (session, emotion, transcript) in enumerate(rows)
    ]
    write_manifest(path, utterances, root=path.parent, corpus=corpus, label_map=BUILT_IN["iemocap-4"])
    return read_manifest(path)


def write(path: Path, samples: np.ndarray, rate: int = RATE, subtype: str = "PCM_16") -> None:
    soundfile.write(path, samples.astype(np.float32), rate, subtype=subtype)


def found(audit: dict, key: str) -> dict:
    """The finding of that key."""
    (finding,) = [one for one in audit["findings"] if one["key"] == key]
    return finding
