"""Counts of utterances, speakers, dialogues and classes per fold, compared with the published ones."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from mmer_pipeline.audit.corpus_split import Split
from mmer_pipeline.audit.finding import NAMED, Finding
from mmer_pipeline.corpora.published_counts import PUBLISHED, Agreement, compare


@dataclass(frozen=True)
class FoldCounts:
    """Counts of the held-out part of a fold, or of the whole corpus."""

    fold: str
    utterances: int
    speakers: int
    dialogues: int
    classes: dict[str, int]  # class → utterances


@dataclass(frozen=True)
class Counts:
    """Counts of every fold and of the whole corpus."""

    folds: tuple[FoldCounts, ...]
    all: FoldCounts

    def as_dict(self) -> dict[str, Any]:
        """The counts as plain values, for JSON."""
        return {"folds": [asdict(fold) for fold in self.folds], "all": asdict(self.all)}


def count(split: Split) -> Counts:
    """Count utterances, speakers, dialogues and classes."""

    def part(name: str, number: int | None) -> FoldCounts:
        members = split.fold == number if number is not None else np.ones(len(split.fold), dtype=bool)
        inside = [split.utterances[i] for i in np.flatnonzero(members)]
        return FoldCounts(
            fold=name,
            utterances=len(inside),
            speakers=len({u.speaker for u in inside}),
            dialogues=len({u.dialogue for u in inside}),
            classes=split.class_counts(members),
        )

    return Counts(tuple(part(name, number) for number, name in enumerate(split.folds)), part("all", None))


def findings(split: Split, counts: Counts) -> list[Finding]:
    """Whether the counts agree with the published ones, and every fold has every class."""
    return [*_published(split, counts), _missing_classes(split, counts)]


def _published(split: Split, counts: Counts) -> list[Finding]:
    corpus = split.manifest.corpus
    agreement = compare(corpus, split.manifest.label_map, split.utterances)
    if agreement is None:
        return []
    published = PUBLISHED[corpus]
    kept = {label for labels in split.manifest.label_map.classes.values() for label in labels}
    others = [("speakers", counts.all.speakers, published.speakers)]
    if kept >= set(published.dialogues_of):  # with fewer labels, some dialogues may be missing
        others.append(("dialogues", counts.all.dialogues, published.dialogues))
    differing = [f"{name}: expected {wanted}, found {found}" for name, found, wanted in others if found != wanted]
    differences = [*map(str, agreement.differences), *differing]
    return [
        Finding(
            "published_counts",
            "warning" if differences else "ok",
            "Counts that differ from the published ones",
            len(differences),
            f"counts of labels, sessions{' and' if len(others) == 1 else ','} "
            + " and ".join(name for name, _, _ in others),
            _meaning(agreement, others=bool(differing)),
            agreement.counts + len(others),
            tuple(differences[:NAMED]),
        )
    ]


def _meaning(agreement: Agreement, *, others: bool) -> str:
    """Explain how the differences affect a result. `others`: whether the number of speakers or dialogues differs."""
    if agreement.found != agreement.published:
        return (
            f"Expected the published {agreement.published:,} utterances, found {agreement.found:,}: results are on "
            "another test set than in the literature."
        )
    if agreement.differences:
        return (
            f"{agreement.found:,} utterances, as published, but with other labels or sessions: results are on other "
            "folds than in the literature."
        )
    if others:
        return (
            f"{agreement.found:,} utterances with the published labels and sessions, but other speakers or dialogues, "
            "on which folds and intervals depend: check how the manifest was made."
        )
    return f"{agreement.found:,} utterances, as published."


def _missing_classes(split: Split, counts: Counts) -> Finding:
    missing = [
        f"fold {number} ({fold.fold}) has no {label}"
        for number, fold in enumerate(counts.folds[: split.tested], start=1)
        for label, count in fold.classes.items()
        if not count
    ]
    return Finding(
        "missing_classes",
        "warning" if missing else "ok",
        "Classes missing from a fold",
        len(missing),
        "pairs of fold and class",
        "The UA of such a fold is a mean over fewer classes, so it cannot be compared with that of the others."
        if missing
        else "The UA of every fold is a mean over the same classes.",
        split.tested * len(split.labels),
        tuple(missing[:NAMED]),
    )
