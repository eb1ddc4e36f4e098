"""Inputs and results of a prediction, shared by all modules of this package."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

GIVEN = "given"  # the source of a transcript that the user gave; the others are ASR and NONE


@dataclass(frozen=True)
class Item:
    """A recording, or a segment of one, whose emotion is asked for."""

    utterance_id: str  # unique among the items
    path: Path
    start_seconds: float | None = None  # None: the beginning of the file
    end_seconds: float | None = None  # None: the end of the file
    transcript: str | None = None  # None: not given
    truth: str | None = None  # the label that the user gave, as it was written; None: unknown
    speaker: str = ""
    dialogue: str = ""
    fold: str = ""


@dataclass(frozen=True)
class Word:
    """How a model used one word of a transcript."""

    text: str
    gate: float | None  # mean of the acoustic gate: from 0, speech is ignored, to 1, it is passed on; None without one
    attention: tuple[float, ...]  # to each frame; they add up to 1


@dataclass(frozen=True)
class Explanation:
    """How a model combined the words and the sound of an utterance (MMER: eq. 1 and 2).

    Weights show what the model passed on, not why it decided as it did.
    """

    words: tuple[Word, ...]  # the text encoder's special tokens are left out
    frame_seconds: tuple[float, ...]  # the middle of each frame, from the start of the utterance
    gate: float | None  # mean over all tokens, special ones included, as in `Prediction.gate`; None without a gate


@dataclass(frozen=True)
class Prediction:
    """The emotion of one utterance."""

    label: str  # the most probable class
    probabilities: Mapping[str, float]  # class → probability, in the model's order
    transcript: str  # what the text encoder read
    transcript_source: str  # given, asr or none
    transcript_ctc: str = ""  # what the model's own CTC head heard; empty without one
    gate: float | None = None  # mean of the acoustic gate over the tokens; None without one
    start_seconds: float | None = None  # of the utterance in its recording; None: the whole recording
    end_seconds: float | None = None
    explanation: Explanation | None = None  # if it was asked for, and the system combines words and speech

    @property
    def probability(self) -> float:
        """The probability of `label`."""
        return self.probabilities[self.label]
