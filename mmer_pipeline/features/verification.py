"""Comparing the values of a feature file with their digests, once for each state of the file."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path

from mmer_pipeline import paths
from mmer_pipeline.errors import UserError, first_few
from mmer_pipeline.features.feature_file import FeatureFile

_TOGETHER = 64  # utterances that a thread checks at once


def damaged_rows(file: FeatureFile, dim: Callable[[], int | None]) -> list[str]:
    """The ids of the utterances whose values are not those that extraction wrote, or not finite.

    These are all utterances if the rows do not have the length that `dim` computes from the encoder (None: unknown).
    A file without damage is noted (`paths.verified_features`) and not read again until it changes.

    Raises:
        UserError: as `dim`.
    """
    state = _state(file.path)
    with suppress(OSError, UnicodeDecodeError):
        if state and paths.verified_features(file.path).read_text(encoding="utf-8") == state:
            return []
    expected = dim()
    if expected is not None and expected != file.dim:
        return file.utterance_ids
    from mmer_pipeline.devices import usable_cores  # imports torch

    rows = range(len(file.utterance_ids))
    parts = [rows[first : first + _TOGETHER] for first in range(0, len(rows), _TOGETHER)]
    with ThreadPoolExecutor(usable_cores()) as pool:  # digests release Python's lock
        found = [row for part in pool.map(partial(_damaged, file), parts) for row in part]
    damaged = [file.utterance_ids[row] for row in found]
    if not damaged and expected is not None and state:
        _write_note(file.path, state)
    return damaged


def note_intact(path: Path) -> None:
    """Note that the values of a file whose stamps alone were changed need not be read again."""
    _write_note(path, _state(path))


def _write_note(path: Path, state: str) -> None:
    with suppress(OSError):  # without room or permission for the note, the values are read next time, too
        paths.verified_features(path).write_text(state, encoding="utf-8")


def _damaged(file: FeatureFile, rows: Iterable[int]) -> list[int]:
    return [row for row in rows if not file.is_intact(row)]


def refuse_damaged(file: FeatureFile, dim: Callable[[], int | None]) -> FeatureFile:
    """Return the file if no row is damaged.

    Raises:
        UserError: there are such rows; the message names the command that computes them again.
    """
    damaged = damaged_rows(file, dim)
    if damaged:
        raise UserError(
            f"{file.path}: the values of {len(damaged)} of {len(file.utterance_ids)} utterances are not those that "
            f"were computed ({first_few(damaged, 3)}). Run `{file.command}` to compute them again."
        )
    return file


def _state(path: Path) -> str:
    """The file's state; unlike its modification time, the time of its last change (ctime) cannot be set.

    It is empty if the file was removed.
    """
    try:
        stat = path.stat()
    except OSError:
        return ""
    return f"{stat.st_ino} {stat.st_size} {stat.st_mtime_ns} {stat.st_ctime_ns}\n"
