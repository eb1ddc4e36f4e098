"""Read a table that a person made: comma, semicolon or tab, UTF-8, UTF-16 or cp1252, or the sheet of a workbook.

Rows are numbered as a spreadsheet shows them: the header is row 1, and blank rows count. (The pipeline's own files are
read by `csv_tables`, which is strict.)
"""

import codecs
import csv
import io
import re
import struct
import unicodedata
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from mmer_pipeline import files
from mmer_pipeline.csv_tables import check_columns, plain_cell
from mmer_pipeline.errors import UserError

TEXT_SUFFIXES = (".csv", ".tsv", ".txt")
WORKBOOK_SUFFIXES = (".xlsx", ".xlsm")
SUFFIXES = (*TEXT_SUFFIXES, *WORKBOOK_SUFFIXES)
DELIMITERS = ",;\t"
FALLBACK = "cp1252"  # of Windows in Western Europe and America, where a spreadsheet exports CSV in it
MOST_FAULTS = 20  # that a message lists
LONGEST_FAULT = 1_000  # characters that a message shows of each
# Of a workbook: what it may contain, and what is read into memory.
MOST_ROWS = 1_048_576
MOST_CELLS = 20_000_000
MOST_UNPACKED_BYTES = 1 << 28
# What openpyxl raises if parts of a workbook are missing, damaged or of another form than expected.
_BROKEN_WORKBOOK = (
    *(zipfile.BadZipFile, zlib.error, EOFError, struct.error, SyntaxError, NotImplementedError, RuntimeError),
    *(LookupError, ValueError, TypeError, AttributeError, ArithmeticError, AssertionError, RecursionError),
)
_SEPARATOR_LINE = re.compile(r'\A"?sep=([,;\t|])"?\r?\n')  # spreadsheets write and hide it


@dataclass(frozen=True)
class Row:
    """One row of a table."""

    place: str  # for messages: "row 7"
    cells: Mapping[str, str]  # column → cell, without white space around it


@dataclass(frozen=True)
class Table:
    """A table with its header; blank rows and columns are left out."""

    source: Path
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()  # how it was read, where that was not plain
    faults: tuple[str, ...] = ()  # rows that do not fit the header: "row 7: expected 9 cells, found 8"


def read_table(path: Path) -> Table:
    """Read a table of any of these forms.

    Raises:
        UserError: it cannot be read, has another form, no rows, or a header with two columns of the same name.
    """
    if path.suffix.lower() in WORKBOOK_SUFFIXES:
        notes, rows = _workbook(path)
    elif path.suffix.lower() in TEXT_SUFFIXES:
        notes, rows = _text(path)
    else:
        raise UserError(f"{path} is not a table. Expected a file {', '.join(SUFFIXES)}; save it as one of these.")
    return _table(path, rows, notes)


def refuse_faults(source: Path, faults: Sequence[str], advice: str = "") -> None:
    """Raise one error that lists the faults of a table, if there are any, and ends with the advice.

    Raises:
        UserError: there are; the first 20 are listed, the others counted.
    """
    if not faults:
        return
    if len(faults) == 1:
        raise UserError(f"{source}, {faults[0][:LONGEST_FAULT]}. {advice}".rstrip())
    lines = [f"  {fault[:LONGEST_FAULT]}" for fault in faults[:MOST_FAULTS]]
    if len(faults) > MOST_FAULTS:
        lines.append(f"  and {len(faults) - MOST_FAULTS} more faults")
    raise UserError(f"{source} has {len(faults)} faults:\n" + "\n".join([*lines, advice]).rstrip())


def _table(path: Path, numbered: Iterable[tuple[int, list[str]]], notes: Sequence[str]) -> Table:
    filled = ((number, cells) for number, cells in numbered if any(cells))
    _, header = next(filled, (0, []))
    if not header:
        raise UserError(f"{path} is empty. Expected a header and one row per utterance.")
    header = [unicodedata.normalize("NFC", column) for column in header]
    check_columns(path, header)
    while header and not header[-1]:
        header.pop()
    rows, faults = [], []
    for number, cells in filled:
        if len(cells) < len(header) or any(cells[len(header) :]):
            faults.append(f"row {number}: expected {len(header)} cells, found {len(cells)}")
            continue
        named = {column: cell for column, cell in zip(header, cells, strict=False) if column}
        rows.append(Row(f"row {number}", named))
    if not (rows or faults):
        raise UserError(f"{path} has no rows below its header.")
    return Table(path, tuple(filter(None, header)), tuple(rows), tuple(notes), tuple(faults))


# Text.


def _text(path: Path) -> tuple[list[str], Iterable[tuple[int, list[str]]]]:
    """Notes on how the file was read, and its rows with their numbers."""
    text, encoding = _decoded(path)
    marked = _SEPARATOR_LINE.match(text)
    if marked:
        text = text[marked.end() :]
    header = re.split(r"[\r\n]", text.lstrip(), maxsplit=1)[0]
    delimiter = marked[1] if marked else max(DELIMITERS, key=header.count)
    notes = []
    if encoding == FALLBACK:
        notes.append(
            f"{path.name} is not UTF-8, so it was read as {FALLBACK} (Windows, Western Europe); if names or words look "
            "wrong, save it as CSV in UTF-8"
        )
    return notes, _text_rows(path, text, delimiter)


def _text_rows(path: Path, text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    number = 0
    try:
        for number, cells in enumerate(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True), 1):
            yield number, [plain_cell(cell.strip()).strip() for cell in cells]
    except csv.Error as error:
        raise UserError(
            f"{path}, row {number + 1}: not CSV ({error}). Check the quotation marks there, or export the table again."
        ) from None


def _decoded(path: Path) -> tuple[str, str]:
    """The text of a file and its encoding: by its mark, else UTF-8, else cp1252."""
    files.check_is_file(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}. Expected a table.") from None
    marked = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    for encoding in ("utf-16",) if marked else ("utf-8-sig", FALLBACK):
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\0" not in text:
            return text, encoding
    raise UserError(
        f"{path} is not text in UTF-8, UTF-16 with a byte order mark, or {FALLBACK}. Save the table as CSV in UTF-8, "
        "or as .xlsx."
    )


# Workbooks.


def _workbook(path: Path) -> tuple[list[str], Iterable[tuple[int, list[str]]]]:
    """Notes on which sheet was read, and its rows with their numbers."""
    import openpyxl

    files.check_is_file(path)
    try:
        with path.open("rb") as stream:
            _check_unpacked(path, stream)
            workbook = openpyxl.load_workbook(stream, read_only=True, data_only=True)
            sheets = {sheet.title: _sheet(path, sheet) for sheet in workbook.worksheets}
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}. Expected a workbook.") from None
    except _BROKEN_WORKBOOK as error:
        detail = f"{type(error).__name__}: {error}"
        raise UserError(f"{path} is not an .xlsx workbook ({detail}). Save it again as .xlsx or CSV.") from None
    filled = [title for title, rows in sheets.items() if rows]
    if not filled:
        return [], []
    notes = []
    if len(filled) > 1:
        notes.append(
            f"the sheet {filled[0]!r} of {path.name} was read, not {', '.join(map(repr, filled[1:]))}; "
            "to read another, save it as CSV"
        )
    rows = sheets[filled[0]]
    width = len(rows[0][1])  # of the header
    if len(rows) * width > MOST_CELLS:
        raise UserError(
            f"{path}: the sheet {filled[0]!r} has {len(rows):,} rows and {width:,} columns, expected at most "
            f"{MOST_CELLS:,} cells. Keep the columns of the utterances."
        )
    return notes, [(number, cells + [""] * (width - len(cells))) for number, cells in rows]


def _check_unpacked(path: Path, stream: BinaryIO) -> None:
    """Refuse a workbook that is small, but very large once unpacked."""
    with zipfile.ZipFile(stream) as archive:
        size = sum(part.file_size for part in archive.infolist())
    if size > MOST_UNPACKED_BYTES:
        raise UserError(
            f"{path} has {size:,} bytes when unpacked, expected at most {MOST_UNPACKED_BYTES:,}. Save the table as CSV."
        )
    stream.seek(0)


def _sheet(path: Path, sheet: Any) -> list[tuple[int, list[str]]]:
    """The filled rows of a sheet with their numbers, each up to its last filled cell."""
    sheet.reset_dimensions()  # some programs state wrong ones
    rows = []
    for number, values in enumerate(sheet.iter_rows(values_only=True), 1):
        if number > MOST_ROWS:
            raise UserError(f"{path}: the sheet {sheet.title!r} has more than {MOST_ROWS:,} rows. Save it again.")
        cells = [_cell(value) for value in values]
        while cells and not cells[-1]:
            cells.pop()
        if cells:
            rows.append((number, cells))
    return rows


def _cell(value: Any) -> str:
    """A cell's value as text: whole numbers without a decimal point, as the spreadsheet shows them."""
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()
