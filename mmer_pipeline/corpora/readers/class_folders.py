"""A corpus as a folder per class: `ROOT/angry/call17.wav`, with a folder per speaker or a speaker in each file's name.

The levels of folders are the columns of a table, so that `--column emotion="folder 2"` can say which is which. Of two
levels, the one whose names look like emotions is the emotion, the other the speaker.
"""

from dataclasses import replace
from pathlib import Path, PurePosixPath

from mmer_pipeline.corpora.readers.folder_walk import contents
from mmer_pipeline.corpora.readers.reader_interface import ReaderOptions, Reading
from mmer_pipeline.corpora.recording_paths import recordings_below
from mmer_pipeline.corpora.table_utterances import read_utterances_of
from mmer_pipeline.corpora.tables import Row, Table
from mmer_pipeline.errors import UserError, first_few

FILE = "file"
# How the names of emotions begin, in English and German.
_BEGINNINGS = (
    *("amus", "ang", "anx", "bor", "calm", "contempt", "dis", "exc", "fea", "fru", "hap", "joy", "neu", "sad", "sur"),
    *("ärger", "ekel", "freu", "glück", "lange", "ruhig", "trau", "überr", "wut"),
)


def read_folders(root: Path, options: ReaderOptions) -> Reading:
    """Read the recordings in the folders below `root`.

    Raises:
        UserError: there are no folders of recordings, nothing says who speaks, or see `read_utterances_of`.
    """
    everything, links = recordings_below(root, follow_links=options.follow_links) if root.is_dir() else ([], [])
    if links:
        raise UserError(
            f"{root} has links to folders outside it: {first_few(links)}. Their recordings are read only with "
            "--follow-links; otherwise remove these links."
        )
    paths, outside = [path for path in everything if "/" in path], [path for path in everything if "/" not in path]
    if not paths:
        raise UserError(f"{root} has no folders with recordings, such as angry/call17.wav. Found: {contents(root)}.")
    depth = min(path.count("/") for path in paths)
    levels = [f"folder {number}" for number in range(1, depth + 1)]
    rows = [Row(path, {FILE: path, **dict(zip(levels, PurePosixPath(path).parts, strict=False))}) for path in paths]
    emotion = options.columns.get("emotion") or max(
        levels[:2], key=lambda level: _emotional({r.cells[level] for r in rows})
    )
    given = {"audio": FILE, "emotion": emotion}
    if not options.speaker_pattern:
        other = next((level for level in levels[:2] if level != emotion), None)
        given |= {"speaker": other} if other else {}
    if "speaker" not in {*given, *options.columns} and not options.speaker_pattern:
        example = PurePosixPath(paths[0]).stem
        raise UserError(
            f"{root} has a folder per class, but nothing says who speaks in {paths[0]}. Folds hold out "
            "speakers, since a known voice makes a score too good. If file names contain the speaker, give "
            "--speaker-pattern REGEX, such as "
            f"'^[^_-]+' for what precedes the first _ or - in {example}; or make a folder per speaker in each class."
        )
    notes = (f"recordings in no folder of a class, left out: {len(outside)} (such as {outside[0]})",) if outside else ()
    table = Table(root, (FILE, *levels), tuple(rows), notes)
    return read_utterances_of(table, root, replace(options, columns={**given, **options.columns}))


def _emotional(names: set[str]) -> float:
    """The share of names that begin like an emotion."""
    return sum(name.casefold().startswith(_BEGINNINGS) for name in names) / len(names)
