"""RAVDESS speech (Livingstone and Russo 2018, doi 10.1371/journal.pone.0196391): two sentences, 24 actors.

All facts are in the file name, `03-01-06-01-02-01-12.wav`: modality, channel, emotion, intensity, statement,
repetition, actor. The same files come in two layouts: the Zenodo tree (`Actor_01/….wav`), and a folder with a
`metadata.csv` whose column `path` lists the recordings.

The corpus has no sessions. Five groups of actor pairs (a man and a woman) form them instead. An actor's utterances
were recorded together, so the actor is the dialogue.
"""

import re
from collections.abc import Iterable
from pathlib import Path

from mmer_pipeline.corpora.readers.reader_interface import Reading
from mmer_pipeline.corpora.utterances import Utterance, check_audio_path
from mmer_pipeline.csv_tables import Row, read_csv_rows
from mmer_pipeline.errors import UserError

METADATA_NAME = "metadata.csv"
ACTORS = 24
SESSIONS = 5
EMOTIONS = {
    "01": "neutral",
    "02": "calm",
    "03": "happy",
    "04": "sad",
    "05": "angry",
    "06": "fearful",
    "07": "disgust",
    "08": "surprised",
}
STATEMENTS = {"01": "Kids are talking by the door", "02": "Dogs are sitting by the door"}
SUFFIXES = {".wav", ".flac"}

_NAME = re.compile(
    r"(?P<modality>0[1-3])-(?P<channel>0[12])-(?P<emotion>0[1-8])-0[12]-(?P<statement>0[12])-0[12]"
    r"-(?P<actor>0[1-9]|1[0-9]|2[0-4])"
)


def read_ravdess(root: Path) -> Reading:
    """Read either layout; the utterances differ only in their audio paths.

    Raises:
        UserError: `root` has neither layout, or a row of `metadata.csv` contradicts its file name.
    """
    metadata = root / METADATA_NAME
    if metadata.is_file():
        names, source = _listed(metadata), metadata
    elif root.is_dir() and (folders := sorted(root.glob("Actor_[0-9][0-9]"))):
        names, source = [f"{folder.name}/{file.name}" for folder in folders for file in _files(folder)], root
    else:
        raise UserError(
            f"{root} is not RAVDESS. Expected folders Actor_01 … Actor_24 with the recordings "
            f"(Audio_Speech_Actors_01-24.zip, unpacked), or a {METADATA_NAME} with the columns path and emotion."
        )
    return _reading(root, source, names)


def _reading(root: Path, source: Path, names: Iterable[str]) -> Reading:
    utterances, others = [], []
    for name in names:
        match = _NAME.fullmatch(Path(name).stem)
        if match is None or (match["modality"], match["channel"]) != ("03", "01"):
            others.append(name)
        else:
            utterances.append(_utterance(name, match))
    notes = []
    if others:
        notes.append(f"files that are not audio-only speech (03-01-…), ignored: {len(others)} (such as {others[0]})")
    actors = len({utterance.speaker for utterance in utterances})
    if actors < ACTORS:
        notes.append(f"found {actors} of {ACTORS} actors")
    return Reading(root, source, tuple(utterances), "ravdess-4", tuple(notes))


def _utterance(name: str, match: re.Match[str]) -> Utterance:
    speaker = f"Actor_{match['actor']}"
    return Utterance(
        utterance_id=match[0],
        audio=name,
        start_seconds=None,
        end_seconds=None,
        speaker=speaker,
        session=str((int(match["actor"]) - 1) // 2 % SESSIONS + 1),
        dialogue=speaker,
        emotion=EMOTIONS[match["emotion"]],
        transcript=STATEMENTS[match["statement"]],
    )


def _files(folder: Path) -> list[Path]:
    files = (file for file in folder.iterdir() if file.suffix.lower() in SUFFIXES)
    return sorted(file for file in files if not file.name.startswith("."))  # macOS's ._*


def _listed(metadata: Path) -> list[str]:
    """The column `path`; the emotion beside it must agree with the file name."""
    return [_path(row) for row in read_csv_rows(metadata, ("path", "emotion"))]


def _path(row: Row) -> str:
    path, emotion = row.cells["path"].strip(), row.cells["emotion"].strip()
    check_audio_path(path, row.where)
    match = _NAME.fullmatch(Path(path).stem)
    if match is not None and EMOTIONS[match["emotion"]] != emotion:
        raise UserError(
            f"{row.where}: emotion is {emotion!r}, but the file name {Path(path).name} says "
            f"{EMOTIONS[match['emotion']]!r}. Correct one of them."
        )
    return path
