"""Run the fault harness: `make faults`, or `python -m faults --help` with tests/ on the path.

Every result is kept, so that the next call goes on with other seeds, after it has repeated the trials that found
something.
"""

import argparse
import importlib.util
import os
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import conftest  # noqa: F401 (sets the environment of everything that is imported later)

from faults import shim
from faults.results import FOUND, HELD, Results

REPOSITORY = Path(__file__).resolve().parents[2]
# The kinds of faults and their modules. A module has CASES and `trial(case, seed, workplace)`; or it has
# `run(seed, directory)`, which mutates an input and reads it. If it has `why_not()`, that says why it cannot run here.
KINDS = {
    "kills": "faults.kills",
    "disk errors": "faults.disk_errors",
    "power loss": "faults.power_loss",
    "two at once": "faults.pairs",
    "mutations of inputs": "faults.mutations_inputs",
    "mutations of features": "faults.mutations_features",
    "mutations of runs": "faults.mutations_runs",
    "cluster": "faults.cluster",  # last: a trial takes a minute
}
MUTATIONS = 50  # in one trial
_LONGEST = 1500  # characters of what was found that are printed


@dataclass(frozen=True)
class Trial:
    """A case of a kind with a seed."""

    kind: str
    case: str
    seed: int


def main() -> None:
    """Run trials until the time is up, and print the table."""
    options = _options()
    results = Results(options.results)
    if options.table:
        print(results.table())
        return
    slot = options.slot.resolve()
    slot.mkdir(parents=True, exist_ok=True)
    if not shim.is_loaded():
        if not options.keep:
            shutil.rmtree(slot / "states", ignore_errors=True)  # perhaps of another version, if it was killed
        shim.restart_with_shim(slot, "faults", sys.argv[1:])
    from faults import children

    children.stop_by_signals()
    os.environ["GIT_DIR"] = os.devnull  # reports name the commit, which may change while this runs
    try:
        _run_all(options, results, slot)
    except KeyboardInterrupt:
        print("Stopped. The next call continues.", flush=True)
        sys.exit(130)
    finally:
        print(f"\n{results.table()}\nAll results: {results.path}", flush=True)
        if again := results.to_repeat():
            print(f"{len(again)} of the trials found something; the next call repeats them first.", flush=True)
        if not options.keep:
            shutil.rmtree(slot, ignore_errors=True)
    if results.to_repeat():
        sys.exit(1)


def _run_all(options: argparse.Namespace, results: Results, slot: Path) -> None:
    from faults import children

    children.import_everything()
    from faults.workplace import Workplace

    there = [kind for kind in options.kinds if importlib.util.find_spec(KINDS[kind])]
    modules = _possible({kind: importlib.import_module(KINDS[kind]) for kind in there})
    workplace, began = Workplace(slot), time.monotonic()
    done, ended = 0, set()  # cases of which all trials have been made
    for trial in _trials(options, modules, results, ended):
        if done == options.trials or time.monotonic() - began > 60 * options.minutes:
            break
        entry = _run(trial, modules[trial.kind], workplace)
        if entry is None:
            ended.add((trial.kind, trial.case))
            continue
        results.add(entry)
        done += 1
        print(_line(entry), flush=True)


def _line(entry: dict[str, Any]) -> str:
    """The line of a trial: "held: kills, train, seed 3 (2 faults, 4.1 s)"."""
    what = ", ".join(filter(None, (entry["kind"], entry["case"], f"seed {entry['seed']}")))
    if entry["result"] == FOUND:
        detail = entry["detail"]
        return f"FOUND: {what}: {detail if len(detail) < _LONGEST else f'{detail[:_LONGEST]} … (all in the results)'}"
    faults = f"{entry['faults']:,} fault{'' if entry['faults'] == 1 else 's'}"
    return f"held: {what} ({faults}, {entry['seconds']:.1f} s)"


def _possible(modules: dict[str, ModuleType]) -> dict[str, ModuleType]:
    """Leave out what cannot run on this machine, and say why."""
    reasons = {kind: module.why_not() for kind, module in modules.items() if hasattr(module, "why_not")}
    for kind, reason in reasons.items():
        if reason is not None:
            print(f"LEFT OUT {kind}: {reason}", flush=True)
    return {kind: module for kind, module in modules.items() if reasons.get(kind) is None}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m faults", description=__doc__)
    parser.add_argument("--minutes", type=float, default=float("inf"), help="stop after so many minutes")
    parser.add_argument("--trials", type=int, default=-1, help="stop after so many trials")
    parser.add_argument("--kinds", type=lambda text: text.split(","), default=list(KINDS), help="faults, by commas")
    parser.add_argument("--cases", type=lambda text: text.split(","), help="commands, by commas")
    parser.add_argument("--first-seed", type=int, default=0, help="the first seed of this process")
    parser.add_argument("--step", type=int, default=1, help="between seeds; with it, several processes share them")
    parser.add_argument("--results", type=Path, default=REPOSITORY / "reports/faults/results.jsonl")
    parser.add_argument("--slot", type=Path, default=Path(tempfile.gettempdir()) / "mmer-pipeline-faults",
                        help="directory to work in; each process needs its own")  # fmt: skip
    parser.add_argument("--keep", action="store_true", help="keep that directory")
    parser.add_argument("--table", action="store_true", help="print the table of the results and do nothing else")
    return parser.parse_args()


def _trials(
    options: argparse.Namespace, modules: dict[str, ModuleType], results: Results, ended: set[tuple[str, str]]
) -> Iterator[Trial]:
    """Trials to repeat, and then those of all kinds, of which each gets the same share of the time."""
    cases = {
        kind: [case for case in getattr(module, "CASES", [""]) if options.cases is None or case in options.cases]
        for kind, module in modules.items()
    }
    yield from (Trial(*key) for key in results.to_repeat() if key[1] in cases.get(key[0], ()))
    left = {kind: _of_kind(kind, cases[kind], options, results, ended) for kind in cases}
    seconds = dict.fromkeys(left, 0.0)
    while left:
        kind = min(left, key=lambda kind: seconds[kind])
        trial = next(left[kind], None)
        if trial is None:
            del left[kind]
            continue
        began = time.monotonic()
        yield trial
        seconds[kind] += time.monotonic() - began


def _of_kind(
    kind: str, cases: list[str], options: argparse.Namespace, results: Results, ended: set[tuple[str, str]]
) -> Iterator[Trial]:
    """The trials of a kind that have not been made: one of each case, and then the next seed."""
    seed = options.first_seed
    while left := [case for case in cases if (kind, case) not in ended]:
        yield from (Trial(kind, case, seed) for case in left if (kind, case, seed) not in results.last)
        seed += options.step


def _run(trial: Trial, module: ModuleType, workplace: Any) -> dict[str, Any] | None:
    """The entry of a trial; None if its case has no more."""
    from faults.workplace import FoundError, NoMoreError

    began = time.monotonic()
    entry: dict[str, Any] = {"kind": trial.kind, "case": trial.case, "seed": trial.seed, "result": HELD}
    try:
        if hasattr(module, "trial"):
            entry |= module.trial(trial.case, trial.seed, workplace)
        else:
            entry |= _mutations(module, trial.seed, workplace)
    except NoMoreError:
        return None
    except FoundError as error:
        entry |= {"result": FOUND, "detail": str(error)}
    except Exception:
        entry |= {"result": FOUND, "detail": traceback.format_exc()}
    return {**entry, "seconds": round(time.monotonic() - began, 2)}


def _mutations(module: ModuleType, seed: int, workplace: Any) -> dict[str, int]:
    """Run many mutations in a child, where a crash or a leak hurts no other trial.

    Raises:
        FoundError: one of them ended in anything but a refusal or the unmutated result.
    """
    from faults.workplace import FoundError

    directory = workplace.slot / module.__name__
    directory.mkdir(exist_ok=True)

    def work() -> int:
        for number in range(seed * MUTATIONS, (seed + 1) * MUTATIONS):
            print(f"mutation {number}", flush=True)
            module.run(number, directory)
        return 0

    child = workplace.child(work)
    ended = child.wait()
    child.end_group()  # a pool of processes outlives the one that made it
    if ended.code != 0:
        raise FoundError(f"exit {ended.code}: {ended.output[-3000:]}")
    return {"faults": MUTATIONS}


if __name__ == "__main__":
    main()
