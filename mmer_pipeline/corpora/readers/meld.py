"""MELD (Poria et al. 2019, doi 10.18653/v1/P19-1050): 13,708 utterances in over 1,400 dialogues of the series Friends.

Licence: GPL-3.0 as published by its authors; the footage itself is the broadcaster's.
Source: https://github.com/declare-lab/MELD, recordings in MELD.Raw.tar.gz.

Transcripts, speakers and emotions are in `train_sent_emo.csv`, `dev_sent_emo.csv` and `test_sent_emo.csv`. The
recordings are videos, `train_splits/dia0_utt0.mp4`, whose sound must be extracted first (`CONVERT`). In the release,
`dev/dia110_utt7` is missing, `train/dia125_utt3` is damaged, and some clips are cut wrongly and minutes long.
Transcripts are read with or without recordings.

The session is the official part: train, dev or test. The six friends speak in all three, so the official split tests
on voices from training, unlike the folds of the other corpora: `--folds split` runs it, `--folds session` refuses it
as a leak. In `--folds cast` no voice is in two folds: each holds out one friend, or all other speakers. Names such as
"Woman" or "All" may stand for several people.

Dialogue numbers start again in each part.
"""

import re
import shlex
import unicodedata
from dataclasses import dataclass
from pathlib import Path

from mmer_pipeline.corpora.readers.folder_walk import SUFFIXES, contents
from mmer_pipeline.corpora.readers.reader_interface import Reading
from mmer_pipeline.corpora.utterances import Utterance
from mmer_pipeline.csv_tables import read_csv_rows
from mmer_pipeline.errors import UserError

COLUMNS = ("Utterance", "Speaker", "Emotion", "Dialogue_ID", "Utterance_ID")
VIDEO = ".mp4"
CONVERT = (
    "find {root} -name 'dia*.mp4' -exec sh -c "
    """'ffmpeg -nostdin -n -loglevel error -i "$1" -vn -ac 1 -ar 16000 "${{1%.mp4}}.wav"' _ {{}} \\;"""
)


@dataclass(frozen=True)
class Part:
    """An official part of the corpus."""

    name: str
    folder: str  # of its recordings
    utterances: int  # in the release

    @property
    def table(self) -> str:
        """The file of its utterances."""
        return f"{self.name}_sent_emo.csv"


PARTS = (
    Part("train", "train_splits", 9989),
    Part("dev", "dev_splits_complete", 1109),
    Part("test", "output_repeated_splits_test", 2610),
)
FRIENDS = ("Chandler", "Joey", "Monica", "Phoebe", "Rachel", "Ross")
GUESTS = "guests"  # all other speakers, in the column `cast`
# A Windows-1252 byte that was read as a character: "company\x92s" is "company’s".
_STRAY = re.compile("[\x80-\x9f]")


def read_meld(root: Path) -> Reading:
    """Read the three tables, each from `root`, from its folder `train`, `dev` or `test`, or from `data/MELD`.

    Raises:
        UserError: a table is missing, lacks a column, or has a bad row.
    """
    utterances: list[Utterance] = []
    notes: list[str] = []
    for part in PARTS:
        table = _existing(root, part, part.table)
        if table is None:
            raise UserError(
                f"{root} is not MELD: {part.table} is missing. Expected it in {root}, in its folder {part.name} (as in "
                f"MELD.Raw.tar.gz, with {part.name}.tar.gz unpacked) or in data/MELD (as in the repository). "
                f"Found in {root}: {contents(root)}."
            )
        read = _utterances(root, table, part, notes)
        if len(read) != part.utterances:
            notes.append(f"{table.name} has {len(read)} utterances; the release has {part.utterances}")
        utterances += read
    parts_of: dict[str, set[str]] = {}  # speaker → parts
    for utterance in utterances:
        parts_of.setdefault(utterance.speaker, set()).add(utterance.session)
    shared = sum(len(parts) > 1 for parts in parts_of.values())
    notes.append(
        f"speakers in more than one official part: {shared} of {len(parts_of)} (the test part has voices from training)"
    )
    return Reading(root, root, tuple(utterances), "meld-4", tuple(notes))


def _existing(root: Path, part: Part, name: str) -> Path | None:
    """The path of a file or folder in any of the release's layouts; None if it does not exist."""
    places = (root / name, root / part.name / name, root / "data" / "MELD" / name)
    return next((path for path in places if path.exists()), None)


def _utterances(root: Path, table: Path, part: Part, notes: list[str]) -> list[Utterance]:
    """The utterances of one part, with their recordings."""
    folder = _existing(root, part, part.folder) or root / part.folder
    existing = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    utterances, repaired, videos = [], 0, 0
    missing: list[str] = []
    for where, row in read_csv_rows(table, COLUMNS, fallback_encoding="cp1252"):
        text = _repaired(row["Utterance"])
        repaired += text != row["Utterance"]
        dialogue, number = (_number(row[column], column, where) for column in ("Dialogue_ID", "Utterance_ID"))
        clip = f"dia{dialogue}_utt{number}"
        speaker = _name(row["Speaker"], "Speaker", where)
        suffix = next((suffix for suffix in SUFFIXES if clip + suffix in existing), None)
        if suffix is None and clip + VIDEO in existing:
            videos += 1
        elif suffix is None:
            missing.append(clip)
        utterances.append(
            Utterance(
                utterance_id=f"{part.name}_{clip}",
                audio=(folder / (clip + (suffix or SUFFIXES[0]))).relative_to(root).as_posix(),
                start_seconds=None,  # the table's times refer to the episode
                end_seconds=None,
                speaker=speaker,
                session=part.name,
                dialogue=f"{part.name}_dia{dialogue}",
                emotion=_name(row["Emotion"], "Emotion", where),
                transcript=" ".join(text.split()),
                others=(("cast", speaker if speaker in FRIENDS else GUESTS),),
            )
        )
    if repaired:
        notes.append(f"utterances of {table.name} with repaired Windows-1252 characters: {repaired}")
    if videos:
        notes.append(
            f"videos ({VIDEO}) in {folder}, not read: {videos}. Extract their sound with: "
            + CONVERT.format(root=shlex.quote(str(root)))
        )
    if missing:
        notes.append(
            f"utterances of {part.name} without a recording in {folder}: {len(missing)} (such as {missing[0]}.wav)"
        )
    return utterances


def _number(cell: str, column: str, where: str) -> int:
    if not re.fullmatch(r"\s*[0-9]{1,9}\s*", cell):
        raise UserError(f"{where}: {column} is {cell[:40]!r}, expected a whole number, 0 or more.")
    return int(cell)


def _name(cell: str, column: str, where: str) -> str:
    value = " ".join(_repaired(cell).split())
    if not value:
        raise UserError(f"{where}: {column} is empty.")
    return value


def _repaired(text: str) -> str:
    """The intended text in composed Unicode: undo UTF-8 read as Windows-1252, decode stray bytes of the latter."""
    try:
        text = text.encode("cp1252").decode("utf-8")  # fails if the text was read correctly
    except UnicodeError:
        text = _STRAY.sub(lambda match: match[0].encode("latin-1").decode("cp1252", "ignore"), text)
    return unicodedata.normalize("NFC", text)
