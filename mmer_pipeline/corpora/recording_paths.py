"""Find the recordings that a table names, however it spells their paths.

A path as it stands is always preferred. Otherwise a recording `calls/call17.wav` is also found, if nothing else fits,
as `calls\\call17.wav`, `CALLS/Call17.WAV`, `calls/call17`, `call17.wav`, `calls/call17*`, and as an absolute path, of
this or of another machine, that ends with its path below the root. Accents may be composed or decomposed (macOS).
"""

import fnmatch
import os
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import NamedTuple

from mmer_pipeline.corpora.utterances import is_path, leaves_root, link_target

# Formats that libsndfile reads from a file with a header.
AUDIO_SUFFIXES = frozenset(
    (
        ".wav",
        ".wave",
        ".flac",
        ".mp3",
        ".ogg",
        ".oga",
        ".opus",
        ".aif",
        ".aiff",
        ".aifc",
        ".au",
        ".caf",
        ".w64",
        ".rf64",
    )
)
NAMED = 3  # recordings that a message lists
SHOWN = 200  # characters of a path that a message shows
MOST_TRIED, MOST_ABOVE = (
    20,
    3,
)  # paths that decide where an audio root is, and folders above the manifest that are tried


class PathError(Exception):
    """A path that names no recording, or several: the message is a clause without the row."""


class RecordingFinder:
    """The recordings below an audio root. Folders are listed once, when a path first needs them."""

    def __init__(self, root: Path, *, follow_links: bool = False) -> None:
        self.root = root
        self.follow_links = follow_links
        self.spellings: Counter[str] = Counter()  # how paths differed from the names on disk → paths
        self.not_found: dict[str, str] = {}  # path in the manifest → as written, of paths without a recording
        self._found: dict[str, str] = {}  # as written → path in the manifest
        self._resolved = root.resolve().as_posix().rstrip("/")
        self._absolute: dict[str, str] = {}  # end of an absolute path → the whole path, as written
        self._names: dict[str, frozenset[str]] = {}  # folder → names on disk
        self._folders: dict[str, dict[str, list[str]]] = {}  # folder → plain name → names on disk
        self._stems: dict[str, dict[str, list[str]]] = {}  # folder → plain name without extension → names on disk
        self._tree: dict[str, list[str]] | None = None  # plain name, with and without extension → paths of recordings

    def find(self, written: str) -> str:
        """The path of a recording relative to the root; the path as written (with `/`) if there is none.

        Raises:
            PathError: the path is empty or leaves the root, or several recordings fit.
        """
        if written not in self._found:
            try:
                self._found[written] = self._find(written)
            except OSError as error:  # such as a name that is too long
                raise PathError(f"{written[:SHOWN]!r} cannot be looked up ({error})") from None
        return self._found[written]

    def note(self) -> str | None:
        """Say how paths were spelt otherwise than on disk, if any were."""
        if not self.spellings:
            return None
        how = ", ".join(f"{count} {spelling}" for spelling, count in self.spellings.most_common())
        return f"recordings found although the table spells their paths differently: {how}"

    def _find(self, written: str) -> str:
        if not is_path(written) or PurePosixPath(written) == PurePosixPath():
            raise PathError("the path of the recording is empty" if not written else f"{written[:SHOWN]!r} is no path")
        plain = PurePosixPath(written).as_posix()  # without `./` and `//`, so that a recording has one path
        if not leaves_root(written) and self._is_there(plain):
            return plain
        path, spelling = written.replace("\\", "/"), "with backslashes" if "\\" in written else ""
        if path.startswith("/") or PureWindowsPath(path).drive:
            end = self._below_root(path, written)
            path, spelling = end, "" if path == f"{self._resolved}/{end}" else "absolute, of another folder or machine"
        path = PurePosixPath(path).as_posix()
        if leaves_root(path):
            raise _outside(written)
        for fitting, difference in (
            (self._on_disk(path), spelling),
            (self._with_extension(path), "without the extension"),
            (self._in_folders(path), "without the folder"),
            (self._matching(path), "as a pattern"),
        ):
            if len(fitting) > 1:
                raise PathError(f"{written!r} fits {len(fitting)} recordings: {_listed(fitting)}")
            if fitting:
                if difference or _composed(fitting[0]) != _composed(path):
                    self.spellings[difference or "in another case"] += 1
                return fitting[0]
        if "*" in path or "?" in path:
            raise PathError(f"the pattern {written!r} fits no recording")
        self.not_found[path] = written
        return path

    def _is_there(self, path: str) -> bool:
        folder, _, name = path.rpartition("/")
        if folder not in self._names:
            self._names[folder] = frozenset(_listing(self.root / folder))
        return name in self._names[folder]

    def _below_root(self, path: str, written: str) -> str:
        """An absolute path relative to the root: what is below it, or the longest end of it that exists there."""
        for whole in (path, Path(path).resolve().as_posix()) if path.startswith("/") else ():
            if whole.startswith(f"{self._resolved}/"):
                return whole.removeprefix(f"{self._resolved}/")
        parts = PurePosixPath(path).parts[1:]
        ends = ["/".join(parts[first:]) for first in range(len(parts))] if ".." not in parts else []
        end = next((end for end in ends if self._on_disk(end) or self._with_extension(end)), None)
        if path.startswith("/") and Path(path).is_file() and not self._is_same(path, end):
            raise PathError(
                f"{written!r} is a recording outside the audio root {self.root}: expected one below it. Move the table "
                "to a folder above all recordings, or give --root a folder above them"
            )
        if end is None:
            raise _outside(written)
        other = self._absolute.setdefault(_plain(end), path)
        if _plain(other) != _plain(path):
            raise PathError(f"{written!r} and {other!r} would both be {end} below {self.root}")
        return end

    def _is_same(self, path: str, end: str | None) -> bool:
        """Whether an absolute path and a path below the root are one file, as with links."""
        return any((self.root / there).samefile(path) for there in (self._on_disk(end) if end else ()))

    def _on_disk(self, path: str) -> list[str]:
        """The paths on disk that differ from this one at most in case and in the form of accents."""
        if self._is_there(path):
            return [path]
        found = [""]
        for part in PurePosixPath(path).parts:
            found = [f"{folder}/{name}" if folder else name for folder in found for name in self._named(folder, part)]
        return found

    def _named(self, folder: str, name: str) -> list[str]:
        if folder not in self._folders:
            self._folders[folder] = _grouped((_plain(name), name) for name in _listing(self.root / folder))
        return self._folders[folder].get(_plain(name), [])

    def _with_extension(self, path: str) -> list[str]:
        """The recordings that are this path and an extension."""
        above, _, stem = path.rpartition("/")
        folders = self._on_disk(above) if above else [""]
        found = []
        for folder in folders:
            if folder not in self._stems:
                names = [name for name in _listing(self.root / folder) if _is_recording(name)]
                self._stems[folder] = _grouped((_plain(PurePosixPath(name).stem), name) for name in names)
            found += [f"{folder}/{name}" if folder else name for name in self._stems[folder].get(_plain(stem), [])]
        return found

    def _in_folders(self, name: str) -> list[str]:
        """The recordings of this name, with or without extension, in any folder below the root."""
        return [] if "/" in name else self._recordings().get(_plain(name), [])

    def _matching(self, pattern: str) -> list[str]:
        """The recordings that a pattern such as `call17*.wav` fits; `*` does not go beyond a folder."""
        if not ("*" in pattern or "?" in pattern):
            return []
        parts = pattern.split("/")
        return sorted(
            path
            for path in {path for paths in self._recordings().values() for path in paths}
            if path.count("/") == pattern.count("/") and all(map(fnmatch.fnmatchcase, path.split("/"), parts))
        )

    def _recordings(self) -> dict[str, list[str]]:
        if self._tree is None:
            paths = [PurePosixPath(path) for path in recordings_below(self.root, follow_links=self.follow_links).paths]
            named = ((_plain(name), path.as_posix()) for path in paths for name in {path.name, path.stem})
            self._tree = _grouped(named)
        return self._tree


def audio_root(manifest_folder: Path, paths: Sequence[str]) -> Path:
    """The folder to which the paths of a manifest of another toolkit are relative, by its first paths.

    Such paths are absolute, or relative to the folder in which the toolkit ran: the manifest's or one above it.
    """
    first = paths[:MOST_TRIED]
    if all(path.startswith("/") for path in first):
        there = [path for path in paths if Path(path).exists()]
        return Path(os.path.commonpath([PurePosixPath(path).parent for path in there])) if there else manifest_folder
    above = [manifest_folder, *manifest_folder.resolve().parents[:MOST_ABOVE], Path.cwd()]
    return max(above, key=lambda folder: sum((folder / path).exists() for path in first))


class Tree(NamedTuple):
    """List the contents of a folder and its subfolders, as sorted paths relative to it."""

    paths: list[str]  # of recordings
    links: list[str]  # to folders outside it, which were not followed


def recordings_below(root: Path, *, follow_links: bool = False) -> Tree:
    """Find all recordings below a folder, without hidden ones.

    Links to folders are followed after all other folders, and no folder is visited twice, so that links in a circle end
    and a link to a folder below the root adds nothing. Links that leave the root are followed only if `follow_links`.
    """
    found: list[str] = []
    left: list[Path] = []
    visited, waiting = set(), [root]
    while waiting:
        for folder, folders, names in os.walk(waiting.pop(0)):
            true_path = os.path.realpath(folder)
            if true_path in visited:
                folders.clear()
                continue
            visited.add(true_path)
            here = Path(folder)
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for path in (here / name for name in folders if (here / name).is_symlink()):
                below = path.relative_to(root).as_posix()
                (waiting if follow_links or link_target(root, below) is None else left).append(path)
            found += [(here / name).relative_to(root).as_posix() for name in names if _is_recording(name)]
    return Tree(sorted(found), sorted(path.relative_to(root).as_posix() for path in left))


def _is_recording(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in AUDIO_SUFFIXES and not name.startswith(".")


def _listing(folder: Path) -> list[str]:
    return sorted(os.listdir(folder)) if folder.is_dir() else []  # noqa: PTH208 (names, of which there are many)


def _grouped(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for key, value in pairs:
        groups.setdefault(key, []).append(value)
    return groups


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _plain(name: str) -> str:
    """A name without regard to case and to the form of its accents."""
    return _composed(name).casefold()


def _listed(paths: list[str]) -> str:
    return ", ".join(paths[:NAMED]) + (f" and {len(paths) - NAMED} more" if len(paths) > NAMED else "")


def _outside(written: str) -> PathError:
    return PathError(
        f"audio path {written[:SHOWN]!r} leaves the audio root: expected a path relative to the root, without `..`, "
        "or an absolute one below it"
    )
