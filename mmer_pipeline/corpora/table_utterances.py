"""From the rows of a table to utterances: columns by meaning, recordings, defaults, and all faults in one error."""

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from mmer_pipeline.corpora import tables
from mmer_pipeline.corpora.columns import DURATION, MEANINGS, Columns, check_needed, match_columns
from mmer_pipeline.corpora.labels import IDENTITY
from mmer_pipeline.corpora.readers.reader_interface import ReaderOptions, Reading
from mmer_pipeline.corpora.recording_paths import PathError, RecordingFinder
from mmer_pipeline.corpora.segment_times import TimeError, mixed_decimals, read_segment, read_time
from mmer_pipeline.corpora.tables import Row, Table
from mmer_pipeline.corpora.utterances import COLUMNS, Utterance
from mmer_pipeline.csv_tables import LISTED
from mmer_pipeline.errors import UserError, first_few

TIMES = ("start_seconds", "end_seconds", DURATION)
# Of a folder or file whose name says nothing about the corpus.
_PLAIN_NAMES = frozenset(
    [
        *("annotation", "annotations", "audio", "corpus", "cuts", "data", "dataset", "db", "emotion", "emotions"),
        *("index", "labels", "manifest", "metadata", "recordings", "speech", "supervisions", "table", "test", "tmp"),
        *("train", "transcripts", "wav", "wavs"),
    ]
)


@dataclass
class _Reader:
    """The state of reading one table."""

    columns: Columns
    finder: RecordingFinder
    speaker_pattern: re.Pattern[str] | None
    faults: list[str] = field(default_factory=list)
    ids: Counter[str] = field(default_factory=Counter)  # id as first made → number of the last row that has it
    seen: dict[str, str] = field(default_factory=dict)  # utterance id → its row


def read_utterances_of(table: Table, root: Path, options: ReaderOptions) -> Reading:
    """Make utterances of a table's rows; `root` is the folder to which paths of recordings are relative.

    Only columns of the recording, the emotion and the speaker are needed. Ids are made of the recording's path and the
    start; without times an utterance is a whole recording; sessions and dialogues are the speakers. Columns without a
    meaning are kept.

    Raises:
        UserError: a needed column is missing or may be several columns, the speaker pattern is wrong, or rows have
            faults, of which the message lists the first twenty with their row and column.
    """
    columns = match_columns(table.columns, options.columns, table.source)
    if "start_seconds" not in columns.of and DURATION not in options.columns:
        columns = replace(columns, of={meaning: name for meaning, name in columns.of.items() if meaning != DURATION})
    by_pattern = options.speaker_pattern is not None and "speaker" not in columns.of
    check_needed(columns, table.columns, table.source, derived=("speaker",) if by_pattern else ())
    _check_times(table, columns)
    pattern = _compiled(options.speaker_pattern) if by_pattern else None
    reader = _Reader(
        columns, RecordingFinder(root, follow_links=options.follow_links), pattern, faults=list(table.faults)
    )
    others = tuple(name for name in table.columns if name not in columns.of.values() and name not in COLUMNS)
    utterances, places = [], []
    for row in table.rows:
        utterance = _utterance(reader, row, others)
        if utterance is not None:
            utterances.append(utterance)
            places.append(row.place)
    tables.refuse_faults(table.source, reader.faults)
    if "session" not in columns.of:
        utterances = _with_sessions(utterances)
    return Reading(
        root=root,
        source=table.source,
        utterances=tuple(utterances),
        label_map=IDENTITY,
        notes=tuple(_notes(table, reader, utterances)),
        name=corpus_name(table.source),
        places=tuple(places),
        label_column=columns.of["emotion"],
        not_found=frozenset(reader.finder.not_found),
    )


def corpus_name(source: Path) -> str | None:
    """The name of a corpus: that of its folder or its table, whichever says more; None if neither does."""
    source = source.resolve()
    names = [source.name] if source.is_dir() else [source.stem, source.parent.name]
    return next((name for name in names if name and name.casefold() not in _PLAIN_NAMES), None)


def _utterance(reader: _Reader, row: Row, others: tuple[str, ...]) -> Utterance | None:
    """The utterance of a row; None if the row has a fault, which is noted."""
    before = len(reader.faults)
    cells = _cells(reader.columns, row)
    audio = _audio(reader, row)
    for meaning in ("utterance_id", "speaker", "session", "emotion"):
        if meaning in reader.columns.of and not cells[meaning]:
            _fault(reader, row, meaning, "empty")
    start, end = _segment(reader, row, cells)
    speaker = cells["speaker"] if reader.speaker_pattern is None else _speaker(reader, row, audio)
    if len(reader.faults) > before:
        return None
    name = cells["utterance_id"] or _made_id(reader, audio, start)
    if reader.seen.setdefault(name, row.place) != row.place:
        _fault(reader, row, "utterance_id", f"{name!r} already appears in {reader.seen[name]}")
        return None
    return Utterance(
        utterance_id=name,
        audio=audio,
        start_seconds=start,
        end_seconds=end,
        speaker=speaker,
        session=cells["session"],
        dialogue=cells["dialogue"] or (name if "dialogue" in reader.columns.of else speaker),
        emotion=cells["emotion"],
        transcript=cells["transcript"],
        others=tuple((column, _composed(row.cells.get(column, ""))) for column in others),
    )


def _with_sessions(utterances: list[Utterance]) -> list[Utterance]:
    """Utterances whose sessions are the speakers; speakers linked by dialogues share that of the first of them."""
    from mmer_pipeline.corpora.speaker_folds import linked_speakers

    session_of = linked_speakers(utterances)
    return [replace(utterance, session=session_of[utterance.speaker]) for utterance in utterances]


def _cells(columns: Columns, row: Row) -> dict[str, str]:
    """Meaning → the row's cell in composed Unicode, "" without such a column."""
    return {
        meaning: _composed(row.cells.get(columns.of[meaning], "")) if meaning in columns.of else ""
        for meaning in MEANINGS
    }


def _audio(reader: _Reader, row: Row) -> str:
    """The path of the recording: not normalised, since in another Unicode form it would name another file."""
    try:
        return reader.finder.find(row.cells.get(reader.columns.of["audio"], "").strip())
    except PathError as fault:
        _fault(reader, row, "audio", str(fault))
        return ""


def _segment(reader: _Reader, row: Row, cells: Mapping[str, str]) -> tuple[float | None, float | None]:
    times: dict[str, float | None] = dict.fromkeys(TIMES)
    try:
        for meaning in TIMES:
            times[meaning] = read_time(cells[meaning])
        meaning = "end_seconds" if "end_seconds" in reader.columns.of else DURATION
        return read_segment(*times.values())
    except TimeError as fault:
        _fault(reader, row, meaning, str(fault))
        return None, None


def _speaker(reader: _Reader, row: Row, audio: str) -> str:
    assert reader.speaker_pattern is not None
    name = PurePosixPath(audio).stem
    match = reader.speaker_pattern.search(name)
    groups = [] if match is None else [group for group in (match.groupdict().get("speaker"), *match.groups()) if group]
    speaker = groups[0] if groups else match[0] if match and not match.re.groups else ""
    if not speaker and audio:
        _fault(reader, row, "audio", f"--speaker-pattern finds no speaker in {name!r}")
    return _composed(speaker)


def _made_id(reader: _Reader, audio: str, start: float | None) -> str:
    """An id that stays the same when rows are added below: the path without extension, and the start."""
    path = PurePosixPath(audio)
    name = _composed("-".join((*path.parent.parts, path.stem)))
    if start is not None:
        name += "-" + f"{start:.3f}".rstrip("0").rstrip(".")
    made = name
    while reader.ids[name] == 0 or made in reader.seen:  # also another recording's, such as `call-2`
        reader.ids[name] += 1
        made = name if reader.ids[name] == 1 else f"{name}-{reader.ids[name]}"
    return made


def _check_times(table: Table, columns: Columns) -> None:
    """Refuse columns of times that would be read wrongly.

    Raises:
        UserError: decimal commas and points are mixed, or recordings with several rows have starts without ends.
    """
    names = [columns.of[meaning] for meaning in TIMES if meaning in columns.of]
    if mixed_decimals(row.cells.get(name, "") for name in names for row in table.rows):
        raise UserError(
            f"{table.source}: {' and '.join(names)} have decimal commas in some cells and points in others."
        )
    if "start_seconds" in columns.of and not {"end_seconds", DURATION} & columns.of.keys():
        recordings = Counter(row.cells.get(columns.of["audio"], "") for row in table.rows)
        if recordings and max(recordings.values()) > 1:
            raise UserError(
                f"{table.source}: {recordings.most_common(1)[0][0]} has several rows with a start "
                f"({columns.of['start_seconds']}), but there is no end. "
                f"The table has: {first_few(table.columns, LISTED)}.\n"
                f"Say which column it is with --column end_seconds=COLUMN or --column {DURATION}=COLUMN."
            )


def _notes(table: Table, reader: _Reader, utterances: list[Utterance]) -> list[str]:
    said = (reader.columns.line(), reader.finder.note(), _absent(reader.columns, utterances))
    notes = [*table.notes, *filter(None, said)]
    whole = Counter(u.audio for u in utterances if u.start_seconds is None and u.end_seconds is None)
    repeated = [audio for audio, count in whole.items() if count > 1]
    if repeated:
        notes.append(
            f"{len(repeated)} recordings have several rows without times (such as {repeated[0]}): each row is the "
            "whole recording. Name columns of times, if there are any, with --column start_seconds=… and end_seconds=…"
        )
    return notes


def _absent(columns: Columns, utterances: list[Utterance]) -> str:
    """Say what is assumed in place of columns that the table does not have; "" if it has all that matter."""
    units = [name for name in ("session", "dialogue") if name not in columns.of]
    assumed = [] if "start_seconds" in columns.of else ["times (an utterance is a whole recording)"]
    if units:
        assumed.append(f"{' or '.join(f'{name}s' for name in units)} (each speaker is one)")
    speakers, sessions = ({getattr(u, name) for u in utterances} for name in ("speaker", "session"))
    if units == ["session"] and len(sessions) < len(speakers):
        assumed[-1] = (
            f"sessions (speakers of the same dialogues share one: {len(speakers)} speakers, {len(sessions)} "
            f"session{'s' * (len(sessions) > 1)})"
        )
    if not assumed:
        return ""
    named = "; calls or scenes are dialogues: --column dialogue=COLUMN" if "dialogue" in units else ""
    return f"no columns of {', '.join(assumed)}{named}"


def _compiled(pattern: str | None) -> re.Pattern[str]:
    try:
        return re.compile(pattern or "")
    except re.error as error:
        raise UserError(f"--speaker-pattern {pattern}: not a regular expression ({error}).") from None


def _fault(reader: _Reader, row: Row, meaning: str, text: str) -> None:
    reader.faults.append(f"{row.place}, column {reader.columns.name(meaning)}: {text}")


def _composed(text: str) -> str:
    return unicodedata.normalize("NFC", text).strip()
