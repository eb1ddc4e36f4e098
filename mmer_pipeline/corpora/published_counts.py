"""Published counts of corpora, and how the counts of a copy compare with them."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from mmer_pipeline.corpora.labels import LabelMap
from mmer_pipeline.corpora.utterances import Utterance

NAMED = 3  # differences that a message lists
_IEMOCAP_SESSIONS = ("1", "2", "3", "4", "5")


@dataclass(frozen=True)
class Published:
    """The counts of a whole corpus, by its own labels."""

    labels: Mapping[str, int]  # label → utterances
    sessions: Mapping[str, Mapping[str, int]]  # label → session → utterances, for labels with published counts
    speakers: int
    dialogues: int
    dialogues_of: tuple[str, ...]  # every dialogue has an utterance with one of these labels


PUBLISHED: Mapping[str, Published] = {
    # Counted on public label lists of the release. The six labels of the conversational benchmarks sum to
    # 1365, 1348, 1533, 1512 and 1622 per session; hap + exc, neu, ang and sad sum to the paper's 5,531.
    "iemocap": Published(
        labels={
            **{"neu": 1708, "hap": 595, "exc": 1041, "ang": 1103, "sad": 1084, "fru": 1849},
            **{"sur": 107, "fea": 40, "dis": 2, "oth": 3, "xxx": 2507},
        },
        sessions={
            label: dict(zip(_IEMOCAP_SESSIONS, counts, strict=True))
            for label, counts in {
                "neu": (384, 362, 320, 258, 384),
                "hap": (135, 117, 135, 65, 143),
                "exc": (143, 210, 151, 238, 299),
                "ang": (229, 137, 240, 327, 170),
                "sad": (194, 197, 305, 143, 245),
                "fru": (280, 325, 382, 481, 381),
            }.items()
        },
        speakers=10,
        dialogues=151,
        dialogues_of=("neu", "hap", "exc", "ang", "sad"),
    ),
}


@dataclass(frozen=True)
class Difference:
    """One count that differs from the published one."""

    label: str  # the corpus's own
    session: str | None  # None: all sessions together
    found: int
    published: int

    def __str__(self) -> str:
        where = "all sessions" if self.session is None else f"session {self.session}"
        return f"{where}, {self.label}: expected {self.published:,}, found {self.found:,}"


@dataclass(frozen=True)
class Agreement:
    """The counts of a copy compared with the published ones."""

    found: int  # utterances in the label map's classes
    published: int  # the same of the complete corpus
    counts: int  # number of counts compared
    differences: tuple[Difference, ...]  # empty: the copy is complete

    def line(self) -> str:
        """One line of text: the counts agree, or which differ and by how much."""
        if not self.differences:
            return f"All counts agree with the published ones: {self.found:,} utterances."
        named = "; ".join(map(str, self.differences[:NAMED]))
        differ = len(self.differences)
        published = "as published" if self.found == self.published else f"published: {self.published:,}"
        return (
            f"{differ} of {self.counts} counts differ from those published ({self.found:,} utterances, {published}): "
            f"{named}{f'; and {differ - NAMED} more' if differ > NAMED else ''}."
        )

    def as_dict(self) -> dict[str, Any]:
        """The comparison as plain values, for JSON."""
        return {**asdict(self), "differences": [asdict(difference) for difference in self.differences]}


def compare(
    corpus: str, label_map: LabelMap, kept: Iterable[Utterance], dropped: Iterable[Utterance] | None = None
) -> Agreement | None:
    """Compare the counts of a copy with the published ones; None if there are none for the corpus.

    `kept` are the utterances in the label map's classes, `dropped` the others. The labels of the latter are compared
    only if `dropped` is given (a manifest does not contain them).
    """
    if corpus not in PUBLISHED:
        return None
    published = PUBLISHED[corpus]
    found = Counter((u.emotion, u.session) for u in kept)
    total = found.total()
    chosen = [label for labels in label_map.classes.values() for label in labels]
    labels = chosen if dropped is None else list(published.labels)
    found.update((u.emotion, u.session) for u in dropped or ())

    expected: dict[tuple[str, str | None], int] = {}
    for label in labels:
        split = published.sessions.get(label)
        if split is None:
            expected[label, None] = published.labels.get(label, 0)
        else:
            expected.update({(label, session): count for session, count in split.items()})
    for label, session in found:  # sessions and labels that were never published
        if (label, None) not in expected:
            expected.setdefault((label, session), 0)
    differences = tuple(
        Difference(label, session, count, wanted)
        for (label, session), wanted in expected.items()
        if (count := _count(found, label, session)) != wanted
    )
    return Agreement(total, sum(published.labels.get(label, 0) for label in chosen), len(expected), differences)


def _count(found: Counter[tuple[str, str]], label: str, session: str | None) -> int:
    return sum(count for (name, place), count in found.items() if name == label and session in (None, place))
