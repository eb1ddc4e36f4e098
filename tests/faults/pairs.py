"""Start two commands together on the same cache and runs; in the end it must be as if they had run in sequence."""

import random
from itertools import combinations_with_replacement

from faults.children import Ended
from faults.shim import Plan
from faults.workplace import STAGES, FoundError, Workplace, different, tree

_COMMANDS = tuple(name for name in STAGES if name != "extract in processes")
CASES = tuple(" + ".join(pair) for pair in combinations_with_replacement(_COMMANDS, 2))


def trial(case: str, seed: int, workplace: Workplace) -> dict[str, int | str]:
    """Start both commands of a pair at a random distance, slow their changes down, and compare the end.

    A command may be refused, because the other one is working there or has not yet made its input. It is run again
    after the other one. The start is the one of the earlier command, or, with an odd seed, the one of the later.

    Raises:
        FoundError: a traceback, a failure of both, or an end that is not the one of a sequence.
    """
    generator = random.Random(f"pairs {case} {seed}")
    pair = case.split(" + ")
    start = STAGES[pair[seed % 2]].before
    expected = _sequence(pair, start, workplace)
    workplace.restore(start)
    workplace.control.arm(Plan(delay=generator.choice([0, 2_000, 20_000])))
    order = pair if generator.random() < 0.5 else pair[::-1]
    first = workplace.start(order[0])
    distance = generator.choice([0.0, generator.uniform(0, 1.5)])
    first_ended = first.wait_for(distance)
    second = workplace.start(order[1])
    ended = {0: first_ended or first.wait(), 1: second.wait()}
    for child in (first, second):
        child.end_group()
    what = f"{' and '.join(order)} from the state after {start}, {distance:.2f} s apart"
    try:
        for number, name in enumerate(order):
            _check(name, ended[number])
        for name in pair:  # in their order: what was refused is done now, and the others find their work done
            _check(name, workplace.run(name), may_be_refused=name in expected[1])
        differences = different(expected[0], tree(workplace.place))
        if differences:
            raise FoundError(f"the end is not the one of a sequence: {'; '.join(differences[:6])}")
    except FoundError as error:
        raise FoundError(f"{what}: {error}") from None
    return {"faults": 1}


_sequences: dict[tuple[str, str], tuple[dict[str, bytes | None], set[str]]] = {}


def _sequence(pair: list[str], start: str, workplace: Workplace) -> tuple[dict[str, bytes | None], set[str]]:
    """The end of running both in their order, twice; and which of them fail even then (their input is not there)."""
    key = (" + ".join(pair), start)
    if key not in _sequences:
        workplace.prepare_states(*pair)
        workplace.restore(start)
        codes = {}
        for name in (*pair, *pair):
            codes[name] = workplace.run(name).code
        _sequences[key] = tree(workplace.place), {name for name, code in codes.items() if code}
    return _sequences[key]


def _check(name: str, ended: Ended, *, may_be_refused: bool = True) -> None:
    """A command ended well, or was refused with one message."""
    if ended.code == 0:
        return
    if ended.code != 1 or ended.has_traceback or "Error: " not in ended.output:
        raise FoundError(f"{name}: exit {ended.code}: {ended.output[-1500:]}")
    if "is not a complete feature file" in ended.output or "truncated" in ended.output or "damaged" in ended.output:
        raise FoundError(f"{name} calls a file damaged that another process was writing: {ended.output[-600:]}")
    if not may_be_refused:
        raise FoundError(f"{name} fails although nothing else runs: {ended.output[-1500:]}")
