"""IEMOCAP (Busso et al. 2008, doi 10.1007/s10579-008-9076-6): five sessions of two actors each.

Per session: labels in `dialog/EmoEvaluation/<dialogue>.txt`, what was said in
`dialog/transcriptions/<dialogue>.txt`, the recordings in `sentences/wav/<dialogue>/<utterance>.wav`.
Labels and transcripts are joined on the utterance id, since their times differ in the last digit.

In `Ses01F_impro01_M005` the first F names who wore the motion-capture markers. The speaker is the M before
the number: who takes the F has each actor under two names, and in both parts of a fold over speakers.
"""

import re
from collections import defaultdict
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path

from mmer_pipeline.corpora.readers.reading import Reading
from mmer_pipeline.corpora.utterances import Utterance
from mmer_pipeline.errors import UserError

RELEASE_NAME = "IEMOCAP_full_release"
SESSIONS = ("1", "2", "3", "4", "5")
LABELS, SAID, RECORDINGS = "dialog/EmoEvaluation", "dialog/transcriptions", "sentences/wav"
FOLDERS = {  # of a session → what belongs there
    LABELS: "the labels, one text file a dialogue such as Ses01F_impro01.txt",
    SAID: "what was said, one text file a dialogue such as Ses01F_impro01.txt",
    RECORDINGS: "the recordings, one folder a dialogue",
}
NAMED = 5  # examples that a message or a note gives
ARCHIVES = (".zip", ".tar", ".tgz", ".gz", ".7z", ".rar")

# The number's length is bounded, so that a line of any length is matched in linear time.
_ID = r"(?P<id>(?P<dialogue>Ses(?P<session>\d\d)[FM]_(?:impro|script)\w*)_(?P<speaker>[FM])\w{0,8}\d)"
UTTERANCE_ID = re.compile(_ID, re.ASCII)
LABEL_LINE = re.compile(rf"\[[\d.]+ - [\d.]+\]\t{_ID}\t(?P<label>\w+)\t\[[^\]]*\]\s*", re.ASCII)
SAID_LINE = re.compile(rf"{_ID}\s*(?:\[[\d.\s-]*\])?\s*:(?P<text>.*)", re.ASCII)
_BAD_BYTE = re.compile("[\udc80-\udcff]")  # what `surrogateescape` makes of a byte that is not UTF-8

Notes = defaultdict[str, list[str]]  # what is noted → where, once for each time


def read_iemocap(root: Path) -> Reading:
    """Read all ten labels (the label map drops what an experiment leaves out) of all five sessions.

    An utterance without a transcript has an empty one; `preparation` names it.

    Raises:
        UserError: `root` is neither the release nor its parent, a folder is missing, a label line is broken,
            an utterance has two labels.
    """
    release = _release(root)
    _check_folders(release)
    notes = Notes(list)
    utterances: list[Utterance] = []
    homes: dict[str, str] = {}  # utterance id → the file and line of its label
    for session in SESSIONS:
        folder = release / f"Session{session}"
        label_files, said_files = _dialogues(folder / LABELS), _dialogues(folder / SAID)
        said = {file: _transcripts(path, notes) for file, path in said_files.items()}
        words: dict[str, str] = {}
        for lines in said.values():
            for name, text in lines:
                if words.setdefault(name, text) != text:
                    notes["transcription lines repeat an utterance id with other words; the first counts"].append(name)
        labelled = [
            utterance for path in label_files.values() for utterance in _labelled(path, session, words, homes, notes)
        ]
        unlabelled = words.keys() - {utterance.utterance_id for utterance in labelled}
        notes["transcription lines have an id without a label"] += sorted(unlabelled)
        spoken = {file for file, lines in said.items() if lines}
        recorded = {path.name for path in (folder / RECORDINGS).iterdir() if path.is_dir()}
        for kind, names in (
            ("dialogues have no file of labels, so their utterances are left out", spoken - label_files.keys()),
            ("dialogues have no transcription", label_files.keys() - spoken),
            ("dialogues have no folder of recordings", {u.dialogue for u in labelled} - recorded),
        ):
            notes[kind] += sorted(names)
        utterances += labelled
    return Reading(release, release, tuple(utterances), "iemocap-4", tuple(_note_lines(notes)))


def _release(root: Path) -> Path:
    """The folder that holds Session1 … Session5: `root`, or the release inside it."""
    for folder in (root, root / RELEASE_NAME):
        missing = _missing_sessions(folder)
        if not missing:
            return folder
        if len(missing) < len(SESSIONS):
            raise UserError(
                f"{folder} lacks {', '.join(missing)}. "
                f"Expected Session1 … Session5: every fold holds one of them out. {_found(folder, missing)}"
            )
    if root.is_file():
        hint = " Unpack it first, and give the folder." if root.suffix.lower() in ARCHIVES else ""
        raise UserError(f"{root} is a file. Expected the folder {RELEASE_NAME} with Session1 … Session5.{hint}")
    message = (
        f"{root} is not IEMOCAP. Expected Session1 … Session5 in it, or in {RELEASE_NAME} inside it. "
        f"{_found(root, [*_missing_sessions(root), RELEASE_NAME])}"
    )
    # Given one folder too high or too low is the commonest mistake: look there, but not for long.
    near = chain(root.absolute().parents[:2], islice(chain(root.glob("*/"), root.glob("*/*/")), 500))
    for folder in near:
        if not _missing_sessions(folder):
            raise UserError(f"{message}\nThe sessions stand in {folder}: give that as --root.")
    raise UserError(message)


def _missing_sessions(folder: Path) -> list[str]:
    return [name for name in (f"Session{session}" for session in SESSIONS) if not (folder / name).is_dir()]


def _check_folders(release: Path) -> None:
    """Every session has its three folders; a release that was unpacked in part lacks some."""
    missing = [
        (release / f"Session{session}" / name, what)
        for session in SESSIONS
        for name, what in FOLDERS.items()
        if not (release / f"Session{session}" / name).is_dir()
    ]
    if not missing:
        return
    lines = [f"{path} is missing. Expected there: {what}." for path, what in missing[:NAMED]]
    if len(missing) > NAMED:
        lines.append(f"So are {len(missing) - NAMED} other folders.")
    path = missing[0][0]
    while not path.parent.is_dir():
        path = path.parent
    raise UserError("\n".join([*lines, f"In {path.parent}: {_found(path.parent, [path.name])}"]))


def _found(folder: Path, expected: list[str]) -> str:
    """What a folder holds in place of what is expected there, with the likely cause."""
    names = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    more = f" … ({len(names)} in all)" if len(names) > NAMED else ""
    sentences = [f"Found: {', '.join(names[:NAMED]) or 'nothing'}{more}."]
    for name in expected:
        for other in names:
            if other == name:
                sentences.append(f"{name} is no folder.")
            elif other.casefold() == name.casefold():
                sentences.append(f"Upper and lower case count: rename {other} to {name}.")
    packed = [name for name in names if Path(name).suffix.lower() in ARCHIVES]
    if packed:
        sentences.append(f"{packed[0]} is still packed: unpack it.")
    return " ".join(sentences)


def _dialogues(folder: Path) -> dict[str, Path]:
    """Dialogue → its text file; subfolders (single annotators) and macOS leftovers (`._Ses…`) are none."""
    files = {path.stem: path for path in sorted(folder.glob("Ses*.txt")) if path.is_file()}
    if not files:
        raise UserError(
            f"{folder} has no file Ses*.txt. Expected one a dialogue, such as Ses01F_impro01.txt. {_found(folder, [])}"
        )
    return files


def _labelled(
    path: Path, session: str, words: dict[str, str], homes: dict[str, str], notes: Notes
) -> Iterator[Utterance]:
    """The utterances of one label file. Its other lines are the header (%) and single annotators' votes."""
    before = len(homes)
    for number, line in enumerate(_lines(path, notes), start=1):
        if not line.startswith("["):
            if UTTERANCE_ID.search(line) is not None:
                notes["lines name an utterance but are no label lines, and are skipped"].append(path.name)
            continue
        where = f"{path}, line {number}"
        match = LABEL_LINE.fullmatch(line)
        if match is None or int(match["session"]) != int(session):
            raise UserError(
                f"{where}: not a label line of session {session}, or cut short: {line[:200]!r}.\n"
                "Expected `[start - end]<TAB>utterance<TAB>label<TAB>[V, A, D]`. Copy the file again."
            )
        name, dialogue = match["id"], match["dialogue"]
        if name in homes:
            raise UserError(
                f"{where}: {name} has a label already, in {homes[name]}. "
                "Every utterance has one line; remove the copy, or copy the release again."
            )
        homes[name] = where
        if dialogue != path.stem:
            notes["labels stand in a file of another dialogue's name"].append(path.name)
        yield Utterance(
            utterance_id=name,
            audio=f"Session{session}/{RECORDINGS}/{dialogue}/{name}.wav",
            start_seconds=None,
            end_seconds=None,
            speaker=f"Ses{match['session']}_{match['speaker']}",
            session=session,
            dialogue=dialogue,
            emotion=match["label"],
            transcript=words.get(name, ""),
        )
    if len(homes) == before:
        raise UserError(f"{path} has no label line. It is empty or cut short; copy it again.")


def _transcripts(path: Path, notes: Notes) -> list[tuple[str, str]]:
    """Utterance id and what was said, for each line of a transcription that has the corpus's form."""
    said = []
    for line in _lines(path, notes):
        match = SAID_LINE.fullmatch(line.strip())
        if match is not None:
            said.append((match["id"], match["text"].strip()))
            if UTTERANCE_ID.search(match["text"]) is not None:
                notes["transcription lines run on into another utterance's"].append(match["id"])
        elif UTTERANCE_ID.match(line.strip()) is not None:
            notes["transcription lines have an id but not the form `id [start-end]: words`, and are skipped"].append(
                path.name
            )
        elif line.strip():
            notes["transcription lines carry no utterance id"].append(path.name)
    return said


def _lines(path: Path, notes: Notes) -> list[str]:
    """The lines of a text file, ended as on any system; a byte that is not UTF-8 becomes U+FFFD."""
    text, replaced = _BAD_BYTE.subn("\ufffd", path.read_bytes().decode("utf-8-sig", "surrogateescape"))
    notes["bytes that are not UTF-8 were replaced"] += [path.name] * replaced
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")  # not splitlines: U+2028 may be spoken


def _note_lines(notes: Notes) -> Iterator[str]:
    """Each note with its count, and the first few places."""
    for kind, places in notes.items():
        if places:
            named = list(dict.fromkeys(places))
            more = " …" if len(named) > NAMED else ""
            yield f"{len(places)} {kind}: {', '.join(named[:NAMED])}{more}"
