"""The result of a corpus reader, and the options of those that read a corpus of any name."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mmer_pipeline.corpora.utterances import Utterance


@dataclass(frozen=True)
class ReaderOptions:
    """The options of `prepare` for the forms that any corpus may have, such as a table."""

    columns: Mapping[str, str] = field(default_factory=dict)  # meaning → the corpus's column; "": there is none
    speaker_pattern: str | None = None  # regular expression that finds the speaker in the name of a recording
    unpack_to: Path | None = None  # folder for recordings that are embedded in a table
    follow_links: bool = False  # whether to read files outside the audio root that are links within it


@dataclass(frozen=True)
class Reading:
    """A corpus as it is on disk: every utterance with the corpus's own label, nothing dropped."""

    root: Path  # the audio root: `Utterance.audio` is relative to it
    source: Path  # the tree or the file that was read; it must never be overwritten
    utterances: tuple[Utterance, ...]
    label_map: str  # the default label map of this corpus
    notes: tuple[str, ...] = ()  # oddities of this copy, one sentence each
    name: str | None = None  # of the corpus, for reports, if it is not that of the reader
    places: tuple[str, ...] = ()  # where in the source each utterance is, for messages: "row 7"
    label_column: str | None = None  # the source's column with the labels, for messages
    not_found: frozenset[str] = frozenset()  # `Utterance.audio` without a recording, as far as the reader looked
    follows_links: bool = False  # whether recordings may be links to files outside the audio root

    def place(self, number: int) -> str:
        """Where the label of an utterance, given by its position, is: "calls.csv, row 7, column feeling"."""
        if not self.places:
            return self.utterances[number].utterance_id
        column = f", column {self.label_column}" if self.label_column else ""
        return f"{self.source}, {self.places[number]}{column}"
