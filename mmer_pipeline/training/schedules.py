"""Learning-rate schedules."""

import math

WARM_UP_SHARE = 0.1  # of all steps, in the linear schedule
LOWEST = 1e-3  # factor at the end of the cosine schedule
HALVINGS = (0.2, 0.4, 0.6)  # shares of all steps, in the halving schedule


def learning_rate_factor(schedule: str, step: int, steps: int) -> float:
    """Factor by which the peak learning rate is multiplied at `step` (counted from 0) of `steps`.

    constant: always 1 (as in the paper). linear: warm-up over the first tenth of the steps, then decay to zero. decay:
    without warm-up (as in the authors' code for text). cosine: half a period from 1 to a thousandth. halving: halved
    after a fifth, two fifths and three fifths of the steps.
    """
    if schedule == "constant":
        return 1.0
    if schedule == "decay":
        return (steps - step) / steps
    if schedule == "cosine":
        return LOWEST + (1 - LOWEST) * (1 + math.cos(math.pi * step / steps)) / 2
    if schedule == "halving":
        return 0.5 ** sum(step >= share * steps for share in HALVINGS)
    warm_up = max(1, round(WARM_UP_SHARE * steps))
    return (step + 1) / warm_up if step < warm_up else (steps - step) / max(1, steps - warm_up)
