"""Who stands on both sides of a fold: speakers, dialogues, and what a split by the id's prefix would do."""

import re
from collections import defaultdict
from collections.abc import Sequence

from mmer_pipeline.audit.finding import NAMED, Finding, Severity
from mmer_pipeline.audit.split import Split
from mmer_pipeline.corpora.folds import SPLIT

# IEMOCAP: session, who wore the markers, dialogue, who speaks: Ses01F_impro01_M005 is said by the man.
_IEMOCAP_ID = re.compile(r"(?P<session>Ses\d\d)(?P<markers>[FM])_\w+_(?P<speaker>[FM])[^_]*")


def findings(split: Split) -> list[Finding]:
    """Speakers and dialogues in more than one fold; for ids like IEMOCAP's also what their parts say of the speaker."""
    ids = [_IEMOCAP_ID.fullmatch(u.utterance_id) for u in split.utterances]
    matches = [match for match in ids if match is not None]
    found = [_speakers(split, [u.speaker for u in split.utterances])]
    if len(matches) == len(ids):
        said_by = [f"{match['session']}_{match['speaker']}" for match in matches]
        prefixes = [f"{match['session']}_{match['markers']}" for match in matches]
        found += [_column(split, said_by), _prefix(split, said_by, prefixes)]
    return [*found, _dialogues(split)]


def _homes(split: Split, names: Sequence[str]) -> dict[str, list[str]]:
    """Name → the folds it stands in, for those that stand in more than one."""
    homes = defaultdict(set)
    for name, fold in zip(names, split.fold.tolist(), strict=True):
        homes[name].add(fold)
    return {name: [split.folds[k] for k in sorted(folds)] for name, folds in homes.items() if len(folds) > 1}


def _named(homes: dict[str, list[str]], column: str) -> tuple[str, ...]:
    return tuple(f"{name}: in {column} {', '.join(folds)}" for name, folds in list(homes.items())[:NAMED])


def _shared(split: Split) -> Severity:
    """How grave it is that somebody is tested on who was trained on: a corpus's own split may want it so."""
    return "weigh" if split.column == SPLIT else "wrong"


def _speakers(split: Split, names: Sequence[str]) -> Finding:
    both = _homes(split, names)
    if not both:
        meaning = "Nobody is tested on who was trained on."
    elif split.column == SPLIT:
        meaning = "They are tested on after training on them, as the corpus's own split has it: say so with a number."
    else:
        meaning = (
            "They are tested on after training on them: the result would be worth nothing. Give each speaker one "
            f"{split.column}, or use `--folds speaker`."
        )
    return Finding(
        "speakers_in_several_folds",
        _shared(split) if both else "fine",
        "Speakers who stand in more than one fold",
        len(both),
        "speakers",
        meaning,
        len(set(names)),
        _named(both, split.column),
    )


def _column(split: Split, said_by: Sequence[str]) -> Finding:
    """Whether the manifest's speakers are those that the ids name, and whether the folds keep these apart."""
    by_name = defaultdict(set)
    for utterance, speaker in zip(split.utterances, said_by, strict=True):
        by_name[utterance.speaker].add(speaker)
    mixed = [
        f"{u.utterance_id}: said by {speaker}, speaker {u.speaker} in the manifest"
        for u, speaker in zip(split.utterances, said_by, strict=True)
        if len(by_name[u.speaker]) > 1
    ]
    leaking = _homes(split, said_by)
    key, title = "speaker_is_not_that_of_the_id", "Speakers who are not those of the ids"
    said = "The letter before the number of an id says who speaks."
    if leaking and not mixed:  # as where one person has two names
        said += " By their ids these are tested on after training on them, whatever the manifest calls them."
        persons = len(set(said_by))
        return Finding(
            key, _shared(split), title, len(leaking), "persons", said, persons, _named(leaking, split.column)
        )
    if mixed:
        said += " With these folds both actors are trained and tested on." if leaking else " The folds still hold."
    else:
        said += " The folds keep these persons apart."
    return Finding(
        key,
        _shared(split) if leaking else "weigh" if mixed else "fine",
        title,
        len(mixed),
        "utterances",
        said,
        len(split.utterances),
        tuple(mixed[:: max(1, len(mixed) // NAMED)][:NAMED]),
    )


def _prefix(split: Split, said_by: Sequence[str], prefixes: Sequence[str]) -> Finding:
    differs = [prefix != speaker for prefix, speaker in zip(prefixes, said_by, strict=True)]
    places = defaultdict(set)
    for speaker, prefix in zip(said_by, prefixes, strict=True):
        places[speaker].add(prefix)
    leaked = sum(len(places[speaker]) > 1 for speaker in said_by)
    numbers = [i for i, other in enumerate(differs) if other]
    return Finding(
        "prefix_is_not_the_speaker",
        "know" if numbers else "fine",
        "Ids whose prefix is not the speaker",
        sum(differs),
        "utterances",
        "The SesXXF of an id names who wore the markers"
        + (
            f". A split by it would train on the speaker of {leaked:,} of {len(said_by):,} test utterances."
            if numbers
            else ", who speaks in all of them."
        ),
        len(said_by),
        tuple(
            f"{split.utterances[i].utterance_id}: prefix {prefixes[i]}, said by {said_by[i]}"
            for i in numbers[:: max(1, len(numbers) // NAMED)][:NAMED]
        ),
    )


def _dialogues(split: Split) -> Finding:
    total = len(split.utterances)
    if all(u.dialogue == u.utterance_id for u in split.utterances):  # what an empty cell becomes
        return Finding(
            "dialogues_are_unknown",
            "weigh",
            "Utterances of which no dialogue is known",
            total,
            "utterances",
            "Intervals then draw single utterances and are too narrow, and nobody can say whether a dialogue stands on "
            "both sides of a fold. Fill in the column dialogue: the call, the scene, or at least the speaker.",
            total,
        )
    both = _homes(split, [u.dialogue for u in split.utterances])
    return Finding(
        "dialogues_in_several_folds",
        "weigh" if both else "fine",
        "Dialogues that stand in more than one fold",
        len(both),
        "dialogues",
        "Topic, room and partner of a test utterance are in training; intervals that draw dialogues take the parts "
        "of one for independent."
        if both
        else "Topic, room and partner of a test utterance are not in training.",
        len({u.dialogue for u in split.utterances}),
        _named(both, split.column),
    )
