"""How much there is: utterances, speakers, dialogues and classes of each fold, and what was published."""

from collections import defaultdict
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from mmer_pipeline.audit.finding import NAMED, Finding
from mmer_pipeline.audit.split import Split
from mmer_pipeline.corpora.published_counts import PUBLISHED, Agreement, compare


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
    kept = {label for labels in split.manifest.label_map.classes.values() for label in labels}
    others = [("speakers", counts.all.speakers, published.speakers)]
    if kept >= set(published.dialogues_of):  # with fewer labels some dialogues may have none of them
        others.append(("dialogues", counts.all.dialogues, published.dialogues))
    differing = [f"{name}: {found} instead of {wanted}" for name, found, wanted in others if found != wanted]
    differences = [*map(str, agreement.differences), *differing]
    return [
        Finding(
            "published_counts",
            "weigh" if differences else "fine",
            "Counts that are not the published ones",
            len(differences),
            f"counts of labels, sessions{' and' if len(others) == 1 else ','} "
            + " and ".join(name for name, _, _ in others),
            _meaning(agreement, others=bool(differing)),
            agreement.counts + len(others),
            tuple(differences[:NAMED]),
        )
    ]


def _meaning(agreement: Agreement, *, others: bool) -> str:
    """What it says of a number that counts differ: those of labels and sessions, or others."""
    if agreement.found != agreement.published:
        return (
            f"{agreement.found:,} utterances instead of the published {agreement.published:,}: numbers are of another "
            "test set than the literature's."
        )
    if agreement.differences:
        return (
            f"{agreement.found:,} utterances, as published, but not with the published labels or sessions: numbers "
            "are of other folds than the literature's."
        )
    if others:
        return (
            f"{agreement.found:,} utterances with their labels and sessions, as published. Speakers and dialogues are "
            "what folds and intervals are made by: look at how the manifest was made."
        )
    return f"{agreement.found:,} utterances, as published."


def _missing_classes(split: Split, counts: Counts) -> Finding:
    missing = [
        f"fold {number} ({fold.fold}) has no {label}"
        for number, fold in enumerate(counts.folds[: split.tested], start=1)
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
        split.tested * len(split.labels),
        tuple(missing[:NAMED]),
    )


def _repeated(split: Split) -> Finding:
    """The same segment of the same file under two ids: in two folds it is tested on after it was trained on."""
    rows = defaultdict(list)
    for number, u in enumerate(split.utterances):
        rows[u.audio, u.start_seconds, u.end_seconds].append(number)
    several = [numbers for numbers in rows.values() if len(numbers) > 1]
    across = [numbers for numbers in several if len(set(split.fold[numbers].tolist())) > 1]
    torn = sum(len(set(split.truth[numbers].tolist())) > 1 for numbers in several)
    if several:
        meaning = f"They count twice in every number; {torn} of these recordings have two labels."
    else:
        meaning = "Every row has a recording, or a segment of one, of its own."
    if across:
        meaning += f" {len(across)} stand in different folds: they are tested on after they were trained on."
    return Finding(
        "repeated_rows",
        "wrong" if across else "weigh" if several else "fine",
        "Rows that name the same recording",
        sum(map(len, several)),
        "utterances",
        meaning,
        len(split.utterances),
        tuple(dict.fromkeys(split.utterances[numbers[0]].audio for numbers in [*across, *several]))[:NAMED],
    )
