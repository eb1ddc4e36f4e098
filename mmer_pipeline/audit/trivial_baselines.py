"""Baselines that should be poor: what the class follows from without a word or a voice being heard.

Each is scikit-learn's logistic regression on standardised numbers, trained and tested on the folds of the split. Fitted
as the data are it gives WA, as a model would be rewarded for it; fitted with balanced classes it gives UA, whose
chance is one over the number of classes that occur, whatever their sizes.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mmer_pipeline.audit.finding import Finding
from mmer_pipeline.audit.sounds import Sounds
from mmer_pipeline.audit.split import Mask, Split
from mmer_pipeline.corpora.transcripts import encoder_text
from mmer_pipeline.scoring.metrics import Floats, Integers, rates
from mmer_pipeline.scoring.statistics import Interval, bootstrap_intervals, cluster_counts

FAR_ABOVE = 0.05  # UA above chance from which on a baseline weighs
MAJORITY = "majority class"


@dataclass(frozen=True)
class Baseline:
    """One baseline over all folds."""

    name: str
    utterances: int  # tested
    wa: float  # pooled over the folds, fitted as the data are
    ua: float  # pooled over the folds, fitted with balanced classes
    ua_interval: Interval | None  # 95 %, bootstrap over dialogues
    fold_wa: tuple[float, ...]
    fold_ua: tuple[float, ...]


@dataclass(frozen=True)
class Baselines:
    """All of them, and what guessing gives."""

    rows: tuple[Baseline, ...]
    chance: float  # UA of guessing

    def as_dict(self) -> dict[str, Any]:
        """The table as plain values, for JSON."""
        return {"chance_ua": self.chance, "rows": [asdict(row) for row in self.rows]}


def try_baselines(split: Split, sounds: Sounds | None) -> Baselines:
    """Fit and test every baseline; without `sounds` those of the text alone."""
    letters = np.log1p([len(encoder_text(u.transcript, "strip")) for u in split.utterances])
    everybody = np.ones(len(split.truth), dtype=bool)
    numbers: dict[str, tuple[Mask, Floats]] = {"length of the text": (everybody, letters[:, None])}
    if sounds is not None and sounds.audible.any():
        length, loudness = np.log(sounds.seconds)[:, None], sounds.rms_dbfs[:, None]
        numbers = {
            "length of the recording": (sounds.audible, length),
            "loudness": (sounds.audible, loudness),
            "length and loudness": (sounds.audible, np.hstack([length, loudness])),
            **numbers,
        }
    tried = [_majority(split)] + [_fitted(split, name, *entry) for name, entry in numbers.items()]
    return Baselines(tuple(row for row in tried if row is not None), 1 / len(np.unique(split.truth)))


def findings(baselines: Baselines) -> list[Finding]:
    """One a baseline, the best first, the majority class apart."""
    rows = sorted(baselines.rows, key=lambda row: row.ua, reverse=True)
    return [_finding(row, baselines) for row in rows if row.name != MAJORITY]


def _finding(row: Baseline, baselines: Baselines) -> Finding:
    low = row.ua_interval[0] if row.ua_interval else row.ua
    majority = next(other for other in baselines.rows if other.name == MAJORITY)
    above = row.ua - baselines.chance
    telling = low > baselines.chance
    return Finding(
        f"baseline_{row.name.replace(' ', '_')}",
        "fine" if not telling else "weigh" if above > FAR_ABOVE else "know",
        f"Baseline: {row.name} alone",
        100 * row.ua,
        f"% UA, where guessing gives {100 * baselines.chance:.1f}",
        f"WA {100 * row.wa:.1f} %, the majority class {100 * majority.wa:.1f} %. "
        + ("A model has to be held against this, not against guessing." if telling else "No more than guessing."),
    )


def _majority(split: Split) -> Baseline | None:
    said = np.zeros_like(split.truth)
    for fold in range(split.tested):
        said[split.fold == fold] = np.bincount(split.truth[split.fold != fold]).argmax()
    return _scored(split, MAJORITY, split.fold < split.tested, said, said)


def _fitted(split: Split, name: str, members: Mask, numbers: Floats) -> Baseline | None:
    said = {weight: np.full(len(split.truth), -1) for weight in (None, "balanced")}
    for fold in range(split.tested):
        train, test = members & (split.fold != fold), members & (split.fold == fold)
        if not test.any() or len(np.unique(split.truth[train])) < 2:
            continue
        for weight, answers in said.items():
            model = make_pipeline(StandardScaler(), LogisticRegression(class_weight=weight, max_iter=1000))
            answers[test] = model.fit(numbers[train], split.truth[train]).predict(numbers[test])
    return _scored(split, name, said[None] >= 0, said[None], said["balanced"])


def _scored(split: Split, name: str, tested: Mask, plain: Integers, balanced: Integers) -> Baseline | None:
    if not tested.any():
        return None

    def score(said: Integers, metric: str) -> tuple[float, tuple[float, ...]]:
        folds = [tested & (split.fold == fold) for fold in range(split.tested)]
        pooled, *each = (
            _rates(split, said, part)[metric] for part in (tested, *(part for part in folds if part.any()))
        )
        return pooled, tuple(each)

    (wa, fold_wa), (ua, fold_ua) = score(plain, "wa"), score(balanced, "ua")
    dialogues = [split.utterances[i].dialogue for i in np.flatnonzero(tested)]
    counts = cluster_counts(split.truth[tested], balanced[tested], dialogues, len(split.labels))
    intervals = bootstrap_intervals(counts)
    return Baseline(name, int(tested.sum()), wa, ua, None if intervals is None else intervals["ua"], fold_wa, fold_ua)


def _rates(split: Split, said: Integers, part: Mask) -> Mapping[str, float]:
    return rates(split.truth[part], said[part], split.labels)
