"""Notes at the top of a report: what changes the meaning of its numbers, one sentence each."""

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from mmer_pipeline.corpora import synthetic
from mmer_pipeline.corpora.folds import natural_order
from mmer_pipeline.corpora.random_folds import RANDOM
from mmer_pipeline.errors import first_few
from mmer_pipeline.paths import encoder_name
from mmer_pipeline.report import repeated_training
from mmer_pipeline.report.comparisons import FEWEST_CLUSTERS
from mmer_pipeline.report.ctc_note import ctc_note
from mmer_pipeline.report.held_out_corpus import draws_utterances
from mmer_pipeline.report.report_content import PairComparison
from mmer_pipeline.report.run_results import SystemResults
from mmer_pipeline.report.validation_notes import pairs_note, validation_notes
from mmer_pipeline.report.wording import percent
from mmer_pipeline.scoring.statistics import has_all_swaps
from mmer_pipeline.scoring.trained_again import MOST_UNITS
from mmer_pipeline.setting_metadata import OPTIMISATION
from mmer_pipeline.settings import OPTIONS, SPEECH_CONFIG
from mmer_pipeline.systems.registry import describe_system

NAMED = 8  # the most speakers or folds that a note names

UNKNOWN_DIALOGUES = (
    "dialogues are unknown, so intervals resample single utterances and are too narrow. "
    "Fill in the manifest's column dialogue."
)
# If these settings differ between two systems, so does their training.
_NOT_COMPARED = ("seed", "precision", "compile")
TRAINING = (
    "folds",
    "validation",
    "dropout",
    "spec_augment",
    *SPEECH_CONFIG,
    *(
        name
        for name, option in OPTIONS.items()
        if option.group == OPTIMISATION and option.is_identity and name not in _NOT_COMPARED
    ),
)


def corpus_notes(corpus: str) -> list[str]:
    """Note that a corpus is synthetic."""
    if corpus != synthetic.CORPUS_NAME:
        return []
    return [
        f"{corpus} is a synthetic corpus: its voices were made by espeak-ng, so the numbers show that the pipeline "
        "works and say nothing about human speech."
    ]


def notes_of(
    systems: Sequence[SystemResults], pairs: Sequence[PairComparison], labels: Sequence[str], unit: str
) -> list[str]:
    """Note few or unknown dialogues, single seeds, imports, fusions, rare classes, ASR transcripts, and protocols.

    `unit` names the dialogues: "speaker" if all utterances of one count as one (`HeldOutCorpus.unit`).
    """
    paired = {name for pair in pairs for name in (pair.first, pair.second)}
    return [
        *_few_clusters(systems, pairs, unit),
        *_together((system.name, UNKNOWN_DIALOGUES) for system in systems if draws_utterances(system.held_out)),
        *_not_again([system for system in systems if system.name in paired], pairs, len(labels)),
        *_together(
            (system.name, "imported; how its epoch was chosen is unknown.")
            for system in systems
            if system.imported is not None
        ),
        *(
            f"{system.name}: the mean of the probabilities of {', '.join(system.fused.members)}, "
            f"{system.fused.described}."
            for system in systems
            if system.fused
        ),
        *_together((system.name, _missing_classes(system, labels)) for system in systems),
        *_together((system.name, _dialogues_in_several_folds(system, unit)) for system in systems),
        *_together((system.name, _rare_classes(system, labels, unit)) for system in systems),
        *_automatic_transcripts(systems),
        *_together((system.name, ctc_note(system)) for system in systems if system.runs),
        *_trained_otherwise([system for system in systems if system.runs]),
        *(note for system in systems for note in _protocol(system)),
        *_together((system.name, note) for system in systems if system.runs for note in validation_notes(system)),
        *pairs_note(systems),
    ]


def _together(said: Iterable[tuple[str, str]]) -> list[str]:
    """Join systems with the same sentence; drop empty sentences."""
    names: dict[str, list[str]] = {}
    for name, sentence in said:
        if sentence:
            names.setdefault(sentence, []).append(name)
    return [f"{', '.join(of)}: {sentence}" for sentence, of in names.items()]


def _few_clusters(systems: Sequence[SystemResults], pairs: Sequence[PairComparison], unit: str) -> list[str]:
    in_pairs = [pair.clusters for pair in pairs]
    few = min([*(len(set(system.held_out.clusters)) for system in systems), *in_pairs])
    if few >= FEWEST_CLUSTERS:
        return []
    if few == 1:
        return [f"A single {unit} gives no interval and no p-value."]
    note = (
        f"No interval is given for trained models: {few} {unit}s are too few for a bootstrap, which needs at least "
        f"{FEWEST_CLUSTERS}."
    )
    if in_pairs and (fewest := min(in_pairs)) < FEWEST_CLUSTERS:
        below = "below" if has_all_swaps(fewest) else "far below"
        note += f" The p-values are valid, but with {fewest} {unit}s they cannot fall {below} {2 / 2**fewest:.2g}."
    return [note]


def _not_again(systems: Sequence[SystemResults], pairs: Sequence[PairComparison], classes: int) -> list[str]:
    """Name the systems of which training again is unknown, the reason, and the seeds and folds that are needed."""
    reasons = _together(
        (system.name, why)
        for system, (_, why) in ((system, repeated_training.read_cells(system, classes)) for system in systems)
    )
    if not reasons:
        return []
    note = f"What training again and testing on other speakers would give is unknown ({'; '.join(reasons)})."
    if any(reason.endswith(repeated_training.ONE_SEED) for reason in reasons):
        note += " At least two seeds are needed, preferably three (`--seeds 1,2,3`)."
    found = [entry.trained_again for pair in pairs for entry in pair.metrics.values()]
    needed = sorted(entry.units_needed for entry in found if entry.p is None and entry.units_needed is not None)
    if needed:
        folds = f"{needed[0]} to {needed[-1]}" if needed[0] < needed[-1] else str(needed[0])
        many = sum(entry.p is None and entry.units_needed is None and entry.value is not None for entry in found)
        folds += f" (and {many} of them more than {MOST_UNITS:,} or an unknown number of)" if many else ""
        note += f" With their spread between folds, the observed differences need {folds} folds for a power of 80 %."
    return [note]


def _dialogues_in_several_folds(system: SystemResults, unit: str) -> str:
    """Say that the folds are not independent of each other."""
    rows = system.held_out
    folds_of: dict[str, set[int]] = {}
    for cluster, fold in zip(rows.clusters, rows.folds, strict=True):
        folds_of.setdefault(cluster, set()).add(fold)
    shared = sum(len(folds) > 1 for folds in folds_of.values())
    if not shared or len(system.runs) < 2:
        return ""
    return (
        f"{shared} of {len(folds_of)} {unit}s are in several folds, which are therefore not independent; intervals "
        f"of systems trained again may be too narrow. Prefer folds that keep {unit}s whole."
    )


def _setting(name: str, value: object) -> str:
    return f"no {name}" if value is None else f"{name} {value}"


def _trained_otherwise(systems: Sequence[SystemResults]) -> list[str]:
    """Note the systems whose training or folds differ from the first one's."""
    notes = []
    trained = [s for s in systems if not describe_system(s.runs[0].record.settings.system).is_fitted]  # in epochs
    for system in trained[1:]:
        first, mine = trained[0].runs[0].record.settings, system.runs[0].record.settings
        other = [name for name in TRAINING if getattr(first, name) != getattr(mine, name)]
        if other:
            said = ", ".join(_setting(name.replace("_", " "), getattr(mine, name)) for name in other)
            notes.append(f"{system.name}: {said}, unlike {trained[0].name}; the two differ in more than the system.")
    return notes


def _missing_classes(system: SystemResults, labels: Sequence[str]) -> str:
    """Name the folds that lack a class which other folds have."""
    folds, truth = np.array(system.held_out.folds), system.held_out.truth
    missing = [
        f"fold {fold} has no {labels[number]}"
        for fold in sorted(system.held_outs)
        for number in sorted(set(truth.tolist()) - set(truth[folds == fold].tolist()))
    ]
    if not missing:
        return ""
    return f"{first_few(missing, NAMED)}; the UA of such a fold averages fewer classes."


def _rare_classes(system: SystemResults, labels: Sequence[str], unit: str) -> str:
    """Name the classes whose recall a resample of dialogues cannot change, because only one dialogue has them."""
    rows = system.held_out
    cells = set(zip(rows.truth.tolist(), rows.clusters, strict=True))
    dialogues = Counter(truth for truth, _ in cells)
    rare = [labels[truth] for truth in sorted(dialogues) if dialogues[truth] == 1]
    if not rare or len(set(rows.clusters)) == 1:
        return ""
    return (
        f"{first_few(rare, NAMED)} {'occurs' if len(rare) == 1 else 'occur'} in one {unit} only. Resamples without a "
        "class are drawn again, so its recall does not vary, and the intervals of UA and macro-F1 are too narrow, if "
        "they can be given at all."
    )


def _automatic_transcripts(systems: Sequence[SystemResults]) -> list[str]:
    """Name the ASR models whose transcripts were read, with their word error rates."""
    facts = [f.record.facts.get("asr_transcripts") for system in systems for run in system.runs for f in run.folds]
    notes = []
    for used in filter(None, facts):
        known = used["wer"] is not None
        rate = f"{percent(used['wer'])} % over {used['utterances']:,} utterances" if known else "unknown"
        notes.append(
            f"Automatic transcripts are those of {encoder_name(used['asr_model'])}; their word error rate is {rate}."
        )
    return list(dict.fromkeys(notes))


def _protocol(system: SystemResults) -> list[str]:
    notes = []
    facts = [fold.record.facts for run in system.runs for fold in run.folds]
    shared = sorted({name for entry in facts for name in entry.get("shared_speakers", ())}, key=natural_order)
    if shared:
        is_random = system.runs[0].record.settings.folds == RANDOM
        split = "every random split" if is_random else "the corpus's own split"
        notes.append(
            f"{system.name}: {len(shared)} speakers are in both the training and the held-out part "
            f"({first_few(shared, NAMED)}), as in {split}. Known voices are easier."
        )
    left_out = [entry.get("utterances", {}).get("left_out", 0) for entry in facts]
    if any(left_out):
        notes.append(
            f"{system.name}: {min(left_out)} to {max(left_out)} training utterances per fold were left out because "
            "their words are also in the held-out part (`--text-disjoint`)."
        )
    return notes
