"""CSV files: rows with their lines, and one clear message for every broken file."""

import csv
from pathlib import Path

import pytest

from mmer_pipeline.corpora.tables import read_table
from mmer_pipeline.csv_tables import Row, check_unique, csv_text, read_csv_rows
from mmer_pipeline.errors import UserError


def rows(tmp_path: Path, data: str | bytes, **options: str) -> list[Row]:
    path = tmp_path / "table.csv"
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return list(read_csv_rows(path, ("id", "text"), **options))


def test_rows_come_with_the_line_they_end_on(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    assert rows(tmp_path, '\ufefftext,id,more\r\n"two\nlines",a,\r\n\r\n"x, y",b,1\r\n') == [
        (f"{path}, line 3", {"text": "two\nlines", "id": "a", "more": ""}),
        (f"{path}, line 5", {"text": "x, y", "id": "b", "more": "1"}),
    ]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("", r"table\.csv: missing columns: id, text\. Found: none\. Required: id, text\."),
        ("id;text\na;b\n", r"missing columns: id, text\. .* separated by `;`, expected `,`"),
        ("id,text,id\n", "column id appears twice"),
        ("id,text\n", "no rows below its header"),
        ("id,text\na\n", "line 2: expected 2 cells, found 1"),
        ("id,text\na,b\na,b,c\n", "line 3: expected 2 cells, found 3"),
        ('id,text\na,"b', "not a UTF-8 CSV file"),
        (b"id,text\na,\xe9\n", "not a UTF-8 CSV file"),
    ],
)
def test_a_broken_file_is_refused(tmp_path: Path, data: str | bytes, message: str) -> None:
    with pytest.raises(UserError, match=message):
        rows(tmp_path, data)


def test_a_missing_file_and_a_directory_cannot_be_read(tmp_path: Path) -> None:
    for path, reason in ((tmp_path / "none.csv", "No such file"), (tmp_path, "Is a directory")):
        with pytest.raises(UserError, match=f"cannot be read: {reason}"):
            list(read_csv_rows(path, ("id",), fallback_encoding="cp1252"))


def test_the_fallback_encoding_is_for_files_that_are_not_utf8(tmp_path: Path) -> None:
    for data, text in ((b"\xe9", "é"), ("é".encode(), "é"), (b"\xe9\x81", "é\ufffd")):
        (row,) = rows(tmp_path, b"id,text\na," + data + b"\n", fallback_encoding="cp1252")
        assert row.cells["text"] == text


def test_a_repeated_value_is_named_with_both_lines() -> None:
    check_unique("id", [("f, line 2", "a"), ("f, line 3", "b")])
    with pytest.raises(UserError) as caught:
        check_unique("id", [(f"f, line {n}", value) for n, value in enumerate("abcabb")])
    assert str(caught.value) == (
        "f, line 3: id 'a' already appears on line 0. Every row needs its own id. Also repeated: b."
    )


FORMULAS = ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "'=1+1", "''-x", "- Well, no."]
NO_FORMULAS = ["-1", "+1.5e-3", "a=b", "'tis", "'", "", "'-1", "1-2", "a\tb"]


@pytest.mark.parametrize("cell", [*FORMULAS, *NO_FORMULAS])
def test_no_cell_is_a_formula_and_all_are_read_as_they_were(tmp_path: Path, cell: str) -> None:
    written = csv_text(["id", cell, "text"], [["=a", "x", cell]])
    ((_, cells),) = rows(tmp_path, written)
    assert cells == {"id": "=a", cell: "x", "text": cell}
    in_the_file = list(csv.reader(written.splitlines()))[1]
    assert in_the_file == ["'=a", "x", f"'{cell}" if cell in FORMULAS else cell]


def test_a_table_is_read_as_it_was_written_too(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text(csv_text(["id", "text"], [["a", cell] for cell in FORMULAS]))
    assert [row.cells["text"] for row in read_table(path).rows] == [cell.strip() for cell in FORMULAS]
