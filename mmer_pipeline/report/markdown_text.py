"""What Markdown is made of: cells whose text is text, and tables."""

import re
from collections.abc import Sequence


def cell(value: object) -> str:
    """A value as the text of a Markdown table's cell: no column, markup or line of its own."""
    text = re.sub(r"([\\|`*<~$]|(?<!\w)_|_(?!\w))", r"\\\1", " ".join(str(value).split()))
    return text.replace("](", "]\\(")  # no link


def table(header: Sequence[str], rows: Sequence[Sequence[str]], *, left: int = 1) -> str:
    """A Markdown table of cells that are escaped already; all columns but the first `left` are numbers."""
    rule = ["---" if number < left else "---:" for number in range(len(header))]
    lines = [header, rule, *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"
