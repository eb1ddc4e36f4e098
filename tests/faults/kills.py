"""Kill a command at a random moment or change, start it again, and so on; the end must be the undisturbed one."""

import random
from pathlib import Path

from faults.shim import KILL_AFTER, KILL_BEFORE, KILL_WITHIN, Plan
from faults.workplace import STAGES, FoundError, Workplace

CASES = tuple(STAGES)
_MOST_KILLS = 4  # of one command, before it may end


def trial(case: str, seed: int, workplace: Workplace) -> dict[str, int | str]:
    """Kill a stage's command one to four times, let it end, and compare.

    Raises:
        FoundError: it prints a traceback, fails, or ends in another state.
    """
    generator = random.Random(f"kills {case} {seed}")
    workplace.prepare_states(case)
    workplace.restore(STAGES[case].before)
    changes, seconds = undisturbed(case, workplace)
    kills, where = 0, []
    for _ in range(generator.randint(1, _MOST_KILLS)):
        if generator.random() < 0.7:  # at a change
            action = generator.choice([KILL_BEFORE, KILL_WITHIN, KILL_AFTER])
            ended = workplace.run(case, Plan(action, generator.randint(1, changes)))
            where.append(workplace.control.fired.replace(str(workplace.place), ""))
        else:  # at a moment
            workplace.control.arm(Plan())
            child = workplace.start(case)
            moment = generator.uniform(0, seconds)
            # Workers that were forked, as here alone, keep the files of a killed parent open.
            alone = generator.random() < 0.3 and case not in ("extract in processes", "cv")
            ended = child.wait(kill_after=moment, whole_group=not alone)
            if not alone:
                child.end_group()
            where.append(f"after {moment:.3f} s and {workplace.control.count} changes")
        worker_was_killed = ended.code == 1 and "worker process died" in ended.output  # cv goes on with other folds
        was_killed = ended.was_killed or worker_was_killed
        kills += was_killed
        if ended.has_traceback or (ended.code != 0 and not was_killed):
            raise FoundError(f"after kills at {where}: exit {ended.code}: {ended.output[-2000:]}")
        if not was_killed:
            break
    try:
        workplace.run_well(case)
        workplace.compare(case)
    except FoundError as error:
        raise FoundError(f"after kills at {where}: {error}") from None
    return {"faults": kills}


_undisturbed: dict[tuple[str, Path], tuple[int, float]] = {}


def undisturbed(case: str, workplace: Workplace) -> tuple[int, float]:
    """The changes and the seconds of a command that nothing disturbs; restores its start afterwards."""
    known = _undisturbed.get((case, workplace.slot))
    if known is None:
        workplace.restore(STAGES[case].before)
        ended = workplace.run_well(case)
        known = _undisturbed[case, workplace.slot] = (workplace.control.count, ended.seconds)
        workplace.compare(case)
        workplace.restore(STAGES[case].before)
    return known
