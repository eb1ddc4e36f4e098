"""A corpus cut into folds, as every part of the audit looks at it, and what goes with the label in it.

Shapes: N utterances, C classes.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import hypergeom

from mmer_pipeline.audit.finding import NAMED
from mmer_pipeline.corpora.folds import SPLIT, fold_names
from mmer_pipeline.corpora.manifest import Manifest
from mmer_pipeline.corpora.utterances import Utterance
from mmer_pipeline.errors import UserError
from mmer_pipeline.scoring.metrics import Integers

Mask = npt.NDArray[np.bool_]
REST = "train and dev"  # what is never held out in a corpus's own split
SHOWN_CHARACTERS = 80  # of a transcript in an example
TELLING_P = 1 / 30_000  # so seldom would one class or another be as frequent in a group if nothing were there
TELLING_UTTERANCES = 10  # fewer say nothing of a corpus


@dataclass(frozen=True)
class Split:
    """A corpus and its folds. Unlike `folds.make_fold` it refuses nothing: the audit says what is wrong."""

    manifest: Manifest
    column: str  # what the folds are made by
    folds: tuple[str, ...]  # fold k holds out the k-th value of the column
    fold: Integers  # [N] the number of the fold that holds an utterance out, from 0
    truth: Integers  # [N] class numbers
    tested: int  # so many of the folds, the first, are ever held out: all, or the test part of a corpus's own split

    @property
    def utterances(self) -> tuple[Utterance, ...]:
        """All utterances, in the manifest's order."""
        return self.manifest.utterances

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes, in the label map's order."""
        return self.manifest.labels

    def label(self, number: int) -> str:
        """The class of an utterance."""
        return self.labels[int(self.truth[number])]

    def class_counts(self, members: Mask) -> dict[str, int]:
        """Class → how many of the members `[N]` are in it."""
        counts = np.bincount(self.truth[members], minlength=len(self.labels))
        return dict(zip(self.labels, counts.tolist(), strict=True))

    def examples(self, members: Mask, show: Callable[[int], str] | None = None) -> tuple[str, ...]:
        """A few of the members `[N]`, from all over the corpus: id, class, and `show` (else what was said)."""
        numbers = np.flatnonzero(members)
        chosen = numbers[np.unique(np.linspace(0, len(numbers) - 1, NAMED).astype(int))] if len(numbers) else []
        return tuple(
            f"{self.utterances[i].utterance_id} ({self.label(i)}): {show(i) if show else self.said(i)}" for i in chosen
        )

    def said(self, number: int) -> str:
        """An utterance's transcript in quotes, cut where it is long."""
        text = self.utterances[number].transcript
        return f"“{text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 1] + '…'}”"


def split_by(manifest: Manifest, column: str) -> Split:
    """Cut a corpus into folds by a column, or into the two parts of the split that it comes with ("split").

    Raises:
        UserError: the column has one value alone, or the corpus has no split of its own.
    """
    names = fold_names(manifest, column)
    tested = len(names)
    own_split = column == SPLIT
    if own_split:
        names = [*names, REST]
    if len(names) < 2:
        raise UserError(
            f"{manifest.path} has one {column} alone ({names[0]}): there are no folds to audit. Use another --folds."
        )
    place = {name: number for number, name in enumerate(names)}
    classes = {label: number for number, label in enumerate(manifest.labels)}
    label_map = manifest.label_map
    return Split(
        manifest=manifest,
        column=column,
        folds=tuple(names),
        fold=np.array(
            [place.get(u.session, tested) if own_split else place[u.value(column)] for u in manifest.utterances]
        ),
        truth=np.array([classes[label_map.class_of(u.emotion) or ""] for u in manifest.utterances]),
        tested=tested,
    )


@dataclass(frozen=True)
class Lean:
    """The class that a group of utterances leans to most."""

    label: str
    inside: int  # utterances of the group that are of this class
    members: int  # of the group
    base: float  # the class's share of all utterances
    p: float  # how often chance alone would make one class or another as frequent (hypergeometric, Bonferroni)

    @property
    def tells(self) -> bool:
        """Whether belonging to the group says something of the label, beyond doubt."""
        return self.members >= TELLING_UTTERANCES and self.p < TELLING_P

    def __str__(self) -> str:
        return f"{self.inside:,} of {self.members:,} are {self.label}, which {100 * self.base:.1f} % of all are"


def lean(split: Split, members: Mask) -> Lean:
    """How a group `[N]` of utterances goes with the label."""
    total, size = len(members), int(members.sum())
    inside = np.bincount(split.truth[members], minlength=len(split.labels))
    everywhere = np.bincount(split.truth, minlength=len(split.labels))
    p = hypergeom.sf(inside - 1, total, everywhere, size)  # [C] as many of a class, or more, drawn by chance
    best = int(p.argmin())
    corrected = min(1.0, float(p[best]) * np.count_nonzero(everywhere))
    return Lean(split.labels[best], int(inside[best]), size, float(everywhere[best] / total), corrected)
