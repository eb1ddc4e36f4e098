"""Folds: which utterances train, which choose an epoch, which are held out; no speaker in two parts."""

import re
from collections import Counter
from dataclasses import dataclass

import numpy as np

from mmer_pipeline.corpora.manifest import Manifest
from mmer_pipeline.corpora.transcripts import spoken_words
from mmer_pipeline.errors import UserError

SPLIT = "split"  # `--folds split`: not a column, but the split that a corpus such as MELD comes with
PARTS = ("train", "dev", "test")  # its sessions


@dataclass(frozen=True)
class Fold:
    """One fold: positions in `Manifest.utterances`, in the manifest's order."""

    number: int  # from 1
    held_out: str  # the session, speaker or other value that is held out
    train: tuple[int, ...]
    validation: tuple[int, ...]  # cut out of the training sessions; empty where none was asked for
    test: tuple[int, ...]  # the held-out part
    left_out: tuple[int, ...] = ()  # in no part, since their words stand in another one (`text_disjoint`)


def fold_names(manifest: Manifest, column: str) -> list[str]:
    """The values of the fold column in natural order ("2" before "10"): fold k holds out the k-th.

    "split" has one fold, the corpus's own test part.

    Raises:
        UserError: the manifest has no such column, a row is empty there, or "split" and the corpus has none.
    """
    if column == SPLIT:
        sessions = sorted({utterance.session for utterance in manifest.utterances}, key=natural_order)
        if set(sessions) != set(PARTS):
            raise UserError(
                f"--folds {SPLIT} needs the sessions {', '.join(PARTS)}; {manifest.path} has {', '.join(sessions)}. "
                "Use --folds session."
            )
        return ["test"]
    if column not in manifest.columns:
        raise UserError(
            f"{manifest.path} has no column {column!r} for --folds. Columns: {', '.join(manifest.columns)}."
        )
    names = sorted({utterance.value(column) for utterance in manifest.utterances}, key=natural_order)
    if "" in names:
        empty = next(u.utterance_id for u in manifest.utterances if not u.value(column))
        raise UserError(
            f"{manifest.path}: {empty} has nothing in the column {column}; every row must belong to a fold."
        )
    return names


def make_fold(
    manifest: Manifest, number: int, *, column: str, validation: str, seed: int, text_disjoint: bool = False
) -> Fold:
    """Fold `number` of a corpus, with a validation part where one is asked for.

    `column` is "session", "speaker" or any other column of the manifest. `validation` is "none", "session" (the
    next session, cyclically), "speaker" (one speaker of the next session), or a fraction such as "0.1" of each
    class's training utterances, drawn with `seed`. With `text_disjoint` no words stand in two parts: training
    utterances whose words are in the held-out or the validation part are left out, and validation utterances whose
    words are in the held-out part.

    Raises:
        UserError: no such fold, a speaker in two parts, a part without utterances.
    """
    names = fold_names(manifest, column)
    if not 1 <= number <= len(names):
        raise UserError(
            f"There is no fold {number}: {manifest.path} has {len(names)} (1 to {len(names)}), "
            f"one for each {column}: {', '.join(names)}."
        )
    if len(names) < 2 and column != SPLIT:
        raise UserError(f"{manifest.path} has one {column} alone: nothing is left to train on when it is held out.")
    held_out = names[number - 1]
    utterances = manifest.utterances
    if column == SPLIT:
        training, validating, test = _own_parts(manifest, validation)
    else:
        test = [i for i, u in enumerate(utterances) if u.value(column) == held_out]
        rest = [i for i, u in enumerate(utterances) if u.value(column) != held_out]
        chosen = _validation_part(manifest, test, rest, validation, seed)
        validating, training = [i for i in rest if i in chosen], [i for i in rest if i not in chosen]
    left_out: list[int] = []
    if text_disjoint:
        validating, recurring = _without_words_of(manifest, validating, test)
        training, also = _without_words_of(manifest, training, [*test, *validating])
        left_out = sorted([*recurring, *also])
    fold = Fold(number, held_out, tuple(training), tuple(validating), tuple(test), tuple(left_out))
    _check(manifest, fold, column, validation)
    return fold


def shared_speakers(manifest: Manifest, fold: Fold) -> list[str]:
    """The held-out speakers that a fold also trains on or chooses with: none, but in a corpus's own split."""
    known = {manifest.utterances[i].speaker for i in (*fold.train, *fold.validation)}
    return sorted({manifest.utterances[i].speaker for i in fold.test} & known)


def _own_parts(manifest: Manifest, validation: str) -> list[list[int]]:
    """The corpus's train, dev and test; dev only where `validation` is "session", and it is never trained on."""
    if validation not in ("none", "session"):
        raise UserError(f"--validation is {validation!r}; with --folds {SPLIT} it is session (the part dev) or none.")
    parts = [[i for i, u in enumerate(manifest.utterances) if u.session == name] for name in PARTS]
    return parts if validation == "session" else [parts[0], [], parts[2]]


def _without_words_of(manifest: Manifest, part: list[int], others: list[int]) -> tuple[list[int], list[int]]:
    """A part without the utterances whose words stand in `others`, and those utterances."""
    words = {i: spoken_words(manifest.utterances[i].transcript) for i in (*part, *others)}
    taken = {words[i] for i in others} - {""}
    return [i for i in part if words[i] not in taken], [i for i in part if words[i] in taken]


def parse_fraction(validation: str) -> float | None:
    """The fraction in `--validation`, or None where it is one of the words.

    Raises:
        UserError: neither a word nor a fraction between 0 and 1.
    """
    if validation in ("none", "session", "speaker"):
        return None
    try:
        fraction = float(validation)
    except ValueError:
        fraction = 0.0
    if not 0.0 < fraction < 1.0:
        raise UserError(f"--validation is {validation!r}, expected none, session, speaker or a fraction such as 0.1.")
    return fraction


def _validation_part(manifest: Manifest, test: list[int], rest: list[int], validation: str, seed: int) -> set[int]:
    fraction = parse_fraction(validation)
    if validation == "none":
        return set()
    utterances = manifest.utterances
    if fraction is not None:
        generator = np.random.default_rng(seed)
        part: set[int] = set()
        for label in manifest.labels:
            members = [i for i in rest if manifest.label_map.class_of(utterances[i].emotion) == label]
            part.update(generator.permutation(members)[: round(fraction * len(members))].tolist())
        return part
    sessions = fold_names(manifest, "session")
    following = sessions[(sessions.index(utterances[test[0]].session) + 1) % len(sessions)]
    block = [i for i in rest if utterances[i].session == following]
    if validation == "speaker":
        speaker = min((utterances[i].speaker for i in block), key=natural_order, default=None)
        block = [i for i in rest if utterances[i].speaker == speaker]
    return set(block)


def _check(manifest: Manifest, fold: Fold, column: str, validation: str) -> None:
    for name, part in (("training", fold.train), ("validation", fold.validation), ("held-out", fold.test)):
        if not part and (name != "validation" or validation != "none"):
            why = f" ({len(fold.left_out)} are left out by --text-disjoint)" if fold.left_out else ""
            raise UserError(
                f"Fold {fold.number}: the {name} part is empty{why}. Choose another --validation or --folds"
                f"{', or leave --text-disjoint out' if why else ''}."
            )
    if column == SPLIT:
        return  # whoever made the split let speakers stand in several parts; `shared_speakers` is for the report
    parts = {"training": fold.train, "held-out": fold.test}
    if validation in ("session", "speaker"):
        parts["validation"] = fold.validation
    home: dict[str, str] = {}
    for name, part in parts.items():
        counts = Counter(manifest.utterances[i].speaker for i in part)
        both = sorted(speaker for speaker in counts if speaker in home)
        if both:
            raise UserError(
                f"Fold {fold.number}: speaker {', '.join(both[:5])} is in the {home[both[0]]} and in the {name} part; "
                f"the result would be worth nothing. Give each speaker one {column}, or use --folds speaker"
                + (f"; --folds {SPLIT} runs the corpus's own train, dev and test." if fold.held_out in PARTS else ".")
            )
        home.update(dict.fromkeys(counts, name))


def natural_order(value: str) -> tuple[list[tuple[int, str]], str]:
    """A sort key that counts the numbers in a name: "s2" before "s10"."""
    parts = [
        (int(part), "") if part.isdecimal() and len(part) < 4300 else (-1, part)  # `int` takes no more digits
        for part in re.split(r"(\d+)", value)
    ]
    return parts, value  # "1" and "01" are told apart as text
