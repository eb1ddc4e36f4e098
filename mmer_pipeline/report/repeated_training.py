"""Say what a report can about systems that are trained again and tested on other speakers; see `trained_again.py`.

The units are folds. Where there is one held-out part, they are its speakers; then the luck of a training is common to
all units, as that of a seed is.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mmer_pipeline.corpora.random_folds import RANDOM
from mmer_pipeline.report.report_content import TrainedAgain
from mmer_pipeline.report.run_results import RunResults, SystemResults
from mmer_pipeline.scoring import trained_again
from mmer_pipeline.scoring.metrics import HEADLINE, Floats
from mmer_pipeline.scoring.statistics import TIE, cluster_counts, rates_of_confusions

FEWEST_SPEAKERS = 5  # in one held-out part

ONE_SEED = "trained with one seed"
IMPORTED = "imported, so that only one training of it is known"
FUSED = "a fusion, of which only one training is known"
INCOMPLETE = "some folds are missing"
SHARED = "the speakers of its folds are in training too"
NO_SPREAD = "the values are the same in every fold and seed"


@dataclass(frozen=True)
class Cells:
    """The confusion matrices of a system by unit and seed."""

    units: tuple[str, ...]
    unit: str  # "fold" or "speaker"
    confusions: Floats  # [U, R, C, C]

    def table(self, metric: str, units: Sequence[str]) -> Floats:
        """Return one metric `[U, R]` of some units."""
        chosen = self.confusions[[self.units.index(unit) for unit in units]]
        rates = rates_of_confusions(chosen.reshape(-1, *chosen.shape[2:]))[metric]
        return rates.reshape(chosen.shape[:2])


def of_system(system: SystemResults, classes: int) -> dict[str, TrainedAgain]:
    """Estimate the mean of every metric, with its interval."""
    cells, why_not = read_cells(system, classes)
    if cells is None or why_not:
        return dict.fromkeys(HEADLINE, TrainedAgain(why_not=why_not))
    return {metric: _estimate(cells.unit, len(cells.units), cells.table(metric, cells.units)) for metric in HEADLINE}


def of_pair(
    first: SystemResults, second: SystemResults, metrics: Collection[str], classes: int, shared: Collection[str]
) -> dict[str, TrainedAgain]:
    """Estimate the difference, first − second, of each metric on the utterances that both have."""
    (one, why_first), (other, why_second) = (read_cells(system, classes, shared) for system in (first, second))
    reasons = [f"{system.name}: {why}" for system, why in ((first, why_first), (second, why_second)) if why]
    why_not = "; ".join(reasons)
    if one is None or other is None:
        return dict.fromkeys(metrics, TrainedAgain(why_not=why_not))
    units = [unit for unit in one.units if unit in other.units]
    if len(units) < 2:
        return dict.fromkeys(metrics, TrainedAgain(why_not=why_not or "they have fewer than two folds in common"))
    return {
        metric: _estimate(one.unit, len(units), one.table(metric, units), other.table(metric, units), why_not)
        for metric in metrics
    }


def read_cells(system: SystemResults, classes: int, shared: Collection[str] | None = None) -> tuple[Cells | None, str]:
    """Count the confusions of each unit and seed, of the `shared` utterances if given.

    Returns the cells, or None if there are fewer than two units, and why nothing can be said about training again (""
    if it can).
    """
    if not system.runs:
        return None, FUSED if system.fused else IMPORTED
    if system.runs[0].record.settings.folds == RANDOM:
        return None, SHARED
    unit = "fold"
    if len(system.runs[0].record.facts["folds"]) == 1:
        unit = "speaker"
        if why_not := _why_no_speakers(system):
            return None, why_not
    runs = [_confusions(run, unit, classes, shared) for run in system.runs]
    is_complete = all(len(run.folds) == len(run.record.facts["folds"]) for run in system.runs)
    if not is_complete or len(runs[0]) < 2 or any(of_run.keys() != runs[0].keys() for of_run in runs):
        return None, INCOMPLETE
    confusions = np.array([[of_run[name] for of_run in runs] for name in runs[0]])
    return Cells(tuple(runs[0]), unit, confusions), ONE_SEED if len(runs) < 2 else ""


def _confusions(run: RunResults, unit: str, classes: int, shared: Collection[str] | None) -> dict[str, Floats]:
    """Map the units of a run to their confusion matrices `[C, C]`."""
    found: dict[str, Floats] = {}
    for fold in run.folds:
        rows = fold.held_out
        kept = [row for row, name in enumerate(rows.utterance_ids) if shared is None or name in shared]
        of_fold = f"{fold.number}: {fold.evaluation.held_out}"
        names = [rows.speakers[row] if unit == "speaker" else of_fold for row in kept]
        counts = cluster_counts(rows.truth[kept], rows.predicted[kept], names, classes)
        found.update(zip(sorted(set(names)), counts, strict=True))
    return found


def _why_no_speakers(system: SystemResults) -> str:
    """Say why the speakers of the one held-out part cannot be units; "" if they can."""
    speakers, truth = system.held_out.speakers, system.held_out.truth.tolist()
    if system.runs[0].record.facts.get("shared_speakers"):
        return "there is one held-out part, and its speakers are in training too"
    if "" in speakers or len(set(speakers)) < FEWEST_SPEAKERS:
        return f"there is one held-out part, with fewer than {FEWEST_SPEAKERS} known speakers"
    if len(set(zip(speakers, truth, strict=True))) < len(set(speakers)) * len(set(truth)):
        return "there is one held-out part, in which some speakers lack a class"
    return ""


def _estimate(unit: str, units: int, first: Floats, second: Floats | None = None, why_not: str = "") -> TrainedAgain:
    """Estimate a mean or a difference from `[U, R]`; without an interval if there is a reason not to give one."""
    value = float(first.mean() if second is None else first.mean() - second.mean())
    seeds = (first.shape[1],) if second is None else (first.shape[1], second.shape[1])
    base = TrainedAgain(value=value, unit=unit, units=units, seeds=seeds)
    of_units = first.mean(axis=1) if second is None else first.mean(axis=1) - second.mean(axis=1)
    variance = float(of_units.var(ddof=1))
    is_pair = second is not None
    if variance < TIE**2:
        return replace(base, why_not=why_not or NO_SPREAD)
    if why_not:
        needed = trained_again.units_needed(value, variance) if is_pair else None
        return replace(base, units_needed=needed, why_not=why_not)
    found = trained_again.estimate(first, second)
    more = trained_again.units_needed(value, variance, float(found.seed_variance), fewest=units + 1)
    return replace(
        base,
        interval_95=(max(float(found.low), -1.0 if is_pair else 0.0), min(float(found.high), 1.0)),
        df=float(found.df),
        p=float(found.p) if is_pair else None,
        units_needed=more if is_pair else None,
        seeds_needed=trained_again.seeds_needed(value, found, units, min(seeds)) if is_pair else None,
    )
