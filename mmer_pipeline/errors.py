"""The one exception for what a user can mend."""


class UserError(Exception):
    """A failure that the user can mend: the message says what is wrong, found, expected, and what to do.

    The command line prints the message alone and exits with 1; everything else is a defect and keeps its
    traceback.
    """


class Busy(UserError):  # noqa: N818 (it is a state of things, no defect)
    """Another process works on the same thing just now."""


class OtherSettings(UserError):  # noqa: N818 (it is a state of things, no defect)
    """A fold's directory holds a run with other settings or features."""

    def __init__(self, message: str, changes: str) -> None:
        super().__init__(message)
        self.changes = changes  # "name: before → now", a line each
