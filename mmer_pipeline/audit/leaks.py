"""Leaks: speakers and dialogues in more than one fold, and ids whose prefix is not the speaker."""

import re
from collections import defaultdict
from collections.abc import Sequence

from mmer_pipeline.audit.corpus_split import Split
from mmer_pipeline.audit.finding import NAMED, Finding, Severity
from mmer_pipeline.corpora.folds import SPLIT
from mmer_pipeline.corpora.random_folds import RANDOM
from mmer_pipeline.corpora.speaker_folds import fold_unit

# IEMOCAP's ids: session, actor with the markers, dialogue, speaker. Ses01F_impro01_M005 is spoken by the man.
_IEMOCAP_ID = re.compile(r"(?P<session>Ses\d\d)(?P<markers>[FM])_\w+_(?P<speaker>[FM])[^_]*")

SHARED = ("speakers_in_several_folds", "speaker_contradicts_id")  # findings that random folds cannot avoid


def findings(split: Split) -> list[Finding]:
    """Speakers and dialogues in more than one fold; for ids like IEMOCAP's also whether they agree with the speaker."""
    ids = [_IEMOCAP_ID.fullmatch(u.utterance_id) for u in split.utterances]
    matches = [match for match in ids if match is not None]
    found = [_speakers(split, [u.speaker for u in split.utterances])]
    if len(matches) == len(ids):
        actors = [f"{match['session']}_{match['speaker']}" for match in matches]
        prefixes = [f"{match['session']}_{match['markers']}" for match in matches]
        found += [_speaker_column(split, actors), _prefix(split, actors, prefixes)]
    return [*found, _dialogues(split)]


def _in_several_folds(split: Split, names: Sequence[str]) -> dict[str, list[str]]:
    """Name → its folds, for names in more than one fold; `names` has one per utterance."""
    numbers = defaultdict(set)
    for name, fold in zip(names, split.fold.tolist(), strict=True):
        numbers[name].add(fold)
    return {name: [split.folds[k] for k in sorted(folds)] for name, folds in numbers.items() if len(folds) > 1}


def _listed(folds_of: dict[str, list[str]], unit: str) -> tuple[str, ...]:
    before = "" if unit == fold_unit(RANDOM) else f"{unit} "  # "part 1" says so itself
    return tuple(f"{name}: in {before}{', '.join(folds)}" for name, folds in list(folds_of.items())[:NAMED])


def _severity(split: Split) -> Severity:
    """The severity of a speaker in several folds: an official split may intend it."""
    return "warning" if split.column == SPLIT else "error"


def _speakers(split: Split, names: Sequence[str]) -> Finding:
    shared = _in_several_folds(split, names)
    if not shared:
        meaning = "No speaker is in both the training and the test part."
    elif split.column == SPLIT:
        meaning = "They are in both the training and the test part of the official split: say so with every result."
    elif split.column == RANDOM:
        meaning = (
            "They are in both the training and the test part of random folds. A score tells nothing about "
            "unknown speakers: use it only to measure how much such a split adds."
        )
    else:
        meaning = (
            "They are in both the training and the test part, so the result would be invalid. Give each speaker one "
            f"{split.unit}, or use `--folds speaker`."
        )
    return Finding(
        "speakers_in_several_folds",
        _severity(split) if shared else "ok",
        "Speakers in more than one fold",
        len(shared),
        "speakers",
        meaning,
        len(set(names)),
        _listed(shared, split.unit),
    )


def _speaker_column(split: Split, actors: Sequence[str]) -> Finding:
    """Whether the manifest's speakers are the actors in the ids, and whether the folds separate the actors."""
    by_name = defaultdict(set)
    for utterance, actor in zip(split.utterances, actors, strict=True):
        by_name[utterance.speaker].add(actor)
    mixed = [
        f"{u.utterance_id}: spoken by {actor}, speaker {u.speaker} in the manifest"
        for u, actor in zip(split.utterances, actors, strict=True)
        if len(by_name[u.speaker]) > 1
    ]
    leaking = _in_several_folds(split, actors)
    key, title = "speaker_contradicts_id", "Speakers that contradict the ids"
    meaning = "The letter before the number of an id names the speaker."
    if leaking and not mixed:  # one actor under several names
        meaning += " These actors are in both the training and the test part, under different names in the manifest."
        return Finding(
            *(key, _severity(split), title, len(leaking), "actors", meaning, len(set(actors))),
            _listed(leaking, split.unit),
        )
    if not mixed:
        meaning += " The folds separate the actors."
    elif leaking:
        meaning += " With these folds, both actors are in the training and the test part."
    else:
        meaning += " The folds separate the actors nevertheless."
    return Finding(
        key,
        _severity(split) if leaking else "warning" if mixed else "ok",
        title,
        len(mixed),
        "utterances",
        meaning,
        len(split.utterances),
        tuple(mixed[:: max(1, len(mixed) // NAMED)][:NAMED]),
    )


def _prefix(split: Split, actors: Sequence[str], prefixes: Sequence[str]) -> Finding:
    differs = [prefix != actor for prefix, actor in zip(prefixes, actors, strict=True)]
    prefixes_of = defaultdict(set)
    for actor, prefix in zip(actors, prefixes, strict=True):
        prefixes_of[actor].add(prefix)
    leaked = sum(len(prefixes_of[actor]) > 1 for actor in actors)
    numbers = [i for i, other in enumerate(differs) if other]
    return Finding(
        "prefix_is_not_the_speaker",
        "note" if numbers else "ok",
        "Ids whose prefix is not the speaker",
        sum(differs),
        "utterances",
        "The SesXXF of an id names the actor with the markers"
        + (
            f". Folds by it would train on the speaker of {leaked:,} of {len(actors):,} test utterances."
            if numbers
            else ", who is the speaker of every utterance here."
        ),
        len(actors),
        tuple(
            f"{split.utterances[i].utterance_id}: prefix {prefixes[i]}, spoken by {actors[i]}"
            for i in numbers[:: max(1, len(numbers) // NAMED)][:NAMED]
        ),
    )


def _dialogues(split: Split) -> Finding:
    total = len(split.utterances)
    if all(u.dialogue == u.utterance_id for u in split.utterances):  # the default for an empty cell
        return Finding(
            "unknown_dialogues",
            "warning",
            "Utterances without a dialogue",
            total,
            "utterances",
            "Intervals then resample single utterances and are too narrow, and dialogues in several folds go "
            "unnoticed. Fill in the column dialogue: the call, the scene, or at least the speaker.",
            total,
        )
    shared = _in_several_folds(split, [u.dialogue for u in split.utterances])
    return Finding(
        "dialogues_in_several_folds",
        "warning" if shared else "ok",
        "Dialogues in more than one fold",
        len(shared),
        "dialogues",
        "Topic, room and partner of a test utterance occur in training, and intervals, which resample dialogues, "
        "treat the parts of one dialogue as independent."
        if shared
        else "Topic, room and partner of a test utterance do not occur in training.",
        len({u.dialogue for u in split.utterances}),
        _listed(shared, split.unit),
    )
