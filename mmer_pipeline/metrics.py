"""The metrics, each name meaning one thing; scikit-learn computes them.

WA (weighted accuracy) is plain accuracy over all utterances. UA (unweighted accuracy) is the mean of the
per-class recalls. Several public repositories use the two names the other way round.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jiwer
import numpy as np
import numpy.typing as npt
from sklearn.metrics import accuracy_score, confusion_matrix, precision_recall_fscore_support

ECE_BINS = 15
BOOTSTRAP_SAMPLES = 5000
HEADLINE = ("wa", "ua", "wf1", "macro_f1")  # what is averaged over folds

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Predictions:
    """What a model says of some utterances; all sequences run over the same N utterances."""

    utterance_ids: tuple[str, ...]
    truth: Integers  # [N] class numbers
    probabilities: Floats  # [N, C]
    transcripts: tuple[str, ...]  # greedy CTC transcripts
    references: tuple[str, ...]  # what CTC should spell; empty where nothing can be spelt

    @property
    def predicted(self) -> Integers:
        """[N] the most probable class."""
        return np.asarray(self.probabilities.argmax(axis=1), dtype=np.int64)


def score(predictions: Predictions, labels: Sequence[str]) -> dict[str, Any]:
    """Every metric of the design for one set of predictions, as plain values for JSON.

    `wer` and `cer` are None where no utterance has a reference to spell.
    """
    truth, predicted = predictions.truth, predictions.predicted
    return {
        **rates(truth, predicted, labels),
        "ece": calibration_error(predictions.probabilities, truth),
        "utterances": len(truth),
        "confusion": confusion_matrix(truth, predicted, labels=range(len(labels))).tolist(),
        **spelling(predictions.references, predictions.transcripts),
    }


def rates(truth: Integers, predicted: Integers, labels: Sequence[str]) -> dict[str, Any]:
    """WA, UA, WF1, macro-F1, and precision, recall and F1 of each class.

    A class that does not occur in `truth` has no recall, and is left out of UA and macro-F1.
    """
    precision, recall, f1, support = precision_recall_fscore_support(
        truth, predicted, labels=range(len(labels)), zero_division=0
    )
    there = support > 0
    return {
        "wa": float(accuracy_score(truth, predicted)),
        "ua": float(recall[there].mean()),
        "wf1": float(np.average(f1, weights=support)),
        "macro_f1": float(f1[there].mean()),
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
    """As `rates`, from a confusion matrix `[C, C]` (rows: truth)."""
    counts = np.asarray(confusion, dtype=np.int64)
    truth, predicted = np.indices(counts.shape).reshape(2, -1)  # [C * C] each
    return rates(np.repeat(truth, counts.ravel()), np.repeat(predicted, counts.ravel()), labels)


def calibration_error(probabilities: Floats, truth: Integers) -> float:
    """Expected calibration error: 15 equal-width bins of the confidence, gaps weighted by their utterances."""
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == truth
    # A bin is (lower, upper]: a confidence of exactly 1 belongs to the last one.
    bins = np.clip(np.ceil(confidence * ECE_BINS).astype(int) - 1, 0, ECE_BINS - 1)
    gaps = [
        abs(right[bins == number].mean() - confidence[bins == number].mean()) * (bins == number).mean()
        for number in np.unique(bins)
    ]
    return float(np.sum(gaps))


def spelling(references: Sequence[str], transcripts: Sequence[str]) -> dict[str, Any]:
    """Word and character error rate of greedy transcripts over the utterances that have a reference."""
    pairs = [(reference, said) for reference, said in zip(references, transcripts, strict=True) if reference]
    if not pairs:
        return {"wer": None, "cer": None, "ctc_utterances": 0}
    wanted, said = [list(side) for side in zip(*pairs, strict=True)]
    return {
        "wer": float(jiwer.wer(wanted, said)),
        "cer": float(jiwer.cer(wanted, said)),
        "ctc_utterances": len(pairs),
    }


def bootstrap_intervals(
    truth: Integers, predicted: Integers, clusters: Sequence[str], classes: int, *, seed: int = 0
) -> dict[str, tuple[float, float]]:
    """95 % intervals of the headline metrics, resampling clusters (dialogues), not utterances.

    The utterances of a dialogue share speakers, topic and microphone: resampling them one by one would give
    intervals that are too narrow.
    """
    names, cluster = np.unique(np.asarray(clusters), return_inverse=True)
    counts = np.zeros((len(names), classes, classes))
    np.add.at(counts, (cluster, truth, predicted), 1)  # [clusters, C, C]
    generator = np.random.default_rng(seed)
    drawn = generator.multinomial(len(names), np.full(len(names), 1 / len(names)), size=BOOTSTRAP_SAMPLES)
    samples = np.tensordot(drawn, counts, axes=1)  # [samples, C, C]
    return {
        name: (float(np.quantile(values, 0.025)), float(np.quantile(values, 0.975)))
        for name, values in rates_of_confusions(samples).items()
    }


def rates_of_confusions(counts: Floats) -> dict[str, Floats]:
    """The headline metrics of many confusion matrices `[n, C, C]` at once: `[n]` each, as `rates` gives them."""
    right = np.diagonal(counts, axis1=1, axis2=2)  # [n, C]
    support, said = counts.sum(axis=2), counts.sum(axis=1)  # [n, C]
    there = support > 0
    recall = np.divide(right, support, out=np.zeros_like(right), where=there)
    f1 = np.divide(2 * right, support + said, out=np.zeros_like(right), where=support + said > 0)
    total = support.sum(axis=1)
    return {
        "wa": right.sum(axis=1) / total,
        "ua": recall.sum(axis=1) / there.sum(axis=1),
        "wf1": (f1 * support).sum(axis=1) / total,
        "macro_f1": (f1 * there).sum(axis=1) / there.sum(axis=1),
    }
