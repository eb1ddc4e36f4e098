"""The facts that the card of a packed model states."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Score:
    """One metric of the held-out parts; all values are fractions from 0 to 1."""

    name: str  # "WA", "UA"
    metric: str  # as the hub calls it: "accuracy", "recall"
    mean: float  # over folds and seeds
    deviation: float | None  # the sample standard deviation over them; None: one fold and seed
    pooled: float  # over all held-out predictions together
    low: float | None  # 95 % interval of the pooled value; None: none is known
    high: float | None


@dataclass(frozen=True)
class CardFacts:
    """The content of a model's card.

    An encoder or ASR model is named by its hub id, its name as an embedded model, or a path that begins with a dot, a
    slash or a tilde, of which the card shows only the last part.
    """

    name: str  # of the packed model
    title: str  # of the system: "MMER (α = 0.01)"
    labels: tuple[str, ...]  # the classes, in the order of the output
    corpus: str  # the name of its reader; of others, any name
    utterances: int | None
    folds: tuple[str, ...]  # the values that the folds hold out
    fold_column: str  # "session", or "5": groups of speakers
    seeds: tuple[int, ...]
    epochs: int
    protocol: str  # one sentence: "final: the last epoch, no selection"
    scores: tuple[Score, ...]  # empty: not cross-validated
    members: tuple[str, ...]  # what each model was trained on: "trained on everything", "fold 1"
    text_encoder: str | None  # None: the system reads no text
    text_revision: str | None
    speech_encoder: str | None  # None: the system reads no recordings
    asr_model: str | None  # transcribes recordings without a transcript
    annotations: str  # the policy for annotations such as [LAUGHTER]: "strip", "keep", "mask"
    transcripts: str  # those of the training: "gold", "asr", "none"
    versions: Mapping[str, str]  # by library
    # "folds": the scores are of the models of a cross-validation's folds, each alone. "this model": of this model.
    scores_of: Literal["folds", "this model"] = "folds"

    @property
    def encoders(self) -> list[str]:
        """The encoders that the system uses."""
        return [name for name in (self.text_encoder, self.speech_encoder) if name]
