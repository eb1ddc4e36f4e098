"""The acoustic gates in the report's content; see `report_content.py`."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class ClassGates:
    """The gates of the utterances of one true class; fractions."""

    utterances: int  # each counted once
    mean: float
    percentile_10: float
    median: float
    percentile_90: float


@dataclass(frozen=True)
class GatedUtterance:
    """An utterance whose gate is high or low among those of its fold; the gate is the mean over seeds."""

    utterance_id: str
    fold: int
    speaker: str  # "": unknown
    truth: str
    prediction: str  # the class with the highest mean probability over seeds
    gate: float  # a fraction
    above_fold: float  # the gate minus the mean gate of its fold
    transcript: str | None  # None: unknown


@dataclass(frozen=True)
class Gates:
    """The acoustic gate (g of eq. 2, mean over words and channels) of held-out utterances, final."""

    per_class: Mapping[str, ClassGates]  # by true class; without those that do not occur
    highest: tuple[GatedUtterance, ...]  # by `above_fold`, highest first
    lowest: tuple[GatedUtterance, ...]  # lowest first
