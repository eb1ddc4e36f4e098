"""The result of a corpus reader."""

from dataclasses import dataclass
from pathlib import Path

from mmer_pipeline.corpora.utterances import Utterance


@dataclass(frozen=True)
class Reading:
    """A corpus as it is on disk: every utterance with the corpus's own label, nothing dropped."""

    root: Path  # the audio root: `Utterance.audio` is relative to it
    source: Path  # the tree or the file that was read; it must never be overwritten
    utterances: tuple[Utterance, ...]
    label_map: str  # the default label map of this corpus
    notes: tuple[str, ...] = ()  # oddities of this copy, one sentence each
