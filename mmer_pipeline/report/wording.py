"""The words and number formats that every form of the report shares: tables, text, page, plots, terminal."""

from collections.abc import Iterable

from mmer_pipeline.report import published_results
from mmer_pipeline.report.content import Interval, Report, System

METRIC_NAMES = {"wa": "WA", "ua": "UA", "wf1": "WF1", "macro_f1": "macro-F1"}
MEANING = {
    "final": "last epoch, no selection",
    "validated": "epoch chosen on the validation part (`--validation`)",
    "oracle": "epoch chosen on the held-out fold itself",
}
NO_CROSS_VALIDATION = "THE NUMBERS ARE NOT A CROSS-VALIDATION"
ALPHA_NOTE = (
    "α of a published row is that of the authors' code, which sums the CTC loss over its batches of two: "
    "their α is half of ours."
)
PAIRS_NOTE = (
    "Interval and p are about these trained models, on other dialogues: seeds are averaged, not drawn, so they do not "
    "say what training again would give."
)
ONE_FOLD = "one held-out part"
NOTHING = "–"
SURE = 0.001  # p-values below it get a fourth decimal


def percent(value: float, decimals: int = 2) -> str:
    """0.7764 → "77.64"."""
    return f"{100 * value:.{decimals}f}"


def interval(low_high: Interval) -> str:
    """A 95 % interval of a rate in percent: "66.6–76.5"."""
    return f"{percent(low_high[0], 1)}–{percent(low_high[1], 1)}"


def signed(value: float, decimals: int = 2) -> str:
    """A difference of two rates in points of a percent: 0.0268 → "+2.68"."""
    text = f"{100 * value:+.{decimals}f}"
    return text[1:] if float(text) == 0 else text.replace("-", "−")


def signed_interval(low_high: Interval) -> str:
    """The 95 % interval of a difference in points of a percent: "−0.7, +1.0"."""
    return f"{signed(low_high[0], 1)}, {signed(low_high[1], 1)}"


def p_value(value: float | None) -> str:
    """A p-value with three decimals, four where it is very small; – where there is none."""
    if value is None:
        return NOTHING
    return f"{value:.4f}" if value < SURE else f"{value:.3f}"


def duration(seconds: float) -> str:
    """4210.3 → "1:10:10"."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"


def plain(value: object) -> str:
    """A setting's value as a reader would write it."""
    if value is None:
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return " ".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def folds_and_seeds(system: System) -> str:
    """5, or "5 × 3" with three seeds, or "4 of 5" where some are missing."""
    seeds, expected = max(1, len(system.seeds)), system.folds_expected
    text = f"{expected} × {seeds}" if seeds > 1 else str(expected)
    return text if system.is_complete else f"{len(system.selections.final.folds)} of {text}"


def protocol(folds: Iterable[int]) -> str:
    """What numbers of folds make: "5-fold cross-validation", "one held-out part", or one or the other."""
    numbers = sorted(set(folds))
    several = " or ".join(str(number) for number in numbers if number > 1)
    said = [ONE_FOLD] if 1 in numbers else []
    return " or ".join(said + ([f"{several}-fold cross-validation"] if several else []))


def folds_line(system: System) -> str:
    """How many folds of a system stand in the report: "5 of 5 folds", "14 of 15 folds (5 × 3 seeds): …"."""
    seeds = max(1, len(system.seeds))
    there, expected = len(system.selections.final.folds), system.folds_expected
    if expected == seeds == 1:
        return ONE_FOLD
    line = f"{there} of {expected * seeds} folds" + (f" ({expected} × {seeds} seeds)" if seeds > 1 else "")
    return line if system.is_complete else f"{line}: {NO_CROSS_VALIDATION}"


def chance(report: Report) -> float:
    """UA of guessing: one over the number of classes that occur."""
    occurring = {label for system in report.systems for label, scores in system.per_class.items() if scores.support}
    return 1 / max(1, len(occurring))


def epoch_caveat(report: Report) -> str:
    """What "the last epoch, no selection" does not hold for; empty where it holds for every system."""
    imported = [system.title for system in report.systems if system.imported]
    return f"How the epoch of {', '.join(imported)} (imported) was chosen is not known." if imported else ""


def not_comparable(report: Report) -> str:
    """Why Table 1's figures and ours are not subtracted."""
    if report.corpus == published_results.CORPUS:
        return (
            f"Published figures are of IEMOCAP, of its {published_results.UTTERANCES:,} utterances in four classes, "
            "and ours of others: they cannot be subtracted."
        )
    return f"Published figures are of IEMOCAP, not of {report.corpus}: they cannot be subtracted."


def hole_lines(report: Report) -> list[str]:
    """What is missing, a line each."""
    return [
        f"{hole.run}, {'all folds' if hole.fold is None else 'fold ' + str(hole.fold)}: {hole.why}"
        for hole in report.holes
    ]
