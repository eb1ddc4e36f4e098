"""Linear classifiers on frozen features: logistic regression and a linear support vector machine, by scikit-learn.

They are fitted at once. The layer of the encoder, the regularisation and, for the support vector machine, the scale of
its decisions are chosen by a cross-validation inside the training part, whose parts share no speaker. The result is
stored as a linear layer.

Shape letters: B batch, n utterances, N rows, L layers, D size of a summary, C classes. Masks: True is a real row.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold
from sklearn.svm import LinearSVC
from threadpoolctl import threadpool_limits
from torch import Tensor, nn

from mmer_pipeline.encoders.statistics import mean_and_deviation
from mmer_pipeline.errors import UserError
from mmer_pipeline.layers import BEST, layer_numbers
from mmer_pipeline.settings import Settings
from mmer_pipeline.systems.base import EmotionModel, FrozenInput, Output, Parts

Floats = npt.NDArray[np.floating[Any]]
Integers = npt.NDArray[np.integer[Any]]

LOGISTIC, SVM = "logistic", "svm"
STRENGTHS = {LOGISTIC: (1e-4, 1e-3, 1e-2, 1e-1, 1.0), SVM: (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)}  # C of scikit-learn
USUAL = {LOGISTIC: 1e-2, SVM: 1e-4}  # with which layers are compared
LAYER_PARTS, STRENGTH_PARTS = 3, 5  # of the cross-validations inside the training part
ABSENT = -30.0  # logit of a class that the training part lacks
MAX_ITERATIONS = 1000


class LinearProbe(EmotionModel):
    """A linear classifier of standardised summaries of frozen features."""

    def __init__(
        self,
        *,
        labels: list[str],  # the classes, in the order of the logits
        alphabet: Sequence[str] = (),
        inputs: list[dict[str, Any]],  # see `FrozenInput`
        layer: str = BEST,  # of encoders, as `--layer` gives it
        statistics: str = "mean+std",  # over frames or tokens
        classifier: str = LOGISTIC,  # or svm
    ) -> None:
        super().__init__()
        self.labels, self.alphabet = list(labels), list(alphabet)
        self.inputs, self.layer, self.statistics, self.classifier = inputs, layer, statistics, classifier
        self.entries = [FrozenInput(**entry) for entry in inputs]
        size = sum(self._size(entry) for entry in self.entries)
        self.best_layers: Tensor
        self.mean: Tensor
        self.deviation: Tensor
        self.register_buffer("best_layers", torch.zeros(len(inputs), dtype=torch.long))
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("deviation", torch.ones(size))
        self.emotion_head = nn.Linear(size, len(labels))

    @classmethod
    def build(cls, settings: Settings, parts: Parts) -> "LinearProbe":
        """See `EmotionModel.build`."""
        return cls(
            labels=parts.labels,
            inputs=parts.frozen_inputs,
            layer=settings.layer,
            statistics=settings.statistics,
            classifier=SVM if settings.system == "svm" else LOGISTIC,
        )

    def _columns(self, entry: FrozenInput) -> list[int]:
        """The parts of a row that are read.

        Raises:
            UserError: the feature lacks one of the statistics.
        """
        wanted = self.statistics.split("+")
        missing = [name for name in wanted if name not in entry.statistics]
        if missing:
            raise UserError(
                f"--statistics {self.statistics}: {entry.name} has {', '.join(entry.statistics)}, and no {missing[0]}."
            )
        return [entry.statistics.index(name) for name in wanted]

    def _size(self, entry: FrozenInput) -> int:
        if entry.axis == "layers":
            layers = 1 if self.layer == BEST else len(layer_numbers(self.layer, entry.layers - 1))
            return layers * len(self._columns(entry)) * entry.part
        return entry.dim * (len(self.statistics.split("+")) if entry.axis == "time" else 1)

    def summaries(self, features: Mapping[str, Tensor]) -> list[Tensor]:
        """A summary of each utterance for each input: `[B, L, D]`, where L is 1 unless the rows are layers."""
        found = []
        for entry in self.entries:
            values, mask = features[entry.name], features[f"{entry.name}_mask"]
            if entry.axis == "layers":
                parts = values.reshape(*values.shape[:2], -1, entry.part)  # [B, L, parts, d]
                values = parts[:, :, self._columns(entry)].flatten(2)  # [B, L, D]
            elif entry.axis == "time":
                first = self.statistics == "first"
                found_over_time = values[:, 0] if first else mean_and_deviation(values, mask)  # [B, dim or 2 · dim]
                values = found_over_time[:, : self._size(entry)].unsqueeze(1)  # [B, 1, D]
            found.append(values)
        return found

    def forward(self, **features: Tensor) -> Output:
        """Rows of each input and their masks → `Output`."""
        return Output(self.emotion_head(self.standardised(features)), None)

    def standardised(self, features: Mapping[str, Tensor]) -> Tensor:
        """The input `[B, D]` of the linear layer, from the inputs of `forward`."""
        chosen = []
        for entry, layer, summary in zip(self.entries, self.best_layers, self.summaries(features), strict=True):
            chosen.append(summary[:, self._numbers(entry, int(layer))].flatten(1))
        return (torch.cat(chosen, dim=-1) - self.mean) / self.deviation

    def _numbers(self, entry: FrozenInput, best: int) -> list[int]:
        """The layers that are read: of an input without layers, its only row."""
        if entry.axis != "layers":
            return [0]
        return [best] if self.layer == BEST else layer_numbers(self.layer, entry.layers - 1)

    def fit(
        self, summaries: Sequence[Floats], truth: Integers, groups: Sequence[str], settings: Settings
    ) -> dict[str, Any]:
        """Choose the layer and the regularisation within the training part, and fit the classifier.

        Args:
            summaries: of each input, `[n, L, D]`.
            truth: the classes `[n]`.
            groups: of each utterance: the inner parts share none, if there are several.
            settings: of the run.

        Returns:
            What was chosen, with the UA of the inner cross-validation.

        Raises:
            UserError: the training part has a single class, or a single utterance of each.
        """
        if len(np.unique(truth)) < 2:
            only = self.labels[int(truth[0])]
            raise UserError(f"The training part has only the class {only}: there is nothing to tell apart.")
        if np.bincount(truth).max() < 2:
            raise UserError(
                f"The training part has {len(truth)} utterances, one of each class. Expected at least two of a class, "
                "to choose the regularisation by cross-validation within it. Use a larger corpus."
            )
        with threadpool_limits(1):  # these problems are small: more threads would only wait for each other
            return self._fit(summaries, truth, groups, settings)

    def _fit(
        self, summaries: Sequence[Floats], truth: Integers, groups: Sequence[str], settings: Settings
    ) -> dict[str, Any]:
        weight = "balanced" if settings.balanced_classes else None
        fitter = _Fitter(self.classifier, weight, settings.seed)
        parts = list(_inner_parts(truth, groups, LAYER_PARTS, settings.seed))
        chosen = []
        for number, (entry, summary) in enumerate(zip(self.entries, summaries, strict=True)):
            if entry.axis == "layers" and self.layer == BEST:
                scores = [fitter.score(summary[:, layer], truth, parts, USUAL[self.classifier])[0]
                          for layer in range(summary.shape[1])]  # fmt: skip
                self.best_layers[number] = int(np.argmax(scores))
            numbers = self._numbers(entry, int(self.best_layers[number]))
            chosen.append(summary[:, numbers].reshape(len(summary), -1))
        x = np.concatenate(chosen, axis=1)
        parts = list(_inner_parts(truth, groups, STRENGTH_PARTS, settings.seed))
        tried = [(*fitter.score(x, truth, parts, strength), strength) for strength in STRENGTHS[self.classifier]]
        ua, decisions, strength = max(tried, key=lambda entry: entry[0])  # of equals, the strongest regularisation
        self._store(fitter.fit(x, truth, strength), _scale(decisions, truth) if self.classifier == SVM else 1.0)
        layers = {
            entry.name: self._numbers(entry, int(best))
            for entry, best in zip(self.entries, self.best_layers, strict=True)
            if entry.axis == "layers"
        }
        return {"layers": layers, "strength": strength, "inner_ua": ua}

    def _store(self, fitted: "_Fitted", scale: float) -> None:
        with torch.no_grad():
            self.mean.copy_(torch.from_numpy(fitted.mean))
            self.deviation.copy_(torch.from_numpy(fitted.deviation))
            self.emotion_head.weight.zero_()
            self.emotion_head.bias.fill_(ABSENT)
            weights, biases = fitted.rows()
            self.emotion_head.weight[fitted.classes] = scale * torch.from_numpy(weights).float()
            self.emotion_head.bias[fitted.classes] = scale * torch.from_numpy(biases).float()


class _Fitted:
    """A classifier of standardised numbers, and what standardises them."""

    def __init__(self, model: Any, mean: Floats, deviation: Floats) -> None:
        self.model, self.mean, self.deviation = model, mean, deviation
        self.classes = [int(number) for number in model.classes_]

    def rows(self) -> tuple[Floats, Floats]:
        """Weights `[classes, D]` and biases `[classes]`; of two classes, half of the difference for each."""
        weights, biases = self.model.coef_, self.model.intercept_
        if len(self.classes) == 2:
            weights, biases = np.concatenate([-weights, weights]) / 2, np.concatenate([-biases, biases]) / 2
        return weights, biases

    def decisions(self, x: Floats, classes: int) -> Floats:
        """Logits `[n, classes]`; a class that was absent has a low one."""
        weights, biases = self.rows()
        logits = np.full((len(x), classes), ABSENT)
        logits[:, self.classes] = (x - self.mean) / self.deviation @ weights.T + biases
        return logits


class _Fitter:
    """Fits classifiers of one kind."""

    def __init__(self, kind: str, class_weight: str | None, seed: int) -> None:
        self.kind, self.class_weight, self.seed = kind, class_weight, seed

    def fit(self, x: Floats, truth: Integers, strength: float) -> _Fitted:
        """Standardise and fit."""
        mean, deviation = x.mean(axis=0, dtype=np.float64), x.std(axis=0, dtype=np.float64)
        deviation[deviation < 1e-6 * np.maximum(1.0, np.abs(mean))] = 1.0  # a number that does not vary
        model: Any
        if self.kind == SVM:
            model = LinearSVC(C=strength, class_weight=self.class_weight, dual=False, max_iter=MAX_ITERATIONS)
        else:
            model = LogisticRegression(C=strength, class_weight=self.class_weight, max_iter=MAX_ITERATIONS)
        return _Fitted(model.fit((x - mean) / deviation, truth), mean, deviation)

    def score(
        self, x: Floats, truth: Integers, parts: Sequence[tuple[Integers, Integers]], strength: float
    ) -> tuple[float, Floats]:
        """UA of a cross-validation, and the decisions `[n, C]` on the parts that were held out."""
        decisions = np.zeros((len(x), int(truth.max()) + 1))
        for train, test in parts:
            decisions[test] = self.fit(x[train], truth[train], strength).decisions(x[test], decisions.shape[1])
        return float(balanced_accuracy_score(truth, decisions.argmax(axis=1))), decisions


def _inner_parts(truth: Integers, groups: Sequence[str], count: int, seed: int) -> Iterator[tuple[Integers, Integers]]:
    """Training and test positions of a cross-validation whose parts share no group, if there are enough groups."""
    smallest = int(np.bincount(truth)[np.unique(truth)].min())
    number = max(2, min(count, smallest))
    if len(set(groups)) >= number:
        splitter: Any = StratifiedGroupKFold(number, shuffle=True, random_state=seed)
        parts = list(splitter.split(truth, truth, groups))
    else:
        parts = list(StratifiedKFold(number, shuffle=True, random_state=seed).split(truth, truth))
    yield from ((train, test) for train, test in parts if len(test) and len(np.unique(truth[train])) > 1)


def _scale(decisions: Floats, truth: Integers) -> float:
    """The factor of the decisions with which their softmax has the smallest cross-entropy."""

    def loss(exponent: float) -> float:
        return float(-log_softmax(np.exp(exponent) * decisions, axis=1)[np.arange(len(truth)), truth].mean())

    return float(np.exp(minimize_scalar(loss, bounds=(-5.0, 5.0), method="bounded").x))
