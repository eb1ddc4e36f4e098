"""The head of the report: the corpus, its classes, the protocol and the encoders, one line each."""

from collections.abc import Callable, Iterable

from mmer_pipeline.report.report_content import Report, System
from mmer_pipeline.report.wording import percent, protocol

_UNITS = {"session": "sessions held out", "speaker": "speakers held out", "split": "the corpus's own test part"}
_VALIDATION = {
    "none": "no validation part",
    "session": "validation on the session after the held-out one",
    "speaker": "validation on one speaker of the session after the held-out one",
}


def head(report: Report) -> dict[str, str]:
    """Return the lines by name: "Corpus", "Classes", "Protocol", "Encoders"; without those that are unknown."""
    lines = {
        "Corpus": _corpus(report),
        "Classes": _classes(report),
        "Protocol": protocol_line(report),
        "Encoders": ", ".join(
            dict.fromkeys(name for system in report.systems for name in system.encoders.used.values())
        ),
    }
    return {name: line for name, line in lines.items() if line}


def _corpus(report: Report) -> str:
    found = report.held_out
    if found is None:
        return f"{report.corpus}: {max(system.utterances for system in report.systems):,} held-out utterances"
    of_all = f" of {found.of_manifest:,}" if found.of_manifest and found.of_manifest > found.utterances else ""
    parts = [
        f"{found.utterances:,}{of_all} utterances held out" if of_all else f"{found.utterances:,} utterances",
        f"{found.speakers} speakers" if found.speakers else "",
        f"{found.dialogues} dialogues" if found.dialogues else "dialogues unknown",
        f"{found.hours:.1f} hours" if found.hours is not None else "",
    ]
    return f"{report.corpus}: {', '.join(filter(None, parts))}"


def _classes(report: Report) -> str:
    if report.held_out is None:
        return ", ".join(report.labels)
    counts = report.held_out.classes
    total = max(1, sum(counts.values()))
    return ", ".join(f"{label} {count:,} ({percent(count / total, 0)} %)" for label, count in counts.items())


def protocol_line(report: Report) -> str:
    """Say the folds, what they hold out, the validation part, the seeds, and the last epoch."""
    trained = [system for system in report.systems if system.runs]
    folds = protocol(system.folds_expected for system in report.systems)
    if not trained:
        return f"{folds}; imported predictions"

    def of(name: str, words: dict[str, str], other: str) -> str:
        return _joined(trained, lambda system: [str(run.settings[name]) for run in system.runs], words, other)

    units = of("folds", _UNITS, "parts by {} held out")
    validation = of("validation", _VALIDATION, "validation on {} of the training part")
    seeds = sorted({seed for system in trained for seed in system.seeds})
    epochs = sorted({fold.epoch for system in trained for fold in system.selections.final.folds if fold.epoch})
    last = f"{epochs[0]}" if len(epochs) == 1 else f"{epochs[0]} to {epochs[-1]}"
    seeds_said = f"{'seed' if len(seeds) == 1 else 'seeds'} {', '.join(map(str, seeds))}"
    return f"{folds}, {units}; {validation}; {seeds_said}; last epoch ({last}), no selection"


def _joined(systems: Iterable[System], values: Callable[[System], list[str]], words: dict[str, str], other: str) -> str:
    found = dict.fromkeys(value for system in systems for value in values(system))
    return " or ".join(words.get(value, other.format(value)) for value in found)
