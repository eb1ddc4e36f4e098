"""IEMOCAP (Busso et al. 2008, doi 10.1007/s10579-008-9076-6): five sessions of two actors each.

Per session: labels in `dialog/EmoEvaluation/<dialogue>.txt`, what was said in
`dialog/transcriptions/<dialogue>.txt`, the recordings in `sentences/wav/<dialogue>/<utterance>.wav`.
Labels and transcripts are joined on the utterance id, since their times differ in the last digit.

In `Ses01F_impro01_M005` the first F names who wore the motion-capture markers. The speaker is the M before
the number: who takes the F has each actor under two names, and in both parts of a fold over speakers.
"""

import re
from collections import Counter
from pathlib import Path

from mmer_pipeline.corpora.reading import Reading
from mmer_pipeline.errors import UserError
from mmer_pipeline.manifest import Utterance

RELEASE_NAME = "IEMOCAP_full_release"
SESSIONS = ("1", "2", "3", "4", "5")

_ID = r"Ses(?P<session>\d\d)[FM]_(?:impro|script)\w*_(?P<speaker>[FM])\w+\d+"
_LABEL_LINE = re.compile(rf"\[[\d.]+ - [\d.]+\]\t(?P<id>{_ID})\t(?P<label>\w+)\t\[[^\]]*\]\s*")
_SAID_LINE = re.compile(rf"(?P<id>{_ID})\s*(?:\[[\d.\s-]*\])?\s*:(?P<text>.*)")
_BAD_BYTE = re.compile("[\udc80-\udcff]")  # what `surrogateescape` makes of a byte that is not UTF-8


def read_iemocap(root: Path) -> Reading:
    """Read all ten labels (the label map drops what an experiment leaves out) of all five sessions.

    An utterance without a transcript has an empty one; `preparation` names it.

    Raises:
        UserError: `root` is neither the release nor its parent, a folder is missing, a label line is broken.
    """
    release = _release(root)
    utterances: list[Utterance] = []
    notes: list[str] = []
    for session in SESSIONS:
        folder = release / f"Session{session}"
        label_files, said_files = (_dialogues(folder / "dialog" / kind) for kind in ("EmoEvaluation", "transcriptions"))
        for kind, names in (
            ("no file of labels: their utterances are left out", said_files.keys() - label_files.keys()),
            ("no transcription", label_files.keys() - said_files.keys()),
        ):
            if names:
                notes.append(f"Session{session}: dialogues with {kind}: {', '.join(sorted(names))}")
        said = _transcripts(said_files, notes)
        labelled = [
            utterance
            for dialogue, path in label_files.items()
            for utterance in _labelled(path, dialogue, session, said, notes)
        ]
        unlabelled = said.keys() - {utterance.utterance_id for utterance in labelled}
        notes += ["{} transcription lines have an id without a label"] * len(unlabelled)
        utterances += labelled
    return Reading(release, release, tuple(utterances), "iemocap-4", tuple(_merged(notes)))


def _release(root: Path) -> Path:
    """The folder that holds Session1 … Session5: `root`, or the release inside it."""
    for folder in (root, root / RELEASE_NAME):
        missing = [session for session in SESSIONS if not (folder / f"Session{session}").is_dir()]
        if not missing:
            return folder
        if len(missing) < len(SESSIONS):
            raise UserError(
                f"{folder} lacks {', '.join(f'Session{session}' for session in missing)}. "
                "Expected Session1 … Session5: every fold holds one of them out."
            )
    found = ", ".join(sorted(path.name for path in root.iterdir())[:8]) if root.is_dir() else "a file"
    raise UserError(
        f"{root} is not IEMOCAP. Expected Session1 … Session5 in it, or in {RELEASE_NAME} inside it. "
        f"Found: {found or 'nothing'}."
    )


def _dialogues(folder: Path) -> dict[str, Path]:
    """Dialogue → its text file; subfolders (single annotators) and macOS leftovers (`._Ses…`) are none."""
    if not folder.is_dir():
        raise UserError(f"{folder} is missing. Expected one text file a dialogue there, such as Ses01F_impro01.txt.")
    found = {path.stem: path for path in sorted(folder.glob("Ses*.txt")) if path.is_file()}
    if not found:
        raise UserError(f"{folder} has no file Ses*.txt. Expected one a dialogue, such as Ses01F_impro01.txt.")
    return found


def _labelled(path: Path, dialogue: str, session: str, said: dict[str, str], notes: list[str]) -> list[Utterance]:
    """The utterances of one label file. Its other lines are the header (%) and single annotators' votes."""
    utterances = []
    for number, line in enumerate(_lines(path, notes), start=1):
        if not line.startswith("["):
            continue
        match = _LABEL_LINE.fullmatch(line)
        if match is None or int(match["session"]) != int(session):
            raise UserError(
                f"{path}, line {number}: not a label line of session {session}, or cut short: {line!r}.\n"
                "Expected `[start - end]<TAB>utterance<TAB>label<TAB>[V, A, D]`. Copy the file again."
            )
        utterances.append(
            Utterance(
                utterance_id=match["id"],
                audio=f"Session{session}/sentences/wav/{dialogue}/{match['id']}.wav",
                start_seconds=None,
                end_seconds=None,
                speaker=f"Ses{match['session']}_{match['speaker']}",
                session=session,
                dialogue=dialogue,
                emotion=match["label"],
                transcript=said.get(match["id"], ""),
            )
        )
    if not utterances:
        raise UserError(f"{path} has no label line. It is empty or cut short; copy it again.")
    return utterances


def _transcripts(paths: dict[str, Path], notes: list[str]) -> dict[str, str]:
    """Utterance id → what was said, of all dialogues of a session. The first line of an id counts."""
    said: dict[str, str] = {}
    for path in paths.values():
        for line in _lines(path, notes):
            match = _SAID_LINE.fullmatch(line.strip())
            if match is None:
                if line.strip():
                    notes.append("{} transcription lines carry no utterance id")
            elif said.setdefault(match["id"], match["text"].strip()) != match["text"].strip():
                notes.append("{} transcription lines repeat an utterance id with other words; the first counts")
    return said


def _lines(path: Path, notes: list[str]) -> list[str]:
    text, replaced = _BAD_BYTE.subn("\ufffd", path.read_bytes().decode("utf-8-sig", "surrogateescape"))
    if replaced:
        notes.append(f"{replaced} bytes that are not UTF-8 were replaced in {path}")
    return text.splitlines()


def _merged(notes: list[str]) -> list[str]:
    """Equal notes as one, with how many there were in place of a leading `{}`."""
    return [
        f"{count}{note.removeprefix('{}')}" if note.startswith("{}") else note for note, count in Counter(notes).items()
    ]
