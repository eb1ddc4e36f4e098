"""Near copies: test utterances that are almost in training, and how well the labels of the copies predict theirs.

Shapes: n answers, C classes.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.stats import binomtest

from mmer_pipeline.audit.corpus_split import Split
from mmer_pipeline.scoring.metrics import Floats, Integers

SIGNIFICANT_P = 0.01  # of the gain over guessing, one-sided


@dataclass(frozen=True)
class NearCopy:
    """A test utterance and its most similar training utterance."""

    utterance: int  # position in the manifest
    copy: int  # position in the manifest
    similarity: float  # 0 to 1
    answer: int  # class number: the most frequent label among the most similar training utterances


@dataclass(frozen=True)
class Worth:
    """How often a look-up in training finds the label, compared with guessing."""

    utterances: int
    correct: int
    ua: float  # over the classes that occur among these utterances; 0 without any
    guessing_ua: float  # of guesses in proportion to the training classes
    significant: bool  # whether guessing is an implausible explanation

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        gain = "" if self.significant else ", which is no significant gain"
        return f"a UA of {100 * self.ua:.1f} %, compared with {100 * self.guessing_ua:.1f} for guessing{gain}"


def training_prior(split: Split) -> Floats:
    """The number of training utterances of each class, by fold: `[folds, C]`."""
    counts = np.zeros((len(split.folds), len(split.labels)))
    np.add.at(counts, (split.fold, split.truth), 1)
    return np.asarray(counts.sum(axis=0) - counts)


def worth_of_copies(split: Split, copies: Sequence[NearCopy]) -> Worth:
    """Score the answers of the copies."""
    numbers = [copy.utterance for copy in copies]
    answers = np.array([copy.answer for copy in copies], dtype=np.int64)
    return score_answers(split.truth[numbers], answers, training_prior(split)[split.fold[numbers]], seen_twice=True)


def score_answers(truth: Integers, answers: Integers, prior: Floats, *, seen_twice: bool = False) -> Worth:
    """Compare answers `[n]` with guesses in proportion to the training classes, `prior` `[n, C]`.

    The gain is tested against those guesses, or against the most frequent class if that is better. `seen_twice`: pairs
    of utterances answer for each other, so that only half of the answers are independent.
    """
    if not len(truth):
        return Worth(0, 0, 0.0, 0.0, significant=False)
    correct = answers == truth
    chances = (prior / prior.sum(axis=1, keepdims=True))[np.arange(len(truth)), truth]
    guess = max(float((prior.argmax(axis=1) == truth).mean()), float(chances.mean()))
    independent = max(1, len(truth) // 2) if seen_twice else len(truth)
    test = binomtest(int(independent * float(correct.mean())), independent, min(guess, 1.0), alternative="greater")
    occurring = np.unique(truth)
    return Worth(
        utterances=len(truth),
        correct=int(correct.sum()),
        ua=float(np.mean([correct[truth == k].mean() for k in occurring])),
        guessing_ua=float(np.mean([chances[truth == k].mean() for k in occurring])),
        significant=bool(test.pvalue < SIGNIFICANT_P),
    )


def pairs_as_dicts(split: Split, copies: Sequence[NearCopy]) -> list[dict[str, Any]]:
    """The copies as plain values for JSON."""
    return [
        {
            "utterance_id": split.utterances[copy.utterance].utterance_id,
            "in_training": split.utterances[copy.copy].utterance_id,
            "similarity": round(copy.similarity, 3),
        }
        for copy in copies
    ]
