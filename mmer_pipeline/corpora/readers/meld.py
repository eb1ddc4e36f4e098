"""MELD (Poria et al. 2019, doi 10.18653/v1/P19-1050): 13,708 utterances in over 1,400 dialogues of the series Friends.

Licence: GPL-3.0 as published by its authors; the footage itself is the broadcaster's.
Source: https://github.com/declare-lab/MELD, recordings in MELD.Raw.tar.gz.

Transcripts, speakers and emotions stand in `train_sent_emo.csv`, `dev_sent_emo.csv` and `test_sent_emo.csv`;
recordings are video, `train_splits/dia0_utt0.mp4`, from which the sound is to be extracted (`CONVERT`). In
the release `dev/dia110_utt7` is missing, `train/dia125_utt3` is damaged, and some clips are cut wrongly, up
to minutes long. Transcripts are read whether or not there are recordings.

The session is the official part: train, dev, test. The six friends speak in all three, so a fold over them
tests on voices it was trained on. That is the corpus's own protocol, and not what the folds of the other
corpora measure; `--folds session` refuses it as a leak. In `--folds cast` no voice stands in two folds: each
holds out one friend, or all who are none. Names such as "Woman" or "All" are not one person each.

A dialogue is the bootstrap's unit; its numbers begin anew in each part.
"""

import re
import shlex
import unicodedata
from dataclasses import dataclass
from pathlib import Path

from mmer_pipeline.corpora.readers.reading import Reading
from mmer_pipeline.corpora.readers.tree import SUFFIXES, contents
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
    folder: str  # where its recordings lie
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
GUESTS = "guests"  # in the column `cast`: all other speakers
# A character that stands for a byte of Windows-1252: "company\x92s" is "company’s".
_STRAY = re.compile("[\x80-\x9f]")


def read_meld(root: Path) -> Reading:
    """Read the three tables; each may lie in `root`, in a folder `train`, `dev` or `test` of it, or in `data/MELD`.

    Raises:
        UserError: a table is missing, lacks a column, or has a row that is no utterance.
    """
    utterances: list[Utterance] = []
    notes: list[str] = []
    for part in PARTS:
        table = _existing(root, part, part.table)
        if table is None:
            raise UserError(
                f"{root} is not MELD: {part.table} is missing. Expected it in {root}, in its folder {part.name} (as in "
                f"MELD.Raw.tar.gz, with {part.name}.tar.gz unpacked), or in data/MELD (as in the repository). "
                f"Found in {root}: {contents(root)}."
            )
        read = _utterances(root, table, part, notes)
        if len(read) != part.utterances:
            notes.append(f"{table.name} has {len(read)} utterances; the release has {part.utterances}")
        utterances += read
    homes: dict[str, set[str]] = {}
    for utterance in utterances:
        homes.setdefault(utterance.speaker, set()).add(utterance.session)
    shared = sum(len(parts) > 1 for parts in homes.values())
    notes.append(
        f"{shared} of {len(homes)} speakers stand in more than one official part: a test part has known voices"
    )
    return Reading(root, root, tuple(utterances), "meld-4", tuple(notes))


def _existing(root: Path, part: Part, name: str) -> Path | None:
    """Where in the release's layouts a file or folder lies."""
    places = (root / name, root / part.name / name, root / "data" / "MELD" / name)
    return next((path for path in places if path.exists()), None)


def _utterances(root: Path, table: Path, part: Part, notes: list[str]) -> list[Utterance]:
    """The utterances of one part, with the recordings that belong to them."""
    folder = _existing(root, part, part.folder) or root / part.folder
    there = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    utterances, mended, videos = [], 0, 0
    absent: list[str] = []
    for where, row in read_csv_rows(table, COLUMNS, fallback_encoding="cp1252"):
        text = _mended(row["Utterance"])
        mended += text != row["Utterance"]
        dialogue, number = (_number(row[column], column, where) for column in ("Dialogue_ID", "Utterance_ID"))
        clip = f"dia{dialogue}_utt{number}"
        speaker = _named(row["Speaker"], "Speaker", where)
        suffix = next((suffix for suffix in SUFFIXES if clip + suffix in there), None)
        if suffix is None and clip + VIDEO in there:
            videos += 1
        elif suffix is None:
            absent.append(clip)
        utterances.append(
            Utterance(
                utterance_id=f"{part.name}_{clip}",
                audio=(folder / (clip + (suffix or SUFFIXES[0]))).relative_to(root).as_posix(),
                start_seconds=None,  # the table's times are those of the episode
                end_seconds=None,
                speaker=speaker,
                session=part.name,
                dialogue=f"{part.name}_dia{dialogue}",
                emotion=_named(row["Emotion"], "Emotion", where),
                transcript=" ".join(text.split()),
                others=(("cast", speaker if speaker in FRIENDS else GUESTS),),
            )
        )
    if mended:
        notes.append(f"{mended} utterances of {table.name} had characters of Windows-1252, which were mended")
    if videos:
        notes.append(
            f"{videos} recordings in {folder} are video ({VIDEO}), which is not read. Extract their sound with: "
            + CONVERT.format(root=shlex.quote(str(root)))
        )
    if absent:
        notes.append(
            f"{len(absent)} utterances of {part.name} have no recording in {folder}; expected there: {absent[0]}.wav"
            + (" and so on" if len(absent) > 1 else "")
        )
    return utterances


def _number(cell: str, column: str, where: str) -> int:
    if not re.fullmatch(r"\s*[0-9]+\s*", cell):
        raise UserError(f"{where}: {column} is {cell!r}, expected a number from 0.")
    return int(cell)


def _named(cell: str, column: str, where: str) -> str:
    value = " ".join(_mended(cell).split())
    if not value:
        raise UserError(f"{where}: {column} is empty.")
    return value


def _mended(text: str) -> str:
    """The text as it was meant, in composed Unicode: UTF-8 that was read as Windows-1252, and stray bytes of it."""
    try:
        text = text.encode("cp1252").decode("utf-8")  # fails for all that was not read wrongly
    except UnicodeError:
        text = _STRAY.sub(lambda match: match[0].encode("latin-1").decode("cp1252", "ignore"), text)
    return unicodedata.normalize("NFC", text)
