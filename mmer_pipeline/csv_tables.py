"""Write CSV files, and read those that a person may have written, with the file and line in every error.

A spreadsheet runs a cell that begins with "=" as a formula, though it may come from somebody else's corpus. Such cells
are written with an apostrophe before them, as spreadsheets themselves do, and read without it.
"""

import csv
import io
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from mmer_pipeline import files
from mmer_pipeline.errors import UserError, first_few

csv.field_size_limit(1 << 30)  # characters of a cell; Python's own limit is that of a transcript of three hours
LISTED = 40  # columns that a message lists
# What a spreadsheet takes for a formula; a number with a sign is none. Apostrophes before it may be in the text itself.
_FORMULA = re.compile(r"'*(?![+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\Z)[=+\-@\t]")


class Row(NamedTuple):
    """One row of a CSV file."""

    where: str  # for messages: "FILE, line 7"
    cells: dict[str, str]  # column → cell


def read_csv_rows(
    path: Path, required: Sequence[str], optional: Sequence[str] = (), *, fallback_encoding: str | None = None
) -> Iterator[Row]:
    """Read the rows of a CSV file that has at least the `required` columns; blank lines are skipped.

    The `optional` columns appear only in the message about a missing one. A file that is not UTF-8 is decoded with
    `fallback_encoding`, if that is given; bytes without a meaning there become U+FFFD.

    Raises:
        UserError: the file cannot be read, is not UTF-8 or not CSV, lacks a required column, has two columns of the
            same name, a row of the wrong length, or no rows at all.
    """
    files.check_is_file(path)
    encoding, errors = ("utf-8-sig", "strict")
    if fallback_encoding is not None and not _is_utf8(path):
        encoding, errors = (fallback_encoding, "replace")
    empty = True
    try:
        with path.open(newline="", encoding=encoding, errors=errors) as stream:
            reader = csv.reader(stream, strict=True)
            header = list(map(plain_cell, next(reader, [])))
            _check_header(path, header, required, optional)
            for cells in filter(None, reader):
                where = f"{path}, line {reader.line_num}"
                if len(cells) != len(header):
                    raise UserError(f"{where}: expected {len(header)} cells, found {len(cells)}.")
                empty = False
                yield Row(where, dict(zip(header, map(plain_cell, cells), strict=True)))
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}. Expected a CSV file.") from None
    except (csv.Error, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not a UTF-8 CSV file: {error}. Save it as CSV, encoded in UTF-8.") from None
    if empty:
        raise UserError(f"{path} has no rows below its header.")


def csv_text(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Format a table as CSV: line ends are "\\n", also within cells, and no cell is a formula."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerows([_safe_cell(cell) for cell in row] for row in (header, *rows))
    return stream.getvalue()


def plain_cell(cell: str) -> str:
    """A cell as it was before `csv_text`."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


def _safe_cell(cell: str) -> str:
    cell = cell.replace("\r\n", "\n").replace("\r", "\n")  # before Python 3.13, csv does not quote a bare "\r"
    return f"'{cell}" if _FORMULA.match(cell) else cell


def check_unique(column: str, values: Iterable[tuple[str, str]]) -> None:
    """Check that no value of a column appears twice; `values` are pairs of `Row.where` and the value.

    Raises:
        UserError: one does; the message names both lines of the first and the first few of the others.
    """
    seen: dict[str, str] = {}
    repeated: dict[str, str] = {}  # value → where it appears again
    for where, value in values:
        if seen.setdefault(value, where) != where:
            repeated.setdefault(value, where)
    if repeated:
        first, *others = repeated
        more = f" Also repeated: {first_few(others)}." if others else ""
        line = seen[first].rpartition(", ")[2]
        raise UserError(
            f"{repeated[first]}: {column} {first!r} already appears on {line}. Every row needs its own {column}.{more}"
        )


def check_columns(path: Path, header: Sequence[str]) -> None:
    """Check that no two columns have the same name; columns without a name do not count.

    Raises:
        UserError: some have.
    """
    if repeated := sorted(column for column, count in Counter(header).items() if column and count > 1):
        raise UserError(f"{path}: column {first_few(repeated)} appears twice. Keep one column of each name.")


def _check_header(path: Path, header: Sequence[str], required: Sequence[str], optional: Sequence[str]) -> None:
    check_columns(path, header)
    missing = [column for column in required if column not in header]
    if missing:
        hint = " The cells are separated by `;`, expected `,`." if ";" in "".join(header) else ""
        others = f"; optional: {', '.join(optional)}" if optional else ""
        raise UserError(
            f"{path}: missing columns: {', '.join(missing)}. Found: {first_few(header, LISTED) or 'none'}. "
            f"Required: {', '.join(required)}{others}.{hint}"
        )


def _is_utf8(path: Path) -> bool:
    try:
        path.read_bytes().decode("utf-8")
    except UnicodeDecodeError:
        return False
    except OSError:  # reported when the file is opened
        pass
    return True
