"""The metrics, computed by scikit-learn.

WA (weighted accuracy) is the accuracy over all utterances. UA (unweighted accuracy) is the mean of the recalls of the
classes. Several public repositories use the two names the other way round.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jiwer
import numpy as np
import numpy.typing as npt

ECE_BINS = 15
HEADLINE = ("wa", "ua", "wf1", "macro_f1")  # the metrics that are averaged over folds

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Predictions:
    """A model's predictions for N utterances."""

    utterance_ids: tuple[str, ...]
    truth: Integers  # [N] class numbers
    probabilities: Floats  # [N, C]
    transcripts: tuple[str, ...]  # greedy CTC transcripts
    references: tuple[str, ...]  # the CTC targets as text; empty if no word can be spelt
    gates: tuple[float | None, ...] = ()  # mean of the acoustic gate; None without one

    @property
    def predicted(self) -> Integers:
        """[N] the most probable class."""
        return np.asarray(self.probabilities.argmax(axis=1), dtype=np.int64)


def score(predictions: Predictions, labels: Sequence[str]) -> dict[str, Any]:
    """Compute every metric for one set of predictions, as plain values for JSON.

    `wer` and `cer` are None if no utterance has a reference.
    """
    from sklearn.metrics import confusion_matrix  # a prediction does without it, and starts half a second earlier

    truth, predicted = predictions.truth, predictions.predicted
    return {
        **rates(truth, predicted, labels),
        "ece": calibration_error(predictions.probabilities, truth),
        "utterances": len(truth),
        "confusion": confusion_matrix(truth, predicted, labels=range(len(labels))).tolist(),
        **spelling(predictions.references, predictions.transcripts),
    }


def rates(truth: Integers, predicted: Integers, labels: Sequence[str]) -> dict[str, Any]:
    """WA, UA, WF1 and macro-F1; precision, recall and F1 of each class.

    UA and macro-F1 are means over the classes that occur in `truth`, since the others have no recall.
    """
    from sklearn.metrics import accuracy_score, precision_recall_fscore_support

    precision, recall, f1, support = precision_recall_fscore_support(
        truth, predicted, labels=range(len(labels)), zero_division=0
    )
    occurs = support > 0
    return {
        "wa": float(accuracy_score(truth, predicted)),
        "ua": float(recall[occurs].mean()),
        "wf1": float(np.average(f1, weights=support)),
        "macro_f1": float(f1[occurs].mean()),
        "per_class": {
            label: {
                "precision": float(precision[number]),
                "recall": float(recall[number]),
                "f1": float(f1[number]),
                "support": int(support[number]),
            }
            for number, label in enumerate(labels)
        },
    }


def rates_of_confusion(confusion: npt.ArrayLike, labels: Sequence[str]) -> dict[str, Any]:
    """The same as `rates`, from a confusion matrix `[C, C]` (rows: truth)."""
    counts = np.asarray(confusion, dtype=np.int64)
    truth, predicted = np.indices(counts.shape).reshape(2, -1)  # [C * C] each
    return rates(np.repeat(truth, counts.ravel()), np.repeat(predicted, counts.ravel()), labels)


@dataclass(frozen=True)
class ReliabilityBin:
    """The utterances whose confidence is in (lower, upper]."""

    lower: float
    upper: float
    utterances: int
    confidence: float  # mean probability of the most probable class
    accuracy: float  # how often that class was correct


def reliability(probabilities: Floats, truth: Integers) -> list[ReliabilityBin]:
    """The non-empty ones of 15 bins of equal width, from the lowest confidence to the highest."""
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == truth
    # A bin is (lower, upper]: a confidence of exactly 1 belongs to the last one.
    bins = np.clip(np.ceil(confidence * ECE_BINS).astype(int) - 1, 0, ECE_BINS - 1)
    return [
        ReliabilityBin(
            lower=float(number / ECE_BINS),
            upper=float((number + 1) / ECE_BINS),
            utterances=int((bins == number).sum()),
            confidence=float(confidence[bins == number].mean()),
            accuracy=float(correct[bins == number].mean()),
        )
        for number in np.unique(bins)
    ]


def calibration_error(probabilities: Floats, truth: Integers) -> float:
    """Expected calibration error: the mean gap between accuracy and confidence, weighted by utterances."""
    bins = reliability(probabilities, truth)
    return float(sum(entry.utterances * abs(entry.accuracy - entry.confidence) for entry in bins) / len(truth))


def spelling(references: Sequence[str], transcripts: Sequence[str]) -> dict[str, Any]:
    """Word and character error rate of greedy transcripts over the utterances that have a reference."""
    pairs = [(reference, decoded) for reference, decoded in zip(references, transcripts, strict=True) if reference]
    if not pairs:
        return {"wer": None, "cer": None, "ctc_utterances": 0}
    spoken, decoded = [list(side) for side in zip(*pairs, strict=True)]
    return {
        "wer": float(jiwer.wer(spoken, decoded)),
        "cer": float(jiwer.cer(spoken, decoded)),
        "ctc_utterances": len(pairs),
    }
