"""Baselines that should be poor: how well the class follows from length, loudness or scene, without words or voice.

Each is scikit-learn's logistic regression on standardised numbers (a group of utterances is a number that is 0 or 1),
trained and tested on the folds of the split. For WA it is fitted to the data as they are. For UA it is fitted with
balanced classes, so that chance is one over the number of classes that occur, whatever their sizes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mmer_pipeline.audit.corpus_split import Mask, Split
from mmer_pipeline.audit.finding import Finding
from mmer_pipeline.audit.recording_measurements import Recordings
from mmer_pipeline.corpora.transcripts import encoder_text
from mmer_pipeline.loudness import length_and_loudness
from mmer_pipeline.scoring.metrics import Floats, Integers, rates
from mmer_pipeline.scoring.statistics import Interval, bootstrap_intervals, cluster_counts

FAR_ABOVE = 0.05  # UA above chance that makes a baseline a warning
MAJORITY = "majority class"
TEXT, LENGTH, LOUDNESS = "length of the text", "length of the recording", "loudness"
LENGTH_AND_LOUDNESS = "length and loudness"
STYLE, SCENE = "style", "scene"  # of IEMOCAP: scripted or improvised, and which of the scripts and situations


@dataclass(frozen=True)
class Baseline:
    """One baseline over all folds."""

    name: str
    utterances: int  # tested
    wa: float  # pooled over the folds, fitted to the data as they are
    ua: float  # pooled over the folds, fitted with balanced classes
    ua_interval: Interval | None  # 95 %, bootstrap over dialogues
    fold_wa: tuple[float, ...]
    fold_ua: tuple[float, ...]


@dataclass(frozen=True)
class Baselines:
    """All baselines, and the UA of guessing."""

    rows: tuple[Baseline, ...]
    chance: float  # UA of guessing

    def as_dict(self) -> dict[str, Any]:
        """The table as plain values, for JSON."""
        return {"chance_ua": self.chance, "rows": [asdict(row) for row in self.rows]}


def try_baselines(
    split: Split,
    recordings: Recordings | None,
    groups: Mapping[str, Sequence[str]] | None = None,
    seconds: Floats | None = None,
) -> Baselines:
    """Fit and test every baseline; without `recordings` none on loudness.

    `groups`: name of a baseline → the group of every utterance. `seconds` `[N]` are the lengths of the recordings where
    these were not decoded; NaN where unknown.
    """
    letters = np.log1p([len(encoder_text(u.transcript, "strip")) for u in split.utterances])
    everything = np.ones(len(split.truth), dtype=bool)
    numbers: dict[str, tuple[Mask, Floats]] = {TEXT: (everything, letters[:, None])}
    if recordings is not None and recordings.audible.any():
        both = length_and_loudness(recordings.seconds, recordings.rms_dbfs)  # [N, 2]
        numbers = {
            LENGTH: (recordings.audible, both[:, :1]),
            LOUDNESS: (recordings.audible, both[:, 1:]),
            LENGTH_AND_LOUDNESS: (recordings.audible, both),
            **numbers,
        }
    elif seconds is not None and (known := np.isfinite(seconds)).any():
        numbers = {LENGTH: (known, np.log(seconds)[:, None]), **numbers}
    for name, group in (groups or {}).items():
        names, of_utterance = np.unique(group, return_inverse=True)
        numbers[name] = (everything, np.eye(len(names))[of_utterance])
    tried = [_majority(split)] + [_fitted(split, name, *entry) for name, entry in numbers.items()]
    return Baselines(tuple(row for row in tried if row is not None), 1 / len(np.unique(split.truth)))


def findings(baselines: Baselines) -> list[Finding]:
    """One finding per baseline, the best first; none for the majority class."""
    rows = sorted(baselines.rows, key=lambda row: row.ua, reverse=True)
    return [_finding(row, baselines) for row in rows if row.name != MAJORITY]


def _finding(row: Baseline, baselines: Baselines) -> Finding:
    low = row.ua_interval[0] if row.ua_interval else row.ua
    majority = next(other for other in baselines.rows if other.name == MAJORITY)
    above = row.ua - baselines.chance
    significant = low > baselines.chance
    return Finding(
        f"baseline_{row.name.replace(' ', '_')}",
        "ok" if not significant else "warning" if above > FAR_ABOVE else "note",
        f"Baseline: only the {row.name}",
        100 * row.ua,
        f"% UA, compared with {100 * baselines.chance:.1f} for guessing",
        f"WA is {100 * row.wa:.1f} %, that of the majority class {100 * majority.wa:.1f} %. "
        + ("Compare models with this baseline, not with guessing." if significant else "No better than guessing."),
    )


def _majority(split: Split) -> Baseline | None:
    predicted = np.zeros_like(split.truth)
    for fold in range(split.tested):
        predicted[split.fold == fold] = np.bincount(split.truth[split.fold != fold]).argmax()
    return _scored(split, MAJORITY, split.fold < split.tested, predicted, predicted)


def _fitted(split: Split, name: str, members: Mask, numbers: Floats) -> Baseline | None:
    predicted = {weight: np.full(len(split.truth), -1) for weight in (None, "balanced")}
    for fold in range(split.tested):
        train, test = members & (split.fold != fold), members & (split.fold == fold)
        if not test.any() or len(np.unique(split.truth[train])) < 2:
            continue
        for weight, classes in predicted.items():
            model = make_pipeline(StandardScaler(), LogisticRegression(class_weight=weight, max_iter=1000))
            classes[test] = model.fit(numbers[train], split.truth[train]).predict(numbers[test])
    return _scored(split, name, predicted[None] >= 0, predicted[None], predicted["balanced"])


def _scored(split: Split, name: str, tested: Mask, plain: Integers, balanced: Integers) -> Baseline | None:
    if not tested.any():
        return None

    def score(predicted: Integers, metric: str) -> tuple[float, tuple[float, ...]]:
        folds = [tested & (split.fold == fold) for fold in range(split.tested)]
        pooled, *each = (
            _rates(split, predicted, part)[metric] for part in (tested, *(part for part in folds if part.any()))
        )
        return pooled, tuple(each)

    (wa, fold_wa), (ua, fold_ua) = score(plain, "wa"), score(balanced, "ua")
    dialogues = [split.utterances[i].dialogue for i in np.flatnonzero(tested)]
    counts = cluster_counts(split.truth[tested], balanced[tested], dialogues, len(split.labels))
    intervals = bootstrap_intervals(counts)
    return Baseline(name, int(tested.sum()), wa, ua, None if intervals is None else intervals["ua"], fold_wa, fold_ua)


def _rates(split: Split, predicted: Integers, part: Mask) -> Mapping[str, float]:
    return rates(split.truth[part], predicted[part], split.labels)
