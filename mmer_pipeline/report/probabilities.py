"""Read the probabilities of classes from an imported file: columns of single classes, or a column of lists."""

import math
from collections.abc import Sequence

import numpy as np
from scipy.special import softmax

from mmer_pipeline.errors import shortened
from mmer_pipeline.report.class_names import ClassNames
from mmer_pipeline.report.import_faults import Faults
from mmer_pipeline.report.prediction_columns import PROBABILITY, SCORES, ClassColumn, Columns
from mmer_pipeline.report.prediction_files import PredictionFile
from mmer_pipeline.scoring.metrics import Floats

SUM_TOLERANCE = 1e-3  # of the sum of a row's probabilities, which may be rounded


def read_probabilities(
    file: PredictionFile, columns: Columns, names: ClassNames, labels: Sequence[str], faults: Faults
) -> tuple[Floats | None, str]:
    """Return the probabilities `[N, C]`, or None, and what a reader must know about them ("": nothing).

    Logits become probabilities by softmax. A column whose heading says only the class, and lists, may hold either:
    they are probabilities if all rows are.
    """
    lists = columns.of.get(SCORES) or columns.of.get("prediction", "")
    if any(isinstance(record.cells.get(lists), list) for record in file.records):
        return _of_lists(file, lists, names, labels, faults)
    chosen = [entry for entry in columns.classes if names.translate(entry.name) is not None]
    named = [entry for entry in columns.classes if entry.is_named]
    if {names.translate(entry.name) for entry in chosen} != set(labels) or len(chosen) != len(labels):
        if named and any(entry.column.lower().startswith(PROBABILITY) for entry in named):
            return _incomplete(file, named, labels, faults)
        return None, ""
    ordered = sorted(chosen, key=lambda entry: labels.index(str(names.translate(entry.name))))
    values = np.array([[_number(record.cells.get(entry.column, "")) for entry in ordered] for record in file.records])
    if all(entry.is_named and not entry.is_logit for entry in ordered):
        _check(file, ordered, values, faults)
        return values, ""
    return _normalised(values, is_logit=any(entry.is_logit for entry in ordered))


def predicted_class(probabilities: Floats | None, row: int) -> int:
    """Return the most probable class of a row; the first of equals."""
    assert probabilities is not None, "a record without a prediction has probabilities"
    return int(probabilities[row].argmax())


def _of_lists(
    file: PredictionFile, column: str, names: ClassNames, labels: Sequence[str], faults: Faults
) -> tuple[Floats | None, str]:
    """Read a column of lists, in the order of the class numbers."""
    order = [names.translate(str(number)) for number in range(len(labels))]
    if sorted(map(str, order)) != sorted(labels):
        faults.add("all rows", f"{column} has one number per class, and the order of the classes is unknown",
                   "Put the config.json of the model, with its id2label, next to the file.")  # fmt: skip
        return None, ""
    lengths = [len(cell) if isinstance(cell := record.cells.get(column), list) else 0 for record in file.records]
    for record, length in zip(file.records, lengths, strict=True):
        if length != len(labels):
            faults.add(record.where, f"{column} has {length} numbers, expected {len(labels)}")
    if set(lengths) != {len(labels)}:
        return None, ""
    values = np.array([record.cells[column] for record in file.records], dtype=np.float64)
    return _normalised(values[:, [order.index(label) for label in labels]], is_logit="logit" in column.lower())


def _normalised(values: Floats, *, is_logit: bool) -> tuple[Floats | None, str]:
    """Take probabilities as they are, and logits through softmax; leave out what is neither."""
    if not np.isfinite(values).all():
        return None, "its columns of classes are not all numbers, and are not used."
    if not is_logit and (values >= 0).all() and (np.abs(values.sum(axis=1) - 1) <= SUM_TOLERANCE).all():
        return values, ""
    if is_logit or (values < 0).any():
        return softmax(values, axis=1), "its scores are not probabilities; they were taken as logits (softmax)."
    return None, "its scores do not add up to 1, and are not used as probabilities."


def _incomplete(
    file: PredictionFile, named: Sequence[ClassColumn], labels: Sequence[str], faults: Faults
) -> tuple[None, str]:
    """Note columns that are not exactly those of our classes; a pipeline with few `top_k` gives some of them."""
    found = [entry.column for entry in named]
    if file.records[0].where.startswith("entry") and all(entry.name for entry in named):
        return None, f"it has scores for {', '.join(entry.name for entry in named)} only, which are not used."
    expected = ", ".join(f"{PROBABILITY}_{label}" for label in labels)
    faults.add("header", f"found the probability columns {', '.join(found)}; expected {expected}, or none")
    return None, ""


def _check(file: PredictionFile, ordered: Sequence[ClassColumn], values: Floats, faults: Faults) -> None:
    for record, row in zip(file.records, values, strict=True):
        wrong = [
            f"{entry.column} is {shortened(repr(record.cells.get(entry.column, '')))}, expected a probability (0 to 1)"
            for entry, value in zip(ordered, row.tolist(), strict=True)
            if not (math.isfinite(value) and value >= 0)
        ]
        if not wrong and abs(row.sum() - 1) > SUM_TOLERANCE:
            wrong = [f"the probabilities add up to {row.sum():g}, expected 1 (softmax?)"]
        for fault in wrong:
            faults.add(record.where, fault)


def _number(cell: object) -> float:
    """Read a number, also with a decimal comma; NaN if it is none."""
    try:
        return float(str(cell).strip().replace(",", "."))
    except ValueError:
        return math.nan
