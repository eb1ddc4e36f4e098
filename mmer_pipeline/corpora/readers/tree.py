"""What the readers of trees of recordings share."""

from pathlib import Path

from mmer_pipeline.errors import UserError

SUFFIXES = (".wav", ".flac")  # by preference, where a recording is there as both
_SHOWN = 8  # names that a message gives
_LFS_POINTER = b"version https://git-lfs"


def recordings(folder: Path) -> list[Path]:
    """The recordings in a folder, sorted; none of macOS's `._*`, which lie beside the files that they belong to."""
    files = (file for file in folder.iterdir() if file.suffix.lower() in SUFFIXES)
    return sorted(file for file in files if not file.name.startswith("."))


def folders(folder: Path) -> list[Path]:
    """The folders in a folder, sorted, hidden ones left out; none where it is a file."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def contents(folder: Path) -> str:
    """What a message says that it found there: the first few names."""
    if not folder.is_dir():
        return "a file"
    names = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    return ", ".join(names[:_SHOWN]) + (f" … ({len(names)} in all)" if len(names) > _SHOWN else "") or "nothing"


def refuse_pointer(recording: Path) -> None:
    """Refuse what git leaves in the place of a large file that was never fetched.

    Raises:
        UserError: the file is such a pointer.
    """
    with recording.open("rb") as stream:
        if stream.read(len(_LFS_POINTER)) == _LFS_POINTER:
            raise UserError(
                f"{recording} is a pointer of git-lfs, not a recording: a zip download and a clone without git-lfs "
                "hold only these. Clone with git-lfs, or run `git lfs pull` in the clone."
            )


def left_out(names: list[str], pattern: str) -> list[str]:
    """The note on files whose names are not of the corpus's form; no note where there is none."""
    if not names:
        return []
    return [f"{len(names)} files are not named like {pattern} and are left out, such as {sorted(names)[0]}"]
