"""Whether a worker on another machine can do the same work as this process: the same versions, code and files."""

import hashlib
import os
import platform
import socket
import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from mmer_pipeline import files, paths
from mmer_pipeline.digests import SHORT
from mmer_pipeline.errors import first_few

_LIBRARIES = ("mmer-pipeline", "torch", "transformers", "tokenizers", "numpy", "soxr", "soundfile")  # they make digits


@dataclass(frozen=True)
class Requirements:
    """Files that a worker needs."""

    read: tuple[Path, ...]  # absolute
    token: Path | None = None  # in the directory to write to
    expected: str = ""  # content of the token: a worker with the same path on another disk finds none, or another one


@dataclass(frozen=True)
class WorkerFacts:
    """The answer of a worker."""

    host: str
    versions: dict[str, str]  # of Python and the libraries
    code: str  # digest of the package's source
    missing: tuple[Path, ...]  # of what it has to read
    unwritable: Path | None  # the directory that it has to write to


def shared_directory(directory: Path, read: Sequence[Path]) -> Requirements:
    """Require that workers see these files, and that they write to the same `directory` as this process.

    Raises:
        UserError: the disk is full, or the directory is read-only …
    """
    token = paths.cluster_token(directory)
    with files.explain_disk_errors(token):
        files.make_directory(directory)
        with suppress(FileExistsError), token.open("x", encoding="utf-8") as stream:
            stream.write(uuid.uuid4().hex)
        expected = token.read_text(encoding="utf-8")
    return Requirements(tuple(path.absolute() for path in read), token.absolute(), expected)


def examine(requirements: Requirements) -> WorkerFacts:
    """Describe this process; runs on a worker, so it imports nothing heavy."""
    token = requirements.token
    writable = token is None or (_content(token) == requirements.expected and os.access(token.parent, os.W_OK))
    return WorkerFacts(
        host=socket.gethostname(),
        versions={"Python": ".".join(platform.python_version_tuple()[:2])}
        | {name: _version(name) for name in _LIBRARIES},
        code=_digest_of_code(),
        missing=tuple(path for path in requirements.read if not path.exists()),
        unwritable=None if writable or token is None else token.parent,
    )


def _content(token: Path) -> str | None:
    try:
        return token.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None


def _version(name: str) -> str:
    """A library's version, without the "+cu126" that says for which device it was built."""
    try:
        return version(name).partition("+")[0]
    except PackageNotFoundError:
        return "none"


def _digest_of_code() -> str:
    root = Path(__file__).resolve().parents[1]
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:SHORT]


def fault_of(there: WorkerFacts, here: WorkerFacts) -> str | None:
    """Why a worker cannot be used: a clause with its remedy. None: it can."""
    other = [
        f"{name} {there.versions.get(name, 'none')} (here {wanted})"
        for name, wanted in here.versions.items()
        if there.versions.get(name) != wanted
    ]
    if not other and there.code != here.code:
        other = [f"mmer-pipeline {here.versions['mmer-pipeline']} with other source code"]
    mount = "Mount the file system there under the same path"
    if other:
        return f"it has {', '.join(other)}, and results are to have the same digits. Install the same versions there"
    if there.missing:
        return f"it does not see {first_few([str(path) for path in there.missing])}. {mount}"
    if there.unwritable:
        return f"it cannot write to {there.unwritable}, or has another directory of that name. {mount}"
    return None


def fault_of_error(error: BaseException) -> str:
    """Why a worker cannot be used that could not even be asked, as a clause."""
    remedy = "Install the same version there"
    return f"it cannot load this version of mmer-pipeline ({type(error).__name__}: {error}). {remedy}"
