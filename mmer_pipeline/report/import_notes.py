"""Notes on an imported system: what part of our runs it has, and what differs, one sentence each."""

from collections.abc import Iterable

import numpy as np
from scipy.optimize import linear_sum_assignment

from mmer_pipeline.report.known_utterances import Known, KnownUtterances
from mmer_pipeline.report.run_results import HeldOut

NO_IDS = (
    "{name} does not say which utterance a row is about, so it is scored by itself: it is compared with no other "
    "system, and has no folds, speakers or dialogues of other systems. To compare it, add a column utterance_id, or "
    "audio with the names of the recordings."
)


def coverage(name: str, held_out: HeldOut, known: KnownUtterances, left_out: int) -> list[str]:
    """Say what part of our runs an import has."""
    notes, theirs = [], set(held_out.utterance_ids)
    if left_out:
        notes.append(f"{left_out:,} rows of {name} are left out: our runs do not have these utterances.")
    if known and (more := len(theirs - known.utterances.keys())):
        notes.append(
            f"{name} has predictions for {more} utterances that are in none of our runs; comparisons leave them out."
        )
    fewer = len(known.utterances.keys() - theirs)
    if fewer:
        folds = sorted({place.fold for ours, place in known.utterances.items() if ours in theirs})
        every = {place.fold for place in known.utterances.values()}
        part = (
            f", all in fold{'s' if len(folds) > 1 else ''} {', '.join(map(str, folds))}" if set(folds) < every else ""
        )
        notes.append(
            f"{name} has predictions for {len(theirs & known.utterances.keys()):,} of the {len(known.utterances):,} "
            f"utterances of our runs{part}. Its own row is about these alone; comparisons use the utterances that both "
            "systems have."
        )
    return notes


def other_folds(name: str, folds: Iterable[tuple[str, Known | None]]) -> list[str]:
    """Say if a file's folds divide the utterances of our runs otherwise than ours; numbers alone do not matter."""
    pairs = [(theirs, ours.fold) for theirs, ours in folds if theirs and ours is not None]
    if not pairs:
        return []
    theirs, ours = (np.unique(column, return_inverse=True)[1] for column in zip(*pairs, strict=True))
    counts = np.zeros((theirs.max() + 1, ours.max() + 1), dtype=np.int64)
    np.add.at(counts, (theirs, ours), 1)
    other = len(pairs) - int(counts[linear_sum_assignment(counts, maximize=True)].sum())
    return [
        f"{name} has {other:,} of {len(pairs):,} utterances in other folds than our runs, so its models were trained "
        "on other parts of the corpus. The folds of our runs are used for both."
    ] if other else []  # fmt: skip


def unlike(name: str, held_out: HeldOut) -> list[str]:
    """Say if predictions are not the most probable classes."""
    if held_out.probabilities is None:
        return []
    said = held_out.probabilities[np.arange(len(held_out.predicted)), held_out.predicted]
    unlike = int((said < held_out.probabilities.max(axis=1)).sum())
    return [
        f"In {unlike} rows of {name} the prediction is not the most probable class. Scores use the prediction; "
        "reliability and ECE use the most probable class."
    ] if unlike else []  # fmt: skip
