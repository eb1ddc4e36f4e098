"""The corpus in the report's content: what was held out, and baselines that hear no words and no voice.

See `report_content.py`; rates are fractions.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class HeldOutCorpus:
    """The utterances that were held out: in a cross-validation, the whole corpus."""

    utterances: int
    of_manifest: int | None  # utterances in the manifest; None: the manifest is unknown
    speakers: int | None  # None: unknown
    dialogues: int | None  # None: unknown
    hours: float | None  # None: the length of an utterance is unknown
    classes: Mapping[str, int]  # utterances by true class, in the order of the labels
    dialogues_are_speakers: bool = False  # the corpus names no dialogues: all utterances of a speaker count as one
    merged_labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # class → its labels, if several

    @property
    def unit(self) -> str:
        """The name of what is drawn as a whole: "dialogue" or "speaker"."""
        return "speaker" if self.dialogues_are_speakers else "dialogue"


@dataclass(frozen=True)
class Baseline:
    """A baseline on the folds of the systems; see `audit.trivial_baselines`."""

    name: str  # "majority class", "loudness"
    wa: float  # pooled, fitted to the data as they are
    ua: float  # pooled, fitted with balanced classes
    ua_interval_95: tuple[float, float] | None  # bootstrap over dialogues; None: few dialogues


@dataclass(frozen=True)
class Baselines:
    """The baselines of a report."""

    rows: tuple[Baseline, ...]
    missing: str = ""  # what was not measured, with the command that measures it; "": nothing

    @property
    def best(self) -> Baseline | None:
        """The baseline with the highest UA; None if there is only the majority class."""
        return max((row for row in self.rows if row.name != MAJORITY), key=lambda row: row.ua, default=None)

    @property
    def majority(self) -> Baseline | None:
        """The majority class of the training part."""
        return next((row for row in self.rows if row.name == MAJORITY), None)


MAJORITY = "majority class"  # the name of this baseline in the audit
