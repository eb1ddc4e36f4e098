"""Times of segments as people write them: `12.4`, `12,4`, `0:12.4`, `00:00:12,400` and pandas's `0 days 00:00:12.4`."""

import re
from collections.abc import Iterable

_CLOCK = re.compile(r"(?:(?P<days>\d+) days? )?(?:(?P<hours>\d+):)?(?P<minutes>\d+):(?P<seconds>\d+(?:\.\d*)?)")
SHOWN = 200  # characters of a cell that a message shows
_DIGITS = 6  # decimals of a sum of two times: microseconds


class TimeError(Exception):
    """A cell that is not a time: the message is a clause without the row."""


def mixed_decimals(cells: Iterable[str]) -> bool:
    """Whether some cells have a decimal comma and others a decimal point, so that "1,234" may be either number."""
    marks = {mark for cell in cells for mark in ",." if mark in cell}
    return len(marks) > 1


def read_time(cell: str) -> float | None:
    """Read a time in seconds; an empty cell is None.

    Raises:
        TimeError: the cell is something else, or negative.
    """
    if not cell:
        return None
    text = cell.replace(",", ".") if cell.count(",") == 1 and "." not in cell else cell
    clock = _CLOCK.fullmatch(text)
    try:
        value = _seconds(clock) if clock else float(text)
    except (ValueError, OverflowError):  # OverflowError: hours with hundreds of digits
        value = -1.0
    if not 0.0 <= value < float("inf"):
        raise TimeError(
            f"{cell[:SHOWN]!r} is not a time: expected seconds (0 or more), such as 12.4 or 0:12.4, or an empty cell"
        )
    return value


def read_segment(start: float | None, end: float | None, duration: float | None) -> tuple[float | None, float | None]:
    """The start and the end of a segment in seconds; the end may be given by the duration.

    Raises:
        TimeError: the segment does not end after its start.
    """
    if end is None and duration is not None:
        end = round((start or 0.0) + duration, _DIGITS)
    if end is not None and end <= (start or 0.0):
        raise TimeError(f"the segment ends at {end:g} s, not after its start at {start or 0.0:g} s")
    return start, end


def _seconds(clock: re.Match[str]) -> float:
    days, hours, minutes = (int(clock[name] or 0) for name in ("days", "hours", "minutes"))
    return round(((days * 24 + hours) * 60 + minutes) * 60 + float(clock["seconds"]), _DIGITS)
