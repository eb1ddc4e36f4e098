"""The head of the report: the corpus, its classes, the protocol and the inputs of systems, one line each."""

from collections.abc import Iterable

from mmer_pipeline.corpora.folds import SPLIT
from mmer_pipeline.corpora.speaker_folds import fold_unit
from mmer_pipeline.report.corpus_content import HeldOutCorpus
from mmer_pipeline.report.frozen_systems import FITTED
from mmer_pipeline.report.report_content import Report, System
from mmer_pipeline.report.wording import held_out_parts, percent, protocol

_VALIDATION = {"none": "no validation part", "speaker": "validation on one speaker of the {} after the held-out one"}


def head(report: Report) -> dict[str, str]:
    """Return the lines by name: "Corpus", "Classes", "Protocol", "Systems"; without those that are unknown."""
    lines = {
        "Corpus": _corpus(report),
        "Classes": _classes(report),
        "Protocol": protocol_line(report),
        "Systems": _systems(report),
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
        _dialogues(found),
        f"{found.hours:.1f} hours" if found.hours is not None else "",
    ]
    return f"{report.corpus}: {', '.join(filter(None, parts))}"


def _dialogues(found: HeldOutCorpus) -> str:
    if found.dialogues_are_speakers:
        return "no dialogues (each speaker counts as one)"
    return f"{found.dialogues} dialogues" if found.dialogues else "dialogues unknown"


def _classes(report: Report) -> str:
    if report.held_out is None:
        return ", ".join(report.labels)
    counts = report.held_out.classes
    total = max(1, sum(counts.values()))
    return ", ".join(f"{label} {count:,} ({percent(count / total, 0)} %)" for label, count in counts.items())


def _systems(report: Report) -> str:
    """Say what each system reads, and with which encoder: a title such as "wav2vec2" names neither."""
    of: dict[str, list[str]] = {}
    for system in report.systems:
        if used := system.encoders.used:
            of.setdefault(" and ".join(f"{kind} ({name})" for kind, name in used.items()), []).append(system.title)
    verb = {True: "reads", False: "read"}
    return "; ".join(f"{', '.join(titles)} {verb[len(titles) == 1]} {what}" for what, titles in of.items())


def protocol_line(report: Report) -> str:
    """Say the folds, what they hold out, the validation part, the seeds, and the last epoch."""
    trained = [system for system in report.systems if system.runs]
    folds = protocol(system.folds_expected for system in report.systems)
    if not trained:
        return f"{folds}; imported predictions"

    settings = [run.settings for system in trained for run in system.runs]
    units = _joined(_held_out(str(entry["folds"])) for entry in settings)
    validation = _joined(_validation(str(entry["folds"]), str(entry["validation"])) for entry in settings)
    seeds = sorted({seed for system in trained for seed in system.seeds})
    seeds_said = f"{'seed' if len(seeds) == 1 else 'seeds'} {', '.join(map(str, seeds))}"
    return f"{folds}, {units}; {validation}; {seeds_said}; {_last_epoch(trained)}no selection"


def _last_epoch(systems: Iterable[System]) -> str:
    """Say which epoch is the last one: "last epoch (8), "; "" if all systems are fitted at once."""
    of_epochs = [system for system in systems if system.system not in FITTED]
    epochs = sorted({fold.epoch for system in of_epochs for fold in system.selections.final.folds if fold.epoch})
    if not epochs:
        return ""
    return f"last epoch ({epochs[0]}), " if len(epochs) == 1 else f"last epoch ({epochs[0]} to {epochs[-1]}), "


def _held_out(folds: str) -> str:
    parts = held_out_parts(folds) or f"parts by {folds}"
    return parts if folds == SPLIT else f"{parts} held out"


def _validation(folds: str, part: str) -> str:
    unit = fold_unit(folds) if folds != SPLIT else "session"
    if part == "session":
        return f"validation on the {unit} after the held-out one"
    return _VALIDATION.get(part, f"validation on {part} of the training part").format(unit)


def _joined(said: Iterable[str]) -> str:
    return " or ".join(dict.fromkeys(said))
