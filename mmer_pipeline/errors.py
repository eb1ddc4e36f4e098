"""The exception for errors that a user can fix, its two special cases, and the names that messages list."""

from collections.abc import Sequence

NAMED = 5  # names that a message lists
LONGEST_NAME = 200  # characters of each


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


def first_few(names: Sequence[str], most: int = NAMED) -> str:
    """List the first names: "a, b, c …"."""
    return ", ".join(name[:LONGEST_NAME] for name in names[:most]) + (" …" if len(names) > most else "")
