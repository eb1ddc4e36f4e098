"""A Kaldi data directory: `wav.scp`, `utt2spk`, `text`, `segments`, and the emotions in `utt2emo` or a file like it.

The format is described in Kaldi's documentation, "Data preparation". Each file has a line per recording or utterance:
its id and a value. Without `segments`, an utterance is a recording.
"""

from dataclasses import replace
from pathlib import Path

from mmer_pipeline.corpora.readers.folder_walk import contents
from mmer_pipeline.corpora.readers.reader_interface import ReaderOptions, Reading
from mmer_pipeline.corpora.recording_paths import audio_root
from mmer_pipeline.corpora.table_utterances import read_utterances_of
from mmer_pipeline.corpora.tables import Row, Table
from mmer_pipeline.corpora.utterances import SHOWN
from mmer_pipeline.errors import UserError

RECORDINGS, SEGMENTS = "wav.scp", "segments"
EMOTION_FILES = ("utt2emo", "utt2emotion", "utt2label", "emotion", "emotions", "emo", "labels")
FILES = {"speaker": "utt2spk", "transcript": "text", "session": "utt2session", "dialogue": "utt2dialogue"}


def read_kaldi(root: Path, options: ReaderOptions) -> Reading:
    """Read a Kaldi data directory.

    Raises:
        UserError: a file is missing or a line wrong, a recording is the output of a command, or see
            `read_utterances_of`.
    """
    if not (root / RECORDINGS).is_file():
        raise UserError(f"{root} is not a Kaldi data directory: there is no {RECORDINGS}. Found: {contents(root)}.")
    wanted = options.columns.get("emotion")
    emotions = wanted or next((name for name in EMOTION_FILES if (root / name).is_file()), None)
    if emotions is None:
        raise UserError(
            f"{root} has no file of emotions: expected one of {', '.join(EMOTION_FILES)}, with a line per utterance "
            f"(`utterance emotion`). Found: {contents(root)}. Name another with --column emotion=FILE."
        )
    files = {**FILES, **options.columns, "emotion": emotions}
    files = {meaning: name for meaning, name in files.items() if name and (root / name).is_file()}
    values = {meaning: _values(root / name) for meaning, name in files.items()}
    recordings = _values(root / RECORDINGS)
    if piped := [name for name, path in recordings.items() if path.endswith("|")]:
        raise UserError(
            f"{root / RECORDINGS}: {len(piped)} recordings are the output of a command, such as {piped[0]}: "
            f"{recordings[piped[0]][:SHOWN]} Write them to files first, for example with Kaldi's wav-copy."
        )
    rows = []
    for number, (utterance, recording, start, end) in enumerate(_segments(root, recordings), start=1):
        if recording not in recordings:
            raise UserError(
                f"{root / SEGMENTS}, line {number}: there is no recording {recording[:SHOWN]!r} in {RECORDINGS}."
            )
        cells = {"utterance": utterance, RECORDINGS: recordings[recording], "start": start, "end": end}
        rows.append(Row(f"utterance {utterance}", cells | {files[m]: values[m].get(utterance, "") for m in files}))
    times = {"start_seconds": "start", "end_seconds": "end"} if (root / SEGMENTS).is_file() else {}
    given = {"utterance_id": "utterance", "audio": RECORDINGS, **times, **files}
    columns = tuple(dict.fromkeys(given.values()))
    table = Table(root, columns, tuple(rows))
    return read_utterances_of(table, audio_root(root, list(recordings.values())), replace(options, columns=given))


def _segments(root: Path, recordings: dict[str, str]) -> list[tuple[str, str, str, str]]:
    """Utterance, recording, start and end of each line; a whole recording without `segments`."""
    path = root / SEGMENTS
    if not path.is_file():
        return [(name, name, "", "") for name in recordings]
    segments = []
    for number, (utterance, rest) in enumerate(_pairs(path), start=1):
        parts = rest.split()
        if len(parts) < 3:
            raise UserError(
                f"{path}, line {number}: expected `utterance recording start end`, found {utterance[:SHOWN]} "
                f"{rest[:SHOWN]!r}."
            )
        start, end = parts[1:3]
        segments.append((utterance, parts[0], start, "" if end == "-1" else end))
    return segments


def _values(path: Path) -> dict[str, str]:
    """Id → value of each line of a file.

    Raises:
        UserError: an id has two values.
    """
    values: dict[str, str] = {}
    for name, value in _pairs(path):
        if values.setdefault(name, value) != value:
            raise UserError(f"{path}: {name[:SHOWN]!r} has two lines that differ. Keep one of them.")
    return values


def _pairs(path: Path) -> list[tuple[str, str]]:
    """The lines of a file: an id and what follows."""
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8: {error}.") from None
    parts = (line.strip().split(maxsplit=1) for line in lines if line.strip())
    return [(part[0], part[1] if len(part) > 1 else "") for part in parts]
