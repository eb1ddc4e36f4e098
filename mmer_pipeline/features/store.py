"""The feature store: ragged rows of frozen features in HDF5, one file an encoder and corpus.

Datasets: `values [total_rows, dim]`, `offsets [N + 1]` int64, and for each of N utterances `utterance_id`,
`input_digest` (what its rows were computed from), `value_digest` (of the rows themselves; empty while they
are missing) and `input_stamp` (path, size, time and segment of a recording in one digest: while it holds, the
recording need not be read again to know its `input_digest`; empty for text). Attributes:
schema version, the fields of `FeatureIdentity` and the versions of the libraries that computed it.

All offsets are known before the first row is computed. So the layout is contiguous (a reader maps it without
a lock, and a writer writes rows at their place in the file, a hundred times faster than through HDF5), rows arrive
in any order, and a killed writer leaves a valid file in which some digests are empty.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from mmer_pipeline import files
from mmer_pipeline.errors import UserError

SCHEMA_VERSION = 1
DTYPES = ("float16", "float32")
_DIGEST_BYTES = 16


@dataclass(frozen=True)
class FeatureIdentity:
    """What all rows of a file have in common; features of two identities are never mixed."""

    kind: str  # "text" or "speech"
    encoder: str  # hub id or directory, as the user gave it
    revision: str  # the hub's commit, "" for a local directory
    encoder_digest: str  # of configuration, tokenizer and weights
    layer: str  # which layer's output the values are
    policy: str  # text: the annotation policy; speech: what is done to the waveform
    dtype: str  # "float16" or "float32"

    def mismatches(self, other: "FeatureIdentity") -> list[str]:
        """What differs, in words; where an encoder lies does not matter, its digest does."""
        return [
            f"{field.name.replace('_', ' ')} is {getattr(other, field.name)!r}, expected {getattr(self, field.name)!r}"
            for field in fields(self)
            if field.name not in ("encoder", "revision") and getattr(self, field.name) != getattr(other, field.name)
        ]


@dataclass(frozen=True)
class Row:
    """The plan of one utterance's rows."""

    utterance_id: str
    input_digest: str
    length: int  # tokens or frames
    stamp: str = ""  # of the source file: while it holds, so does the input digest


def digest_of(*parts: bytes) -> str:
    """32 hex digits of some bytes."""
    digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    for part in parts:
        digest.update(len(part).to_bytes(8, "little") + part)
    return digest.hexdigest()


def digest_of_file(path: Path) -> str:
    """`digest_of` of a file's bytes, a block of them in memory at a time."""
    digest = hashlib.blake2b(path.stat().st_size.to_bytes(8, "little"), digest_size=_DIGEST_BYTES)
    with path.open("rb") as stream:
        hashlib.file_digest(stream, lambda: digest)
    return digest.hexdigest()


def _state_of(path: Path) -> tuple[int, ...]:
    stat = path.stat()
    return stat.st_ino, stat.st_size, stat.st_mtime_ns


def _value_digest(values: np.ndarray) -> str:
    return digest_of(np.ascontiguousarray(values).tobytes())


class FeatureFile:
    """A feature file opened for reading; `rows` maps the values, so that it can be used in any process.

    Raises:
        UserError: the file is missing, cut, of another schema or incomplete.
    """

    def __init__(self, path: Path, made_by: str = "mmer-pipe extract") -> None:
        self.path = path
        if not path.is_file():
            raise UserError(f"No features at {path}. Run `{made_by}` to make them.")
        again = f"Delete it and run `{made_by}` to make it again."
        self._state = _state_of(path)
        try:
            with h5py.File(path, "r") as file:
                version = file.attrs.get("schema_version")
                if version != SCHEMA_VERSION:
                    raise UserError(f"{path} has schema {version}, expected {SCHEMA_VERSION}. {again}")
                self.identity = FeatureIdentity(**{f.name: str(file.attrs[f.name]) for f in fields(FeatureIdentity)})
                self.versions: Mapping[str, str] = json.loads(file.attrs["library_versions"])
                values = file["values"]
                self.shape: tuple[int, int] = values.shape
                self._dtype = np.dtype(self.identity.dtype)
                self._offset = values.id.get_offset()
                self.offsets: np.ndarray = file["offsets"][:]
                self.utterance_ids: list[str] = list(file["utterance_id"].asstr()[:])
                self.input_digests: list[str] = list(file["input_digest"].asstr()[:])
                self.value_digests: list[str] = list(file["value_digest"].asstr()[:])
                self.stamps: list[str] = list(file["input_stamp"].asstr()[:])
        except (OSError, KeyError, ValueError) as error:
            raise UserError(f"{path} is not a whole feature file ({error}). {again}") from None
        if self._offset is None or self._offset + self._bytes > path.stat().st_size:
            raise UserError(f"{path} is cut: its values do not all lie in the file. {again}")
        self.index = {utterance_id: row for row, utterance_id in enumerate(self.utterance_ids)}
        self._map: np.ndarray | None = None

    @property
    def _bytes(self) -> int:
        return self.shape[0] * self.shape[1] * self._dtype.itemsize

    @property
    def dim(self) -> int:
        """Size of one row."""
        return self.shape[1]

    @property
    def complete(self) -> bool:
        """Whether every utterance has its rows."""
        return all(self.value_digests)

    def digest(self, utterance_ids: Iterable[str]) -> str:
        """16 hex digits of the identity and of what the rows of these utterances were computed from."""
        parts = [value.encode() for name, value in asdict(self.identity).items() if name not in ("encoder", "revision")]
        rows = sorted(f"{key}\0{self.input_digests[self.index[key]]}" for key in utterance_ids)
        return digest_of(*parts, *map(str.encode, rows))[:16]

    def length(self, row: int) -> int:
        """Tokens or frames of one utterance."""
        return int(self.offsets[row + 1] - self.offsets[row])

    def rows(self, utterance_id: str) -> np.ndarray:
        """The values of one utterance `[length, dim]`, mapped from the file."""
        return self.at(self.index[utterance_id])

    def at(self, row: int) -> np.ndarray:
        """As `rows`, by number.

        Raises:
            UserError: the file was replaced after it had been opened and before its values were mapped.
        """
        if self._map is None:
            mapped = np.memmap(self.path, dtype=self._dtype, mode="r", offset=self._offset, shape=self.shape)
            self._map = mapped.view(np.ndarray)  # the same memory; a plain array's slices cost a fifth
            if _state_of(self.path) != self._state:  # the offsets are of another file than the values
                raise UserError(f"{self.path} was replaced while it was read. Run the same command again.")
        return self._map[self.offsets[row] : self.offsets[row + 1]]

    def is_sound(self, row: int) -> bool:
        """Whether one utterance's rows are there and as they were written."""
        return bool(self.value_digests[row]) and _value_digest(self.at(row)) == self.value_digests[row]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_map": None}  # each process maps the file anew


def open_features(path: Path, expected: FeatureIdentity | None, inputs: Mapping[str, str], made_by: str) -> FeatureFile:
    """A complete feature file of the expected identity (None: of any) with every utterance of `inputs` (id → digest).

    Raises:
        UserError: it is another encoder's or policy's, or stale, or incomplete; the message names `made_by`.
    """
    file = FeatureFile(path, made_by)
    mismatches = expected.mismatches(file.identity) if expected else []
    if mismatches:
        raise UserError(
            f"{path} was made by another encoder or policy: {'; '.join(mismatches)}. Run `{made_by}` to make it anew."
        )
    stale = [
        utterance_id
        for utterance_id, digest in inputs.items()
        if utterance_id not in file.index or file.input_digests[file.index[utterance_id]] != digest
    ]
    if stale or not file.complete:
        raise UserError(
            f"{path} is stale: {len(stale)} of {len(inputs)} utterances are new or have changed since it was made"
            f" ({', '.join(stale[:3])}{' …' if len(stale) > 3 else ''}). Run `{made_by}`."
        )
    return file


class FeatureWriter:
    """Fills a `.partial.h5` beside the final file, and renames it when every row is there.

    Rows whose input has not changed are taken over from the finished file and from a partial one left by a
    killed run, each after its digest was verified.
    """

    def __init__(self, path: Path, identity: FeatureIdentity, dim: int, plan: Sequence[Row]) -> None:
        self.path, self.plan = path, plan
        self._dtype, self._row_bytes = np.dtype(identity.dtype), dim * np.dtype(identity.dtype).itemsize
        self.partial = path.with_suffix(".partial.h5")
        self._offsets = np.concatenate([[0], np.cumsum([row.length for row in plan])]).astype(np.int64)
        with files.explain_disk_full(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            sources = [file for file in (_usable(path, identity), _usable(self.partial, identity)) if file is not None]
            fresh = self.partial.with_suffix(".new")
            try:
                _create(fresh, identity, dim, plan, self._offsets)
                self._file = h5py.File(fresh, "r+")  # open to the end: its lock keeps other writers away
                self._places = {name: self._file[name].id.get_offset() for name in ("values", "value_digest")}
                self._stream = fresh.open("r+b", buffering=0)
                self.missing = self._take_over(sources)
                fresh.replace(self.partial)
            except BlockingIOError:  # another writer is laying out the very same file
                raise _being_written(fresh) from None
            except (OSError, RuntimeError):
                fresh.unlink(missing_ok=True)
                raise

    def _take_over(self, sources: Sequence[FeatureFile]) -> list[int]:
        """Copy unchanged sound rows; return the numbers of those that must be computed."""
        missing = []
        for number, row in enumerate(self.plan):
            for source in sources:
                old = source.index.get(row.utterance_id)
                if (
                    old is not None
                    and source.input_digests[old] == row.input_digest
                    and source.length(old) == row.length
                    and source.is_sound(old)
                ):
                    self._put(number, source.at(old))
                    break
            else:
                missing.append(number)
        return missing

    def _put(self, number: int, values: np.ndarray) -> None:
        start, stop = self._offsets[number], self._offsets[number + 1]
        values = np.ascontiguousarray(values, dtype=self._dtype)
        if values.shape[0] != stop - start:
            row = self.plan[number]
            raise UserError(
                f"{row.utterance_id}: {values.shape[0]} rows were computed, {row.length} expected. "
                "Its recording changed while it was read; run the command again."
            )
        self._write_at(self._places["values"] + int(start) * self._row_bytes, values.tobytes())
        # Behind the values: a writer that is killed in between leaves no digest of what is not there.
        self._write_at(self._places["value_digest"] + number * 2 * _DIGEST_BYTES, _value_digest(values).encode())

    def _write_at(self, place: int, content: bytes) -> None:
        self._stream.seek(place)
        while content:  # the system may take a part alone, most often the last one that the disk has room for
            content = content[self._stream.write(content) :]

    def write(self, rows: Iterable[tuple[int, np.ndarray]]) -> None:
        """Write the rows `[length, dim]` of some utterances, by their number in the plan."""
        with files.explain_disk_full(self.path):
            for number, values in rows:
                self._put(number, values)

    def finish(self) -> None:
        """Rename the partial file to the final one; every row must be there."""
        digests = self._file["value_digest"].asstr()[:]
        assert all(digests), "finish() before every row was written"
        with files.explain_disk_full(self.path):
            self.close()
            self.partial.replace(self.path)

    def close(self) -> None:
        """Close the file; what was written stays for the next run."""
        self._stream.close()
        self._file.close()

    def __enter__(self) -> "FeatureWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def restamp(path: Path, stamps: Mapping[str, str]) -> None:
    """Record the stamps of recordings that were touched and found unchanged."""
    with h5py.File(path, "r+") as file:
        ids = file["utterance_id"].asstr()[:]
        before = file["input_stamp"].asstr()[:]
        after = [stamps.get(utterance_id, stamp) for utterance_id, stamp in zip(ids, before, strict=True)]
        file["input_stamp"][:] = np.array(after, dtype=file["input_stamp"].dtype)


def _being_written(path: Path) -> UserError:
    return UserError(f"{path} is being written by another process. Wait until it ends.")


def _usable(path: Path, identity: FeatureIdentity) -> FeatureFile | None:
    """The file where it can serve as a source of rows, else None (a cut file is simply made anew)."""
    if not path.is_file():
        return None
    try:
        with h5py.File(path, "r"):
            pass
        file = FeatureFile(path)
    except BlockingIOError:
        raise _being_written(path) from None
    except (OSError, UserError):
        return None
    return None if identity.mismatches(file.identity) else file


def _create(path: Path, identity: FeatureIdentity, dim: int, plan: Sequence[Row], offsets: np.ndarray) -> None:
    """Lay out the whole file and reserve its space, so that a full disk shows before the work, not after it."""
    early = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    early.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    early.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    digests = np.array([row.input_digest for row in plan], dtype=f"S{2 * _DIGEST_BYTES}")
    ids = [row.utterance_id.encode() for row in plan]
    id_type = h5py.string_dtype("utf-8", max(map(len, ids)))
    with h5py.File(path, "w") as file:
        file.attrs["schema_version"] = SCHEMA_VERSION
        file.attrs["library_versions"] = json.dumps(_library_versions())
        for name, value in asdict(identity).items():
            file.attrs[name] = value
        file.create_dataset("offsets", data=offsets)
        file.create_dataset("utterance_id", data=np.array(ids, dtype=id_type))
        file.create_dataset("input_digest", data=digests)
        file.create_dataset("value_digest", data=np.zeros(len(plan), dtype=digests.dtype))
        file.create_dataset("input_stamp", data=np.array([row.stamp for row in plan], dtype=digests.dtype))
        file.create_dataset("values", shape=(int(offsets[-1]), dim), dtype=identity.dtype, dcpl=early)
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as stream:
            os.posix_fallocate(stream.fileno(), 0, path.stat().st_size)


def _library_versions() -> dict[str, str]:
    from importlib.metadata import version

    return {name: version(name) for name in ("torch", "transformers", "h5py", "numpy", "mmer-pipeline")}
