"""What a corpus is known to hold, and whether a copy of it holds that."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from mmer_pipeline.corpora.labels import LabelMap
from mmer_pipeline.corpora.utterances import Utterance

NAMED = 3  # differences that a line gives
_IEMOCAP_SESSIONS = ("1", "2", "3", "4", "5")


@dataclass(frozen=True)
class Published:
    """The counts of a whole corpus, by its own labels."""

    labels: Mapping[str, int]  # label → utterances
    sessions: Mapping[str, Mapping[str, int]]  # label → session → utterances, where that is published too
    speakers: int
    dialogues: int
    dialogues_of: tuple[str, ...]  # every dialogue has an utterance with one of these labels


PUBLISHED: Mapping[str, Published] = {
    # Counted on public label lists of the release; the six labels of the conversational benchmarks sum to
    # 1365, 1348, 1533, 1512 and 1622 a session, hap + exc, neu, ang and sad to the 5,531 of the paper.
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
    """One count that is not the published one."""

    label: str  # the corpus's own
    session: str | None  # None: all sessions together
    found: int
    published: int

    def __str__(self) -> str:
        where = "all sessions" if self.session is None else f"session {self.session}"
        return f"{where}, {self.label}: {self.found:,} instead of {self.published:,}"


@dataclass(frozen=True)
class Agreement:
    """How a copy's counts stand to the published ones."""

    found: int  # utterances in the label map's classes
    published: int  # as many as the whole corpus has
    counts: int  # how many counts were compared
    differences: tuple[Difference, ...]  # empty: the copy is whole

    def line(self) -> str:
        """One line for a person: the counts agree, or which do not and by how much."""
        if not self.differences:
            return (
                f"The counts are the published ones: {self.found:,} utterances, each session and label as it should be."
            )
        named = "; ".join(map(str, self.differences[:NAMED]))
        differ = len(self.differences)
        how_many = "as published" if self.found == self.published else f"instead of {self.published:,}"
        return (
            f"Not the published counts ({self.found:,} utterances {how_many}, {differ} of {self.counts} counts "
            f"differ): {named}{f'; and {differ - NAMED} more' if differ > NAMED else ''}."
        )

    def as_dict(self) -> dict[str, Any]:
        """The comparison as plain values, for JSON."""
        return {**asdict(self), "differences": [asdict(difference) for difference in self.differences]}


def compare(
    corpus: str, label_map: LabelMap, kept: Iterable[Utterance], dropped: Iterable[Utterance] | None = None
) -> Agreement | None:
    """Hold a copy's utterances against the published counts; None where none are known of the corpus.

    `kept` are the utterances in the map's classes. `dropped` are those that the map leaves out; their labels
    are compared where they are given (a manifest has none of them).
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
    for label, session in found:  # what no publication knows: another session, another label
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
