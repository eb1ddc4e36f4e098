"""Import the predictions of a system that was trained elsewhere.

Files are read as they are (`prediction_files.py`). Columns and classes are recognised by their usual names
(`prediction_columns.py`, `class_names.py`), utterances by their ids or the names of the recordings
(`known_utterances.py`). All faults of a file are in one message.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from mmer_pipeline.corpora.folds import natural_order
from mmer_pipeline.errors import UserError, shortened
from mmer_pipeline.names import as_title, fault_of_title
from mmer_pipeline.report.class_names import ClassNames, class_number, names_of, numbered, numbers_by_truth
from mmer_pipeline.report.import_faults import Faults
from mmer_pipeline.report.import_notes import NO_IDS, coverage, other_folds, unlike
from mmer_pipeline.report.known_utterances import Known, KnownUtterances
from mmer_pipeline.report.prediction_columns import SCORES, Columns, recognise
from mmer_pipeline.report.prediction_files import PredictionFile, Record, Value, read_prediction_file
from mmer_pipeline.report.probabilities import predicted_class, read_probabilities
from mmer_pipeline.report.run_results import HeldOut, SystemResults
from mmer_pipeline.scoring.metrics import Floats

MOST_CHARACTERS = 1000  # of an id, a name or a class
ONE_PART = "all"  # the held-out value if neither our runs nor the file have folds
# Names of files that say nothing about the system; their folder does.
GENERIC = re.compile(
    r"(test_?)?(predictions?|preds?|results?|outputs?|test|eval(uation)?|scores?|logits|emotions?)", re.IGNORECASE
)


@dataclass(frozen=True)
class Import:
    """A file of predictions and what the user says about it."""

    path: Path
    name: str | None = None  # of the system; None: taken from the file
    columns: Mapping[str, str] = field(default_factory=dict)  # role → the file's column, for those not to be guessed


def name_of(source: Import, taken: Iterable[str]) -> str:
    """Return the name of an imported system: the given one, or that of its file, or of the folder of "results.csv".

    A name taken from the file that is in use already gets the folder's name before it, and then a number.

    Raises:
        UserError: the given name is already used, or cannot be shown.
    """
    taken = set(taken)
    if source.name is not None:
        if fault := fault_of_title(source.name):
            raise UserError(f"{source.path}: {fault}. Choose another --name.")
        if source.name in taken:
            raise UserError(
                f"The name {source.name} is already used by another system in this report. Choose another --name."
            )
        return source.name
    stem, folder = as_title(source.path.stem), as_title(source.path.absolute().parent.name)
    base = folder if GENERIC.fullmatch(stem) and folder else stem
    candidates = [base, f"{folder}/{stem}", *(f"{base}-{number}" for number in range(2, len(taken) + 3))]
    return next(name for name in candidates if name not in taken)


def read_imports(
    imports: Sequence[Import], systems: Sequence[SystemResults], labels: Sequence[str], taken: Iterable[str]
) -> tuple[list[SystemResults], list[str], list[str]]:
    """Read imports for a report that has our `systems`; return theirs, the classes, and notes for its reader.

    Raises:
        UserError: a file cannot be read, or has faults; the message has all of them.
    """
    if not imports:
        return [], list(labels), []
    known, found, notes, names = KnownUtterances.of(systems), [], [], set(taken)
    for source in imports:
        name = name_of(source, names)
        names.add(name)
        system, labels, said = read_import(name, source, labels, known)
        found.append(system)
        notes += said
        if not system.names_utterances and len(systems) + len(imports) > 1:
            notes.append(NO_IDS.format(name=name))
    return found, list(labels), notes


def read_import(
    name: str, source: Import, labels: Sequence[str], known: KnownUtterances
) -> tuple[SystemResults, list[str], list[str]]:
    """Make a system from a file; return it with the classes and notes, one sentence each.

    Fold, speaker and dialogue of an utterance come from our runs if they have it, otherwise from the file. Its truth
    comes from our runs if the file leaves it empty. Without `labels`, the file's own classes are taken. A file that
    does not say which utterance a row is about is scored, but not matched with our runs by the order of its rows: equal
    truths do not show that the utterances are equal.

    Raises:
        UserError: the file cannot be read, or has faults; the message has all of them.
    """
    file = read_prediction_file(source.path)
    faults = Faults(source.path)
    if long := [column for column in file.columns if len(column) > MOST_CHARACTERS]:
        raise UserError(
            f"{source.path}: the column {shortened(repr(long[0]))} has a name of {len(long[0]):,} characters, expected "
            f"at most {MOST_CHARACTERS:,}."
        )
    try:
        columns = recognise(file.columns, source.columns)
    except UserError as error:
        raise UserError(f"{source.path}: {error}") from None
    _check_columns(file, columns, known)
    _check_lengths(file, columns, faults)
    names_utterances = bool({"utterance_id", "audio"} & columns.of.keys())
    if names_utterances:
        ids, matched = _utterances(file, columns, known, faults)
    else:  # ids that no other system has, so that none is compared with it
        ids, matched = [f"{name}: {record.where}" for record in file.records], ""
    labels = list(labels) or _own_classes(file, columns)
    names, how = _names(file, columns, labels, ids, known)
    probabilities, left_out = read_probabilities(file, columns, names, labels, faults)
    ours = known if names_utterances else KnownUtterances()
    rows = [_row(record, columns, name_, names, labels, ours, faults, probabilities is not None)
            for record, name_ in zip(file.records, ids, strict=True)]  # fmt: skip
    faults.raise_if_any()
    kept = [number for number, row in enumerate(rows) if row is not None]
    chosen = [row for row in rows if row is not None]
    if not chosen:
        raise UserError(
            f"{source.path}: none of its {len(rows):,} utterances is in our runs: {ids[0]!r} is not like "
            f"{next(iter(known.utterances))!r}. Expected utterance ids, or the names of the recordings."
        )
    held_out = _held_out(
        [ids[number] for number in kept], chosen, probabilities[kept] if probabilities is not None else None
    )
    held_outs = {row.place.fold: row.place.held_out for row in chosen}
    system = SystemResults(name, (), source.path, held_outs, held_out, names_utterances=names_utterances)
    read_as = [part for part in (columns.described(), how, matched) if part]
    notes = [f"{name} was read with {'; '.join(read_as)}."] if read_as else []
    notes += [f"{name}: {note}." for note in file.notes]
    notes += [f"{name}: {left_out}"] if left_out else []
    notes += coverage(name, held_out, known, len(rows) - len(kept)) if names_utterances else []
    folds = [(_text(file.records[number], columns, "fold"), known.utterances.get(ids[number])) for number in kept]
    return system, labels, [*notes, *other_folds(name, folds), *unlike(name, held_out)]


@dataclass(frozen=True)
class _Row:
    """The content of a record in terms of the report."""

    truth: int
    predicted: int | None  # None: the most probable class
    place: Known


def _held_out(ids: Sequence[str], rows: Sequence[_Row], probabilities: Floats | None) -> HeldOut:
    """Join rows; `probabilities` `[N, C]` give the prediction of a row that names none."""
    predicted = [
        row.predicted if row.predicted is not None else predicted_class(probabilities, at)
        for at, row in enumerate(rows)
    ]
    return HeldOut(
        utterance_ids=tuple(ids),
        folds=tuple(row.place.fold for row in rows),
        speakers=tuple(row.place.speaker for row in rows),
        clusters=tuple(row.place.cluster for row in rows),
        truth=np.array([row.truth for row in rows], dtype=np.int64),
        predicted=np.array(predicted, dtype=np.int64),
        probabilities=probabilities,
    )


def _check_columns(file: PredictionFile, columns: Columns, known: KnownUtterances) -> None:
    """Check that the file says which utterance a row is about, and what was predicted.

    Raises:
        UserError: it does not; the message names all columns that are missing.
    """
    missing = []
    of_classes = names_of([entry.name for entry in columns.classes], known.labels, known.corpus_labels).of.values()
    has_classes = any(entry.is_named for entry in columns.classes) or (known and set(of_classes) == set(known.labels))
    if not {"prediction", "scores"} & columns.of.keys() and not has_classes:
        missing.append("prediction")
    if "truth" not in columns.of and not known:
        missing.append("truth")
    elif not {"truth", "utterance_id", "audio"} & columns.of.keys():
        missing.append("utterance_id, or audio with the names of the recordings, or truth")
    if missing:
        raise UserError(
            f"{file.path}: missing columns: {'; '.join(missing)}. Found: {', '.join(file.columns)}. Columns of other "
            "names are given with --import-column, for example --import-column prediction=COLUMN."
        )


def _check_lengths(file: PredictionFile, columns: Columns, faults: Faults) -> None:
    """Check that no id, name or class is a text that no table can show.

    Raises:
        UserError: one is; the message has all of them.
    """
    for record in file.records:
        for role in columns.of:
            if role != SCORES and (length := len(_text(record, columns, role))) > MOST_CHARACTERS:
                faults.add(record.where, f"{role} has {length:,} characters, expected at most {MOST_CHARACTERS:,}")
    faults.raise_if_any()


def _utterances(
    file: PredictionFile, columns: Columns, known: KnownUtterances, faults: Faults
) -> tuple[list[str], str]:
    """Return the utterance id of every record, our own where it can be found, and how they were matched."""
    given = [role for role in ("utterance_id", "audio") if role in columns.of]
    ids, by_recording = [], 0
    seen: dict[str, str] = {}
    for record in file.records:
        utterance_id, audio = (_text(record, columns, role) for role in ("utterance_id", "audio"))
        name: str | None = utterance_id
        if name not in known.utterances:
            name = known.by_recording(audio) or known.by_recording(utterance_id)
            by_recording += name is not None
        if name is None:
            name = audio if audio in known.utterances else utterance_id or audio
        if not name:
            faults.add(record.where, f"{given[0]} is empty")
        elif seen.setdefault(name, record.where) != record.where:
            faults.add(record.where, f"{given[0]} {name!r} already appears in {seen[name]}")
        ids.append(name)
    return ids, f"{by_recording:,} utterances found by the names of their recordings" if by_recording else ""


def _own_classes(file: PredictionFile, columns: Columns) -> list[str]:
    """Return a file's classes: those of its config.json, of named columns, or all true ones, then predicted ones."""
    named = [entry.name for entry in columns.classes if entry.is_named and class_number(entry.name) is None]
    if file.classes or named:
        return list(file.classes.values()) or named
    occurring = [{_text(record, columns, role) for record in file.records} for role in ("truth", "prediction")]
    true = sorted(occurring[0] - {""}, key=natural_order)
    as_true = names_of(occurring[1], true, {})
    return true + sorted(occurring[1] - as_true.of.keys() - {""}, key=natural_order)


def _names(
    file: PredictionFile, columns: Columns, labels: Sequence[str], ids: Sequence[str], known: KnownUtterances
) -> tuple[ClassNames, str]:
    """Translate all names of classes in a file, and say how."""
    values = {_text(record, columns, role) for record in file.records for role in ("truth", "prediction")} - {""}
    headings = {entry.name for entry in columns.classes}
    are_numbers = all(class_number(value) is not None and value not in labels for value in values)
    numbers = dict(file.classes) if are_numbers else {}
    where = file.classes_from
    if are_numbers and not numbers:
        pairs = [
            (_text(record, columns, "truth"), known.labels[known.utterances[name].truth])
            for record, name in zip(file.records, ids, strict=True)
            if name in known.utterances
        ]
        numbers, where = numbers_by_truth([pair for pair in pairs if pair[0]]) or {}, "from the true classes"
    if not numbers:
        names = names_of([*sorted(values), *sorted(headings)], labels, known.corpus_labels)
        return names, ", ".join(
            f"{name} = {label}" for name, label in names.of.items() if name in values and name != label
        )
    ours = names_of(numbers.values(), labels, known.corpus_labels)
    translated = {number: ours.of[name] for number, name in numbers.items() if name in ours.of}
    names = numbered(translated, [*values, *headings, *map(str, translated)], where)
    return ClassNames({**names_of(headings, labels, known.corpus_labels).of, **names.of}), names.how


def _row(
    record: Record, columns: Columns, name: str, names: ClassNames, labels: Sequence[str], known: KnownUtterances,
    faults: Faults, has_probabilities: bool,
) -> _Row | None:  # fmt: skip
    """Read a record; None if it is not in our runs and has no fold, or has a fault."""
    where, ours = record.where, known.utterances.get(name)
    fold = _text(record, columns, "fold")
    if ours is None and known and not fold:
        return None
    truth, predicted = (_class(record, columns, role, names, labels, faults) for role in ("truth", "prediction"))
    if ours is not None and truth is not None and ours.truth != truth:
        said = _text(record, columns, "truth")
        meant = labels[truth] if said == labels[truth] else f"{labels[truth]} ({said!r})"
        faults.add(where, f"the truth of {name} is {meant}, but {labels[ours.truth]} in our runs",
                   f"Both must be scored against the same labels{known.label_map_line()}. Correct the file or the "
                   "label map; or give --import-column truth=, so that the file's truth is not read, but that of our "
                   "runs.")  # fmt: skip
    if not _text(record, columns, "truth"):
        truth = None if ours is None else ours.truth
        if ours is None:
            faults.add(where, f"truth is empty, and {'our runs do not have' if known else 'no run has'} this utterance",
                       "Fill in the truth, or remove the utterance." if known
                       else "Fill in the truth, or report the file together with a run of its corpus.")  # fmt: skip
    if not _text(record, columns, "prediction") and not has_probabilities:
        faults.add(where, "prediction is empty")
    if ours is None and fold and not (fold.isdecimal() and int(fold) > 0):
        faults.add(where, f"fold is {fold!r}, expected a positive integer")
        return None
    if truth is None:
        return None
    return _Row(truth, predicted, ours or _place(record, columns, name, fold))


def _place(record: Record, columns: Columns, name: str, fold: str) -> Known:
    """Make the fold, speaker and dialogue of an utterance that our runs lack from the file."""
    speaker = _text(record, columns, "speaker")
    number = int(fold) if fold else 1
    cluster = _text(record, columns, "dialogue") or speaker or name
    return Known(number, fold or ONE_PART, speaker, f"{number}/{cluster}", truth=-1)


def _class(
    record: Record, columns: Columns, role: str, names: ClassNames, labels: Sequence[str], faults: Faults
) -> int | None:
    text = _text(record, columns, role)
    if not text:
        return None
    label = names.translate(text)
    if label is None:
        faults.add(record.where, f"{role} is {text!r}, expected one of {', '.join(labels)}", _meaning_of(text))
        return None
    return labels.index(label)


def _meaning_of(value: str) -> str:
    """Say how to tell what a class number means."""
    if class_number(value) is None:
        return ""
    return (
        "Numbers need the names of their classes: put the config.json of the model, which has id2label, into the same "
        "folder, or add the true classes as numbers."
    )


def _text(record: Record, columns: Columns, role: str) -> str:
    """Return the text of a record's cell; "" if it has none, or a list."""
    value: Value = record.cells.get(columns.of.get(role, ""), "") if role in columns.of else ""
    return value if isinstance(value, str) else ""
