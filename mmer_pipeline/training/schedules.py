"""Learning-rate schedules."""

WARM_UP_SHARE = 0.1  # of all steps, in the linear schedule


def learning_rate_factor(schedule: str, step: int, steps: int) -> float:
    """The factor of the peak learning rate at a step (from 0) of `steps` in all.

    constant: always 1 (the paper's). linear: up over the first tenth of the steps, then down to zero.
    """
    if schedule == "constant":
        return 1.0
    climb = max(1, round(WARM_UP_SHARE * steps))
    return (step + 1) / climb if step < climb else (steps - step) / max(1, steps - climb)
