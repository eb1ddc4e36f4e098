"""A table as data, rendered as Markdown, LaTeX and for the terminal (HTML: `pages/templates/table.jinja`).

`comparison_tables.py` and its neighbours build every table of the report once, as data.
"""

import re
import textwrap
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Literal, TypeVar

from rich.table import Table as RichTable
from rich.text import Text

from mmer_pipeline.report.latex_text import latex_prose, latex_text

Kind = Literal["number", "word", "text"]  # right-aligned; short text; text of any length, which may wrap
Item = TypeVar("Item")

LONGEST_WRAPPED = 20  # characters of text that the terminal keeps on a line rather than a less important column


@dataclass(frozen=True)
class Cell:
    """One cell."""

    text: str
    more: str = ""  # shown after the text, or smaller below it: "± 4.77"
    system: str = ""  # the name of the system that it names, for a link and a colour
    strong: bool = False

    @property
    def line(self) -> str:
        """Text and more on one line."""
        return f"{self.text} {self.more}".rstrip()


@dataclass(frozen=True)
class Column:
    """One column, without its cells; the first column of a table names its rows."""

    title: str
    kind: Kind = "number"
    group: str = ""  # a heading shared with the columns beside it
    priority: int = 0  # above 0: dropped in LaTeX and, highest first, in a narrow terminal


@dataclass(frozen=True)
class RowGroup:
    """Rows under a heading; "": no heading."""

    title: str
    rows: tuple[tuple[Cell, ...], ...]


@dataclass(frozen=True)
class Table:
    """A table of the report; backticks in caption and notes mark commands."""

    caption: str
    columns: tuple[Column, ...]
    groups: tuple[RowGroup, ...]
    notes: tuple[str, ...] = ()  # sentences below the table

    @property
    def rows(self) -> list[tuple[Cell, ...]]:
        """The rows of all groups."""
        return [row for group in self.groups for row in group.rows]

    @property
    def column_groups(self) -> list[tuple[str, list[Column]]]:
        """Columns under their shared headings, in order; "": no heading."""
        return [(title, list(columns)) for title, columns in groupby(self.columns, lambda column: column.group)]

    def essential(self, priority: int = 0) -> "Table":
        """Return the table with only the columns up to a priority."""
        kept = [number for number, column in enumerate(self.columns) if column.priority <= priority]
        return replace(
            self,
            columns=tuple(self.columns[number] for number in kept),
            groups=tuple(
                replace(group, rows=tuple(tuple(row[number] for number in kept) for row in group.rows))
                for group in self.groups
            ),
        )


Filled = tuple[Column, Callable[[Item], Cell | str]]  # a column and the function that makes its cell for an item


def table_of(caption: str, items: Iterable[Item], columns: Sequence[Filled[Item]], notes: Sequence[str] = ()) -> Table:
    """Build a table with one row per item."""
    return grouped_table_of(caption, [("", items)], columns, notes)


def grouped_table_of(
    caption: str,
    groups: Iterable[tuple[str, Iterable[Item]]],
    columns: Sequence[Filled[Item]],
    notes: Sequence[str] = (),
) -> Table:
    """Build a table with one row per item, grouped under headings."""
    filled = tuple(
        RowGroup(title, tuple(tuple(_cell(fill(item)) for _, fill in columns) for item in items))
        for title, items in groups
    )
    return Table(caption, tuple(column for column, _ in columns), filled, tuple(note for note in notes if note))


def _cell(value: Cell | str) -> Cell:
    return Cell(value) if isinstance(value, str) else value


def markdown_text(value: object) -> str:
    """Escape a value for Markdown, also in a table's cell: one line, no markup, no column separator."""
    text = re.sub(r"([\\|`*<~$]|(?<!\w)_|_(?!\w))", r"\\\1", " ".join(str(value).split()))
    return text.replace("](", "]\\(")  # no link


def markdown_prose(text: str) -> str:
    """Escape a sentence for Markdown, keeping the backticks around commands."""
    return markdown_text(text).replace("\\`", "`")


def as_markdown(table: Table) -> str:
    """Render a table as Markdown, with the caption above and the notes below."""

    def of(cell: Cell) -> str:
        text = markdown_text(cell.line)
        return f"**{text}**" if cell.strong else text

    header = [markdown_text(f"{column.group} {column.title}".strip()) for column in table.columns]
    lines = [header, ["---:" if column.kind == "number" else "---" for column in table.columns]]
    for group in table.groups:
        if group.title:
            lines.append([f"**{markdown_text(group.title)}**", *[""] * (len(header) - 1)])
        lines += [list(map(of, row)) for row in group.rows]
    parts = [markdown_prose(table.caption), "\n".join(f"| {' | '.join(line)} |" for line in lines)]
    return "\n\n".join([*parts, *map(markdown_prose, table.notes)]) + "\n"


def as_latex(table: Table) -> list[str]:
    """Render the essential columns of a table as the lines of a `tabularx` with booktabs rules, as wide as the text.

    Columns of text share the width that the others leave, and wrap. The second part of a cell is smaller.
    """
    table = table.essential()
    letters = {"number": "r", "word": "l", "text": r">{\raggedright\arraybackslash\hspace{0pt}}X"}

    def line(cells: Iterable[str]) -> str:
        return "  " + " & ".join(cells) + r" \\"

    def of(cell: Cell, column: Column) -> str:
        wraps = column.kind == "text"
        text = latex_prose(cell.text) if wraps else latex_text(cell.text)
        more = latex_text(cell.more).replace(r"$\pm$ ", r"$\pm$")
        return text + (" " if wraps else r"\,") + rf"{{\scriptsize {more}}}" if more else text

    alignment = "".join(letters[column.kind] for column in table.columns)
    lines = [rf"\begin{{tabularx}}{{\linewidth}}{{@{{}}{alignment}@{{}}}}", r"  \toprule"]
    if any(column.group for column in table.columns):
        lines += _latex_groups(table)
    lines.append(line(latex_text(_capitalised(column.title)) for column in table.columns))
    for group in table.groups:
        lines.append(r"  \midrule")
        if group.title:
            lines.append(rf"  \multicolumn{{{len(table.columns)}}}{{@{{}}l}}{{\emph{{{latex_text(group.title)}}}}} \\")
        lines += [line(map(of, row, table.columns)) for row in group.rows]
    return [*lines, r"  \bottomrule", r"\end{tabularx}"]


def _capitalised(title: str) -> str:
    """Begin a heading with a capital, unless it is a symbol: "n", "p"."""
    return title if len(title) == 1 else title[0].upper() + title[1:]


def _latex_groups(table: Table) -> list[str]:
    """Render the headings that columns share, with a rule below each."""
    cells, rules, first = [], [], 1
    for title, columns in table.column_groups:
        last = first + len(columns) - 1
        if title:
            cells.append(rf"\multicolumn{{{len(columns)}}}{{c}}{{{latex_text(title[0].upper() + title[1:])}}}")
            rules.append(rf"\cmidrule(lr){{{first}-{last}}}")
        else:
            cells += [""] * len(columns)
        first = last + 1
    return [f"  {' & '.join(cells)} \\\\", f"  {' '.join(rules)}"]


def as_rich(table: Table, width: int) -> RichTable:
    """Render a table for a terminal of `width` characters.

    If it is too wide, the second part of each cell moves below the first; then columns are dropped by priority; then
    the padding goes.
    """
    stacked = _width(table, stacked=False) > width
    for priority in sorted({column.priority for column in table.columns if column.priority}, reverse=True):
        if _width(table, stacked) > width:
            table = table.essential(priority - 1)
    padding = 1 if _width(table, stacked) <= width else 0
    fits = _width(table, stacked, padding) <= width
    shown = RichTable(padding=(0, padding))
    for number, column in enumerate(table.columns):
        lines = _header(column, _content_width(table, number, stacked))
        is_number = column.kind == "number"
        justify: Literal["left", "right"] = "right" if is_number else "left"
        shown.add_column(Text("\n".join(lines)), justify=justify, no_wrap=is_number and fits, overflow="fold")
    for group in table.groups:
        if group.title:
            shown.add_row(Text(group.title, style="bold"))
        for row in group.rows:
            shown.add_row(*(_text(cell, stacked) for cell in row))
        shown.add_section()
    return shown


def _text(cell: Cell, stacked: bool) -> Text:
    text = "\n".join(filter(None, (cell.text, cell.more))) if stacked else cell.line
    return Text(text, style="bold" if cell.strong else "")


def _header(column: Column, width: int) -> list[str]:
    """Break the heading of a column of that width into lines; the group starts its own line."""
    width = max([width, *(len(word) for word in f"{column.group} {column.title}".split(" "))])
    return [line for part in (column.group, column.title) for line in textwrap.wrap(part, width)]


def _content_width(table: Table, number: int, stacked: bool) -> int:
    """Return the width of the longest cell of a column, without its heading."""
    cells = [row[number] for row in table.rows]
    lengths = [max(len(cell.text), len(cell.more)) if stacked else len(cell.line) for cell in cells]
    if number == 0:
        lengths += [len(group.title) for group in table.groups]
    return max(lengths, default=0)


def _width(table: Table, stacked: bool, padding: int = 1) -> int:
    """Return the width of a table on a terminal, with text wrapped at words."""
    total = 1
    for number, column in enumerate(table.columns):
        width = _content_width(table, number, stacked)
        width = max([width, *map(len, _header(column, width))])
        total += 1 + 2 * padding + (min(width, LONGEST_WRAPPED) if column.kind == "text" else width)
    return total
