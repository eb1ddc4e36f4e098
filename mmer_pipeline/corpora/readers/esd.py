"""ESD (Zhou et al. 2022, doi 10.1016/j.specom.2021.11.006): 350 texts in five emotions by each of twenty speakers.

Ten speak Mandarin (0001 … 0010), ten English (0011 … 0020). The texts are the same within a language, so a text says
nothing about its emotion. 35,000 utterances; 28,000 in four classes, half of them English.

Licence: for research only, under a signed agreement. The authors also ask to cite Zhou et al. 2021
(doi 10.1109/ICASSP39728.2021.9413391). Source: https://github.com/HLTSingapore/Emotional-Speech-Data.

Each speaker has recordings, `0011/Angry/0011_000351.wav` (in some copies one folder deeper, below `train`,
`evaluation` or `test`), and a list of transcripts, `0011/0011.txt`, with one line per utterance: id, text and
emotion, separated by tabs. The lists are in UTF-8, UTF-16, GB 2312 or Windows-1252, and a few lines lack a tab.

The `train`, `evaluation` and `test` of these copies share their speakers and are not used. The corpus has no
sessions; five groups of speakers form them instead, each with a woman and a man of either language. A speaker's
utterances were recorded together, so the speaker is the dialogue.
"""

import codecs
import re
from collections import Counter
from pathlib import Path

from mmer_pipeline.corpora.readers.folder_walk import contents, folders, recordings, unrecognised_names
from mmer_pipeline.corpora.readers.reader_interface import Reading
from mmer_pipeline.corpora.utterances import Utterance
from mmer_pipeline.errors import UserError

TEXTS = 350
SPEAKERS = {
    "zh": tuple(f"{number:04}" for number in range(1, 11)),
    "en": tuple(f"{number:04}" for number in range(11, 21)),
}
SESSIONS = (  # each a woman and a man of either language
    ("0001", "0004", "0015", "0011"),
    ("0002", "0005", "0016", "0012"),
    ("0003", "0006", "0017", "0013"),
    ("0007", "0008", "0018", "0014"),
    ("0009", "0010", "0019", "0020"),
)
EMOTIONS = ("neutral", "angry", "happy", "sad", "surprise")  # in the order of the numbers: 350 each, from 000001

_SESSION = {speaker: str(number) for number, group in enumerate(SESSIONS, start=1) for speaker in group}
_NAME = re.compile(r"(?P<speaker>[0-9]{4})_(?P<number>[0-9]{6})")
_EMOTION_WORD = r"neutral|angry|happy|sad|surprised?|中立|生气|快乐|伤心|惊喜"
_LINE = re.compile(rf"(?P<id>{_NAME.pattern})\s+(?P<text>.*?)(?:\s+(?:{_EMOTION_WORD}))?", re.IGNORECASE)


def read_esd(root: Path, language: str | None = None) -> Reading:
    """Read the speakers found in `root`, or in the folder of it that contains them.

    `language` is "zh", "en" or None for both; each language needs its own text encoder. An utterance without a line
    in its speaker's list has an empty transcript, which `preparation` reports.

    Raises:
        UserError: `root` contains none of the speakers, or a speaker has no list or no recording.
    """
    speakers = SPEAKERS[language] if language else tuple(sorted(_SESSION))
    found = {folder.name: folder for folder in _speaker_folders(root) if folder.name in speakers}
    if not found:
        raise UserError(
            f"{root} is not ESD. Expected folders of speakers ({speakers[0]} … {speakers[-1]}), such as "
            f"{speakers[0]}/Angry with {speakers[0]}_000351.wav, and {speakers[0]}/{speakers[0]}.txt. "
            f"Found: {contents(root)}."
        )
    utterances: list[Utterance] = []
    notes: list[str] = []
    others: list[str] = []
    misplaced: list[str] = []
    for speaker, folder in sorted(found.items()):
        transcripts = _transcripts(folder / f"{speaker}.txt", notes)
        before = len(utterances)
        for emotion, file in _recordings(folder):
            match = _NAME.fullmatch(file.stem)
            if match is None or match["speaker"] != speaker:
                others.append(file.relative_to(root).as_posix())
                continue
            if EMOTIONS.index(emotion) != (int(match["number"]) - 1) // TEXTS:
                misplaced.append(file.relative_to(root).as_posix())
            utterances.append(_utterance(root, file, emotion, transcripts))
        if len(utterances) == before:
            raise UserError(
                f"{folder} has no recordings. Expected folders {', '.join(name.capitalize() for name in EMOTIONS)} "
                f"with recordings such as {speaker}_000351.wav. Found: {contents(folder)}."
            )
    notes += unrecognised_names(others, "0011_000351.wav (beginning with their speaker)")
    if misplaced:
        notes.append(
            f"recordings in the folder of another emotion than their number indicates: {len(misplaced)} (such as "
            f"{misplaced[0]}); the folder's emotion is used"
        )
    notes += _counted(utterances, speakers)
    return Reading(root, root, tuple(utterances), "esd-4", tuple(notes))


def _speaker_folders(root: Path) -> list[Path]:
    """The folders of speakers in `root`, or in the first folder of it that has some (the layout of the zip file)."""
    for parent in (root, *folders(root)):
        if speakers := [folder for folder in folders(parent) if folder.name in _SESSION]:
            return speakers
    return []


def _recordings(folder: Path) -> list[tuple[str, Path]]:
    """The recordings of a speaker with their emotions, whether or not the copy has a further level of folders."""
    return [
        (emotion.name.lower(), file)
        for emotion in folders(folder)
        if emotion.name.lower() in EMOTIONS
        for part in (emotion, *folders(emotion))
        for file in recordings(part)
    ]


def _utterance(root: Path, file: Path, emotion: str, transcripts: dict[str, str]) -> Utterance:
    speaker = file.stem[:4]
    return Utterance(
        utterance_id=file.stem,
        audio=file.relative_to(root).as_posix(),
        start_seconds=None,
        end_seconds=None,
        speaker=speaker,
        session=_SESSION[speaker],
        dialogue=speaker,
        emotion=emotion,
        transcript=transcripts.get(file.stem, ""),
    )


def _transcripts(path: Path, notes: list[str]) -> dict[str, str]:
    """Utterance id → transcript. The emotion at the end of a line is ignored, since the folders state it."""
    if not path.is_file():
        raise UserError(
            f"{path} is missing. Expected the speaker's transcripts, one line per utterance: id, text and emotion, "
            f"separated by tabs. Found in {path.parent}: {contents(path.parent)}."
        )
    transcripts: dict[str, str] = {}
    unreadable = 0
    for line in _decoded(path, notes).splitlines():
        cells = [cell.strip() for cell in line.split("\t")]
        match = _LINE.fullmatch(" ".join(line.split()))  # folded: a long run of spaces would take for ever
        if match is None:
            unreadable += bool(line.strip())
        else:
            transcripts[match["id"]] = cells[1] if len(cells) > 2 else match["text"]
    if not transcripts:
        raise UserError(f"{path} has no line of the form id, text, emotion, separated by tabs. Copy the file again.")
    if unreadable:
        notes.append(f"lines of {path.name} that do not begin with an utterance id, ignored: {unreadable}")
    return transcripts


def _decoded(path: Path, notes: list[str]) -> str:
    """The text of a list in any of the release's encodings.

    Valid UTF-8 is read as UTF-8, anything else in the encoding of the speaker's language.
    """
    data = path.read_bytes()
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encoding = "utf-16"
    elif b"\0" in data[:100]:
        encoding = "utf-16-le"
    else:
        encoding = "utf-8-sig"
    try:
        return data.decode(encoding)
    except UnicodeDecodeError:
        if encoding == "utf-8-sig":
            encoding = "gb18030" if path.stem in SPEAKERS["zh"] else "cp1252"  # GB 18030 includes GB 2312
    text = data.decode(encoding, "replace")
    if bad := text.count("\ufffd"):
        notes.append(f"characters of {path.name} that are not {encoding}, replaced: {bad}")
    return text


def _counted(utterances: list[Utterance], speakers: tuple[str, ...]) -> list[str]:
    """Notes on missing speakers, and on speakers with another number of recordings than in the release."""
    counts = Counter(utterance.speaker for utterance in utterances)
    notes = []
    if absent := [speaker for speaker in speakers if speaker not in counts]:
        notes.append(f"found {len(counts)} of {len(speakers)} speakers; missing: {', '.join(absent)}")
    full = TEXTS * len(EMOTIONS)
    if uneven := [f"{speaker} {count}" for speaker, count in counts.items() if count != full]:
        notes.append(f"speakers that do not have {full} recordings: {', '.join(uneven)}")
    languages = [language for language, names in SPEAKERS.items() if counts.keys() & set(names)]
    if len(languages) > 1:
        notes.append("Mandarin and English are read together; esd-zh and esd-en read one language each")
    return notes
