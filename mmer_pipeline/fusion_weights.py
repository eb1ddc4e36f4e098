"""The weights of a fusion: fitted on a validation part, or given."""

import math
from collections.abc import Sequence

import numpy as np

from mmer_pipeline.errors import UserError
from mmer_pipeline.scoring.metrics import Floats, Integers

FLOOR = 1e-12  # of a probability, so that the cross-entropy of an impossible class is finite
STEPS, TOLERANCE = 10_000, 1e-10  # of the fit of the weights: when it ends, whichever comes first


def shares(given: Sequence[float], count: int) -> tuple[float, ...]:
    """Scale given weights of `count` members to a sum of 1.

    Raises:
        UserError: they are not one for each member, or one is negative or no number, or all are 0.
    """
    total = math.fsum(given)
    if len(given) != count or min(given) < 0 or not 0 < total < math.inf:
        found = ", ".join(f"{weight:g}" for weight in given)
        raise UserError(
            f"--weights: expected {count} numbers, one for each run in their order, none negative and not all of them "
            f"0, found {found}. Example: --weights {','.join(['1', *['0.6'] * (count - 1)])}"
        )
    return tuple(weight / total for weight in given)


def fit_weights(probabilities: Sequence[Floats], truth: Integers) -> tuple[float, ...]:
    """The weights, none negative and with a sum of 1, of the mean with the smallest cross-entropy on N utterances.

    Expectation maximisation (F. Jelinek, R. L. Mercer, 1980), each of whose steps lowers the cross-entropy; it is
    convex in the weights, so the minimum that is found is the only one.

    Args:
        probabilities: `[N, C]` of each of M members.
        truth: `[N]` class numbers.
    """
    of_truth = np.stack([part[np.arange(len(truth)), truth] for part in probabilities]).clip(min=FLOOR)  # [M, N]
    weights = np.full(len(of_truth), 1 / len(of_truth))
    for _ in range(STEPS):
        shares = weights[:, None] * of_truth
        after = (shares / shares.sum(axis=0)).mean(axis=1)  # [M]
        change, weights = np.abs(after - weights).max(), after
        if change < TOLERANCE:
            break
    return tuple(weights.tolist())
