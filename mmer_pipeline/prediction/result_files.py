"""The file of a prediction's results: CSV or JSON lines, one row per utterance.

As soon as recordings are finished, their results are appended to a partial file, so that a command that was killed can
continue. The partial file has one line of JSON per entry: first its schema and identity, then the rows of recordings
that were classified together. These are kept together or not at all: the last digits of one depend on the others.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

from mmer_pipeline import files, paths
from mmer_pipeline.csv_tables import csv_text
from mmer_pipeline.digests import stamp_of
from mmer_pipeline.errors import UserError
from mmer_pipeline.prediction.inputs import as_text, free_id
from mmer_pipeline.prediction.results import Item, Prediction
from mmer_pipeline.runs import PREDICTION_COLUMNS, PROBABILITY_PREFIX, TRANSCRIPT_COLUMN

INPUT_COLUMNS = ("audio", "start_seconds", "end_seconds", "transcript", "transcript_source")
CSV_SUFFIX, JSON_LINES_SUFFIX = ".csv", ".jsonl"
SCHEMA = 2  # of the partial file

ResultRow = dict[str, Any]  # the columns of the CSV file, but `probabilities` maps each class to its own


def columns(labels: Sequence[str]) -> list[str]:
    """Return the columns of the CSV file: those of a run's predictions.csv, then where the utterance was found."""
    return [
        *PREDICTION_COLUMNS,
        *(f"{PROBABILITY_PREFIX}{label}" for label in labels),
        TRANSCRIPT_COLUMN,
        *INPUT_COLUMNS,
    ]


def rows_of(item: Item, predictions: Sequence[Prediction], truth: str | None, labels: Sequence[str]) -> list[ResultRow]:
    """Make the rows of a recording: plain values, one row per prediction.

    `truth` is the true class of the whole recording, if it is known. A recording that was cut into several utterances
    gives each a number after its own id, and their own times.
    """
    several = len(predictions) > 1
    rows = []
    for number, prediction in enumerate(predictions, start=1):
        whole = prediction.start_seconds is None and prediction.end_seconds is None
        times = item if whole else prediction
        rows.append(
            {
                "utterance_id": f"{item.utterance_id}-{number:04d}" if several else item.utterance_id,
                "fold": item.fold,
                "speaker": item.speaker,
                "dialogue": item.dialogue,
                "truth": truth,
                "prediction": prediction.label,
                # Rounded as in predictions.csv. NumPy's numbers are not JSON.
                "probabilities": {label: round(float(prediction.probabilities[label]), 6) for label in labels},
                TRANSCRIPT_COLUMN: prediction.transcript_ctc,
                "audio": as_text(item.path),
                "start_seconds": _plain(times.start_seconds),
                "end_seconds": _plain(times.end_seconds),
                "transcript": prediction.transcript,
                "transcript_source": prediction.transcript_source,
            }
        )
    return rows


def request_key(item: Item) -> str:
    """Digest all that an item's rows depend on, except the model and the options: 32 hex digits.

    A recording that was changed meanwhile has another key. One that cannot be found has a key too.
    """
    try:
        stat = item.path.stat()
        state = (stat.st_size, stat.st_mtime_ns)
    except OSError:
        state = (-1, -1)
    segment = (item.start_seconds, item.end_seconds)
    given = (item.transcript, item.truth, item.utterance_id, item.speaker, item.dialogue, item.fold)
    return stamp_of(str(item.path), *state, *segment, *given)


def check_result_path(path: Path) -> None:
    """Check the name of a file of results.

    Raises:
        UserError: it ends neither in .csv nor in .jsonl, or it is a folder or a file of something else.
    """
    if path.suffix.lower() not in (CSV_SUFFIX, JSON_LINES_SUFFIX):
        raise UserError(
            f"{path}: the name of a file of results must end in {CSV_SUFFIX} or {JSON_LINES_SUFFIX} (JSON lines), "
            f"such as {path.stem or 'predictions'}{CSV_SUFFIX}."
        )
    if path.is_dir():
        raise UserError(f"{path} is a folder. Expected the name of a file to write the results to.")
    if path.is_file() and path.stat().st_size and not _has_results(path):
        raise UserError(f"{path} exists, and is not a file of results. Give another --output, or move it away.")


def _has_results(path: Path) -> bool:
    """Whether a file begins as `ResultFile` writes it."""
    with path.open(encoding="utf-8", errors="replace") as stream:
        first = stream.readline(1_000_000)
    if path.suffix.lower() == CSV_SUFFIX:
        cells = first.rstrip("\n").split(",")
        return cells[: len(PREDICTION_COLUMNS)] == [*PREDICTION_COLUMNS] and cells[-1] == INPUT_COLUMNS[-1]
    try:
        row = json.loads(first)
    except ValueError:
        return False
    return isinstance(row, dict) and {*PREDICTION_COLUMNS, *INPUT_COLUMNS} <= row.keys()


class ResultFile:
    """A file of results that grows by recordings; a context manager that holds its lock.

    Nothing at `path` changes before `finish`. Leaving the block earlier keeps the partial file, and the next
    `ResultFile` of the same path and identity knows its recordings.

    Raises:
        UserError: see `check_result_path`; when it is entered, also if the directory cannot be written.
        Busy: when it is entered, if another process writes the same file.
    """

    def __init__(self, path: Path, labels: Sequence[str], identity: str) -> None:
        check_result_path(path)
        self.path = path
        self.labels = tuple(labels)
        self.identity = identity  # digest of the model and the options: rows of another one are not used
        self.partial = paths.partial_results(path)
        self._tried: dict[str, list[ResultRow] | None] = {}
        self._stack = ExitStack()

    @property
    def done(self) -> dict[str, list[ResultRow]]:
        """The rows of each finished recording, by `request_key`."""
        return {key: rows for key, rows in self._tried.items() if rows is not None}

    @property
    def failed(self) -> set[str]:
        """The keys of the recordings that could not be used."""
        return {key for key, rows in self._tried.items() if rows is None}

    def __enter__(self) -> "ResultFile":
        with ExitStack() as stack:
            try:
                stack.enter_context(files.locked(paths.lock_of(self.path)))
                self._open_partial()
            except OSError as error:
                raise UserError(
                    f"{self.path} cannot be written: {error.strerror}. Name another file, or change the permissions."
                ) from None
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.close()

    def add(self, recordings: Mapping[str, Sequence[ResultRow] | None]) -> None:
        """Keep the rows of recordings that were classified together; None: a recording could not be used.

        Raises:
            UserError: the disk is full.
        """
        entry = {key: None if rows is None else list(rows) for key, rows in recordings.items()}
        self._append({"recordings": entry})
        self._tried |= entry

    def finish(self, keys_in_order: Iterable[str]) -> None:
        """Write the file with the rows of these recordings, and remove the partial file.

        Keys without rows are left out, as are rows of other keys: recordings that could not be read, and those of an
        earlier command with other inputs.

        Raises:
            UserError: the disk is full; the partial file is kept.
        """
        done = self.done
        rows = _with_unique_ids([done[key] for key in keys_in_order if key in done])
        if self.path.suffix.lower() == JSON_LINES_SUFFIX:
            text = "".join(map(files.json_line, rows))
        else:
            text = csv_text(columns(self.labels), (_cells(row, self.labels) for row in rows))
        files.write_bytes(self.path, text.encode())
        with files.explain_disk_errors(self.partial):
            self.partial.unlink(missing_ok=True)

    def _open_partial(self) -> None:
        header = {"schema": SCHEMA, "identity": self.identity}
        self._tried, complete_bytes = _read_partial(self.partial, header)
        if complete_bytes:
            with self.partial.open("r+b") as stream:
                stream.truncate(complete_bytes)
        else:
            self.partial.unlink(missing_ok=True)
            self._append(header)

    def _append(self, value: Mapping[str, Any]) -> None:
        # Opened for each line, so that the line is written, or the disk is full, when this returns.
        with files.explain_disk_errors(self.partial), self.partial.open("ab") as stream:
            stream.write(files.json_line(value).encode())


def _read_partial(path: Path, header: Mapping[str, Any]) -> tuple[dict[str, list[ResultRow] | None], int]:
    """Read a partial file: the rows of each recording, and the number of bytes up to the first broken line.

    The rows are None if the recording could not be used.

    Both are empty if there is no file, or its header is another.
    """
    tried: dict[str, list[ResultRow] | None] = {}
    complete_bytes = 0
    if not path.is_file():
        return tried, complete_bytes
    with path.open("rb") as stream:
        for line in stream:
            entry = _entry(line)
            if complete_bytes == 0:
                if entry != header:
                    break
            elif isinstance(entry, dict) and _are_recordings(entry.get("recordings")):
                tried |= entry["recordings"]
            else:
                break
            complete_bytes += len(line)
    return tried, complete_bytes


def _are_recordings(value: Any) -> bool:
    return isinstance(value, dict) and all(rows is None or isinstance(rows, list) for rows in value.values())


def _entry(line: bytes) -> Any:
    """Read one line of a partial file; None if the process was killed while it wrote the line."""
    if not line.endswith(b"\n"):
        return None
    try:
        return json.loads(line)
    except ValueError:  # neither JSON nor UTF-8: the machine stopped before the disk had it all
        return None


def _with_unique_ids(recordings: Sequence[Sequence[ResultRow]]) -> list[ResultRow]:
    """Join the rows of all recordings, with ids of which none appears twice.

    The ids of whole recordings differ. A part of a long `talk.wav`, talk-0001, may be called like a short
    `talk-0001.wav` beside it; the part then gets another id.
    """
    taken = {row["utterance_id"] for rows in recordings if len(rows) == 1 for row in rows}
    joined = []
    for rows in recordings:
        for row in rows:
            name = row["utterance_id"]
            if len(rows) > 1:
                name = free_id(name, taken)
                taken.add(name)
            joined.append({**row, "utterance_id": name})
    return joined


def _cells(row: ResultRow, labels: Sequence[str]) -> list[str]:
    """Return the cells of `columns`."""
    values = {
        **row,
        **{f"{PROBABILITY_PREFIX}{label}": f"{row['probabilities'][label]:.6f}" for label in labels},
    }
    return ["" if values[name] is None else str(values[name]) for name in columns(labels)]


def _plain(seconds: float | None) -> float | None:
    return None if seconds is None else float(seconds)
