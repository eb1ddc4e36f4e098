"""The manifest: one CSV row an utterance, the form in which every corpus enters the pipeline."""

import csv
import hashlib
import io
import json
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from mmer_pipeline import files, paths
from mmer_pipeline.corpora.labels import LabelMap, identity_map
from mmer_pipeline.errors import UserError


@dataclass(frozen=True)
class Utterance:
    """One row of the manifest."""

    utterance_id: str  # unique in the corpus
    audio: str  # path relative to the manifest's audio root, with forward slashes
    start_seconds: float | None  # None: from the file's beginning
    end_seconds: float | None  # None: to the file's end
    speaker: str  # never in both parts of a fold
    session: str  # fold k holds out the k-th session
    dialogue: str  # what the bootstrap resamples
    emotion: str  # the corpus's own label; a label map makes it a class
    transcript: str  # as the corpus has it, annotations included
    others: tuple[tuple[str, str], ...] = ()  # columns that the corpus has beside these, for `--folds COLUMN`

    def value(self, column: str) -> str:
        """The cell of any column that holds text."""
        return str(getattr(self, column)) if column in COLUMNS else dict(self.others)[column]


COLUMNS = tuple(field.name for field in fields(Utterance) if field.name != "others")


@dataclass(frozen=True)
class Manifest:
    """A corpus, read and checked."""

    path: Path  # the CSV file
    root: Path  # the audio root
    corpus: str  # the reader that made it, or "csv"
    label_map: LabelMap
    utterances: tuple[Utterance, ...]

    @property
    def fingerprint(self) -> str:
        """Digest of the rows and of the label map: the same corpus, the same 16 hex digits.

        The corpus's own columns are no part of it: one more does not make another corpus.
        """
        digest = hashlib.blake2b(digest_size=8)
        for utterance in self.utterances:
            digest.update("\x1f".join(_cells(utterance)).encode() + b"\x1e")
        digest.update(repr(self.label_map.as_dict()).encode())
        return digest.hexdigest()

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns, those of the corpus's own behind the others."""
        return (*COLUMNS, *(name for name, _ in self.utterances[0].others))

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes, in the label map's order."""
        return tuple(self.label_map.classes)

    def audio_path(self, utterance: Utterance) -> Path:
        """Where an utterance's recording lies."""
        return self.root / utterance.audio


def write_manifest(
    path: Path, utterances: Iterable[Utterance], *, root: Path, corpus: str, label_map: LabelMap
) -> bool:
    """Write the CSV and, beside it, `manifest.json` with the audio root, the corpus and the label map.

    Returns:
        Whether anything was written: False where the two files say the same already.

    Raises:
        UserError: `path` is not named `.csv`, or the disk is full.
    """
    if path.suffix != ".csv":
        raise UserError(f"A manifest is a CSV file: {path} should be named {path.with_suffix('.csv').name}.")
    facts: dict[str, Any] = {"corpus": corpus, "root": str(root.resolve()), "label_map": label_map.as_dict()}
    facts_path = paths.manifest_facts(path)
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    utterances = list(utterances)
    writer.writerow([*COLUMNS, *(_quotable(name) for name, _ in utterances[0].others)] if utterances else COLUMNS)
    writer.writerows(_cells(utterance) + [_quotable(cell) for _, cell in utterance.others] for utterance in utterances)
    rows = stream.getvalue()
    if path.is_file() and path.read_bytes() == rows.encode() and _holds(facts_path, facts):
        return False
    # Both files are whole before either is renamed; the rows last, for without them nothing reads the facts.
    with files.replacing(path) as temporary:
        temporary.write_text(rows, encoding="utf-8", newline="")
        files.write_json(facts_path, facts)
    return True


def read_manifest(path: Path) -> Manifest:
    """Read and check a manifest; every label must be one that the label map keeps.

    Without a `manifest.json` beside it (a CSV written by hand) the audio root is the CSV's own folder and
    every emotion is a class.

    Raises:
        UserError: missing file, missing column, duplicate id, unknown label, a path that leaves the root …
    """
    utterances = read_rows(path)
    facts_path = paths.manifest_facts(path)
    if facts_path.is_file():
        facts = files.read_json(facts_path, "mmer-pipe prepare")
        try:
            root, corpus = Path(facts["root"]), str(facts["corpus"])
            label_map = LabelMap.from_dict(facts["label_map"])
        except (KeyError, TypeError, AttributeError):
            raise UserError(
                f"{facts_path} does not say `root`, `corpus` and `label_map`. If `mmer-pipe prepare` wrote "
                "it, run that again; if it is a file of your own, rename it or the manifest beside it."
            ) from None
    else:
        root, corpus = path.resolve().parent, "csv"
        label_map = identity_map({utterance.emotion for utterance in utterances})
    kept = tuple(u for u in utterances if label_map.keeps(u.emotion, u.utterance_id))
    if not kept:
        raise UserError(f"{path}: label map {label_map.name} drops every utterance.")
    return Manifest(path, root, corpus, label_map, kept)


def read_rows(path: Path) -> list[Utterance]:
    """The rows of a manifest CSV, each checked; labels are not looked at.

    Raises:
        UserError: as `read_manifest`; the message names the line.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream, strict=True)
            header = reader.fieldnames or []
            if twice := sorted({column for column in header if header.count(column) > 1}):
                raise UserError(f"{path}: column {', '.join(twice)} stands twice. Keep one of each name.")
            missing = [column for column in COLUMNS if column not in header]
            if missing:
                hint = " Its columns are separated by `;`, expected `,`." if ";" in "".join(header) else ""
                raise UserError(
                    f"{path}: column {', '.join(missing)} is missing. "
                    f"Found: {', '.join(header) or 'nothing'}. Expected: {', '.join(COLUMNS)}.{hint}"
                )
            utterances = [_utterance(row, f"{path}, line {reader.line_num}") for row in reader]
    except FileNotFoundError:
        raise UserError(f"No manifest at {path}. Run `mmer-pipe prepare CORPUS --root DIR` first.") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from None
    except (csv.Error, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not a UTF-8 CSV file: {error}.") from None
    _check_unique(utterances, path)
    if not utterances:
        raise UserError(f"{path} has no utterances: it holds the header alone.")
    return utterances


def check_audio_path(audio: str, where: str) -> None:
    """Refuse a path that does not stay below the audio root.

    Raises:
        UserError: it is empty, absolute, or has `..` in it.
    """
    posix, windows = PurePosixPath(audio), PureWindowsPath(audio)
    if (
        not audio
        or "\0" in audio
        or posix.is_absolute()
        or windows.is_absolute()
        or windows.drive
        or ".." in (*posix.parts, *windows.parts)
    ):
        raise UserError(
            f"{where}: audio path {audio!r} leaves the audio root. "
            "Expected a path relative to the root, without `..`; move the file or set --root higher."
        )


def _utterance(row: dict[str, str | None], where: str) -> Utterance:
    if None in row.values() or None in row:
        raise UserError(f"{where}: the row has not as many cells as the header has columns.")
    cells = {column: unicodedata.normalize("NFC", str(row[column])).strip() for column in COLUMNS}
    for column in ("utterance_id", "speaker", "session", "emotion"):
        if not cells[column]:
            raise UserError(f"{where}: {column} is empty.")
    check_audio_path(cells["audio"], where)
    start, end = (_seconds(cells[name], name, where) for name in ("start_seconds", "end_seconds"))
    if end is not None and end <= (start or 0.0):
        raise UserError(f"{where}: end_seconds ({end:g}) is not after start_seconds ({start or 0.0:g}).")
    return Utterance(
        utterance_id=cells["utterance_id"],
        audio=str(row["audio"]).strip(),  # a file's name is bytes: another normal form is another file
        start_seconds=start,
        end_seconds=end,
        speaker=cells["speaker"],
        session=cells["session"],
        dialogue=cells["dialogue"] or cells["utterance_id"],
        emotion=cells["emotion"],
        transcript=cells["transcript"],
        others=tuple(
            (name, unicodedata.normalize("NFC", str(cell)).strip()) for name, cell in row.items() if name not in COLUMNS
        ),
    )


def _seconds(cell: str, column: str, where: str) -> float | None:
    if not cell:
        return None
    try:
        value = float(cell)
    except ValueError:
        value = -1.0
    if not 0.0 <= value < float("inf"):
        raise UserError(f"{where}: {column} is {cell!r}, expected seconds (0 or more) or nothing.")
    return value


def _check_unique(utterances: Sequence[Utterance], path: Path) -> None:
    seen: set[str] = set()
    twice = []
    for utterance in utterances:
        if utterance.utterance_id in seen:
            twice.append(utterance.utterance_id)
        seen.add(utterance.utterance_id)
    if twice:
        raise UserError(
            f"{path}: {len(twice)} utterance ids stand twice: {', '.join(twice[:5])}"
            f"{' …' if len(twice) > 5 else ''}. Every row needs an id of its own."
        )


def _holds(path: Path, facts: dict[str, Any]) -> bool:
    try:
        found = files.read_json(path, "mmer-pipe prepare")
    except UserError:
        return False
    return json.dumps(found) == json.dumps(facts)  # as text: the order of the classes counts


def _cells(utterance: Utterance) -> list[str]:
    """The cells of `COLUMNS`."""
    values = (getattr(utterance, column) for column in COLUMNS)
    cells = ["" if value is None else repr(value) if isinstance(value, float) else value for value in values]
    return list(map(_quotable, cells))


def _quotable(cell: str) -> str:
    """With line ends that Python's CSV writer quotes: before 3.13 it leaves a bare carriage return as it is."""
    return cell.replace("\r\n", "\n").replace("\r", "\n")
