"""The words and number formats that every form of the report shares: text, page, plots, terminal."""

from collections.abc import Iterable
from typing import Any

from mmer_pipeline.report import published_results

SELECTIONS = ("final", "validated", "oracle")
METRIC_NAMES = {"wa": "WA", "ua": "UA", "wf1": "WF1", "macro_f1": "macro-F1"}
MEANING = {
    "final": "last epoch, no selection",
    "validated": "epoch chosen on the validation part (`--validation`)",
    "oracle": "epoch chosen on the held-out fold itself",
}
NO_CROSS_VALIDATION = "THE NUMBERS ARE NOT A CROSS-VALIDATION"
GAP = "what choosing the epoch on the test fold would have added"
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

Report = dict[str, Any]
System = dict[str, Any]


def percent(value: float) -> str:
    """0.7764 → "77.64"."""
    return f"{100 * value:.2f}"


def mean_and_sd(summary: dict[str, Any]) -> str:
    """Mean ± sample standard deviation over folds and seeds, in percent."""
    spread = f" ± {percent(summary['sd'])}" if summary["sd"] is not None else ""
    return percent(summary["mean"]) + spread


def interval(summary: dict[str, Any]) -> str:
    """The 95 % bootstrap interval in percent, or nothing."""
    low_high = summary["interval_95"]
    if not low_high:
        return ""
    return f"{100 * low_high[0]:.1f}–{100 * low_high[1]:.1f}"


def pooled(summary: dict[str, Any]) -> str:
    """The pooled value in percent, with its interval where there is one."""
    return percent(summary["pooled"]) + (f" ({interval(summary)})" if summary["interval_95"] else "")


def signed(value: float, decimals: int = 2) -> str:
    """A difference of two rates in points of a percent: 0.0268 → "+2.68"."""
    text = f"{100 * value:+.{decimals}f}"
    return text[1:] if float(text) == 0 else text.replace("-", "−")


def signed_interval(entry: dict[str, Any]) -> str:
    """The 95 % interval of a difference in points of a percent: "−0.7 … +1.0"; – where there is none."""
    low_high = entry["interval_95"]
    return " … ".join(signed(value, 1) for value in low_high) if low_high else NOTHING


def p_value(value: float | None) -> str:
    """A p-value with three decimals, four where it is very small; – where there is none."""
    if value is None:
        return NOTHING
    return f"{value:.4f}" if value < SURE else f"{value:.3f}"


def row_names(report: Report) -> dict[str, str]:
    """System name → what its rows are called."""
    return {system["name"]: system["title"] for system in report["systems"]}


def encoders(system: System) -> str:
    """The encoders that a system uses."""
    return ", ".join(name for name in system["encoders"].values() if name) or NOTHING


def is_complete(system: System) -> bool:
    """Whether every seed of a system has all its folds."""
    expected = system["folds_expected"] * max(1, len(system["seeds"]))
    return bool(len(system["selections"]["final"]["folds"]) == expected)


def folds_and_seeds(system: System) -> str:
    """5, or "5 × 3" with three seeds, or "4 of 5" where some are missing."""
    seeds, expected = max(1, len(system["seeds"])), system["folds_expected"]
    text = f"{expected} × {seeds}" if seeds > 1 else str(expected)
    return text if is_complete(system) else f"{len(system['selections']['final']['folds'])} of {text}"


def protocol(folds: Iterable[int]) -> str:
    """What numbers of folds make: "5-fold cross-validation", "one held-out part", or one or the other."""
    numbers = sorted(set(folds))
    several = " or ".join(str(number) for number in numbers if number > 1)
    said = [ONE_FOLD] if 1 in numbers else []
    return " or ".join(said + ([f"{several}-fold cross-validation"] if several else []))


def folds_line(system: System) -> str:
    """How many folds of a system stand in the report: "5 of 5 folds", "14 of 15 folds (5 × 3 seeds): …"."""
    seeds = max(1, len(system["seeds"]))
    there, expected = len(system["selections"]["final"]["folds"]), system["folds_expected"]
    if expected == seeds == 1:
        return ONE_FOLD
    line = f"{there} of {expected * seeds} folds" + (f" ({expected} × {seeds} seeds)" if seeds > 1 else "")
    return line if is_complete(system) else f"{line}: {NO_CROSS_VALIDATION}"


def counted(system: System) -> str:
    """What the pooled counts of a system are of: with several seeds an utterance is predicted several times."""
    return "predictions" if len(system["seeds"]) > 1 else "utterances"


def chance(report: Report) -> float:
    """UA of guessing: one over the number of classes that occur."""
    rows = [row for system in report["systems"] for row in system["per_class"].items()]
    return 1 / max(1, len({label for label, scores in rows if scores["support"]}))


def epoch_caveat(report: Report) -> str:
    """What "the last epoch, no selection" does not hold for; empty where it holds for every system."""
    names = row_names(report)
    imported = [names[system["name"]] for system in report["systems"] if system["imported"]]
    return f"How the epoch of {', '.join(imported)} (imported) was chosen is not known." if imported else ""


def not_comparable(report: Report) -> str:
    """Why Table 1's figures and ours are not subtracted."""
    if report["corpus"] == published_results.CORPUS:
        return (
            f"Published figures are of IEMOCAP, of its {published_results.UTTERANCES:,} utterances in four classes, "
            "and ours of others: they cannot be subtracted."
        )
    return f"Published figures are of IEMOCAP, not of {report['corpus']}: they cannot be subtracted."


def hole_lines(report: Report) -> list[str]:
    """What is missing, a line each."""
    return [
        f"{hole['run']}, {'all folds' if hole['fold'] is None else 'fold ' + str(hole['fold'])}: {hole['why']}"
        for hole in report["holes"]
    ]
