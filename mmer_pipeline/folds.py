"""Folds: which utterances train, which choose an epoch, which are held out; no speaker in two parts."""

import re
from collections import Counter
from dataclasses import dataclass

import numpy as np

from mmer_pipeline.errors import UserError
from mmer_pipeline.manifest import Manifest

FOLD_COLUMNS = ("session", "speaker")


@dataclass(frozen=True)
class Fold:
    """One fold: positions in `Manifest.utterances`, in the manifest's order."""

    number: int  # from 1
    held_out: str  # the session or speaker that is held out
    train: tuple[int, ...]
    validation: tuple[int, ...]  # cut out of the training sessions; empty where none was asked for
    test: tuple[int, ...]  # the held-out part


def fold_names(manifest: Manifest, column: str) -> list[str]:
    """The values of the fold column in natural order ("2" before "10"): fold k holds out the k-th."""
    return sorted({str(getattr(utterance, column)) for utterance in manifest.utterances}, key=natural_order)


def make_fold(manifest: Manifest, number: int, *, column: str, validation: str, seed: int) -> Fold:
    """Fold `number` of a corpus, with a validation part where one is asked for.

    `validation` is "none", "session" (the next session, cyclically), "speaker" (one speaker of the next
    session), or a fraction such as "0.1" of each class's training utterances, drawn with `seed`.

    Raises:
        UserError: no such fold, a speaker in two parts, a part without utterances.
    """
    names = fold_names(manifest, column)
    if not 1 <= number <= len(names):
        raise UserError(
            f"There is no fold {number}: {manifest.path} has {len(names)} (1 to {len(names)}), "
            f"one for each {column}: {', '.join(names)}."
        )
    if len(names) < 2:
        raise UserError(f"{manifest.path} has one {column} alone: nothing is left to train on when it is held out.")
    held_out = names[number - 1]
    utterances = manifest.utterances
    test = [i for i, u in enumerate(utterances) if getattr(u, column) == held_out]
    rest = [i for i, u in enumerate(utterances) if getattr(u, column) != held_out]
    chosen = _validation_part(manifest, test, rest, validation, seed)
    train = [i for i in rest if i not in chosen]
    fold = Fold(number, held_out, tuple(train), tuple(i for i in rest if i in chosen), tuple(test))
    _check(manifest, fold, column, validation)
    return fold


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
            raise UserError(f"Fold {fold.number}: the {name} part is empty. Choose another --validation or --folds.")
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
                f"the result would be worth nothing. Give each speaker one {column}, or use --folds speaker."
            )
        home.update(dict.fromkeys(counts, name))


def natural_order(value: str) -> tuple[list[tuple[int, str]], str]:
    """A sort key that counts the numbers in a name: "s2" before "s10"."""
    parts = [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", value)]
    return parts, value  # "1" and "01" are told apart as text
