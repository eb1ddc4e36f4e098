"""What a reader of the report should know first: what changes the meaning of its numbers, a sentence each."""

from collections.abc import Iterable, Sequence

import numpy as np

from mmer_pipeline.corpora.folds import natural_order
from mmer_pipeline.report.content import PairComparison
from mmer_pipeline.report.results import SystemResults

FEW_CLUSTERS = 15  # fewer than this, and a bootstrap interval is too narrow to be trusted
NAMED = 8  # speakers or folds that a note names

UNKNOWN_DIALOGUES = (
    "dialogues are unknown; intervals draw single utterances and are too narrow. "
    "Fill in the manifest's column dialogue."
)
# Settings that make a difference between two systems one of their training, not of the systems.
TRAINING = ("folds", "validation", "epochs", "learning_rate", "schedule", "batch_size")


def notes_of(systems: Sequence[SystemResults], pairs: Sequence[PairComparison], labels: Sequence[str]) -> list[str]:
    """Few or unknown dialogues, single seeds, imports, classes that a fold lacks, and each system's protocol."""
    paired = {name for pair in pairs for name in (pair.first, pair.second)}
    return [
        *_few_clusters(systems, pairs),
        *_together((system.name, UNKNOWN_DIALOGUES) for system in systems if _draws_utterances(system)),
        *_together(
            (system.name, "from one seed; training again may differ.")
            for system in systems
            if system.name in paired and len(system.runs) == 1
        ),
        *_together(
            (system.name, "imported; how its epoch was chosen is not known here.")
            for system in systems
            if system.imported is not None
        ),
        *_together((system.name, _missing_classes(system, labels)) for system in systems),
        *_trained_otherwise([system for system in systems if system.runs]),
        *(note for system in systems for note in _protocol(system)),
    ]


def _together(said: Iterable[tuple[str, str]]) -> list[str]:
    """The same of several systems is said once; of an empty sentence nothing."""
    names: dict[str, list[str]] = {}
    for name, sentence in said:
        if sentence:
            names.setdefault(sentence, []).append(name)
    return [f"{', '.join(of)}: {sentence}" for sentence, of in names.items()]


def _few_clusters(systems: Sequence[SystemResults], pairs: Sequence[PairComparison]) -> list[str]:
    in_pairs = [pair.clusters for pair in pairs]
    few = min([*(len(set(system.held_out.clusters)) for system in systems), *in_pairs])
    if few >= FEW_CLUSTERS:
        return []
    if few == 1:
        return ["From one dialogue alone there is no interval and no p-value."]
    note = f"Intervals from {few} dialogues are too narrow to be trusted."
    if in_pairs and (fewest := min(in_pairs)) < FEW_CLUSTERS:
        note += f" p-values hold, but from {fewest} dialogues they cannot be far below {2 / 2**fewest:.2g}."
    return [note]


def _trained_otherwise(systems: Sequence[SystemResults]) -> list[str]:
    """Those that were trained or folded otherwise than the first."""
    notes = []
    for system in systems[1:]:
        first, mine = systems[0].runs[0].record.settings, system.runs[0].record.settings
        other = [name for name in TRAINING if getattr(first, name) != getattr(mine, name)]
        if other:
            said = ", ".join(f"{name.replace('_', ' ')} {getattr(mine, name)}" for name in other)
            notes.append(
                f"{system.name}: {said}, unlike {systems[0].name}; what sets them apart is not the system alone."
            )
    return notes


def _draws_utterances(system: SystemResults) -> bool:
    """Whether every utterance is its own dialogue by name, as where nothing is known of dialogues."""
    rows = system.held_out
    cells = zip(rows.clusters, rows.folds, rows.utterance_ids, strict=True)
    return all(cluster in (name, f"{fold}/{name}") for cluster, fold, name in cells)


def _missing_classes(system: SystemResults, labels: Sequence[str]) -> str:
    """The folds that lack a class which others have."""
    folds, truth = np.array(system.held_out.folds), system.held_out.truth
    missing = [
        f"fold {fold} has no {labels[number]}"
        for fold in sorted(system.held_outs)
        for number in sorted(set(truth.tolist()) - set(truth[folds == fold].tolist()))
    ]
    if not missing:
        return ""
    return f"{_named(missing)}; UA of such a fold is a mean over fewer classes."


def _protocol(system: SystemResults) -> list[str]:
    notes = []
    facts = [fold.record.facts for run in system.runs for fold in run.folds]
    shared = sorted({name for entry in facts for name in entry.get("shared_speakers", ())}, key=natural_order)
    if shared:
        notes.append(
            f"{system.name}: {len(shared)} speakers are in training and in the held-out part ({_named(shared)}), as "
            "the corpus's own split has it. Voices that were trained on are easier."
        )
    left_out = [entry.get("utterances", {}).get("left_out", 0) for entry in facts]
    if any(left_out):
        notes.append(
            f"{system.name}: {min(left_out)} to {max(left_out)} training utterances a fold were left out, since "
            "their words stand in the held-out part (--text-disjoint)."
        )
    return notes


def _named(things: Sequence[str]) -> str:
    return ", ".join(things[:NAMED]) + (" …" if len(things) > NAMED else "")
