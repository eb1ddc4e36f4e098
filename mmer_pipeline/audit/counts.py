"""How much there is: utterances, speakers, dialogues and classes of each fold, and what was published."""

from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from mmer_pipeline.audit.finding import NAMED, Finding
from mmer_pipeline.audit.split import Split
from mmer_pipeline.corpora.counts import PUBLISHED, compare


@dataclass(frozen=True)
class FoldCounts:
    """What one fold holds out; or the whole corpus."""

    fold: str
    utterances: int
    speakers: int
    dialogues: int
    classes: dict[str, int]  # class → utterances


@dataclass(frozen=True)
class Counts:
    """Of every fold, and of all together."""

    folds: tuple[FoldCounts, ...]
    all: FoldCounts

    def as_dict(self) -> dict[str, Any]:
        """The counts as plain values, for JSON."""
        return {"folds": [asdict(fold) for fold in self.folds], "all": asdict(self.all)}


def count(split: Split) -> Counts:
    """Count everything."""

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
    """Whether the counts are the published ones, rows are not repeated, and every fold has every class."""
    return [*_published(split, counts), _missing_classes(split, counts), _repeated(split)]


def _published(split: Split, counts: Counts) -> list[Finding]:
    corpus = split.manifest.corpus
    agreement = compare(corpus, split.manifest.label_map, split.utterances)
    if agreement is None:
        return []
    published = PUBLISHED[corpus]
    differences = [*map(str, agreement.differences)]
    if counts.all.speakers != published.speakers:
        differences.append(f"speakers: {counts.all.speakers} instead of {published.speakers}")
    compared = agreement.counts + 1
    return [
        Finding(
            "published_counts",
            "weigh" if differences else "fine",
            "Counts that are not the published ones",
            len(differences),
            "counts of labels, sessions and speakers",
            f"{agreement.found:,} utterances, as published."
            if not differences
            else f"{agreement.found:,} utterances instead of the published {agreement.published:,}: "
            "numbers are of another test set than the literature's.",
            compared,
            tuple(differences[:NAMED]),
        )
    ]


def _missing_classes(split: Split, counts: Counts) -> Finding:
    missing = [
        f"fold {number} ({fold.fold}) has no {label}"
        for number, fold in enumerate(counts.folds, start=1)
        for label, there in fold.classes.items()
        if not there
    ]
    return Finding(
        "missing_classes",
        "weigh" if missing else "fine",
        "Classes that a fold does not have",
        len(missing),
        "pairs of fold and class",
        "UA of such a fold is a mean over fewer classes, and is not comparable with that of the others."
        if missing
        else "UA of every fold is a mean over the same classes.",
        len(split.folds) * len(split.labels),
        tuple(missing[:NAMED]),
    )


def _repeated(split: Split) -> Finding:
    """The same segment of the same file under two ids with two labels."""
    classes: dict[tuple[object, ...], set[str]] = {}
    for number, u in enumerate(split.utterances):
        classes.setdefault((u.audio, u.start_seconds, u.end_seconds), set()).add(split.label(number))
    times = Counter((u.audio, u.start_seconds, u.end_seconds) for u in split.utterances)
    rows = sum(n for n in times.values() if n > 1)
    torn = [str(key[0]) for key, labels in classes.items() if len(labels) > 1]
    return Finding(
        "repeated_rows",
        "weigh" if rows else "fine",
        "Rows that name the same recording",
        rows,
        "utterances",
        f"They count twice in every number; {len(torn)} of these recordings have two labels."
        if rows
        else "Every row has a recording, or a segment of one, of its own.",
        len(split.utterances),
        tuple(str(key[0]) for key, n in times.items() if n > 1)[:NAMED],
    )
