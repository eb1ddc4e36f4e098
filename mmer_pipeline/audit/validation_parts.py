"""Validation parts that share dialogues with training: the speaker's partner, or other turns of the same talk."""

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np

from mmer_pipeline.audit.corpus_split import Split
from mmer_pipeline.audit.finding import Finding
from mmer_pipeline.audit.near_copies import Worth, score_answers
from mmer_pipeline.corpora.folds import Fold, make_fold
from mmer_pipeline.errors import UserError

CHOICES = ("session", "speaker", "0.1")  # values of --validation
CHECKED_FOLDS = 10  # from across the corpus


@dataclass(frozen=True)
class ValidationPart:
    """The validation parts that one choice gives, over the folds."""

    choice: str
    utterances: int
    shared: int  # whose dialogue is in training, too
    worth: Worth  # of answering with the most frequent class of the dialogue's training part

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**self.worth.as_dict(), "choice": self.choice, "utterances": self.utterances, "shared": self.shared}


def make_parts(split: Split) -> tuple[ValidationPart, ...]:
    """Make the validation parts of every choice that is possible with these folds."""
    numbers = np.unique(np.linspace(1, split.tested, CHECKED_FOLDS).astype(int)).tolist()
    parts = []
    for choice in CHOICES:
        try:
            folds = [
                make_fold(split.manifest, number, column=split.column, validation=choice, seed=1) for number in numbers
            ]
        except UserError:  # too few sessions or utterances, or speakers in two parts, which `leaks` reports
            continue
        parts.append(_look_up(split, choice, folds))
    return tuple(parts)


def _look_up(split: Split, choice: str, folds: list[Fold]) -> ValidationPart:
    truth, answers, priors = [], [], []
    for fold in folds:
        prior = np.bincount(split.truth[list(fold.train)], minlength=len(split.labels))
        classes: dict[tuple[str, str], Counter[int]] = defaultdict(Counter)  # dialogue → class → training utterances
        for i in fold.train:
            classes[_dialogue(split, i)][int(split.truth[i])] += 1
        for i in fold.validation:
            if votes := classes.get(_dialogue(split, i)):
                truth.append(int(split.truth[i]))
                answers.append(max(votes, key=lambda k: (votes[k], prior[k])))
                priors.append(prior)
    worth = score_answers(
        np.array(truth, dtype=np.int64),
        np.array(answers, dtype=np.int64),
        np.array(priors, dtype=np.float64).reshape(-1, len(split.labels)),
    )
    return ValidationPart(choice, sum(len(fold.validation) for fold in folds), len(truth), worth)


def _dialogue(split: Split, position: int) -> tuple[str, str]:
    """Name a dialogue by session and name, because two sessions may use the same name."""
    utterance = split.utterances[position]
    return utterance.session, utterance.dialogue


def findings(parts: tuple[ValidationPart, ...]) -> list[Finding]:
    """Which choices of --validation share dialogues with training, and what that tells about the class."""
    sharing = [part for part in parts if part.shared]
    free = [f"`{part.choice}`" for part in parts if not part.shared]
    if not sharing:
        meaning = "No choice does." if parts else "No validation part can be made from these folds."
    else:
        meaning = (
            "Topic, room and partner of these validation utterances are known from training, those of the held-out "
            "part are not: validated scores, and the epoch they choose, are too optimistic. "
            + (f"Without shared dialogues: {', '.join(free)}." if free else "No choice is without shared dialogues.")
        )
    return [
        Finding(
            "validation_shares_dialogues",
            "note" if sharing else "ok",
            "Choices of --validation that share dialogues with training",
            len(sharing),
            "choices",
            meaning,
            len(parts),
            tuple(
                f"{part.choice}: {part.shared:,} of {part.utterances:,} validation utterances; answering with the most "
                f"frequent class of their dialogue in training reaches {part.worth}"
                for part in sharing
            ),
        )
    ]
