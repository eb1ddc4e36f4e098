"""Read files of predictions, as other programs write them, as records: tables, JSON and JSON lines.

A record has one utterance. What `pipeline("audio-classification")` of transformers returns for it, a list of
`{"label": …, "score": …}`, becomes a prediction and a probability for each class.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from mmer_pipeline.corpora.tables import read_table, refuse_faults
from mmer_pipeline.errors import UserError
from mmer_pipeline.report.prediction_columns import PROBABILITY

CONFIG = "config.json"  # of a Hugging Face model; its id2label names the classes
_ROWS = ("predictions", "results", "rows", "data", "utterances")  # keys of a JSON object that hold all records

Value = str | list[float]


class Record(NamedTuple):
    """One utterance of a file."""

    where: str  # for messages: "row 7" of a table, or "entry 7" of a JSON list
    cells: dict[str, Value]  # column → text, or the numbers of a list


@dataclass(frozen=True)
class PredictionFile:
    """A file that was read."""

    path: Path
    columns: tuple[str, ...]
    records: tuple[Record, ...]
    classes: Mapping[int, str]  # number of a class → name, as the file or the model's config.json says; {}: unknown
    classes_from: str = ""  # the file that says it
    notes: tuple[str, ...] = ()  # how a table was read, where that was not plain


def read_prediction_file(path: Path) -> PredictionFile:
    """Read a file of predictions, and the names of classes from a `config.json` beside it.

    Raises:
        UserError: the file is missing, cannot be read, or is neither a table nor JSON; rows of the wrong length, all of
            which are named.
    """
    text = _json_text(path)
    notes: tuple[str, ...] = ()
    classes: dict[int, str] = {}
    if text is None:
        table = read_table(path)
        refuse_faults(path, table.faults)
        notes = table.notes
        records = [Record(row.place, {name: _cell(cell) for name, cell in row.cells.items()}) for row in table.rows]
    else:
        records, classes = _json(path, text)
        if not records:
            raise UserError(f"{path} has no entries.")
    where = path.name if classes else CONFIG
    columns = dict.fromkeys(name for record in records for name in record.cells)
    return PredictionFile(path, tuple(columns), tuple(records), classes or _config_beside(path), where, notes)


def _json_text(path: Path) -> str | None:
    """Return the text of a file that is JSON by its first character; None if it is a table."""
    if not path.exists():
        raise UserError(f"{path} does not exist. Expected a file of predictions: a table, JSON or JSON lines.")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}. Expected a table or a JSON file.") from None
    text = data.decode(json.detect_encoding(data), errors="replace")
    return text if text.lstrip()[:1] in ("[", "{") else None


def _cell(text: str) -> Value:
    """Read a cell; "[0.1, 0.9]", or "[0.1 0.9]" as NumPy writes it, is a list of numbers."""
    text = text.strip()
    if text.startswith("[") and text.endswith("]"):
        try:
            return [float(number) for number in text.strip("[]").replace(",", " ").split()]
        except ValueError:
            pass
    return text


def _json(path: Path, text: str) -> tuple[list[Record], dict[int, str]]:
    """Read a JSON list, a JSON object of records, or one JSON object a line."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        try:
            value = [json.loads(line) for line in text.splitlines() if line.strip()]
        except json.JSONDecodeError:
            raise UserError(f"{path} is not JSON: {error}. Expected a list of objects, or one object a line.") from None
    classes: dict[int, str] = {}
    if isinstance(value, dict):
        classes = _id2label(value)
        held = next((value[key] for key in _ROWS if isinstance(value.get(key), list)), None)
        is_record = any(_is_scores(entry) for entry in value.values()) and held is None and "file" in value
        entries = held if held is not None else [value] if is_record else _by_name(value)
    else:
        entries = value
    return [Record(f"entry {number}", _cells(path, number, entry)) for number, entry in enumerate(entries, 1)], classes


def _by_name(value: Mapping[str, Any]) -> list[Any]:
    """Turn an object of recording → result into records."""
    return [
        {"file": name, **(entry if isinstance(entry, dict) else {"prediction": entry})}
        for name, entry in value.items()
        if name != "id2label"
    ]


def _cells(path: Path, number: int, entry: Any) -> dict[str, Value]:
    if isinstance(entry, list) and len(entry) == 2 and isinstance(entry[0], str):
        entry = {"file": entry[0], "prediction": entry[1]}
    if not isinstance(entry, dict):
        raise UserError(
            f"{path}, entry {number}: expected an object with the recording and its prediction, such as "
            '{"file": "a.wav", "prediction": "happy"}, found '
            f"{'a list of labels without a recording' if _is_scores(entry) else type(entry).__name__}."
        )
    cells: dict[str, Value] = {}
    for name, value in entry.items():
        if _is_scores(value):
            cells |= dict(_of_pipeline(value))
        else:
            cells[str(name)] = _plain(value)
    return cells


def _is_scores(value: Any) -> bool:
    """Whether a value is a list of `{"label": …, "score": …}`."""
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(item, dict) and {"label", "score"} <= item.keys() for item in value)
    )


def _of_pipeline(value: list[dict[str, Any]]) -> Iterator[tuple[str, Value]]:
    yield "prediction", str(max(value, key=lambda item: float(item["score"]))["label"])
    for item in value:
        yield f"{PROBABILITY}_{item['label']}", str(item["score"])


def _plain(value: Any) -> Value:
    if isinstance(value, list) and value and all(isinstance(item, int | float) for item in value):
        return [float(item) for item in value]
    return "" if value is None else str(value).strip()


def _config_beside(path: Path) -> dict[int, str]:
    config = path.with_name(CONFIG)
    try:
        value = json.loads(config.read_text(encoding="utf-8")) if config.is_file() and config != path else {}
    except (OSError, ValueError):
        return {}
    return _id2label(value) if isinstance(value, dict) else {}


def _id2label(value: Mapping[str, Any]) -> dict[int, str]:
    found = value.get("id2label")
    if not isinstance(found, dict) or not all(str(key).isdecimal() for key in found):
        return {}
    return {int(key): str(name) for key, name in found.items()}
