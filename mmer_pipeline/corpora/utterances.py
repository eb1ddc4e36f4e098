"""Utterances: the rows of a manifest, and the checks of each cell."""

import os
import re
import unicodedata
from dataclasses import dataclass, fields
from pathlib import Path, PurePosixPath, PureWindowsPath

from mmer_pipeline.csv_tables import Row, check_unique, read_csv_rows
from mmer_pipeline.errors import UserError

NAMES = ("utterance_id", "speaker", "session", "dialogue", "emotion")  # columns of `Utterance`; see `name_fault`
SHOWN = 200  # characters of a cell that a message shows
_NOT_IN_NAMES = re.compile("[\0-\x1f\x7f-\x9f\u2028\u2029]")


@dataclass(frozen=True)
class Utterance:
    """One row of the manifest."""

    utterance_id: str  # unique in the corpus
    audio: str  # path relative to the manifest's audio root, with forward slashes
    start_seconds: float | None  # None: the beginning of the file
    end_seconds: float | None  # None: the end of the file
    speaker: str  # never in both parts of a fold
    session: str  # fold k holds out the k-th session
    dialogue: str  # the unit that the bootstrap resamples
    emotion: str  # the corpus's own label; a label map turns it into a class
    transcript: str  # as in the corpus, annotations included
    others: tuple[tuple[str, str], ...] = ()  # further columns of the corpus, for `--folds COLUMN`

    def value(self, column: str) -> str:
        """The cell of a column that holds text."""
        return str(getattr(self, column)) if column in COLUMNS else dict(self.others)[column]

    def cells(self) -> list[str]:
        """The cells of `COLUMNS`, as text that reads back to the same values."""
        values = (getattr(self, column) for column in COLUMNS)
        return ["" if value is None else repr(value) if isinstance(value, float) else value for value in values]


COLUMNS = tuple(field.name for field in fields(Utterance) if field.name != "others")


def read_utterances(path: Path) -> list[Utterance]:
    """Read and check the rows of a manifest's CSV file; labels are not checked.

    Raises:
        UserError: see `csv_tables.read_csv_rows`; also for an empty cell that must not be empty, a bad time, a path
            that leaves the audio root, or an utterance id that appears twice. The message names the line.
    """
    if not path.exists():
        raise UserError(f"No manifest at {path}. Run `mmer-pipe prepare CORPUS --root DIR` first.")
    utterances: list[Utterance] = []
    places: list[str] = []
    for row in read_csv_rows(path, COLUMNS):
        utterances.append(_utterance(row))
        places.append(row.where)
    check_unique("utterance_id", zip(places, (u.utterance_id for u in utterances), strict=True))
    return utterances


def check_audio_path(audio: str, where: str) -> None:
    """Check that a path stays below the audio root.

    Raises:
        UserError: see `leaves_root`.
    """
    if leaves_root(audio):
        raise UserError(
            f"{where}: audio path {audio[:SHOWN]!r} leaves the audio root. "
            "Expected a path relative to the root, without `..`. Move the file, or give a higher --root."
        )


def leaves_root(audio: str) -> bool:
    """Whether a path does not stay below the audio root: it is empty, absolute, or contains `..`."""
    posix, windows = PurePosixPath(audio), PureWindowsPath(audio)
    return (
        not audio
        or not is_path(audio)
        or posix.is_absolute()
        or windows.is_absolute()
        or bool(windows.drive)
        or ".." in (*posix.parts, *windows.parts)
    )


def name_fault(name: str) -> str | None:
    """Say why a text cannot be the name of an utterance, a speaker, a label and so on; None if it can.

    Files and terminals treat control characters in many ways: HDF5 ends a text at one.
    """
    found = _NOT_IN_NAMES.search(name)
    return None if found is None else f"{name[:SHOWN]!r} contains the control character {found[0]!r}"


def link_target(root: Path, audio: str) -> Path | None:
    """The file outside the audio root to which a recording's path leads by a link; None if it leads to none.

    The root itself may be a link.
    """
    target = Path(os.path.realpath(root / audio))
    return None if target.is_relative_to(os.path.realpath(root)) else target


def read_segment(start_cell: str, end_cell: str, where: str) -> tuple[float | None, float | None]:
    """Read the start and the end of a segment in seconds; an empty cell is None.

    Raises:
        UserError: a cell is not a time, or the segment does not end after its start.
    """
    start, end = _seconds(start_cell, "start_seconds", where), _seconds(end_cell, "end_seconds", where)
    if end is not None and end <= (start or 0.0):
        raise UserError(f"{where}: end_seconds ({end:g}) is not after start_seconds ({start or 0.0:g}).")
    return start, end


def is_path(text: str) -> bool:
    """Whether a file system can have a file of this name: without NUL, and of whole characters."""
    try:
        return b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:
        return False


def _utterance(row: Row) -> Utterance:
    cells = {column: unicodedata.normalize("NFC", cell).strip() for column, cell in row.cells.items()}
    for column in ("utterance_id", "speaker", "session", "emotion"):
        if not cells[column]:
            raise UserError(f"{row.where}: {column} is empty.")
    for column in NAMES:
        if fault := name_fault(cells[column]):
            raise UserError(f"{row.where}: {column} {fault}. Correct the corpus and run `mmer-pipe prepare` again.")
    check_audio_path(cells["audio"], row.where)
    start, end = read_segment(cells["start_seconds"], cells["end_seconds"], row.where)
    return Utterance(
        utterance_id=cells["utterance_id"],
        audio=row.cells["audio"].strip(),  # not normalised: in another Unicode form it would name another file
        start_seconds=start,
        end_seconds=end,
        speaker=cells["speaker"],
        session=cells["session"],
        dialogue=cells["dialogue"] or cells["utterance_id"],
        emotion=cells["emotion"],
        transcript=cells["transcript"],
        others=tuple((column, cell) for column, cell in cells.items() if column not in COLUMNS),
    )


def _seconds(cell: str, column: str, where: str) -> float | None:
    if not cell:
        return None
    try:
        value = float(cell)
    except ValueError:
        value = -1.0
    if not 0.0 <= value < float("inf"):
        raise UserError(f"{where}: {column} is {cell[:SHOWN]!r}, expected seconds (0 or more) or an empty cell.")
    return value
