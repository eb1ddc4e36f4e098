"""A corpus divided into folds, as every part of the audit uses it.

Shapes: N utterances, C classes.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mmer_pipeline.audit.finding import NAMED
from mmer_pipeline.corpora.folds import SPLIT, fold_names, fold_values
from mmer_pipeline.corpora.manifest import Manifest
from mmer_pipeline.corpora.speaker_folds import fold_unit
from mmer_pipeline.corpora.utterances import Utterance
from mmer_pipeline.errors import UserError
from mmer_pipeline.scoring.metrics import Integers

Mask = npt.NDArray[np.bool_]
REST = "train and dev"  # the part of an official split that is never held out
SHOWN_CHARACTERS = 80  # of a transcript in an example


@dataclass(frozen=True)
class Split:
    """A corpus and its folds. Unlike `folds.make_fold`, it refuses nothing: the audit reports what is wrong."""

    manifest: Manifest
    column: str  # the column that defines the folds, or the value of --folds in another case
    folds: tuple[str, ...]  # fold k holds out the k-th value of the column
    fold: Integers  # [N] the fold that holds out an utterance, from 0
    truth: Integers  # [N] class numbers
    tested: int  # number of folds that are ever held out, the first ones: all, or only the official test part

    @property
    def utterances(self) -> tuple[Utterance, ...]:
        """All utterances, in the manifest's order."""
        return self.manifest.utterances

    @property
    def unit(self) -> str:
        """The noun for the part that a fold holds out: "session", "group of speakers"."""
        return fold_unit(self.column)

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes, in the label map's order."""
        return self.manifest.labels

    def label(self, number: int) -> str:
        """The class of an utterance."""
        return self.labels[int(self.truth[number])]

    def class_counts(self, members: Mask) -> dict[str, int]:
        """Class → number of members `[N]` in it."""
        counts = np.bincount(self.truth[members], minlength=len(self.labels))
        return dict(zip(self.labels, counts.tolist(), strict=True))

    def examples(self, members: Mask, show: Callable[[int], str] | None = None) -> tuple[str, ...]:
        """A few of the members `[N]` from across the corpus: id, class, and `show` (default: the transcript)."""
        numbers = np.flatnonzero(members)
        chosen = numbers[np.unique(np.linspace(0, len(numbers) - 1, NAMED).astype(int))] if len(numbers) else []
        return tuple(
            f"{self.utterances[i].utterance_id} ({self.label(i)}): {show(i) if show else self.quoted(i)}"
            for i in chosen
        )

    def quoted(self, number: int) -> str:
        """An utterance's transcript in quotation marks, shortened if it is long."""
        text = self.utterances[number].transcript
        if not text:
            return "no transcript"
        return f"“{text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 1] + '…'}”"


def split_by(manifest: Manifest, column: str) -> Split:
    """Divide a corpus into folds by a column, by groups of speakers ("5"), or into the parts of its split ("split").

    Raises:
        UserError: the column has only one value, the corpus has no official split, or so many groups are impossible.
    """
    names = fold_names(manifest, column)
    tested = len(names)
    official = column == SPLIT
    if official:
        names = [*names, REST]
    if len(names) < 2:
        raise UserError(
            f"{manifest.path} has only one {fold_unit(column)} ({names[0]}): there are no folds to audit. "
            "Use another --folds."
        )
    number_of = {name: number for number, name in enumerate(names)}
    classes = {label: number for number, label in enumerate(manifest.labels)}
    label_map = manifest.label_map
    return Split(
        manifest=manifest,
        column=column,
        folds=tuple(names),
        fold=np.array(
            [number_of.get(name, tested) if official else number_of[name] for name in fold_values(manifest, column)]
        ),
        truth=np.array([classes[label_map.class_of(u.emotion) or ""] for u in manifest.utterances]),
        tested=tested,
    )
