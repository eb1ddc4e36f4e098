"""Duplicates: rows that name the same recording, and recordings with the same samples."""

from collections import defaultdict

import numpy as np

from mmer_pipeline.audit.corpus_split import Split
from mmer_pipeline.audit.finding import NAMED, Finding
from mmer_pipeline.audit.recording_measurements import Recording, Recordings


def repeated_rows(split: Split) -> Finding:
    """The same segment of the same file under several ids; in two folds, the fold tests on its training data."""
    rows = defaultdict(list)
    for number, u in enumerate(split.utterances):
        rows[u.audio, u.start_seconds, u.end_seconds].append(number)
    groups = [numbers for numbers in rows.values() if len(numbers) > 1]
    across = [numbers for numbers in groups if _in_several_folds(split, numbers)]
    if groups:
        meaning = f"They count more than once in every result. With different labels: {_contradictory(split, groups)}."
    else:
        meaning = "Every row has its own recording or segment."
    if across:
        meaning += f" In different folds: {len(across)}; these folds test on their training data."
    return Finding(
        "repeated_rows",
        "error" if across else "warning" if groups else "ok",
        "Rows that name the same recording",
        sum(map(len, groups)),
        "utterances",
        meaning,
        len(split.utterances),
        tuple(dict.fromkeys(split.utterances[numbers[0]].audio for numbers in [*across, *groups]))[:NAMED],
    )


def identical_recordings(split: Split, recordings: Recordings) -> list[Finding]:
    """The same samples under several ids, across folds and within a fold."""
    same = defaultdict(list)
    for number in np.flatnonzero(recordings.audible).tolist():
        fact = recordings.facts[number]
        assert isinstance(fact, Recording)
        same[fact.digest].append(number)
    groups = [numbers for numbers in same.values() if len(numbers) > 1]
    across = [numbers for numbers in groups if _in_several_folds(split, numbers)]
    within = [numbers for numbers in groups if not _in_several_folds(split, numbers)]

    def example(numbers: list[int]) -> str:
        return " = ".join(f"{split.utterances[i].utterance_id} ({split.label(i)})" for i in numbers[:3])

    return [
        Finding(
            "duplicates_across_folds",
            "error" if across else "ok",
            "Recordings with the same samples in different folds",
            sum(map(len, across)),
            "utterances",
            "Test recordings are in the training part under other ids. Groups of identical recordings with different "
            f"labels: {_contradictory(split, groups):,}."
            if across
            else "No recording is in both the training and the test part.",
            len(recordings.facts),
            tuple(map(example, across[:NAMED])),
        ),
        Finding(
            "duplicates_within_folds",
            "warning" if within else "ok",
            "Recordings with the same samples within a fold",
            sum(map(len, within)),
            "utterances",
            "They count more than once in every result, and intervals treat them as independent."
            if within
            else "Every recording appears only once in its fold.",
            len(recordings.facts),
            tuple(map(example, within[:NAMED])),
        ),
    ]


def _in_several_folds(split: Split, numbers: list[int]) -> bool:
    return len(set(split.fold[numbers].tolist())) > 1


def _contradictory(split: Split, groups: list[list[int]]) -> int:
    """The number of groups whose members have different labels."""
    return sum(len(set(split.truth[numbers].tolist())) > 1 for numbers in groups)
