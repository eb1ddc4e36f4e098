"""The shim of `shim.c`: compile it, load it before everything else, and tell it what to do."""

import ctypes
import mmap
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(__file__).with_name("shim.c")
CONTROL = "FAULTS_CONTROL"  # environment variable: path of the control file, also for processes started later
NAME = 1024

CREATE, OPEN, WRITE, TRUNCATE, ALLOCATE, SYNC, RENAME, UNLINK, MKDIR, RMDIR, MODE = (1 << bit for bit in range(11))
KINDS = {
    CREATE: "create", OPEN: "open", WRITE: "write", TRUNCATE: "truncate", ALLOCATE: "allocate", SYNC: "sync",
    RENAME: "rename", UNLINK: "unlink", MKDIR: "mkdir", RMDIR: "rmdir", MODE: "chmod",
}  # fmt: skip
ALL = sum(KINDS)
COUNT, KILL_BEFORE, KILL_WITHIN, KILL_AFTER, FAIL_ONCE, FAIL_FROM = range(6)


class _Control(ctypes.Structure):
    _fields_ = (
        ("count", ctypes.c_int64),
        ("at", ctypes.c_int64),
        ("action", ctypes.c_int32),
        ("error", ctypes.c_int32),
        ("kinds", ctypes.c_int32),
        ("half", ctypes.c_int32),
        ("log", ctypes.c_int32),
        ("delay", ctypes.c_int32),
        ("fired", ctypes.c_int64),
        ("fired_at", ctypes.c_char * NAME),
        ("directory", ctypes.c_char * NAME),
        ("log_path", ctypes.c_char * NAME),
    )


@dataclass(frozen=True)
class Plan:
    """What happens to the processes of one command."""

    action: int = COUNT
    at: int = 0  # the change, counted from 1, at which it happens
    kinds: int = ALL  # of changes that count
    error: int = 0  # errno of a change that fails
    half: bool = False  # write one half of what the first change that fails has to write
    log: Path | None = None  # write all changes to this file
    delay: int = 0  # microseconds that a change is delayed at most


class Control:
    """The control file of the processes that work below `directory`."""

    def __init__(self, path: Path, directory: Path) -> None:
        self.path = path
        path.write_bytes(bytes(ctypes.sizeof(_Control)))
        with path.open("r+b") as stream:
            self._map = mmap.mmap(stream.fileno(), 0)
        self._fields = _Control.from_buffer(self._map)
        self._fields.directory = str(directory.resolve()).encode()

    def arm(self, plan: Plan) -> None:
        """Count from 0 again, and do this."""
        fields = self._fields
        fields.action = COUNT  # nothing happens while the others change
        fields.count, fields.at, fields.fired, fields.fired_at = 0, plan.at, 0, b""
        fields.kinds, fields.error, fields.half, fields.delay = plan.kinds, plan.error, plan.half, plan.delay
        fields.log, fields.log_path = plan.log is not None, str(plan.log or "").encode()
        fields.action = plan.action

    @property
    def count(self) -> int:
        """The changes since `arm`."""
        return self._fields.count

    @property
    def fired(self) -> str:
        """The change at which the shim acted, such as "3: write /place/cache/manifest.csv"; empty if it did not."""
        if not self._fields.fired:
            return ""
        kind, _, path = self._fields.fired_at.decode(errors="replace").partition(" ")
        return f"{self._fields.fired}: {KINDS[int(kind)]} {path}"

    def attach(self) -> None:
        """Obey this file from now on, in this process and in those that it starts."""
        os.environ[CONTROL] = str(self.path)
        ctypes.CDLL(None).faults_attach(str(self.path).encode())


def is_loaded() -> bool:
    """Whether the shim was loaded before this process's own libraries."""
    return hasattr(ctypes.CDLL(None), "faults_attach")


def restart_with_shim(directory: Path, module: str, arguments: list[str]) -> None:
    """Compile the shim into a directory, and replace this process by one that runs the module with it loaded."""
    library = directory / "shim.so"
    command = ["gcc", "-shared", "-fPIC", "-O2", "-o", str(library), str(SOURCE), "-ldl"]
    subprocess.run(command, check=True)
    environment = {**os.environ, "LD_PRELOAD": str(library)}
    os.execve(sys.executable, [sys.executable, "-m", module, *arguments], environment)
