"""The names that people give to runs, corpora and systems: what is allowed, and why not."""

import re

from mmer_pipeline import paths
from mmer_pipeline.errors import shortened

MOST_BYTES = 200  # a name of a file may have 255, and some of ours have a prefix or a suffix
# Names of devices on Windows, with any suffix.
_DEVICE = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE | re.DOTALL)
_FOLD = re.compile(r"fold-(\d+|none)", re.IGNORECASE)


def in_markdown(text: str) -> str:
    """Escape a name for Markdown, also in a table's cell: one line, no markup."""
    return re.sub(r"([\\|`*<>&~$#\[\]]|(?<!\w)_|_(?!\w))", r"\\\1", " ".join(text.split()))


def fault_of_title(name: str) -> str:
    """Say why a text cannot be the name of a corpus or a system in a report; "" if it can."""
    if not name.strip():
        return "a name is empty; expected at least one letter"
    if not name.isprintable():
        return f"{shortened(repr(name))} contains a line break or another character that is not printed"
    if len(name.encode()) > MOST_BYTES:
        return f"{shortened(repr(name))} has {len(name.encode()):,} bytes, expected at most {MOST_BYTES}"
    return ""


def fault_of_run(name: str) -> str:
    """Say why a text cannot be the name of a run, which is that of its directory; "" if it can."""
    if name in ("", ".", "..") or "/" in name or "\\" in name:
        return f"{shortened(repr(name))} is a path; expected the name of a directory in --runs-dir"
    if fault := fault_of_title(name):
        return fault
    if name[0] in "-." or name[0] == " ":
        return f"{name!r} begins with {name[0]!r}; expected a letter or a digit first"
    if name[-1] in ". ":
        return f"{name!r} ends with {name[-1]!r}, which not every system keeps; leave it out"
    if _DEVICE.fullmatch(name):
        return f"{name!r} is the name of a device on Windows; choose another name"
    if _FOLD.fullmatch(name):
        return f"{name!r} is the name of a fold's directory; choose another name"
    if name.casefold() in (paths.REPORT_NAME, paths.IMPORTS_REPORT_NAME):
        return f"{name!r} is reserved for reports; choose another name"
    return ""


def as_title(text: str) -> str:
    """The name of a file or folder as that of a system: without what is not printed, and not too long."""
    printed = "".join(letter if letter.isprintable() else "_" for letter in text)
    return printed.encode()[:MOST_BYTES].decode(errors="ignore") or "_"
