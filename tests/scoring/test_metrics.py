"""The metrics against scikit-learn, jiwer and numbers computed by hand."""

import jiwer
import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score, precision_score, recall_score

from mmer_pipeline.scoring.metrics import (
    HEADLINE,
    Predictions,
    calibration_error,
    rates,
    rates_of_confusion,
    reliability,
    score,
    spelling,
)

LABELS = ["happy", "angry", "neutral", "sad"]


def drawn(count: int = 200, seed: int = 0, skill: float = 0.6) -> tuple[np.ndarray, np.ndarray]:
    """Truth and predictions of unequal classes, right about as often as `skill` says."""
    generator = np.random.default_rng(seed)
    truth = generator.choice(4, count, p=[0.4, 0.3, 0.2, 0.1])
    return truth, np.where(generator.random(count) < skill, truth, generator.integers(0, 4, count))


def confusion(truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    counts = np.zeros((4, 4))
    np.add.at(counts, (truth, predicted), 1)
    return counts


@pytest.mark.parametrize("seed", range(5))
def test_the_headline_metrics_agree_with_scikit_learn(seed: int) -> None:
    truth, predicted = drawn(seed=seed)
    found = rates(truth, predicted, LABELS)
    assert found["wa"] == pytest.approx(accuracy_score(truth, predicted))
    assert found["ua"] == pytest.approx(balanced_accuracy_score(truth, predicted))
    assert found["wf1"] == pytest.approx(f1_score(truth, predicted, average="weighted"))
    assert found["macro_f1"] == pytest.approx(f1_score(truth, predicted, average="macro"))
    for number, label in enumerate(LABELS):
        of_class = found["per_class"][label]
        for name, function in (("precision", precision_score), ("recall", recall_score), ("f1", f1_score)):
            assert of_class[name] == pytest.approx(function(truth, predicted, labels=[number], average="macro"))
        assert of_class["support"] == (truth == number).sum()


def test_weighted_is_over_utterances_and_unweighted_over_classes() -> None:
    truth, predicted = np.array([0] * 8 + [1] * 2), np.array([0] * 8 + [1, 0])
    found = rates(truth, predicted, ["a", "b"])
    assert (found["wa"], found["ua"]) == (pytest.approx(0.9), pytest.approx(0.75))


def test_a_class_that_does_not_occur_is_excluded_from_the_means() -> None:
    truth, predicted = np.array([0, 0, 1, 1, 2]), np.array([0, 3, 1, 1, 2])
    found = rates(truth, predicted, LABELS)
    assert found["ua"] == pytest.approx((0.5 + 1 + 1) / 3)
    assert found["macro_f1"] == pytest.approx((2 / 3 + 1 + 1) / 3)
    assert found["wf1"] == pytest.approx(f1_score(truth, predicted, average="weighted"))


def test_a_class_that_is_never_predicted_has_a_precision_of_zero() -> None:
    found = rates(np.array([0, 1, 2, 3]), np.array([0, 0, 2, 3]), LABELS)
    assert found["per_class"]["angry"] == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 1}


@pytest.mark.parametrize("seed", range(3))
def test_metrics_of_a_confusion_matrix_agree_with_those_of_its_predictions(seed: int) -> None:
    truth, predicted = drawn(seed=seed)
    assert rates_of_confusion(confusion(truth, predicted).astype(int), LABELS) == rates(truth, predicted, LABELS)


def test_the_calibration_error_by_hand() -> None:
    # Confidence 0.9 (two right of two), 0.62 and 0.66 (one right of two), 0.5 (wrong): bins 14, 10, 8 of 15.
    probabilities = np.array([[0.9, 0.1], [0.1, 0.9], [0.62, 0.38], [0.66, 0.34], [0.5, 0.5]])
    truth = np.array([0, 1, 0, 1, 1])
    expected = 2 / 5 * abs(1 - 0.9) + 2 / 5 * abs(0.5 - 0.64) + 1 / 5 * abs(0 - 0.5)
    assert calibration_error(probabilities, truth) == pytest.approx(expected)


def test_the_reliability_bins_by_hand() -> None:
    probabilities = np.array([[0.9, 0.1], [0.1, 0.9], [0.62, 0.38], [0.66, 0.34], [0.5, 0.5]])
    bins = reliability(probabilities, np.array([0, 1, 0, 1, 1]))
    assert [(round(15 * entry.lower), round(15 * entry.upper)) for entry in bins] == [(7, 8), (9, 10), (13, 14)]
    assert [entry.utterances for entry in bins] == [1, 2, 2]
    assert [entry.confidence for entry in bins] == pytest.approx([0.5, 0.64, 0.9])
    assert [entry.accuracy for entry in bins] == [0.0, 0.5, 1.0]


def test_the_reliability_bins_agree_with_scikit_learn_s_curve() -> None:
    generator = np.random.default_rng(1)
    # Two classes, confidence above 0.5: scikit-learn bins the probability of one class.
    sure = generator.uniform(0.5, 1, 400)
    right = generator.random(400) < sure
    bins = reliability(np.stack([sure, 1 - sure], axis=1), np.where(right, 0, 1))
    accuracy, confidence = calibration_curve(right, sure, n_bins=15)
    assert [entry.accuracy for entry in bins] == pytest.approx(accuracy)
    assert [entry.confidence for entry in bins] == pytest.approx(confidence)


@pytest.mark.parametrize(("confidence", "right", "error"), [(1.0, 10, 0.0), (1.0, 0, 1.0), (0.7, 7, 0.0)])
def test_the_calibration_error_at_its_extremes(confidence: float, right: int, error: float) -> None:
    probabilities = np.tile([confidence, 1 - confidence], (10, 1))
    truth = np.array([0] * right + [1] * (10 - right))
    assert calibration_error(probabilities, truth) == pytest.approx(error)


def test_spelling_by_hand() -> None:
    references, transcripts = ["THE CAT SAT", "", "OH"], ["THE BAT", "NOISE", "OH"]
    found = spelling(references, transcripts)
    assert found["wer"] == pytest.approx(2 / 4)  # one word wrong, one missing, of four
    assert found["cer"] == pytest.approx(5 / 13)  # B for C, " SAT" missing, of thirteen
    assert found["ctc_utterances"] == 2
    assert found["wer"] == pytest.approx(jiwer.wer(["THE CAT SAT", "OH"], ["THE BAT", "OH"]))


def test_without_references_there_are_no_error_rates() -> None:
    assert spelling(["", ""], ["A", ""]) == {"wer": None, "cer": None, "ctc_utterances": 0}
    assert spelling(["A B"], [""])["wer"] == 1.0


def test_the_score_has_every_metric() -> None:
    generator = np.random.default_rng(0)
    probabilities = generator.dirichlet(np.ones(4), 50)
    truth = generator.integers(0, 4, 50)
    predictions = Predictions(tuple(map(str, range(50))), truth, probabilities, ("A",) * 50, ("A",) * 50)
    found = score(predictions, LABELS)
    assert set(found) == {*HEADLINE, "per_class", "ece", "utterances", "confusion", "wer", "cer", "ctc_utterances"}
    predicted = probabilities.argmax(axis=1)
    assert found["confusion"] == confusion(truth, predicted).tolist()
    assert (found["utterances"], found["wer"]) == (50, 0.0)
    assert found["wa"] == pytest.approx(accuracy_score(truth, predicted))
