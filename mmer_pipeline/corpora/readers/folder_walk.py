"""Helpers for readers of corpora that are trees of recordings."""

from pathlib import Path

from mmer_pipeline.errors import UserError

SUFFIXES = (".wav", ".flac")  # the first is preferred if a recording exists as both
_SHOWN = 8  # names that a message lists
_LFS_POINTER = b"version https://git-lfs"


def recordings(folder: Path) -> list[Path]:
    """The recordings in a folder, sorted, without hidden files such as macOS's `._*`."""
    files = (file for file in folder.iterdir() if file.suffix.lower() in SUFFIXES)
    return sorted(file for file in files if not file.name.startswith("."))


def folders(folder: Path) -> list[Path]:
    """The folders in a folder, sorted, without hidden ones; none if `folder` is a file."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def contents(folder: Path) -> str:
    """The contents of a folder for a message: the first few names."""
    if not folder.is_dir():
        return "a file"
    names = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    return ", ".join(names[:_SHOWN]) + (f" … ({len(names)} in all)" if len(names) > _SHOWN else "") or "nothing"


def refuse_pointer(recording: Path) -> None:
    """Refuse a file that is only a git-lfs pointer to a recording.

    Raises:
        UserError: the file is such a pointer.
    """
    if not recording.is_file():
        return  # `prepare` says what it is
    with recording.open("rb") as stream:
        if stream.read(len(_LFS_POINTER)) == _LFS_POINTER:
            raise UserError(
                f"{recording} is a git-lfs pointer, not a recording: zip downloads and clones without git-lfs "
                "contain only pointers. Clone with git-lfs, or run `git lfs pull` in the clone."
            )


def unrecognised_names(names: list[str], pattern: str) -> list[str]:
    """The note on files whose names do not have the corpus's form; an empty list if there are no such files."""
    if not names:
        return []
    return [f"files not named like {pattern}, ignored: {len(names)} (such as {sorted(names)[0]})"]
