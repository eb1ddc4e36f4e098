"""Digests, in hexadecimal, that record which data was computed from which inputs.

digest: of content. Equal digests mean equal bytes.
identity: the properties that two things must share to be interchangeable, such as a feature file's encoder, layer and
    number format, or a run's settings and inputs; compared one by one, or by a digest of them all.
stamp: a digest of a file's path, size and modification time. While it is unchanged, the file is not read again.

Features use BLAKE2b, runs and encoders use SHA-256. Both are kept, because files written by earlier versions contain
such digests.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

DIGEST_BYTES = 16  # of a feature's digest: 32 hex digits
SHORT = 16  # hex digits of a run's and an encoder's digest


def digest_of(*parts: bytes) -> str:
    """Digest byte strings, each preceded by its length: 32 hex digits."""
    digest = hashlib.blake2b(digest_size=DIGEST_BYTES)
    for part in parts:
        digest.update(len(part).to_bytes(8, "little") + part)
    return digest.hexdigest()


def digest_of_texts(texts: Iterable[str]) -> str:
    """Digest a sequence of texts: 16 hex digits."""
    return digest_of(*map(str.encode, texts))[:SHORT]


def digest_of_recording(path: Path) -> str:
    """Compute `digest_of` a file's bytes, reading one block at a time: 32 hex digits."""
    digest = hashlib.blake2b(path.stat().st_size.to_bytes(8, "little"), digest_size=DIGEST_BYTES)
    with path.open("rb") as stream:
        hashlib.file_digest(stream, lambda: digest)
    return digest.hexdigest()


def sha256_of_file(path: Path) -> bytes:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").digest()


def digest_of_result(path: Path) -> str:
    """Digest a file of a run, such as its weights or predictions: 16 hex digits."""
    return sha256_of_file(path).hex()[:SHORT]


def digest_of_facts(facts: Mapping[str, Any]) -> str:
    """Digest a mapping of plain values, independent of the order of its keys: 16 hex digits."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:SHORT]


def stamp_of(path: str, size: int, mtime_ns: int, *more: Any) -> str:
    """Compute the stamp of a file, or of the segment of it that `more` identifies: 32 hex digits."""
    return digest_of(repr((path, size, mtime_ns, *more)).encode())
