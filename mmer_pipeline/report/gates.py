"""Summarise the acoustic gate of a system's held-out utterances: by class, and where it is highest and lowest.

Each fold has its own model, whose gates may all be higher or lower than another's. So an utterance is called high or
low by its distance from the mean of its fold.
"""

from collections.abc import Sequence

import numpy as np

from mmer_pipeline.report.gate_content import ClassGates, GatedUtterance, Gates
from mmer_pipeline.report.run_results import HeldOut
from mmer_pipeline.report.utterance_facts import UtteranceFacts
from mmer_pipeline.scoring.metrics import Floats, Integers

EXTREMES = 10  # the most utterances listed as highest, and as lowest
DECIMALS = 6  # of predictions.csv; the rest is noise of the arithmetic, which must not break ties


def gates_of(held_out: HeldOut, labels: Sequence[str], facts: UtteranceFacts) -> Gates | None:
    """Summarise the gates, averaged over seeds; return None if the predictions have none."""
    if held_out.gates is None:
        return None
    rows: dict[str, list[int]] = {}  # of each utterance, one per seed; in the order of the runs
    for row, name in enumerate(held_out.utterance_ids):
        rows.setdefault(name, []).append(row)
    first = [of[0] for of in rows.values()]
    gates = np.array([held_out.gates[of].mean() for of in rows.values()])  # [U] utterances
    above = np.round(gates - _fold_means(held_out.gates, np.array(held_out.folds))[first], DECIMALS)  # [U]

    def listed(number: int) -> GatedUtterance:
        row, name = first[number], held_out.utterance_ids[first[number]]
        return GatedUtterance(
            utterance_id=name,
            fold=held_out.folds[row],
            speaker=held_out.speakers[row],
            truth=labels[held_out.truth[row]],
            prediction=labels[_predicted(held_out, rows[name])],
            gate=float(gates[number]),
            above_fold=float(above[number]),
            transcript=facts.transcripts.get(name),
        )

    highest, lowest = _extremes(above)
    return Gates(
        per_class=_per_class(gates, held_out.truth[first], labels),
        highest=tuple(map(listed, highest)),
        lowest=tuple(map(listed, lowest)),
    )


def _fold_means(gates: Floats, folds: Integers) -> Floats:
    """Return the mean gate of each row's fold over all seeds: `[N]`.

    A seed has a fold whole or not at all, so a distance from this mean is the mean of the distances in each seed.
    """
    means = np.empty(len(gates))
    for fold in np.unique(folds):
        means[folds == fold] = gates[folds == fold].mean()
    return means


def _predicted(held_out: HeldOut, rows: Sequence[int]) -> int:
    """Return the class with the highest mean probability over the seeds of an utterance."""
    if len(rows) == 1 or held_out.probabilities is None:
        return int(held_out.predicted[rows[0]])
    return int(held_out.probabilities[rows].mean(axis=0).argmax())


def _extremes(above: Floats) -> tuple[list[int], list[int]]:
    """Return the places of the highest and of the lowest values; none is in both, and equals keep their order."""
    count = min(EXTREMES, len(above) // 2)
    highest = np.argsort(-above, kind="stable")[:count]
    others = np.setdiff1d(np.arange(len(above)), highest)
    lowest = others[np.argsort(above[others], kind="stable")][:count]
    return highest.tolist(), lowest.tolist()


def _per_class(gates: Floats, truth: Integers, labels: Sequence[str]) -> dict[str, ClassGates]:
    found = {}
    for number, label in enumerate(labels):
        of_class = gates[truth == number]
        if len(of_class):
            low, middle, high = np.percentile(of_class, (10, 50, 90)).tolist()  # linear between neighbours
            found[label] = ClassGates(len(of_class), float(of_class.mean()), low, middle, high)
    return found
