"""Read files of predictions, as other programs write them, as records: CSV, JSON and JSON lines.

A record has one utterance. What `pipeline("audio-classification")` of transformers returns for it, a list of
`{"label": …, "score": …}`, becomes a prediction and a probability for each class.
"""

import csv
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from mmer_pipeline.errors import UserError
from mmer_pipeline.report.prediction_columns import PROBABILITY

CONFIG = "config.json"  # of a Hugging Face model; its id2label names the classes
SEPARATORS = ",;\t"
_ROWS = ("predictions", "results", "rows", "data", "utterances")  # keys of a JSON object that hold all records

Value = str | list[float]


class Record(NamedTuple):
    """One utterance of a file."""

    where: str  # for messages: "line 7", or "entry 7" of a JSON list
    cells: dict[str, Value]  # column → text, or the numbers of a list


@dataclass(frozen=True)
class PredictionFile:
    """A file that was read."""

    path: Path
    columns: tuple[str, ...]
    records: tuple[Record, ...]
    classes: Mapping[int, str]  # number of a class → name, as the file or the model's config.json says; {}: unknown
    classes_from: str = ""  # the file that says it


def read_prediction_file(path: Path) -> PredictionFile:
    """Read a file of predictions, and the names of classes from a `config.json` beside it.

    Raises:
        UserError: the file is missing, cannot be read, or is neither CSV nor JSON; rows of the wrong length, all of
            which are named.
    """
    text = _decode(path)
    is_json = text.lstrip()[:1] in ("[", "{")
    records, classes = _json(path, text) if is_json else (_csv(path, text), {})
    if not records:
        raise UserError(f"{path} has no {'entries' if is_json else 'rows below its header'}.")
    where = path.name if classes else CONFIG
    columns = dict.fromkeys(name for record in records for name in record.cells)
    return PredictionFile(path, tuple(columns), tuple(records), classes or _config_beside(path), where)


def _decode(path: Path) -> str:
    if not path.exists():
        raise UserError(f"{path} does not exist. Expected a file of predictions: CSV, JSON or JSON lines.")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}. Expected a CSV or JSON file.") from None
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not a UTF-8 CSV or JSON file: {error}. Save it as CSV, encoded in UTF-8.") from None


def _csv(path: Path, text: str) -> list[Record]:
    """Read comma-, semicolon- or tab-separated rows; blank lines are skipped."""
    first = text.partition("\n")[0]
    separator = max(SEPARATORS, key=first.count)
    records, wrong = [], []
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
        header = [name.strip() for name in next(reader, [])]
        for cells in filter(None, reader):
            where = f"line {reader.line_num}"
            if len(cells) != len(header):
                wrong.append(f"{where}: expected {len(header)} cells, found {len(cells)}")
            else:
                records.append(Record(where, {name: _cell(cell) for name, cell in zip(header, cells, strict=True)}))
    except csv.Error as error:
        raise UserError(f"{path} is not a CSV file: {error}. Save it as CSV, encoded in UTF-8.") from None
    if repeated := sorted({name for name in header if name and header.count(name) > 1}):
        raise UserError(f"{path}: column {', '.join(repeated)} appears twice. Keep one column of each name.")
    if wrong:
        raise UserError(f"{path}:\n  " + "\n  ".join(wrong) if len(wrong) > 1 else f"{path}, {wrong[0]}.")
    return records


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
