"""Let the power fail at any change of a command: what was not synchronised is lost. Then run the command again.

The shim logs all changes of an undisturbed command. Up to the moment of the failure they are replayed on a model of a
disk, from which a state is made that may be there after the failure:

- "data": all names are there, but files have only the content that was synchronised: nothing, zeros, or random parts of
  the rest (file systems that write names before contents);
- "names": contents are there, but of the new names in a directory only the first few since it was synchronised;
- "both".

Not covered: disks that lie about synchronising, and what the file system itself loses.
"""

import random
import shutil
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from faults.shim import ALLOCATE, CREATE, MKDIR, RENAME, RMDIR, SYNC, TRUNCATE, UNLINK, WRITE, Plan
from faults.workplace import STAGES, FoundError, Workplace, different, tree

CASES = tuple(name for name in STAGES if name not in ("extract in processes", "cv"))
_MODES = ("data", "names", "both")
_HEAD = struct.Struct("<IIIIQQQ")


@dataclass(frozen=True)
class Change:
    """An entry of the shim's log."""

    kind: int
    path: str
    other: str
    inode: int
    offset: int
    data: bytes
    of_reader: bool  # a sync through a descriptor that only reads


@dataclass
class File:
    """A file of the model: its content now, the content that is safe, and the writes since."""

    content: bytearray = field(default_factory=bytearray)
    safe: bytes = b""
    writes: list[tuple[int, bytes]] = field(default_factory=list)

    def write(self, offset: int, data: bytes) -> None:
        self.content.extend(bytes(max(0, offset + len(data) - len(self.content))))
        self.content[offset : offset + len(data)] = data
        self.writes.append((offset, data))

    def resize(self, size: int) -> None:
        del self.content[size:]
        self.content.extend(bytes(size - len(self.content)))

    def sync(self) -> None:
        self.safe, self.writes = bytes(self.content), []

    def after_failure(self, generator: random.Random) -> bytes:
        """What may be in the file after a failure."""
        if not self.writes and len(self.safe) == len(self.content):
            return self.safe
        how = generator.choice(["nothing", "zeros", "parts"])
        if how == "nothing":
            return self.safe
        kept = bytearray(self.safe[: len(self.content)].ljust(len(self.content), b"\0"))
        if how == "parts":
            for offset, data in self.writes:
                if generator.random() < 0.5 and offset + len(data) <= len(kept):
                    kept[offset : offset + len(data)] = data
        return bytes(kept)


@dataclass
class Folder:
    """A directory of the model: its names now, the names that are safe, and the changes of names since."""

    names: "dict[str, File | Folder]" = field(default_factory=dict)
    safe: "dict[str, File | Folder]" = field(default_factory=dict)
    changes: "list[tuple[str, File | Folder | None]]" = field(default_factory=list)  # None: removed

    def set(self, name: str, node: "File | Folder | None") -> None:
        _set(self.names, name, node)
        self.changes.append((name, node))

    def sync(self) -> None:
        self.safe, self.changes = dict(self.names), []

    def after_failure(self, mode: str, generator: random.Random) -> "dict[str, File | Folder]":
        """The names that may be in the directory after a failure."""
        if mode == "data":
            return self.names
        names = dict(self.safe)
        for name, node in self.changes[: generator.randint(0, len(self.changes))]:
            _set(names, name, node)
        return names


def _set(names: "dict[str, File | Folder]", name: str, node: "File | Folder | None") -> None:
    if node is None:
        names.pop(name, None)
    else:
        names[name] = node


class Disk:
    """A model of a directory on a disk with a cache that a power failure empties."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.inodes = directory, {}
        self.root = self._read(directory)

    def _read(self, directory: Path) -> Folder:
        names: dict[str, File | Folder] = {}
        for path in directory.iterdir():
            if path.is_dir():
                names[path.name] = self._read(path)
            else:
                content = path.read_bytes()
                names[path.name] = self.inodes[path.stat().st_ino] = File(bytearray(content), content)
        return Folder(names, dict(names))

    def _node(self, path: Path) -> File | Folder:
        node: File | Folder = self.root
        for name in path.relative_to(self.directory).parts:
            node = node.names[name]
        return node

    def apply(self, change: Change) -> None:
        """Make a change as a process sees it."""
        kind, path = change.kind, Path(change.path)
        if kind == CREATE:
            self.inodes[change.inode] = File()
            self._node(path.parent).set(path.name, self.inodes[change.inode])
        elif kind == MKDIR:
            self._node(path.parent).set(path.name, Folder())
        elif kind in (UNLINK, RMDIR):
            self._node(path.parent).set(path.name, None)
        elif kind == RENAME:
            node, other = self._node(path), Path(change.other)
            self._node(path.parent).set(path.name, None)
            self._node(other.parent).set(other.name, node)
        elif kind == SYNC:
            (self._node(path) if change.of_reader else self.inodes[change.inode]).sync()
        elif kind == WRITE:
            self.inodes[change.inode].write(change.offset, change.data)
        elif kind == TRUNCATE:
            self.inodes[change.inode].resize(change.offset)
        elif kind == ALLOCATE:
            file = self.inodes[change.inode]
            file.resize(max(change.offset, len(file.content)))

    def after_failure(self, mode: str, generator: random.Random) -> dict[str, bytes | None]:
        """A state that may be there after a power failure: path → content; None: a directory."""
        return dict(_contents(self.root, self.directory, mode, generator))


def _contents(folder: Folder, place: Path, mode: str, generator: random.Random) -> Iterator[tuple[str, bytes | None]]:
    for name, node in folder.after_failure(mode, generator).items():
        path = place / name
        if isinstance(node, Folder):
            yield str(path), None
            yield from _contents(node, path, mode, generator)
        else:
            yield str(path), bytes(node.content) if mode == "names" else node.after_failure(generator)


def read_log(path: Path) -> list[Change]:
    """Read the shim's log."""
    content, position, changes = path.read_bytes(), 0, []
    while position < len(content):
        kind, name, other, flags, inode, offset, size = _HEAD.unpack_from(content, position)
        position += _HEAD.size
        first, second = position + name, position + name + other
        stop = second + (size if kind == WRITE else 0)
        path_name, other_name = content[position:first].decode(), content[first:second].decode()
        changes.append(Change(kind, path_name, other_name, inode, offset, content[second:stop], bool(flags)))
        position = stop
    return changes


def trial(case: str, seed: int, workplace: Workplace) -> dict[str, int | str]:
    """Let the power fail at a change of a stage's command, run it again, and compare.

    Raises:
        FoundError: it prints a traceback or ends in another state, or what a command had finished is lost.
    """
    generator = random.Random(f"power {case} {seed}")
    workplace.prepare_states(case)
    workplace.restore(STAGES[case].before)
    disk = Disk(workplace.place)
    log = workplace.slot / "changes.log"
    log.unlink(missing_ok=True)
    ended = workplace.run(case, Plan(log=log))
    if ended.code != 0:
        raise FoundError(f"exit {ended.code}: {ended.output[-2000:]}")
    changes = read_log(log)
    # Every fifth failure comes just after the command has ended, when nothing may be lost any more.
    moment = len(changes) if seed % 5 == 4 else generator.randint(0, len(changes))
    mode = _MODES[seed % len(_MODES)]
    for change in changes[:moment]:
        disk.apply(change)
    state = disk.after_failure(mode, generator)
    what = f"power failed after change {moment} of {len(changes)} ({mode} not synchronised)"
    _write(state, workplace)
    try:
        if moment == len(changes):
            lost = different(tree(workplace.state(case)), tree(workplace.place))
            lost = [line for line in lost if "should not be there" not in line]
            if lost:
                raise FoundError(f"the command had ended, and its results are lost: {'; '.join(lost[:5])}")
        _run_again(case, workplace)
        workplace.compare(case)
    except FoundError as error:
        raise FoundError(f"{what}: {error}") from None
    return {"faults": 1}


def _write(state: dict[str, bytes | None], workplace: Workplace) -> None:
    """Make this the state of the workplace; files that are unchanged keep their times."""
    for name, content in sorted(state.items()):
        if content is None:
            Path(name).mkdir(exist_ok=True)
        elif not Path(name).is_file() or Path(name).read_bytes() != content:
            Path(name).write_bytes(content)
    for path in sorted(workplace.place.rglob("*"), reverse=True):
        if str(path) not in state:
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def _run_again(case: str, workplace: Workplace) -> None:
    """Run the command again; if it is refused, with the option or command that its message names."""
    ended = workplace.run(case)
    if ended.code != 0:
        raise FoundError(f"exit {ended.code}: {ended.output[-2000:]}")
