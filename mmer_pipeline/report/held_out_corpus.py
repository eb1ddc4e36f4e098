"""Count what was held out: utterances, speakers, dialogues, hours and classes."""

from collections import Counter
from collections.abc import Collection, Sequence

from mmer_pipeline.report.corpus_content import HeldOutCorpus
from mmer_pipeline.report.run_results import HeldOut, SystemResults
from mmer_pipeline.report.utterance_facts import UtteranceFacts


def held_out_corpus(systems: Sequence[SystemResults], labels: Sequence[str], facts: UtteranceFacts) -> HeldOutCorpus:
    """Count the utterances of all systems; dialogues are those of the system with the most utterances.

    Systems that do not name their utterances count only if no system does, and then the largest of them alone: theirs
    may be the same utterances.
    """
    named = [system for system in systems if system.names_utterances]
    systems = named or [max(systems, key=lambda system: len(system.held_out.truth))]
    truth: dict[str, str] = {}
    speakers: dict[str, str] = {}
    for system in systems:
        rows = system.held_out
        truth.update(zip(rows.utterance_ids, (labels[number] for number in rows.truth.tolist()), strict=True))
        for name, speaker in zip(rows.utterance_ids, rows.speakers, strict=True):
            speakers[name] = speaker or speakers.get(name, "")
    largest = max((system.held_out for system in systems), key=lambda rows: len(set(rows.utterance_ids)))
    counts = Counter(truth.values())
    is_timed = truth.keys() <= facts.seconds.keys()
    return HeldOutCorpus(
        utterances=len(truth),
        of_manifest=len(facts.transcripts) or None,
        speakers=len(set(speakers.values())) if all(speakers.values()) else None,
        dialogues=None if draws_utterances(largest) else len(set(largest.clusters)),
        hours=sum(facts.seconds[name] for name in truth) / 3600 if is_timed else None,
        classes={label: counts[label] for label in labels},
        dialogues_are_speakers=_are_speakers(largest),
        merged_labels=_merged_labels(truth.keys(), labels, facts),
    )


def _merged_labels(ids: Collection[str], labels: Sequence[str], facts: UtteranceFacts) -> dict[str, tuple[str, ...]]:
    """Return the classes that have several of the corpus's labels, with those that occur."""
    found: dict[str, Counter[str]] = {label: Counter() for label in labels}
    for manifest in facts.manifests:
        for utterance in manifest.utterances:
            label = manifest.label_map.class_of(utterance.emotion)
            if utterance.utterance_id in ids and label in found:
                found[label][utterance.emotion] += 1
    return {label: tuple(sorted(of)) for label, of in found.items() if len(of) > 1}


def _are_speakers(rows: HeldOut) -> bool:
    """Whether every dialogue has the name of its only speaker, as `prepare` names dialogues that it does not know."""
    cells = set(zip(rows.clusters, rows.folds, rows.speakers, strict=True))
    return all(speaker and cluster in (speaker, f"{fold}/{speaker}") for cluster, fold, speaker in cells)


def draws_utterances(rows: HeldOut) -> bool:
    """Whether every utterance is its own dialogue, as when dialogues are unknown."""
    cells = zip(rows.clusters, rows.folds, rows.utterance_ids, strict=True)
    return all(cluster in (name, f"{fold}/{name}") for cluster, fold, name in cells)
