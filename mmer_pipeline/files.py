"""Write files completely or not at all, also if the power fails, and explain a full or failing disk in one message."""

import errno
import json
import math
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from safetensors import SafetensorError

from mmer_pipeline.errors import Busy, UserError

try:
    import fcntl
except ImportError:  # on Windows
    fcntl = None  # type: ignore[assignment]

_FULL = "The disk is full (or a quota was reached)", "Free some space"
_DISK_ERRORS = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EFBIG: _FULL,
    errno.EIO: ("The disk or the network drive failed", "Have it checked, or copy everything to another disk,"),
    errno.EROFS: ("The disk is read-only", "Make it writable, or copy everything to another disk,"),
}
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP}
_CANNOT_SYNC = {errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.EACCES}  # directories, on some file systems


def explanation_of(error: Exception, path: Path) -> str | None:
    """Explain that `path` could not be written because its disk is full, failing or read-only; None: another error.

    HDF5 raises an OSError, or a RuntimeError if it fails to close a file, and safetensors raises its own error; all
    three give the error number only in their messages.
    """
    number = getattr(error, "errno", None)
    if number is None and (found := re.search(r"errno = (\d+),|os error (\d+)\)", str(error))):
        number = int(found[1] or found[2])
    if number not in _DISK_ERRORS:
        return None
    problem, remedy = _DISK_ERRORS[number]
    return f"{problem}: {path} could not be written.\nFinished files are kept. {remedy} and run the same command again."


@contextmanager
def explain_disk_errors(path: Path) -> Iterator[None]:
    """Turn the error of a full, failing or read-only disk inside the block into a `UserError` that names `path`.

    Other errors pass unchanged.
    """
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        explanation = explanation_of(error, path)
        if explanation is None:
            raise
        raise UserError(explanation) from error


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it to `path` when the block ends, or remove it on an error.

    The content reaches the disk before the name does: after a power failure there is the old file or the new one.

    Raises:
        UserError: the disk is full, failing or read-only; `path` is unchanged.
    """
    with explain_disk_errors(path):
        make_directory(path.parent)
        temporary, lock = _temporary_file(path)
        try:
            yield temporary
            temporary.chmod(0o644)
            sync(temporary)
            temporary.replace(path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
        finally:
            os.close(lock)
        sync(path.parent)


def _temporary_file(path: Path) -> tuple[Path, int]:
    """Create an empty temporary file beside `path`; returns it and the descriptor that locks it.

    Its name follows from the one of `path`, so that the next process uses again what a killed one left. If another
    process is using that file, or the file system has no locks, the name is random.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    lock = _locked_file(temporary)
    if lock is not None:
        return temporary, lock
    lock, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    return Path(name), lock


def _locked_file(path: Path) -> int | None:
    """Create a file, or empty the one that a killed process left, and lock it; None if it cannot be locked."""
    if fcntl is None:
        return None
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except PermissionError:  # another user's process was killed
        return None
    try:
        lock(descriptor)
        state = os.fstat(descriptor)
        if os.path.samestat(state, path.stat()):  # it was not renamed since it was opened
            if state.st_size:
                os.ftruncate(descriptor, 0)
            return descriptor
    except OSError:
        pass
    os.close(descriptor)
    return None


@contextmanager
def replacing_directory(path: Path) -> Iterator[Path]:
    """Do the same as `replacing` for a directory, which only one process writes at a time.

    An existing one is moved away just before the rename.
    """
    with explain_disk_errors(path):
        make_directory(path.parent)
        temporary = path.with_name(f".{path.name}.tmp")
        _bring_back(path)  # if a process was killed between the two renames
        shutil.rmtree(temporary, ignore_errors=True)
        try:
            temporary.mkdir()
            yield temporary
            for written in [*temporary.rglob("*"), temporary]:
                written.chmod(0o755 if written.is_dir() else 0o644)  # safetensors lets only the owner read
                sync(written)
            _move_away(path)
            temporary.replace(path)
        except BaseException:
            with suppress(OSError):
                _bring_back(path)
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        sync(path.parent)
        shutil.rmtree(_place_of_old(path), ignore_errors=True)


def _place_of_old(path: Path) -> Path:
    return path.with_name(f".{path.name}.old.tmp")


def _move_away(path: Path) -> None:
    """Rename a directory, if there is one, so that no part of it ever remains under its name."""
    if path.exists():
        shutil.rmtree(_place_of_old(path), ignore_errors=True)
        path.replace(_place_of_old(path))


def _bring_back(path: Path) -> None:
    if _place_of_old(path).exists() and not path.exists():
        _place_of_old(path).replace(path)


def make_directory(path: Path) -> None:
    """Make a directory and those above it; a power failure does not take them away again."""
    missing = [directory for directory in (path, *path.parents) if not directory.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for directory in missing:
        sync(directory.parent)


def sync(path: Path) -> None:
    """Wait until the content of a file, or the names in a directory, are on the disk."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if not (path.is_dir() and error.errno in _CANNOT_SYNC):
            raise


def check_is_file(path: Path) -> None:
    """Refuse a pipe, a socket or a device, from which a program may read for ever.

    Raises:
        UserError: `path` is one; a folder, or nothing there, is left to the error of opening it.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        raise UserError(f"{path} is a pipe, a socket or a device. Expected a file.")


def lock(descriptor: int) -> None:
    """Lock an open file until it is closed, where the system can.

    Raises:
        BlockingIOError: another process holds the lock.
    """
    if fcntl is not None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


@contextmanager
def locked(path: Path, *, wait: bool = False) -> Iterator[None]:
    """Hold the lock file `path` inside the block; the system releases it when the process dies.

    Raises:
        Busy: another process holds the lock, and `wait` is False.
        UserError: the file system has no locks, or the lock file cannot be created because the disk is full …
    """
    lock = FileLock(path)
    try:
        with explain_disk_errors(path):
            make_directory(path.parent)
            lock.acquire(timeout=-1 if wait else 0)
    except Timeout:
        raise Busy(f"Another process is working in {path.parent}. Wait until it ends or stop it.") from None
    except (OSError, NotImplementedError) as error:
        if getattr(error, "errno", errno.ENOSYS) not in _NO_LOCKS:
            raise
        raise UserError(
            f"{path.parent} is on a file system without file locks, which keep two processes from writing the same "
            "files. Use a directory on another file system, or mount this one with locks (of NFS: without `nolock`)."
        ) from None
    try:
        yield
    finally:
        lock.release()


def remove_directory(path: Path) -> None:
    """Remove a directory; it is renamed first, so that a killed process never leaves a part of it under its name."""
    _move_away(path)
    shutil.rmtree(_place_of_old(path), ignore_errors=True)


def remove_leftovers(directory: Path) -> None:
    """Remove the temporary files and directories that a killed process left below `directory`."""
    for path in list(directory.rglob(".*.tmp")):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, completely or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_bytes(path: Path, data: bytes) -> None:
    """Write bytes, completely or not at all."""
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, completely or not at all."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path, made_by: str) -> Any:
    """Read a JSON file.

    Raises:
        UserError: the file is missing or broken; the message names `made_by`, the command that writes it.
    """
    try:
        return _parse(path.read_bytes())
    except FileNotFoundError:
        raise UserError(f"{path} is missing. Run `{made_by}` to write it.") from None
    except OSError as error:
        raise UserError(
            f"{path} cannot be read: {error.strerror}. Expected a JSON file, which `{made_by}` writes."
        ) from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not readable JSON ({error}). Run `{made_by}` to write it again.") from None


def _parse(data: bytes) -> Any:
    """Parse JSON.

    Raises:
        ValueError, RecursionError: it is not JSON or not UTF-8, has NaN or a number too large, or lists too deep.
    """
    return json.loads(data.decode("utf-8"), parse_float=_finite, parse_constant=_finite)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is no finite number")
    return number


def json_line(value: Any) -> str:
    """One line of a JSON-lines file."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False) + "\n"


def read_json_lines(path: Path) -> list[Any]:
    """The values of a JSON-lines file.

    Raises:
        UserError: the file cannot be read, or a line is not JSON.
    """
    values = []
    try:
        lines = path.read_bytes().splitlines()  # bytes: U+2028 is not a line end
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}. Start the fold again with --restart.") from None
    for number, line in enumerate(lines, start=1):
        try:
            values.append(_parse(line))
        except (ValueError, RecursionError) as error:
            raise UserError(
                f"{path}, line {number}: not readable JSON ({error}). Start the fold again with --restart."
            ) from None
    return values
