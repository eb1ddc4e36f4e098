"""Import the predictions of a system that was trained elsewhere: a CSV file with the columns of predictions.csv."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mmer_pipeline.corpora.folds import natural_order
from mmer_pipeline.csv_tables import Row, check_unique, read_csv_rows
from mmer_pipeline.errors import UserError
from mmer_pipeline.report.run_results import HeldOut, SystemResults
from mmer_pipeline.runs import PREDICTION_COLUMNS, PROBABILITY_PREFIX

REQUIRED = ("utterance_id", "truth", "prediction")
SUM_TOLERANCE = 1e-3  # of the sum of a row's probabilities, which may be rounded
ONE_FOLD = "all"  # the held-out value if the file has no folds


@dataclass(frozen=True)
class Known:
    """The facts about an utterance that our own runs record, and that an imported file need not give."""

    fold: int
    held_out: str
    speaker: str
    cluster: str
    truth: int


def known_utterances(systems: Sequence[SystemResults]) -> dict[str, Known]:
    """Map each utterance id to what the first system that has it records."""
    known: dict[str, Known] = {}
    for system in systems:
        rows = system.held_out
        cells = zip(rows.utterance_ids, rows.folds, rows.speakers, rows.clusters, rows.truth.tolist(), strict=True)
        for name, fold, speaker, cluster, truth in cells:
            known.setdefault(name, Known(fold, system.held_outs[fold], speaker, cluster, truth))
    return known


def read_rows(path: Path) -> list[Row]:
    """Read the rows of a file of predictions.

    Raises:
        UserError: see `csv_tables.read_csv_rows`; also for an utterance id that is empty or appears twice.
    """
    if not path.exists():
        raise UserError(f"{path} does not exist. Expected a CSV file like a run's predictions.csv.")
    optional = [*(column for column in PREDICTION_COLUMNS if column not in REQUIRED), f"{PROBABILITY_PREFIX}CLASS"]
    rows = list(read_csv_rows(path, REQUIRED, optional))
    for where, cells in rows:
        if not cells["utterance_id"]:
            raise UserError(f"{where}: utterance_id is empty.")
    check_unique("utterance_id", ((where, cells["utterance_id"]) for where, cells in rows))
    return rows


def classes_of(rows: Sequence[Row]) -> list[str]:
    """Return a file's classes: those of its probability columns in order, or else all that occur, sorted."""
    columns = [name.removeprefix(PROBABILITY_PREFIX) for name in rows[0][1] if name.startswith(PROBABILITY_PREFIX)]
    occurring = {row[side] for _, row in rows for side in ("truth", "prediction")} - {""}  # a truth may be empty
    return columns or sorted(occurring, key=natural_order)


def read_import(
    name: str, path: Path, rows: Sequence[Row], labels: Sequence[str], known: Mapping[str, Known]
) -> tuple[SystemResults, list[str]]:
    """Make a system from a file's rows; return it with notes for the reader of the report, one sentence each.

    Fold, speaker and dialogue of an utterance come from our own runs if they have it, otherwise from the file. Its
    truth comes from our own runs if the file leaves it empty.

    Raises:
        UserError: an unknown class, a truth that is given nowhere or differs from ours, or invalid probabilities; the
            message names the line.
    """
    truth = np.array([_truth(where, row, labels, known) for where, row in rows], dtype=np.int64)
    predicted = np.array([_class(row, "prediction", where, labels) for where, row in rows], dtype=np.int64)
    places = [_place(where, row, known) for where, row in rows]
    probabilities = _probabilities(path, rows, labels)
    held_out = HeldOut(
        utterance_ids=tuple(row["utterance_id"] for _, row in rows),
        folds=tuple(place.fold for place in places),
        speakers=tuple(place.speaker for place in places),
        clusters=tuple(place.cluster for place in places),
        truth=truth,
        predicted=predicted,
        probabilities=probabilities,
    )
    held_outs = {place.fold: place.held_out for place in places}
    return SystemResults(name, (), path, held_outs, held_out), _notes(name, held_out, known)


def _truth(where: str, row: Mapping[str, str], labels: Sequence[str], known: Mapping[str, Known]) -> int:
    """Find the true class of an utterance: in the file, or else in our runs."""
    name = row["utterance_id"]
    ours = known.get(name)
    if not row["truth"]:
        if ours is not None:
            return ours.truth
        unknown = f"{name} is in none of our runs" if known else "there is no run to take it from"
        raise UserError(
            f"{where}: truth is empty, and {unknown}. Expected one of {', '.join(labels)}: fill in the column, "
            + ("or remove the utterance." if known else "or report the file together with a run of its corpus.")
        )
    number = _class(row, "truth", where, labels)
    if ours is not None and ours.truth != number:
        raise UserError(
            f"{where}: the truth of {name} is {labels[number]}, but {labels[ours.truth]} in our runs. "
            "Both must be scored against the same labels: correct the file, or map its labels first."
        )
    return number


def _class(row: Mapping[str, str], column: str, where: str, labels: Sequence[str]) -> int:
    if row[column] not in labels:
        raise UserError(f"{where}: {column} is {row[column]!r}, expected one of {', '.join(labels)}.")
    return labels.index(row[column])


def _place(where: str, row: Mapping[str, str], known: Mapping[str, Known]) -> Known:
    """Find the fold, speaker and dialogue of an utterance: in our runs, or else in the file."""
    name = row["utterance_id"]
    if name in known:
        return known[name]
    cell, speaker = row.get("fold", ""), row.get("speaker", "")
    if not cell and known:
        raise UserError(
            f"{where}: {name} is in none of our runs, and the file does not give its fold. "
            "Add a column `fold`, or remove the utterance."
        )
    if cell and not (cell.isdecimal() and int(cell) > 0):
        raise UserError(f"{where}: fold is {cell!r}, expected a positive integer.")
    fold = int(cell) if cell else 1
    cluster = row.get("dialogue") or speaker or name
    return Known(fold, cell or ONE_FOLD, speaker, f"{fold}/{cluster}", truth=-1)


def _probabilities(path: Path, rows: Sequence[Row], labels: Sequence[str]) -> np.ndarray | None:
    """Return the probabilities `[N, C]`, or None if the file has no columns for them."""
    columns = [name for name in rows[0][1] if name.startswith(PROBABILITY_PREFIX)]
    if not columns:
        return None
    wanted = [f"{PROBABILITY_PREFIX}{label}" for label in labels]
    if set(columns) != set(wanted):
        raise UserError(
            f"{path}: found the probability columns {', '.join(columns)}; expected {', '.join(wanted)}, or none."
        )
    return np.array([_distribution(row, wanted, where) for where, row in rows])


def _distribution(row: Mapping[str, str], columns: Sequence[str], where: str) -> list[float]:
    values = []
    for column in columns:
        try:
            value = float(row[column])
        except ValueError:
            value = math.nan
        if not (math.isfinite(value) and value >= 0):
            raise UserError(f"{where}: {column} is {row[column]!r}, expected a probability from 0 to 1.")
        values.append(value)
    if abs(sum(values) - 1) > SUM_TOLERANCE:
        raise UserError(f"{where}: the probabilities add up to {sum(values):g}, expected 1 (softmax?).")
    return values


def _notes(name: str, held_out: HeldOut, known: Mapping[str, Known]) -> list[str]:
    notes = []
    theirs = set(held_out.utterance_ids)
    if known and (more := len(theirs - set(known))):
        notes.append(
            f"{name} has predictions for {more} utterances that are in none of our runs; comparisons leave them out."
        )
    if fewer := len(set(known) - theirs):
        notes.append(f"{name} has no prediction for {fewer} utterances of our runs; comparisons leave them out.")
    if held_out.probabilities is not None:
        said = held_out.probabilities[np.arange(len(held_out.predicted)), held_out.predicted]
        if unlike := int((said < held_out.probabilities.max(axis=1)).sum()):
            notes.append(
                f"In {unlike} rows of {name} the prediction is not the most probable class. Scores use the "
                "prediction; reliability and ECE use the most probable class."
            )
    return notes
