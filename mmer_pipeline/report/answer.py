"""The report's answer in one sentence: which system leads, by how much, and how certain that is.

It makes the widest claim that the report can make (`MetricDifference.strongest`): about the systems trained again, or
else about these trained models. Of a difference that is not significant it says what is not excluded, never that there
is none. Points and percent are of UA.
"""

from mmer_pipeline.report.pair_table import is_significant
from mmer_pipeline.report.ranking import METRIC, claimed, is_at_chance, pair_of, ranked, reference
from mmer_pipeline.report.repeated_training import FUSED, IMPORTED, INCOMPLETE, ONE_SEED, SHARED
from mmer_pipeline.report.report_content import Interval, MetricDifference, PairComparison, Report, System
from mmer_pipeline.report.wording import chance, p_value, percent, signed, unit

_SMALLEST = 0.0005  # a difference below it is shown as 0.0 points


def answer(report: Report) -> str:
    """Return the sentence, from nothing but the report's content."""
    systems = _results(report)
    best = systems[0]
    if all(is_at_chance(report, system) for system in systems):
        said = _at_chance(report, best)
    elif len(systems) == 1:
        said = _alone(report, best)
    else:
        said = _compared(report, best)
    return f"{_where(report)} {said}{_baseline_note(report, best)}."


def _results(report: Report) -> list[System]:
    """The systems by rank, without those that share speakers if there are others."""
    return ranked([system for system in report.systems if not system.shares_speakers] or report.systems)


def _where(report: Report) -> str:
    """Name the corpus, and what is missing or unusual about the protocol."""
    corpus = "an unknown corpus" if report.corpus == "unknown" else report.corpus
    if report.holes:
        number = len(report.holes)
        parts = "1 fold or run is" if number == 1 else f"{number} folds or runs are"
        return f"{parts} missing; with what is there of {corpus},"
    if all(system.folds_expected == 1 for system in report.systems):
        return f"On one held-out part of {corpus},"
    return f"On {corpus},"


def _at_chance(report: Report, best: System) -> str:
    found = claimed(best.selections.final.summary[METRIC])
    subject = "no system has" if len(_results(report)) > 1 else f"{best.title} has not"
    whose = f"the best, {best.title}, reaches" if len(_results(report)) > 1 else "it reaches"
    return (
        f"{subject} been shown to be better than chance (a UA of {_points(chance(report))} %): "
        f"{whose} {_points(found.value)} %{_range(found.interval, found.is_about_systems)}"
    )


def _alone(report: Report, system: System) -> str:
    found = claimed(system.selections.final.summary[METRIC])
    above = found.value - chance(report)
    said = (
        f"{system.title} reaches a UA of {_points(found.value)} %{_range(found.interval, found.is_about_systems)}, "
        f"{_points(abs(above))} points {'above' if above >= 0 else 'below'} chance"
    )
    best = report.baselines.best if report.baselines else None
    if best is not None and best.ua < found.value:
        said += f" and {_points(found.value - best.ua)} above the best cheap baseline, {best.name}"
    return said if found.interval else f"{said}; there are too few {unit(report)}s to say how certain that is"


def _compared(report: Report, best: System) -> str:
    """Compare the best system with the second, or with the reference."""
    other = reference(report)
    if other is best:
        other = next(system for system in _results(report) if system is not best)
    pair = pair_of(report, best, other)
    if pair is None:
        return (
            f"{best.title} has the highest UA ({_points(claimed(best.selections.final.summary[METRIC]).value)} %), but "
            f"it shares no utterance with {other.title}, so that the two cannot be compared"
        )
    if pair.metrics[METRIC].strongest_value < 0:  # ahead in the mean over folds, behind in the pooled value
        pair, best, other = pair.reversed(), other, best
    value = pair.metrics[METRIC].strongest_value
    first, second = _called(report, best), _called(report, other)
    ua = "UA" if pair.metrics[METRIC].is_about_systems else "pooled UA"
    if value < _SMALLEST:
        lead = f"{first} and {second} are less than 0.1 points of {ua} apart"
    else:
        lead = f"{first} leads by {_points(value)} points of {ua} over {second}"
        count = len(_results(report))
        if count > 2 and report.against is None:
            lead += f", the second of {count} systems"
    return lead + _certainty(report, pair, best)


def _called(report: Report, system: System) -> str:
    remarks = ["imported"] if system.imported else []
    remarks += ["the reference"] if system.name == report.against else []
    return f"{system.title} ({', '.join(remarks)})" if remarks else system.title


def _certainty(report: Report, pair: PairComparison, best: System) -> str:
    """Say how certain a lead is, and about what."""
    found = pair.metrics[METRIC]
    low_high, p = found.strongest
    dialogues = _dialogues(report, pair)
    if p is None:
        return f"; {dialogues} cannot tell this from luck"
    if is_significant(found):
        numbers = _p(p) + (f", 95 % interval {_signed(low_high)}" if low_high else "")
        if found.is_about_systems:
            return f", which also holds for systems trained again and tested on other speakers ({numbers})"
        return f" ({numbers}), which holds for these trained models only{_why_only_these(found)}"
    if found.is_about_systems:
        again = found.trained_again
        units = f"{again.units} {again.unit}s and {_seeds(again.seeds)}"
        said, scope = f"with {units} this cannot be told apart from luck", "trained again, "
    else:
        said, scope = f"with {dialogues} this cannot be told apart from luck, even for these trained models", ""
    if low_high is None:
        return f"; {said} ({_p(p)}), and there are too few for an interval"
    if low_high[0] > 0:  # the test and the interval disagree: do not tell the interval as what is possible
        return f"; {said} ({_p(p)}{_corrected(report)})"
    return f"; {said}: {scope}{_not_excluded(low_high, best)}"


def _p(value: float) -> str:
    text = p_value(value)
    return f"p {text[0]} {text[1:]}" if text.startswith("<") else f"p = {text}"


def _not_excluded(low_high: Interval, best: System) -> str:
    low, high = low_high
    return f"{best.title} may be up to {_points(high)} points ahead or up to {_points(-low)} points behind"


def _corrected(report: Report) -> str:
    pairs = len(report.pairs)
    return f", corrected for {pairs} pairs" if pairs > 1 else ""


def _why_only_these(found: MetricDifference) -> str:
    why = found.trained_again.why_not
    reasons = {
        IMPORTED: "one is imported",
        FUSED: "one is a fusion",
        ONE_SEED: "there is one seed",
        INCOMPLETE: "folds are missing",
        SHARED: "speakers are shared",
    }
    return next((f", as {said}" for reason, said in reasons.items() if reason in why), "")


def _dialogues(report: Report, pair: PairComparison) -> str:
    if report.held_out is not None and report.held_out.dialogues is None:
        return f"{pair.clusters} utterances of unknown dialogues"
    one = unit(report)
    return f"a single {one}" if pair.clusters == 1 else f"{pair.clusters} {one}s"


def _seeds(seeds: tuple[int, ...]) -> str:
    return f"{min(seeds)} seeds" if len(set(seeds)) <= 1 else f"{min(seeds)} to {max(seeds)} seeds"


def _baseline_note(report: Report, best: System) -> str:
    """Warn of a baseline without words and voice that is at least as good as the best system."""
    baseline = report.baselines.best if report.baselines else None
    if baseline is None or baseline.ua < claimed(best.selections.final.summary[METRIC]).value:
        return ""
    reach = "reach" if " and " in baseline.name else "reaches"
    return f"; {baseline.name} alone {reach} {_points(baseline.ua)} %"


def _range(low_high: Interval | None, is_about_systems: bool) -> str:
    if low_high is None:
        return ""
    about = "trained again" if is_about_systems else "these models"
    return f" (95 % interval {_points(low_high[0])} to {_points(low_high[1])}, {about})"


def _points(value: float) -> str:
    return percent(value, 1)


def _signed(low_high: Interval) -> str:
    return f"{signed(low_high[0], 1)} to {signed(low_high[1], 1)}"
