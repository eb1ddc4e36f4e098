"""IEMOCAP (Busso et al. 2008, doi 10.1007/s10579-008-9076-6): five sessions of two actors each.

Each session has its labels in `dialog/EmoEvaluation/<dialogue>.txt`, its transcripts in
`dialog/transcriptions/<dialogue>.txt` and its recordings in `sentences/wav/<dialogue>/<utterance>.wav`. Labels and
transcripts are joined on the utterance id, since their times differ in the last digit.

In `Ses01F_impro01_M005` the first F names the actor who wore the motion-capture markers. The speaker is the M before
the number. Taking the F for the speaker gives each actor two names, and puts both actors in both parts of a fold.
"""

import re
from collections import defaultdict
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path

from mmer_pipeline.corpora import synthetic
from mmer_pipeline.corpora.readers.reader_interface import Reading
from mmer_pipeline.corpora.utterances import Utterance
from mmer_pipeline.errors import UserError

RELEASE_NAME = "IEMOCAP_full_release"
SESSIONS = ("1", "2", "3", "4", "5")
LABELS, TRANSCRIPTS, RECORDINGS = "dialog/EmoEvaluation", "dialog/transcriptions", "sentences/wav"
FOLDERS = {  # folder of a session → its contents
    LABELS: "the labels, one text file per dialogue such as Ses01F_impro01.txt",
    TRANSCRIPTS: "the transcripts, one text file per dialogue such as Ses01F_impro01.txt",
    RECORDINGS: "the recordings, one folder per dialogue",
}
NAMED = 5  # examples that a message or a note lists
ARCHIVES = (".zip", ".tar", ".tgz", ".gz", ".7z", ".rar")

# The lengths of names and numbers are bounded, so that a line of any length is matched in linear time.
_ID = r"(?P<id>(?P<dialogue>Ses(?P<session>\d\d)[FM]_(?:impro|script)\w{0,16})_(?P<speaker>[FM])\w{0,8}\d)"
UTTERANCE_ID = re.compile(_ID, re.ASCII)
LABEL_LINE = re.compile(rf"\[[\d.]+ - [\d.]+\]\t{_ID}\t(?P<label>\w+)\t\[[^\]]*\]\s*", re.ASCII)
TRANSCRIPT_LINE = re.compile(rf"{_ID}\s*(?:\[[\d.\s-]*\]\s*)?:(?P<text>.*)", re.ASCII)
_BAD_BYTE = re.compile("[\udc80-\udcff]")  # a byte that is not UTF-8, decoded with `surrogateescape`

Notes = defaultdict[str, list[str]]  # note → the places it is about, one per occurrence


def read_iemocap(root: Path) -> Reading:
    """Read the utterances of all ten labels in all five sessions.

    An utterance without a transcript gets an empty one, which `preparation` reports.

    Raises:
        UserError: `root` is neither the release nor its parent, a folder is missing, a label line is broken, or an
            utterance has two labels.
    """
    release = _release(root)
    _check_folders(release)
    notes = Notes(list)
    utterances: list[Utterance] = []
    places: dict[str, str] = {}  # utterance id → the file and line of its label
    for session in SESSIONS:
        folder = release / f"Session{session}"
        label_files, transcript_files = _dialogues(folder / LABELS), _dialogues(folder / TRANSCRIPTS)
        lines_of = {dialogue: _transcripts(path, notes) for dialogue, path in transcript_files.items()}
        transcripts: dict[str, str] = {}
        for lines in lines_of.values():
            for name, text in lines:
                if transcripts.setdefault(name, text) != text:
                    notes["transcript lines that repeat an id with other words (the first is used)"].append(name)
        labelled = [
            utterance
            for path in label_files.values()
            for utterance in _labelled(path, session, transcripts, places, notes)
        ]
        unlabelled = transcripts.keys() - {utterance.utterance_id for utterance in labelled}
        notes["transcript lines whose id has no label"] += sorted(unlabelled)
        transcribed = {dialogue for dialogue, lines in lines_of.items() if lines}
        recorded = {path.name for path in (folder / RECORDINGS).iterdir() if path.is_dir()}
        for kind, names in (
            ("dialogues without a label file, skipped", transcribed - label_files.keys()),
            ("dialogues without transcripts", label_files.keys() - transcribed),
            ("dialogues without a folder of recordings", {u.dialogue for u in labelled} - recorded),
        ):
            notes[kind] += sorted(names)
        utterances += labelled
    corpus = synthetic.CORPUS_NAME if _is_demo(release) else None
    return Reading(release, release, tuple(utterances), "iemocap-4", tuple(_note_lines(notes)), corpus)


def _is_demo(release: Path) -> bool:
    """Whether the tree is that of `mmer-pipe demo`, which is synthetic and says so in its README."""
    try:
        return (release / synthetic.README_NAME).read_bytes().startswith(synthetic.README_BEGINS.encode())
    except OSError:
        return False


def _release(root: Path) -> Path:
    """The folder that contains Session1 … Session5: `root`, or the release inside it."""
    for folder in (root, root / RELEASE_NAME):
        missing = _missing_sessions(folder)
        if not missing:
            return folder
        if len(missing) < len(SESSIONS):
            raise UserError(
                f"{folder} lacks {', '.join(missing)}. Expected Session1 … Session5, since every fold holds out one "
                f"of them. {_found(folder, missing)}"
            )
    if root.is_file():
        hint = " Unpack it and give the folder." if root.suffix.lower() in ARCHIVES else ""
        raise UserError(f"{root} is a file. Expected the folder {RELEASE_NAME} with Session1 … Session5.{hint}")
    message = (
        f"{root} is not IEMOCAP. Expected Session1 … Session5 in it, or in {RELEASE_NAME} inside it. "
        f"{_found(root, [*_missing_sessions(root), RELEASE_NAME])}"
    )
    # A path one folder too high or too low is the most common mistake: look there, but only briefly.
    near = chain(root.absolute().parents[:2], islice(chain(root.glob("*/"), root.glob("*/*/")), 500))
    for folder in near:
        if not _missing_sessions(folder):
            raise UserError(f"{message}\nThe sessions are in {folder}: pass --root {folder}.")
    raise UserError(message)


def _missing_sessions(folder: Path) -> list[str]:
    return [name for name in (f"Session{session}" for session in SESSIONS) if not (folder / name).is_dir()]


def _check_folders(release: Path) -> None:
    """Check that every session has its three folders; a partly unpacked release lacks some."""
    missing = [
        (release / f"Session{session}" / name, what)
        for session in SESSIONS
        for name, what in FOLDERS.items()
        if not (release / f"Session{session}" / name).is_dir()
    ]
    if not missing:
        return
    lines = [f"{path} is missing. Expected: {what}." for path, what in missing[:NAMED]]
    if len(missing) > NAMED:
        lines.append(f"{len(missing) - NAMED} more folders are missing.")
    path = missing[0][0]
    while not path.parent.is_dir():
        path = path.parent
    raise UserError("\n".join([*lines, f"In {path.parent}: {_found(path.parent, [path.name])}"]))


def _found(folder: Path, expected: list[str]) -> str:
    """Describe what was found instead of the expected names, and the likely cause."""
    names = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    more = f" … ({len(names)} in all)" if len(names) > NAMED else ""
    sentences = [f"Found: {', '.join(names[:NAMED]) or 'nothing'}{more}."]
    for name in expected:
        for other in names:
            if other == name:
                sentences.append(f"{name} is not a folder.")
            elif other.casefold() == name.casefold():
                sentences.append(f"Names are case-sensitive: rename {other} to {name}.")
    packed = [name for name in names if Path(name).suffix.lower() in ARCHIVES]
    if packed:
        sentences.append(f"{packed[0]} is still packed: unpack it.")
    return " ".join(sentences)


def _dialogues(folder: Path) -> dict[str, Path]:
    """Dialogue → its text file, without subfolders (single annotators) and macOS's hidden files (`._Ses…`)."""
    files = {path.stem: path for path in sorted(folder.glob("Ses*.txt")) if path.is_file()}
    if not files:
        raise UserError(
            f"{folder} has no file Ses*.txt. Expected one per dialogue, such as Ses01F_impro01.txt. "
            f"{_found(folder, [])}"
        )
    return files


def _labelled(
    path: Path, session: str, transcripts: dict[str, str], places: dict[str, str], notes: Notes
) -> Iterator[Utterance]:
    """The utterances of one label file. Its other lines are the header (%) and the votes of single annotators."""
    before = len(places)
    for number, line in enumerate(_lines(path, notes), start=1):
        if not line.startswith("["):
            if UTTERANCE_ID.search(line) is not None:
                notes["lines with an utterance id that are not label lines, skipped"].append(path.name)
            continue
        where = f"{path}, line {number}"
        match = LABEL_LINE.fullmatch(line)
        if match is None or int(match["session"]) != int(session):
            raise UserError(
                f"{where}: not a label line of session {session}, or truncated: {line[:200]!r}.\n"
                "Expected `[start - end]<TAB>utterance<TAB>label<TAB>[V, A, D]`. Copy the file again."
            )
        name, dialogue = match["id"], match["dialogue"]
        if name in places:
            raise UserError(
                f"{where}: {name} already has a label in {places[name]}. "
                "Expected one line per utterance: remove one of them, or copy the release again."
            )
        places[name] = where
        if dialogue != path.stem:
            notes["labels in a file named after another dialogue"].append(path.name)
        yield Utterance(
            utterance_id=name,
            audio=f"Session{session}/{RECORDINGS}/{dialogue}/{name}.wav",
            start_seconds=None,
            end_seconds=None,
            speaker=f"Ses{match['session']}_{match['speaker']}",
            session=session,
            dialogue=dialogue,
            emotion=match["label"],
            transcript=transcripts.get(name, ""),
        )
    if len(places) == before:
        raise UserError(f"{path} has no label line: it is empty or truncated. Copy the file again.")


def _transcripts(path: Path, notes: Notes) -> list[tuple[str, str]]:
    """Utterance id and transcript of each line that has the corpus's form."""
    transcripts = []
    for line in _lines(path, notes):
        match = TRANSCRIPT_LINE.fullmatch(line.strip())
        if match is not None:
            transcripts.append((match["id"], match["text"].strip()))
            if UTTERANCE_ID.search(match["text"]) is not None:
                notes["transcript lines that run on into the next utterance"].append(match["id"])
        elif UTTERANCE_ID.match(line.strip()) is not None:
            notes["transcript lines with an id but not of the form `id [start-end]: words`, skipped"].append(path.name)
        elif line.strip():
            notes["transcript lines without an utterance id, skipped"].append(path.name)
    return transcripts


def _lines(path: Path, notes: Notes) -> list[str]:
    """The lines of a text file, whatever its line ends; a byte that is not UTF-8 becomes U+FFFD."""
    text, replaced = _BAD_BYTE.subn("\ufffd", path.read_bytes().decode("utf-8-sig", "surrogateescape"))
    notes["bytes that are not UTF-8, replaced"] += [path.name] * replaced
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")  # not splitlines: a transcript may contain U+2028


def _note_lines(notes: Notes) -> Iterator[str]:
    """Each note with its count and the first few places."""
    for kind, places in notes.items():
        if places:
            named = list(dict.fromkeys(places))
            more = " …" if len(named) > NAMED else ""
            yield f"{kind}: {len(places)} ({', '.join(named[:NAMED])}{more})"
