"""Notes on validation parts, on ends of training by patience, and on runs without validated models."""

from collections.abc import Sequence

from mmer_pipeline.corpora.fold_overlap import Overlap, overlap_warning
from mmer_pipeline.report.run_results import SystemResults
from mmer_pipeline.settings import DEFAULTS
from mmer_pipeline.suggested_commands import train_command


def validation_notes(system: SystemResults) -> list[str]:
    """Note what changes the meaning of a trained system's validated or final numbers; "" where nothing does."""
    return [_ended_early(system), _averaged(system), _shared(system), _without_models(system)]


def pairs_note(systems: Sequence[SystemResults]) -> list[str]:
    """Name the systems whose lack of validated models leaves the others without validated pairs."""
    without = [system.name for system in systems if system.validated is None]
    if len(without) > len(systems) - 2 or not without:
        return []
    has = "has" if len(without) == 1 else "have"
    return [f"Validated models are not compared with each other, because {', '.join(without)} {has} none."]


def _ended_early(system: SystemResults) -> str:
    settings = system.runs[0].record.settings
    epochs = [len(fold.epochs) for run in system.runs for fold in run.folds]
    early = sum(count < settings.epochs for count in epochs)
    if not (settings.patience and early):
        return ""
    return (
        f"training ended early in {early} of {len(epochs)} folds, after {_span(epochs)} of at most {settings.epochs} "
        f"epochs (`--patience {settings.patience}`); final is the last epoch that was trained."
    )


def _averaged(system: SystemResults) -> str:
    count = system.runs[0].record.settings.average_best
    if count == 1 or system.validated is None:
        return ""
    return (
        f"validated numbers are those of the mean of the weights after the {count} epochs of a fold with the highest "
        f"validation WA (`--average-best {count}`); the epoch that is named is the best of them."
    )


def _span(counts: list[int]) -> str:
    low, high = min(counts), max(counts)
    return str(low) if low == high else f"{low} to {high}"


def _shared(system: SystemResults) -> str:
    if system.runs[0].record.settings.validation == "session":
        return ""  # speakers that an official split shares are in another note
    facts = [fold.record.facts.get("validation_overlap") for run in system.runs for fold in run.folds]
    warning = overlap_warning([Overlap(**overlap) for overlap in facts if overlap])  # older runs do not say
    return warning[:1].lower() + warning[1:]


def _without_models(system: SystemResults) -> str:
    run = system.runs[0]
    if run.record.settings.validation == DEFAULTS["validation"] or system.validated is not None:
        return ""
    return (
        "the models of the validated epochs were not kept (by an earlier version), so validated numbers have no "
        f"intervals and no pairs. To get them, train again: `{train_command(run.record.settings, run.name)} --restart`"
        f"{' (and its other seeds)' if len(system.runs) > 1 else ''}, then evaluate."
    )
