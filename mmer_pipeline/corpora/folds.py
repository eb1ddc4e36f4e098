"""Folds: the training, validation and held-out part of each; no speaker is in two parts, unless asked for by name."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from mmer_pipeline.corpora.manifest import Manifest
from mmer_pipeline.corpora.random_folds import COUNT, RANDOM, part_name, random_parts
from mmer_pipeline.corpora.speaker_folds import (
    USUAL_FOLDS,
    fold_unit,
    group_count,
    group_name,
    most_folds,
    speaker_folds,
)
from mmer_pipeline.corpora.transcripts import spoken_words
from mmer_pipeline.errors import UserError, first_few

SPLIT = "split"  # `--folds split`: not a column, but the official split of a corpus such as MELD
PARTS = ("train", "dev", "test")  # the sessions of such a corpus
VALIDATIONS = ("session", "speaker", "0.1")  # the kinds of `--validation`


@dataclass(frozen=True)
class Fold:
    """One fold: positions in `Manifest.utterances`, in the manifest's order."""

    number: int  # from 1; 0: nothing is held out
    held_out: str  # the session, speaker, group of speakers or other value that is held out; "" for none
    train: tuple[int, ...]
    validation: tuple[int, ...]  # taken from the training sessions; empty with validation "none"
    test: tuple[int, ...]  # the held-out part
    left_out: tuple[int, ...] = ()  # in no part, because another part contains the same words (`text_disjoint`)


def fold_names(manifest: Manifest, column: str) -> list[str]:
    """The values of the fold column in natural order ("2" before "10"): fold k holds out the k-th.

    "split" has one fold, which holds out the official test part; "5" has the folds "group 1" to "group 5"; "random" has
    "part 1" to "part 5".

    Raises:
        UserError: the manifest has no such column, a row has an empty cell there, or there is no official split.
    """
    if column == SPLIT:
        sessions = sorted({utterance.session for utterance in manifest.utterances}, key=natural_order)
        if set(sessions) != set(PARTS):
            raise UserError(
                f"--folds {SPLIT} requires the sessions {', '.join(PARTS)}; {manifest.path} has {', '.join(sessions)}. "
                "Use --folds session."
            )
        return ["test"]
    if column == RANDOM:
        return [part_name(number) for number in range(1, COUNT + 1)]
    if count := group_count(column):
        return [group_name(number) for number in range(1, count + 1)]
    if column not in manifest.columns:
        raise UserError(
            f"{manifest.path} has no column {column!r} for --folds. Columns: {', '.join(manifest.columns)}. A whole "
            "number, such as 5, groups the speakers."
        )
    names = sorted({utterance.value(column) for utterance in manifest.utterances}, key=natural_order)
    if "" in names:
        empty = next(u.utterance_id for u in manifest.utterances if not u.value(column))
        raise UserError(
            f"{manifest.path}: column {column} of {empty} is empty. With --folds {column} every row needs a value."
        )
    return names


def fold_values(manifest: Manifest, column: str) -> list[str]:
    """The name of the fold that holds out each utterance, by position; "split": of the part that contains it.

    Raises:
        UserError: the speakers cannot be divided into so many folds.
    """
    if column == SPLIT:
        return [utterance.session for utterance in manifest.utterances]
    if column == RANDOM:
        return random_parts(manifest)
    if count := group_count(column):
        folds = speaker_folds(manifest, count)
        return [group_name(folds[utterance.speaker]) for utterance in manifest.utterances]
    return [utterance.value(column) for utterance in manifest.utterances]


class _UnusableError(UserError):
    """A part of a fold is empty, or two parts share a speaker."""


def make_fold(
    manifest: Manifest, number: int, *, column: str, validation: str, seed: int, text_disjoint: bool = False
) -> Fold:
    """Make fold `number` of a corpus; fold 0 holds nothing out.

    `column` is "session", "speaker", any other column of the manifest, "split", "random", or a number of folds of
    grouped speakers. `validation` is "none", "session" (the next session that is not held out, cyclically; with grouped
    speakers, the next group), "speaker" (one speaker of that session or group), or a fraction such as "0.1" of each
    class's training utterances, drawn with `seed`. With `text_disjoint` no text is in two parts: training utterances
    with the words of a held-out or validation utterance are left out, as are validation utterances with the words of
    a held-out one.

    Raises:
        UserError: there is no such fold, a speaker is in two parts, a part is empty (the message says which validation
            parts are possible), or the words of an utterance are unknown that `text_disjoint` would compare.
    """
    if number == 0:
        return _all_utterances(manifest, validation, seed)
    try:
        return _make_fold(manifest, number, column, validation, seed, text_disjoint=text_disjoint)
    except _UnusableError as error:
        obstacles = validation_obstacles(manifest, column, text_disjoint=text_disjoint)
        possible = [choice for choice, obstacle in obstacles.items() if not obstacle]
        if validation == "none" or not possible:
            raise
        raise UserError(
            f"{error} With --folds {column}, all folds can be trained with --validation {', '.join(possible)}."
        ) from None


def validation_obstacles(manifest: Manifest, column: str, *, text_disjoint: bool = False) -> dict[str, str]:
    """Each kind of validation part, "none" included, and why some fold cannot have it; "" if all folds can."""
    try:
        names, values = fold_names(manifest, column), fold_values(manifest, column)  # once: groups take long
    except UserError as error:
        return dict.fromkeys((*VALIDATIONS, "none"), str(error))
    obstacles = {}
    for choice in (*VALIDATIONS, "none"):
        try:
            for number in range(1, len(names) + 1):
                _make_fold(manifest, number, column, choice, 1, text_disjoint=text_disjoint, values=values)
            obstacles[choice] = ""
        except UserError as error:
            obstacles[choice] = str(error)
    return obstacles


def _make_fold(
    manifest: Manifest,
    number: int,
    column: str,
    validation: str,
    seed: int,
    *,
    text_disjoint: bool,
    values: Sequence[str] = (),
) -> Fold:
    """Make a fold; `values` are the `fold_values`, if they are known already."""
    names = fold_names(manifest, column)
    if not 1 <= number <= len(names):
        raise UserError(
            f"There is no fold {number}: {manifest.path} has folds 1 to {len(names)}, "
            f"one per {fold_unit(column)}: {', '.join(names)}."
        )
    if len(names) < 2 and column != SPLIT:
        raise UserError(
            f"{manifest.path} has only one {fold_unit(column)}: holding it out leaves nothing to train on. "
            "Use another --folds."
        )
    held_out = names[number - 1]
    if column == SPLIT:
        training, validating, test = _official_parts(manifest, validation)
    else:
        if column == RANDOM and validation != "none" and parse_fraction(validation) is None:
            raise _UnusableError(f"--validation is {validation!r}; --folds {RANDOM} expects a fraction, such as 0.1.")
        values = values or fold_values(manifest, column)
        test = [i for i, value in enumerate(values) if value == held_out]
        rest = [i for i, value in enumerate(values) if value != held_out]
        units = values if group_count(column) else [u.session for u in manifest.utterances]
        chosen = _validation_part(manifest, test, rest, validation, seed, units)
        validating, training = [i for i in rest if i in chosen], [i for i in rest if i not in chosen]
    left_out: list[int] = []
    if text_disjoint:
        _check_transcribed(manifest)
        validating, repeated = _without_words_of(manifest, validating, test)
        training, also_repeated = _without_words_of(manifest, training, [*test, *validating])
        left_out = sorted([*repeated, *also_repeated])
    fold = Fold(number, held_out, tuple(training), tuple(validating), tuple(test), tuple(left_out))
    _check(manifest, fold, column, validation)
    return fold


def _all_utterances(manifest: Manifest, validation: str, seed: int) -> Fold:
    """The fold that trains on everything, except a fraction for validation if one is wanted.

    Raises:
        UserError: a session or a speaker is wanted for validation, which depend on what is held out.
    """
    if validation != "none" and parse_fraction(validation) is None:
        raise UserError(
            f"--validation is {validation!r}, but --fold none holds nothing out. "
            "Expected a fraction such as 0.1, or none."
        )
    everything = range(len(manifest.utterances))
    chosen = _validation_part(manifest, [], list(everything), validation, seed, [])
    return Fold(0, "", tuple(i for i in everything if i not in chosen), tuple(sorted(chosen)), ())


def _official_parts(manifest: Manifest, validation: str) -> list[list[int]]:
    """The official train, dev and test parts; dev is used only with validation "session", and never for training."""
    if validation not in ("none", "session"):
        raise UserError(f"--validation is {validation!r}; --folds {SPLIT} expects session (the dev part) or none.")
    parts = [[i for i, u in enumerate(manifest.utterances) if u.session == name] for name in PARTS]
    return parts if validation == "session" else [parts[0], [], parts[2]]


def _without_words_of(manifest: Manifest, part: list[int], others: list[int]) -> tuple[list[int], list[int]]:
    """Split a part into the utterances whose words do not occur in `others`, and those whose words do."""
    words = {i: spoken_words(manifest.utterances[i].transcript) for i in (*part, *others)}
    taken = {words[i] for i in others} - {""}
    return [i for i in part if words[i] not in taken], [i for i in part if words[i] in taken]


def _check_transcribed(manifest: Manifest) -> None:
    missing = [u.utterance_id for u in manifest.utterances if not u.transcript]
    if missing:
        command = manifest.command_with("--drop-untranscribed")
        drop = f", or run {command}" if len(missing) < len(manifest.utterances) else ""
        raise UserError(
            f"--text-disjoint compares the words of all utterances, but {len(missing)} of {len(manifest.utterances)} "
            f"in {manifest.path} have no transcript ({first_few(missing)}). Leave the option out{drop}."
        )


def parse_fraction(validation: str) -> float | None:
    """The fraction in `--validation`, or None for "none", "session" and "speaker".

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


def _validation_part(
    manifest: Manifest, test: list[int], rest: list[int], validation: str, seed: int, units: Sequence[str]
) -> set[int]:
    """Choose the validation part from the rest; `units` are the sessions or groups of speakers, by position."""
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
    names = sorted(set(units), key=natural_order)
    place = names.index(units[test[0]]) + 1
    trained = {units[i] for i in rest}  # a fold can hold out several sessions
    following = next((name for name in (*names[place:], *names[:place]) if name in trained), None)
    block = [i for i in rest if units[i] == following]
    if validation == "speaker":
        speaker = min((utterances[i].speaker for i in block), key=natural_order, default=None)
        block = [i for i in rest if utterances[i].speaker == speaker]
    return set(block)


def _check(manifest: Manifest, fold: Fold, column: str, validation: str) -> None:
    for name, part in (("training", fold.train), ("validation", fold.validation), ("held-out", fold.test)):
        if not part and (name != "validation" or validation != "none"):
            why = f" (--text-disjoint leaves out {len(fold.left_out)} utterances)" if fold.left_out else ""
            raise _UnusableError(
                f"Fold {fold.number}: the {name} part is empty{why}. Choose another --validation or --folds"
                f"{', or omit --text-disjoint' if why else ''}."
            )
    if column in (SPLIT, RANDOM):
        return  # they may share speakers; the report lists them with `fold_overlap.shared_speakers`
    parts = {"training": fold.train, "held-out": fold.test}
    if validation in ("session", "speaker"):
        parts["validation"] = fold.validation
    part_of: dict[str, str] = {}  # speaker → the part that contains it
    for name, part in parts.items():
        speakers = {manifest.utterances[i].speaker for i in part}
        shared = sorted(speakers & part_of.keys())
        if shared:
            raise _UnusableError(
                f"Fold {fold.number}: speaker {', '.join(shared[:5])} is in both the {part_of[shared[0]]} part and the "
                f"{name} part, so the result would be invalid. {_remedy(manifest, fold, column, name)}"
            )
        part_of.update(dict.fromkeys(speakers, name))


def _remedy(manifest: Manifest, fold: Fold, column: str, part: str) -> str:
    """Say how to keep a speaker in one part of a fold."""
    if part == "validation":
        return "Give each speaker one session, or choose another --validation."
    groups = min(USUAL_FOLDS, most_folds(manifest))
    grouped = f", or --folds {groups}, which groups the speakers" if groups > 1 else ""
    official = f", or --folds {SPLIT} for the official train, dev and test" if fold.held_out in PARTS else ""
    return f"Give each speaker one {fold_unit(column)}, or use --folds speaker{grouped}{official}."


def missing_classes(manifest: Manifest, part: Iterable[int]) -> list[str]:
    """The classes of which a part of a fold, given by positions, has no utterance."""
    present = {manifest.label_map.class_of(manifest.utterances[i].emotion) for i in part}
    return [label for label in manifest.labels if label not in present]


def natural_order(value: str) -> tuple[list[tuple[int, str]], str]:
    """A sort key that compares the numbers in names by value: "s2" before "s10"."""
    parts = [
        (int(part), "") if part.isdecimal() and len(part) < 4300 else (-1, part)  # the longest that `int` accepts
        for part in re.split(r"(\d+)", value)
    ]
    return parts, value  # the text itself orders "1" and "01"
