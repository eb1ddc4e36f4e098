"""A database in audformat, audb's form: `db.yaml` and a table `db.NAME.csv` or `.parquet` per table.

Specification: https://audeering.github.io/audformat. A filewise table has a row per file, a segmented one also `start`
and `end`. Columns that another table holds for the same file or segment, such as the speaker, are joined. A scheme may
name its labels, such as the sentences behind codes. The package audformat is not needed.
"""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from mmer_pipeline.corpora.columns import match_columns
from mmer_pipeline.corpora.readers.folder_walk import contents
from mmer_pipeline.corpora.readers.parquet_rows import parquet_rows
from mmer_pipeline.corpora.readers.reader_interface import ReaderOptions, Reading
from mmer_pipeline.corpora.table_utterances import read_utterances_of
from mmer_pipeline.corpora.tables import Row, Table, read_table, refuse_faults
from mmer_pipeline.corpora.utterances import SHOWN
from mmer_pipeline.csv_tables import LISTED
from mmer_pipeline.errors import UserError, first_few

HEADER = "db.yaml"
INDEX = ("file", "start", "end")
_NO_TIME = ("", "NaT")
_BEGINNING = re.compile(r"(?:0 days)?[ 0:.]*")  # of a file, as pandas and Parquet write it
Key = tuple[str, ...]


def read_audformat(root: Path, options: ReaderOptions) -> Reading:
    """Read a database: the rows of the tables that have an emotion, except those without one, which a note counts.

    Raises:
        UserError: there is no header or table, no table has an emotion or two give different ones, or see
            `read_utterances_of`.
    """
    path = root / HEADER
    if not path.is_file():
        raise UserError(f"{root} is not an audformat database: there is no {HEADER}. Found: {contents(root)}.")
    header = _header(path)
    faults: list[str] = []
    read = {
        name: _rows(root, name, _entries(path, table, "columns"), _entries(path, header, "schemes"), faults)
        for name, table in _entries(path, header, "tables").items()
    }
    refuse_faults(root, faults)
    emotion, names = _emotion_tables(read, options, path)
    cells: dict[Key, dict[str, str]] = {}
    for name in names:
        for key, row in read[name].items():
            known = cells.setdefault(key, {})
            if emotion in row and known.get(emotion, row[emotion]) != row[emotion]:
                raise UserError(
                    f"{root}: tables {', '.join(names)} give {key[0][:SHOWN]} the emotions "
                    f"{known[emotion][:SHOWN]} and {row[emotion][:SHOWN]}."
                )
            known.update(row)
    unlabelled = [key for key, row in cells.items() if emotion not in row]
    cells = {key: row for key, row in cells.items() if emotion in row}
    notes = (
        [f"rows without an emotion ({emotion}), left out: {len(unlabelled)} (such as {' '.join(unlabelled[0])})"]
        if unlabelled
        else []
    )
    for name, other in read.items():
        if name not in names:
            for key, known in cells.items():
                for column, value in {**other.get(key[:1], {}), **other.get(key, {})}.items():
                    known.setdefault(column, value)
    columns = tuple(dict.fromkeys([*INDEX, *(column for row in cells.values() for column in row)]))
    rows = tuple(
        Row(" ".join(key), {**row, **dict(zip(INDEX, (*key, "", ""), strict=False))}) for key, row in cells.items()
    )
    given = {"audio": "file", "emotion": emotion}
    given |= {"start_seconds": "start", "end_seconds": "end"} if any(len(key) > 1 for key in cells) else {}
    used = columns if "start_seconds" in given else tuple(c for c in columns if c not in INDEX[1:])
    table = Table(root, used, rows, tuple(notes))
    reading = read_utterances_of(table, root, replace(options, columns={**given, **options.columns}))
    own_name = header.get("name")
    return replace(reading, name=own_name if isinstance(own_name, str) and own_name else reading.name)


def _header(path: Path) -> dict[str, Any]:
    import yaml

    try:
        header = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
        if not isinstance(header, dict):
            raise TypeError(f"expected entries such as tables, found {type(header).__name__}")
        return {"tables": header["tables"], **header}
    except (yaml.YAMLError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise UserError(
            f"{path} is not the header of an audformat database ({type(error).__name__}: {str(error)[:SHOWN]})."
        ) from None


def _entries(path: Path, owner: Any, name: str) -> dict[str, dict[str, Any]]:
    """The entries below a name in the header, of which each has entries itself; none if there is no such name."""
    entries = owner.get(name) or {}
    if not (
        isinstance(entries, dict)
        and all(isinstance(key, str) and isinstance(entry or {}, dict) for key, entry in entries.items())
    ):
        raise UserError(f"{path}: `{name}` is not of the form that an audformat database has: expected named entries.")
    return {key: entry or {} for key, entry in entries.items()}


def _emotion_tables(
    read: dict[str, dict[Key, dict[str, str]]], options: ReaderOptions, path: Path
) -> tuple[str, list[str]]:
    """The column of the emotion, and the tables that have it."""
    columns = list(dict.fromkeys(column for rows in read.values() for row in rows.values() for column in row))
    wanted = {"emotion": options.columns["emotion"]} if "emotion" in options.columns else {}
    emotion = match_columns(columns, wanted, path).of.get("emotion")
    if emotion is None:
        raise UserError(
            f"{path}: no table has an emotion. Columns: {first_few(columns, LISTED) or 'none'}. "
            "Name one with --column emotion=COLUMN."
        )
    return emotion, [name for name, rows in read.items() if any(emotion in row for row in rows.values())]


def _rows(
    root: Path, name: str, columns: dict[str, Any], schemes: dict[str, dict[str, Any]], faults: list[str]
) -> dict[Key, dict[str, str]]:
    """File, and start and end of a segment → column → value of a table; rows that do not fit it go to `faults`."""
    if "/" in name or "\\" in name or "\0" in name:
        raise UserError(f"{root / HEADER}: the table {name[:SHOWN]!r} is a path, expected a name.")
    text, columnar = root / f"db.{name}.csv", root / f"db.{name}.parquet"
    if columnar.is_file():
        rows = list(parquet_rows(columnar))
    elif text.is_file():
        written = read_table(text)
        rows = [dict(row.cells) for row in written.rows]
        faults += [f"{text.name}, {fault}" for fault in written.faults]
    else:
        raise UserError(f"{root}: the table {name} is missing: expected {text.name} or {columnar.name}.")
    labels = {
        column: schemes[facts["scheme_id"]].get("labels")
        for column, facts in columns.items()
        if isinstance(facts.get("scheme_id"), str) and facts["scheme_id"] in schemes
    }
    found: dict[Key, dict[str, str]] = {}
    for number, row in enumerate(rows, start=1):
        if not row.get("file"):
            faults.append(f"table {name}, entry {number}: no file; the table has: {first_few(list(row))}")
            continue
        start, end = ("" if row.get(column, "") in _NO_TIME else row[column] for column in INDEX[1:])
        key: Key = (row["file"], start, end) if end or not _BEGINNING.fullmatch(start) else (row["file"],)
        values = {
            column: _named(labels.get(column), value) for column, value in row.items() if column not in INDEX and value
        }
        if found.setdefault(key, values) != values:
            faults.append(f"table {name}, entry {number}: {' '.join(key)} has two entries that differ")
    return found


def _named(labels: Any, value: str) -> str:
    """The text that a scheme's labels give a value, such as a sentence for its code; the value if they do not."""
    named = labels.get(value) if isinstance(labels, dict) else None
    return named if isinstance(named, str) else value
