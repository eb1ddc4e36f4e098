"""What a corpus reader hands back."""

from dataclasses import dataclass
from pathlib import Path

from mmer_pipeline.corpora.utterances import Utterance


@dataclass(frozen=True)
class Reading:
    """A corpus as it stands on the disk: every utterance with the corpus's own label, nothing dropped."""

    root: Path  # the audio root: `Utterance.audio` is relative to it
    source: Path  # the tree, or the one file, that was read; it must never be written over
    utterances: tuple[Utterance, ...]
    label_map: str  # the label map that is meant for this corpus
    notes: tuple[str, ...] = ()  # what a careful person wants to know of the reading, a sentence each
