"""Learning-rate schedules."""

WARM_UP_SHARE = 0.1  # of all steps, in the linear schedule


def learning_rate_factor(schedule: str, step: int, steps: int) -> float:
    """Factor by which the peak learning rate is multiplied at `step` (counted from 0) of `steps`.

    constant: always 1 (as in the paper). linear: warm-up over the first tenth of the steps, then decay to zero. decay:
    without warm-up (as in the authors' code for text).
    """
    if schedule == "constant":
        return 1.0
    if schedule == "decay":
        return (steps - step) / steps
    warm_up = max(1, round(WARM_UP_SHARE * steps))
    return (step + 1) / warm_up if step < warm_up else (steps - step) / max(1, steps - warm_up)
