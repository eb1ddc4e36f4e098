"""Write files completely or not at all, and report a full disk in one clear message."""

import errno
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from safetensors import SafetensorError

from mmer_pipeline.errors import Busy, UserError

_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def is_disk_full(error: Exception) -> bool:
    """Whether an error means that the disk is full.

    HDF5 raises an OSError, or a RuntimeError if it fails to close a file, and safetensors raises its own error; all
    three give the error number only in their messages.
    """
    return getattr(error, "errno", None) in _NO_SPACE or any(
        f"errno = {number}," in str(error) or f"os error {number})" in str(error) for number in _NO_SPACE
    )


@contextmanager
def explain_disk_full(path: Path) -> Iterator[None]:
    """Turn "no space left" inside the block into a `UserError` that names `path`; other errors pass unchanged."""
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        if not is_disk_full(error):
            raise
        raise UserError(
            f"The disk is full (or a quota was reached): {path} could not be written.\n"
            "Finished files are kept. Free some space and run the same command again."
        ) from error


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it to `path` when the block ends, or remove it on an error.

    Raises:
        UserError: the disk is full; `path` is unchanged.
    """
    with explain_disk_full(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        os.close(descriptor)
        temporary = Path(name)
        try:
            temporary.chmod(0o644)
            yield temporary
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def replacing_directory(path: Path) -> Iterator[Path]:
    """Do the same as `replacing` for a directory; an existing one is removed just before the rename."""
    with explain_disk_full(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent))
        try:
            temporary.chmod(0o755)
            yield temporary
            if path.exists():
                shutil.rmtree(path)
            temporary.replace(path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def locked(path: Path, *, wait: bool = False) -> Iterator[None]:
    """Hold the lock file `path` inside the block; the system releases it when the process dies.

    Raises:
        Busy: another process holds the lock, and `wait` is False.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(path, timeout=-1 if wait else 0):
            yield
    except Timeout:
        raise Busy(f"Another process is working in {path.parent}. Wait until it ends or stop it.") from None


def remove_directory(path: Path) -> None:
    """Remove a directory; it is renamed first, so that a killed process never leaves a part of it under its name."""
    if path.exists():
        doomed = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent))
        path.replace(doomed)
        shutil.rmtree(doomed)


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
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} is missing. Run `{made_by}` to write it.") from None
    except (ValueError, RecursionError) as error:  # not JSON, not UTF-8, a number too long, lists too deep
        raise UserError(f"{path} is not readable JSON ({error}). Run `{made_by}` to write it again.") from None


def json_line(value: Any) -> str:
    """One line of a JSON-lines file."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False) + "\n"


def read_json_lines(path: Path) -> list[Any]:
    """The values of a JSON-lines file.

    Raises:
        UserError: a line is not JSON.
    """
    values = []
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):  # bytes: U+2028 is not a line end
        try:
            values.append(json.loads(line))
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise UserError(
                f"{path}, line {number}: not readable JSON ({error}). Start the fold again with --restart."
            ) from None
    return values
