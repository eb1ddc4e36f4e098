"""The exception for errors that a user can fix, its two special cases, and the names and texts in messages."""

import re
from collections.abc import Sequence

NAMED = 5  # names that a message lists
LONGEST_NAME = 200  # characters of each
_UNPRINTABLE = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


class UserError(Exception):
    """An error that the user can fix: the message says what is wrong, what was found and expected, and what to do.

    The command line prints only the message and exits with 1. Any other exception is a bug and keeps its traceback.
    """


class Busy(UserError):  # noqa: N818 (a state, not a fault)
    """Another process is working on the same files."""


class OtherSettings(UserError):  # noqa: N818 (a state, not a fault)
    """A fold's directory contains a run with other settings or inputs."""

    def __init__(self, message: str, changes: str) -> None:
        super().__init__(message)
        self.changes = changes  # "name: before → now", one per line


def printable(text: str) -> str:
    """Text with escapes for what would command a terminal, turn the direction of writing, or cannot be encoded."""
    return _UNPRINTABLE.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def first_few(names: Sequence[str], most: int = NAMED) -> str:
    """List the first names: "a, b, c …"."""
    return ", ".join(name[:LONGEST_NAME] for name in names[:most]) + (" …" if len(names) > most else "")


def shortened(text: object, most: int = 60) -> str:
    """A text in a message, or its first characters."""
    shown = str(text)
    return shown if len(shown) <= most else f"{shown[: most - 1]}…"
