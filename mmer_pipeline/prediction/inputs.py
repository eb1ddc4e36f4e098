"""Find the recordings whose emotions are asked for: single files, folders of them, and CSV files that list them."""

import csv
import json
import os
import shlex
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path, PurePath

import soundfile

from mmer_pipeline.corpora.readers.folder_walk import contents
from mmer_pipeline.corpora.utterances import COLUMNS as MANIFEST_COLUMNS
from mmer_pipeline.corpora.utterances import SHOWN, is_path, read_segment
from mmer_pipeline.csv_tables import Row, check_unique, read_csv_rows
from mmer_pipeline.errors import UserError
from mmer_pipeline.paths import manifest_facts
from mmer_pipeline.prediction.results import Item
from mmer_pipeline.runs import PREDICTION_COLUMNS, PROBABILITY_PREFIX, TRANSCRIPT_COLUMN

REQUIRED = ("audio",)
OPTIONAL = ("utterance_id", "start_seconds", "end_seconds", "transcript", "speaker", "dialogue", "fold")
RESULT_COLUMNS = (*PREDICTION_COLUMNS, TRANSCRIPT_COLUMN, "transcript_source")  # of a file that predict wrote
_NOT_RECORDINGS = {"MAT4", "MAT5", "RAW"}  # matrices, and samples without a header, which `audio.load` refuses
_ALIASES = {"AIFF": ("aif", "aifc"), "AU": ("snd",), "OGG": ("oga", "opus"), "NIST": ("sph",), "SVX": ("iff",)}
SUFFIXES = frozenset(
    f".{suffix.lower()}"
    for name in soundfile.available_formats()
    if name not in _NOT_RECORDINGS
    for suffix in (name, *_ALIASES.get(name, ()))
)
# Sound that libsndfile does not read. A folder may be full of it, so it is not passed over without a word.
OTHER_SOUND = frozenset((".3gp", ".aac", ".amr", ".m4a", ".mkv", ".mov", ".mp4", ".webm", ".wma"))
_EXPECTED = "expected files such as .wav, .flac, .mp3 or .ogg"


@dataclass(frozen=True)
class Found:
    """The recordings that were found."""

    items: list[Item]  # in the order of the inputs
    problems: list[str]  # one sentence for each input that cannot be used
    notes: list[str] = field(default_factory=list)  # one sentence for each CSV file with columns that are not read


@dataclass(frozen=True)
class _Draft:
    """An item whose id may still be empty."""

    item: Item
    location: str  # the same for every way to write the recording's path
    name: str  # the path relative to the folder given, without suffix
    where: str = ""  # line of a CSV file; empty for a recording that was given otherwise

    @property
    def is_segment(self) -> bool:
        return self.item.start_seconds is not None or self.item.end_seconds is not None


def find_items(paths: Sequence[Path], *, transcript: str | None = None, truth: str | None = None) -> Found:
    """Find the recordings that `paths` name: recordings, folders of them, and CSV files with a column `audio`.

    `transcript` is what is said in the only recording; `truth` is the CSV files' column of true labels. A recording
    that is named twice appears once. Its id is that of the CSV file, or else its stem, or its path below the folder
    given if other recordings have the same stem. Whether a recording can be read is not checked.

    Raises:
        UserError: there are no inputs, a CSV file is invalid, has no column `truth` or repeats an id, or `transcript`
            is given for several recordings.
    """
    if not paths:
        raise UserError("No inputs. Expected recordings, folders of recordings, or CSV files with a column `audio`.")
    if truth is not None and not any(map(_is_csv, paths)):
        raise UserError(f"--truth {truth} names a column of a CSV file, but no CSV file is among the inputs.")
    drafts: list[_Draft] = []
    problems: list[str] = []
    distinct: dict[str, Path] = {}
    for path in paths:
        distinct.setdefault(_location(path), path)
    for path in distinct.values():
        try:
            drafts_here, problems_here = _look_into(path, truth)
        except OSError as error:
            drafts_here, problems_here = [], [f"{path} cannot be read: {error.strerror}."]
        drafts += drafts_here
        problems += problems_here
    items = _with_ids(_without_repeats(drafts))
    if transcript is not None:
        if (given := len(items) + len(problems)) > 1:
            raise UserError(
                f"--transcript is the text of one recording, but {given} were given. "
                "List them in a CSV file with the columns audio and transcript instead."
            )
        items = [replace(item, transcript=_composed(transcript) or None) for item in items]
    return Found(
        items, problems, [note for path in distinct.values() if _is_csv(path) for note in _unread(path, truth)]
    )


def _unread(path: Path, truth: str | None) -> list[str]:
    """A note on the columns of a CSV file that are not read, if there are any: one may be misspelt."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8-sig", errors="replace") as stream:
        header = next(csv.reader(stream), [])
    known_columns = (*REQUIRED, *OPTIONAL, *MANIFEST_COLUMNS, *RESULT_COLUMNS, truth)
    unread = [name for name in header if name not in known_columns and not name.startswith(PROBABILITY_PREFIX)]
    known = ", ".join((*REQUIRED, *OPTIONAL))
    return [f"{path}: not reading the columns {', '.join(unread)}. Known columns: {known}."] if unread else []


def free_id(wanted: str, taken: Set[str]) -> str:
    """Return `wanted`, with a number if it is already taken."""
    if wanted not in taken:
        return wanted
    return next(name for number in count(2) if (name := f"{wanted}-{number}") not in taken)


def as_text(path: PurePath) -> str:
    """Return a path as text that can be written as UTF-8: undecodable bytes of a file name become U+FFFD."""
    return os.fsencode(path.as_posix()).decode("utf-8", "replace")


def _look_into(path: Path, truth: str | None) -> tuple[list[_Draft], list[str]]:
    """Return the items of one input, and its problems."""
    if not path.exists():
        return [], [f"{path} does not exist."]
    if path.is_dir():
        return _look_into_folder(path)
    if not path.is_file():
        return [], [f"{path} is neither a file nor a folder."]
    if _is_csv(path):
        return _read_list(path, truth), []
    return [_Draft(Item("", path), _location(path), _name(path))], []


def _look_into_folder(folder: Path) -> tuple[list[_Draft], list[str]]:
    sound = SUFFIXES | OTHER_SOUND
    files = [path for path in folder.rglob("*") if path.suffix.lower() in sound]
    files = [path for path in files if not any(part.startswith(".") for part in path.relative_to(folder).parts)]
    files = sorted(path for path in files if path.is_file() or not path.exists())  # reading reports a dangling link
    recordings = [path for path in files if path.suffix.lower() in SUFFIXES]
    readable = {path.with_suffix("") for path in recordings}  # a video may have its sound beside it
    others = [path for path in files if path.suffix.lower() in OTHER_SOUND and path.with_suffix("") not in readable]
    problems = []
    if others:
        example = others[0].relative_to(folder)
        command = shlex.join(["ffmpeg", "-i", example.name, f"{example.stem}.wav"])
        problems.append(
            f"{folder} contains recordings of a kind that cannot be read ({len(others)} in all, such as {example}); "
            f"{_EXPECTED}. Convert them, for example with `{command}`."
        )
    elif not recordings:
        problems.append(f"{folder} contains no recordings: {_EXPECTED}, found {contents(folder)}.")
    drafts = [_Draft(Item("", path), _location(path), _name(path.relative_to(folder))) for path in recordings]
    return drafts, problems


def _read_list(path: Path, truth: str | None) -> list[_Draft]:
    rows = list(read_csv_rows(path, REQUIRED, OPTIONAL))
    if truth is not None and truth not in rows[0].cells:
        raise UserError(f"{path} has no column {truth!r} for --truth. Columns: {', '.join(rows[0].cells)}.")
    root = _audio_root(path)
    drafts = [_listed(row, root, truth) for row in rows]
    ids = ((draft.where, draft.item.utterance_id) for draft in drafts)
    check_unique("utterance_id", ((where, name) for where, name in ids if name))
    return drafts


def _audio_root(path: Path) -> Path:
    """Return what a CSV file's paths are relative to: the root in a `manifest.json` beside it, or else its folder."""
    try:
        root = json.loads(manifest_facts(path).read_text(encoding="utf-8"))["root"]
    except (OSError, ValueError, RecursionError, KeyError, TypeError):  # no such file, or one of something else
        root = None
    return Path(root) if isinstance(root, str) and is_path(root) else path.parent


def _listed(row: Row, root: Path, truth: str | None) -> _Draft:
    cells = {column: _composed(cell) for column, cell in row.cells.items()}
    audio = row.cells["audio"].strip()  # not normalised: in another Unicode form it would name another file
    if not audio or not is_path(audio):
        raise UserError(f"{row.where}: audio is {audio[:SHOWN]!r}, expected the path of a recording.")
    start, end = read_segment(cells.get("start_seconds", ""), cells.get("end_seconds", ""), row.where)
    item = Item(
        utterance_id=cells.get("utterance_id", ""),
        path=root / audio,
        start_seconds=start,
        end_seconds=end,
        transcript=cells.get("transcript") or None,
        truth=cells[truth] or None if truth is not None else None,
        speaker=cells.get("speaker", ""),
        dialogue=cells.get("dialogue", ""),
        fold=cells.get("fold", ""),
    )
    return _Draft(item, _location(item.path), _name(PurePath(audio)), row.where)


def _without_repeats(drafts: Iterable[_Draft]) -> list[_Draft]:
    """Leave out recordings that were given before, or that a CSV file, which says more about them, lists whole."""
    drafts = list(drafts)
    seen = {draft.location for draft in drafts if draft.where and not draft.is_segment}
    kept = []
    for draft in drafts:
        if not draft.where:
            if draft.location in seen:
                continue
            seen.add(draft.location)
        kept.append(draft)
    return kept


def _with_ids(drafts: Sequence[_Draft]) -> list[Item]:
    places: dict[str, str] = {}  # id of a CSV file → its line
    for draft in drafts:
        name = draft.item.utterance_id
        if name and (before := places.setdefault(name, draft.where)) != draft.where:
            raise UserError(
                f"{draft.where}: utterance_id {name!r} already appears in {before}. "
                "Every row needs its own utterance_id; predict the two files separately, or rename one of them."
            )
    names = _names_of_recordings([draft for draft in drafts if not draft.item.utterance_id], set(places))
    taken = set(places)
    segments: Counter[str] = Counter()
    items = []
    for draft in drafts:
        item = draft.item
        if not item.utterance_id:
            wanted = names[draft.location]
            if draft.is_segment:
                segments[wanted] += 1
                wanted = f"{wanted}-{segments[wanted]:04d}"
            item = replace(item, utterance_id=free_id(wanted, taken))
            taken.add(item.utterance_id)
        items.append(item)
    return items


def _names_of_recordings(drafts: Sequence[_Draft], ids: Set[str]) -> dict[str, str]:
    """Map the location of each recording to a name that is neither another's nor one of `ids`."""
    paths = {draft.location: draft.name for draft in reversed(drafts)}  # the first draft of a recording counts
    stems = Counter(PurePath(path).name for path in paths.values())
    names: dict[str, str] = {}
    taken = set(ids)
    for draft in drafts:
        if draft.location not in names:
            stem = PurePath(draft.name).name
            wanted = stem if stem and stems[stem] == 1 and stem not in taken else draft.name
            names[draft.location] = free_id(wanted, taken)
            taken.add(names[draft.location])
    return names


def _is_csv(path: Path) -> bool:
    return path.suffix.lower() == ".csv"


def _location(path: Path) -> str:
    """Resolve the folder of a file; the file itself may be a link whose name matters."""
    return os.path.join(os.path.realpath(path.parent), path.name)  # noqa: PTH118 (Path.resolve raises for link loops)


def _name(path: PurePath) -> str:
    return unicodedata.normalize("NFC", as_text(path).removesuffix(path.suffix))


def _composed(text: str) -> str:
    return unicodedata.normalize("NFC", text).strip()
