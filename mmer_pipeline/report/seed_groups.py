"""Group runs into systems: runs that differ only in their seed are one system. Find the seeds that are missing."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mmer_pipeline import paths
from mmer_pipeline.report import stale_runs
from mmer_pipeline.report.report_content import Hole
from mmer_pipeline.runs import OF_A_FOLD
from mmer_pipeline.suggested_commands import train_command

if TYPE_CHECKING:
    from mmer_pipeline.report.run_results import RunResults

_SEED_SUFFIX = re.compile(r"-seed\d+$")


def grouped(runs: Sequence["RunResults"]) -> dict[str, Sequence["RunResults"]]:
    """Map the names of systems to their runs, sorted by seed; a second run with a seed starts a new system.

    A system is named after its first run without the seed suffix, or in full if two systems would share a name.
    """
    groups: list[list[RunResults]] = []
    for run in runs:
        for group in groups:
            if run.seed not in [other.seed for other in group] and not stale_runs.differences(
                group[0].record, run.record, (*OF_A_FOLD, "seed")
            ):
                group.append(run)
                break
        else:
            groups.append([run])
    groups = [sorted(group, key=lambda run: run.seed) for group in groups]
    bases = [_SEED_SUFFIX.sub("", group[0].name) for group in groups]
    named: dict[str, Sequence[RunResults]] = {}
    for group, base in zip(groups, bases, strict=True):
        others = [run.name for other in groups if other is not group for run in other]
        named[base if bases.count(base) == 1 and base not in others else group[0].name] = group
    return named


def missing_seeds(systems: Mapping[str, Sequence["RunResults"]], asked: Sequence[Path]) -> list[Hole]:
    """Name the runs that were never asked for because they are not there, though another system has their seeds.

    A system lacks the seeds of those that have all of its seeds and more. `asked` are the runs of the report: what is
    wrong with them is said by others. A run that has been evaluated was left out on purpose.
    """
    seeds = {name: {run.seed for run in runs} for name, runs in systems.items()}
    folders = {path.name: path.parent for path in asked}
    holes = []
    for name, runs in systems.items():
        base, settings = _SEED_SUFFIX.sub("", runs[0].name), runs[0].record.settings
        for seed in sorted(set().union(*(theirs for theirs in seeds.values() if theirs > seeds[name])) - seeds[name]):
            run = folders[runs[0].name] / paths.run_name(base, seed)
            if run.name in folders or any(run.glob("fold-*/evaluation.json")):
                continue
            command = train_command(replace(settings, seed=seed), run.name)
            holes.append(Hole(run.name, None, f"not trained with seed {seed}, though another system is: {command}"))
    return holes
