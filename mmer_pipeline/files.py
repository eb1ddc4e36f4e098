"""Writing files so that a reader never sees half of one, and a full disk gets one clear message."""

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
    """Whether an error means that nothing more can be written.

    HDF5 hides the number in the text of an OSError, or of a RuntimeError when it fails to close a file;
    safetensors in that of an error of its own.
    """
    return getattr(error, "errno", None) in _NO_SPACE or any(
        f"errno = {number}," in str(error) or f"os error {number})" in str(error) for number in _NO_SPACE
    )


@contextmanager
def explain_disk_full(path: Path) -> Iterator[None]:
    """Turn "no space left" inside the block into a `UserError` that names `path`; other errors pass."""
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        if not is_disk_full(error):
            raise
        raise UserError(
            f"The disk is full (or a quota is reached): {path} could not be written.\n"
            "What was finished before is kept. Make room and run the same command again."
        ) from error


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it to `path` when the block ends, remove it on an error.

    Raises:
        UserError: the disk is full; `path` is as it was.
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
    """As `replacing`, for a directory; one that is there is removed just before the rename."""
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
    """Hold the lock file `path` inside the block; the system lets it go when the process dies.

    Raises:
        Busy: another process holds it, and `wait` is not asked for.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(path, timeout=-1 if wait else 0):
            yield
    except Timeout:
        raise Busy(f"Another process is working in {path.parent}. Wait until it ends, or stop it.") from None


def remove_directory(path: Path) -> None:
    """Remove a directory at once: it is renamed first, so that a kill never leaves half of it under its name."""
    if path.exists():
        doomed = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent))
        path.replace(doomed)
        shutil.rmtree(doomed)


def remove_leftovers(directory: Path) -> None:
    """Remove the temporary files and directories below `directory` that a killed process left."""
    for path in list(directory.rglob(".*.tmp")):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, whole or not at all."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path, made_by: str) -> Any:
    """Read a JSON file.

    Raises:
        UserError: the file is missing or broken; the message names `made_by`, the command that makes it.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} is missing. Run `{made_by}` to make it.") from None
    except (ValueError, RecursionError) as error:  # no JSON, no UTF-8, a number too long, lists too deep
        raise UserError(f"{path} is not readable JSON ({error}). Run `{made_by}` to make it again.") from None


def json_line(value: Any) -> str:
    """One line of a JSON-lines file."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False) + "\n"


def read_json_lines(path: Path) -> list[Any]:
    """The values of a JSON-lines file.

    Raises:
        UserError: a line is not JSON.
    """
    values = []
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):  # of bytes: not at U+2028
        try:
            values.append(json.loads(line))
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise UserError(
                f"{path}, line {number} is not JSON ({error}). Start the fold again with --restart."
            ) from None
    return values
