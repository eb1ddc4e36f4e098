"""Words and number formats that all formats of the report share."""

from collections.abc import Iterable

from mmer_pipeline.corpora.speaker_folds import group_count
from mmer_pipeline.report import published_figures
from mmer_pipeline.report.report_content import Interval, Report, System, TrainedAgain
from mmer_pipeline.scoring.statistics import COMPARED

METRIC_NAMES = {"wa": "WA", "ua": "UA", "wf1": "WF1", "macro_f1": "macro-F1"}
MEANING = {
    "final": "last epoch, no selection",
    "validated": "epoch chosen on the validation part (`--validation`)",
    "oracle": "epoch chosen on the held-out fold itself",
}
NO_CROSS_VALIDATION = "THE NUMBERS ARE NOT A CROSS-VALIDATION"
ALPHA_NOTE = (
    "The α of a published row is the paper's. The authors' code sums the CTC loss over batches of two, so our α is "
    "twice the paper's: a published α of 0.1 is 0.2 here, and 0.1 here is 0.05 there."
)
HELD_OUT = {"session": "sessions", "speaker": "speakers", "split": "the corpus's own test part",
            "random": "random parts of the utterances"}  # fmt: skip
AGAIN = "trained again"  # the claim about systems
MODELS = "these models"  # the claim about trained models
GATE_MEANING = (
    "The gate is the share of the word-aware speech that the model passed on: near 1 it was passed on, near 0 it was "
    "shut out (g of eq. 2, mean over words and channels). It shows what the model passed on, not why it decided; "
    "speech may also reach the decision on paths without a gate."
)
GATE_COMPARISON = (
    "Do not compare the gates of two systems or two folds in absolute terms: the model of each fold is trained "
    "separately."
)
HIGHEST_GATES = "Highest: most speech-driven"
LOWEST_GATES = "Lowest: most text-driven"
GATE_EXTREMES = "An utterance is called speech-driven or text-driven in comparison with the others of the same model."
ONE_FOLD = "one held-out part"
NOTHING = "–"
SMALL, SMALLEST = 0.001, 0.0001  # p-values below the first get a fourth decimal; below the second, none is given


def unit(report: Report) -> str:
    """Name what is drawn as a whole: "dialogue", or "speaker" where the corpus names no dialogues."""
    return "dialogue" if report.held_out is None else report.held_out.unit


def has_intervals(report: Report) -> bool:
    """Whether a pooled value has an interval; none has if there are too few dialogues."""
    return any(system.selections.final.summary[metric].interval_95 for system in report.systems for metric in COMPARED)


def pooled_interval(report: Report) -> str:
    """Say what the interval of a pooled value is about, or why there is none."""
    if has_intervals(report):
        return f"95 % interval for these models on other {unit(report)}s"
    return f"no interval, as there are too few {unit(report)}s"


def claims_note(report: Report) -> str:
    """Say what the two claims are about."""
    return (
        "Trained again: these systems with other seeds and on other speakers, which is what a paper claims (mean over "
        f"folds and seeds, both random). These models: the models that were trained, on other {unit(report)}s (pooled; "
        f"bootstrap and randomisation test over whole {unit(report)}s); training again may give another result."
    )


def held_out_parts(folds: str) -> str | None:
    """Name the parts that a value of `--folds` holds out: "sessions"; None for a column of the user's."""
    return "groups of speakers" if group_count(folds) else HELD_OUT.get(folds)


def percent(value: float, decimals: int = 2) -> str:
    """Format a rate in percent: 0.7764 → "77.64"."""
    return f"{100 * value:.{decimals}f}"


def interval(low_high: Interval) -> str:
    """Format an interval of a rate in percent: "66.6–76.5"."""
    return f"{percent(low_high[0], 1)}–{percent(low_high[1], 1)}"


def signed(value: float, decimals: int = 2) -> str:
    """Format a difference of two rates in percentage points: 0.0268 → "+2.68"."""
    text = f"{100 * value:+.{decimals}f}"
    return text[1:] if float(text) == 0 else text.replace("-", "−")


def signed_interval(low_high: Interval) -> str:
    """Format an interval of a difference in percentage points: "−0.7, +1.0"."""
    return f"{signed(low_high[0], 1)}, {signed(low_high[1], 1)}"


def p_value(value: float | None) -> str:
    """Format a p-value with three decimals, or four if it is very small, or "<0.0001"; None gives –."""
    if value is None:
        return NOTHING
    if value < SMALLEST:
        return f"<{SMALLEST:.4f}"
    return f"{value:.4f}" if value < SMALL else f"{value:.3f}"


def needed(found: TrainedAgain) -> str:
    """Say how many folds, or seeds, would find a difference: "12 folds or 5 seeds"; – if unknown, or very many."""
    numbers = [(found.units_needed, f"{found.unit}s"), (found.seeds_needed, "seeds")]
    return " or ".join(f"{number} {what}" for number, what in numbers if number is not None) or NOTHING


def gate(value: float) -> str:
    """Format an acoustic gate as a fraction: 0.5408 → "0.541"."""
    return f"{value:.3f}"


def signed_gate(value: float) -> str:
    """Format a difference of two gates as a fraction: -0.0512 → "−0.051"."""
    text = f"{value:+.3f}"
    return text[1:] if float(text) == 0 else text.replace("-", "−")


def duration(seconds: float) -> str:
    """Format seconds: 4210.3 → "1:10:10"."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"


def plain(value: object) -> str:
    """Format the value of a setting or input for a reader."""
    if value is None:
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return " ".join(map(str, value)) or NOTHING
    return f"{value:g}" if isinstance(value, float) else str(value)


def folds_and_seeds(system: System) -> str:
    """Count folds and seeds: "5", "5 × 3" with three seeds, "4 of 5" if some are missing."""
    seeds, expected = max(1, len(system.seeds)), system.folds_expected
    text = f"{expected} × {seeds}" if seeds > 1 else str(expected)
    return text if system.is_complete else f"{len(system.selections.final.folds)} of {text}"


def protocol(folds: Iterable[int]) -> str:
    """Name the protocol of numbers of folds: "5-fold cross-validation", "one held-out part"."""
    numbers = sorted(set(folds))
    several = " or ".join(str(number) for number in numbers if number > 1)
    said = [ONE_FOLD] if 1 in numbers else []
    return " or ".join(said + ([f"{several}-fold cross-validation"] if several else []))


def folds_line(system: System) -> str:
    """Say how many folds of a system the report has: "5 of 5 folds", "14 of 15 folds (5 × 3 seeds): …"."""
    seeds = max(1, len(system.seeds))
    there, expected = len(system.selections.final.folds), system.folds_expected
    if expected == seeds == 1:
        return ONE_FOLD
    line = f"{there} of {expected * seeds} folds" + (f" ({expected} × {seeds} seeds)" if seeds > 1 else "")
    return line if system.is_complete else f"{line}: {NO_CROSS_VALIDATION}"


def chance(report: Report) -> float:
    """Return the UA of guessing: one over the number of classes that occur."""
    occurring = {label for system in report.systems for label, scores in system.per_class.items() if scores.support}
    return 1 / max(1, len(occurring))


def has_published_figures(report: Report) -> bool:
    """Whether the published figures are of the report's corpus, so that they are shown with ours."""
    return report.corpus == published_figures.CORPUS


def epoch_caveat(report: Report) -> str:
    """Name the systems that may not be at "the last epoch, no selection"; "" if there are none."""
    imported = [system.title for system in report.systems if system.imported]
    return f"How the epoch of {', '.join(imported)} (imported) was chosen is unknown." if imported else ""


def not_comparable(report: Report) -> str:
    """Say why our figures are not subtracted from those of Table 1."""
    if report.corpus == published_figures.CORPUS:
        return (
            f"Not comparable: published figures are for IEMOCAP's {published_figures.UTTERANCES:,} utterances in four "
            "classes, ours for others."
        )
    return f"Not comparable: published figures are for IEMOCAP, ours for {report.corpus}."


def hole_lines(report: Report) -> list[str]:
    """List what is missing, one line each."""
    return [
        f"{hole.run}, {'all folds' if hole.fold is None else 'fold ' + str(hole.fold)}: {hole.why}"
        for hole in report.holes
    ]
