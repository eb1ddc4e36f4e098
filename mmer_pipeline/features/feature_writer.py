"""Writing a feature file so that an interrupted run can resume and readers never see an incomplete file."""

import io
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

import h5py
import numpy as np

from mmer_pipeline import files, paths
from mmer_pipeline.digests import DIGEST_BYTES
from mmer_pipeline.errors import UserError
from mmer_pipeline.features.feature_file import SCHEMA_VERSION, FeatureFile, FeatureIdentity, Row, value_digest

_LIBRARIES = ("torch", "transformers", "h5py", "numpy", "mmer-pipeline")


class FeatureWriter:
    """Fills a `.partial.h5` in the final file's directory and renames it once every row has been written.

    Rows whose input has not changed are copied from the finished file and from a partial file left by a killed run,
    after their digests have been verified.
    """

    def __init__(self, path: Path, identity: FeatureIdentity, dim: int, plan: Sequence[Row]) -> None:
        self.path, self.plan, self.dim = path, plan, dim
        self._dtype, self._row_bytes = np.dtype(identity.dtype), dim * np.dtype(identity.dtype).itemsize
        self.partial, self._written = paths.partial_features(path), set[int]()
        self._offsets = np.concatenate([[0], np.cumsum([row.length for row in plan])]).astype(np.int64)
        with files.explain_disk_errors(path):
            files.make_directory(path.parent)
            sources = [
                file
                for file in (_usable(path, identity, dim), _usable(self.partial, identity, dim))
                if file is not None
            ]
            fresh = self.partial.with_suffix(".new")
            fresh.touch()
            self._stream = fresh.open("r+b", buffering=0)
            try:
                files.lock(self._stream.fileno())  # until it is closed: no other process may write the file
                self._stream.truncate(0)  # a killed process may have left it
                self._starts = _create(self._stream, identity, dim, plan, self._offsets)
                self.missing = self._copy_intact_rows(sources)
                fresh.replace(self.partial)
            except BlockingIOError:  # another writer is creating the same file
                self._stream.close()
                raise _being_written(fresh) from None
            except BaseException:
                self._stream.close()
                fresh.unlink(missing_ok=True)
                raise

    def _copy_intact_rows(self, sources: Sequence[FeatureFile]) -> list[int]:
        """Copy rows that are intact and up to date; return the numbers of the utterances that must be computed."""
        missing = []
        for number, row in enumerate(self.plan):
            for source in sources:
                old = source.index.get(row.utterance_id)
                if (
                    old is not None
                    and source.input_digests[old] == row.input_digest
                    and source.length(old) == row.length
                    and source.is_intact(old)
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
                f"{row.utterance_id}: expected {row.length} rows, computed {values.shape[0]}, because its recording "
                "changed during the extraction. Run the same command again."
            )
        _write_at(self._stream, self._starts["values"] + int(start) * self._row_bytes, values.tobytes())
        # After the values, so that a writer killed in between leaves no digest of values that are not in the file.
        digest = value_digest(values).encode()
        _write_at(self._stream, self._starts["value_digest"] + number * 2 * DIGEST_BYTES, digest)
        self._written.add(number)

    def write(self, rows: Iterable[tuple[int, np.ndarray]]) -> None:
        """Write the rows of some utterances: pairs of number in the plan and values `[length, dim]`."""
        with files.explain_disk_errors(self.path):
            for number, values in rows:
                self._put(number, values)

    def finish(self) -> None:
        """Rename the partial file to its final name; every row must have been written.

        The values reach the disk before the name does, because they are not compared with their digests again.
        """
        assert len(self._written) == len(self.plan), "finish() before every row was written"
        self.close()
        with files.explain_disk_errors(self.path):
            files.sync(self.partial)
            self.partial.replace(self.path)
            files.sync(self.path.parent)

    def close(self) -> None:
        """Close the file; the rows written so far are kept for the next run."""
        with files.explain_disk_errors(self.path):
            self._stream.close()

    def __enter__(self) -> "FeatureWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def update_stamps(path: Path, stamps: Mapping[str, str]) -> None:
    """Record new stamps (utterance id → stamp) of recordings whose content is unchanged."""
    with h5py.File(path, "r") as file:
        ids, found = file["utterance_id"].asstr()[:], file["input_stamp"]
        after = [stamps.get(key, stamp) for key, stamp in zip(ids, found.asstr()[:], strict=True)]
        start, dtype = found.id.get_offset(), found.dtype
    with path.open("r+b", buffering=0) as stream:
        _write_at(stream, start, np.array(after, dtype=dtype).tobytes())


def _write_at(stream: io.FileIO, position: int, content: bytes) -> None:
    stream.seek(position)
    while content:  # the system may write only part of it, typically when the disk is almost full
        content = content[stream.write(content) :]


def _being_written(path: Path) -> UserError:
    return UserError(f"{path} is being written by another process. Wait until it has finished, or stop it.")


def _usable(path: Path, identity: FeatureIdentity, dim: int) -> FeatureFile | None:
    """Open a file as a source of rows; None if it cannot be one (a truncated file is simply computed again)."""
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
    return None if file.dim != dim or identity.mismatches(file.identity) else file


class _Target:
    """The file that HDF5 writes to; it keeps the first error and writes nothing more.

    HDF5 would print an error of the disk once for each of its objects, long after the first.
    """

    def __init__(self, stream: io.FileIO) -> None:
        self._stream = stream
        self.error: OSError | None = None
        self.seek, self.tell, self.read, self.flush = stream.seek, stream.tell, stream.read, stream.flush

    def write(self, content: memoryview) -> None:
        self._try(lambda: _write_at(self._stream, self._stream.tell(), bytes(content)))

    def truncate(self, size: int) -> None:
        self._try(lambda: self._stream.truncate(size))

    def _try(self, change: Callable[[], object]) -> None:
        if self.error is None:
            try:
                change()
            except OSError as error:
                self.error = error


def _create(
    stream: io.FileIO, identity: FeatureIdentity, dim: int, plan: Sequence[Row], offsets: np.ndarray
) -> dict[str, int]:
    """Create the whole file and reserve its space, so that a full disk is noticed before the work, not after it.

    Returns the positions of the values and of their digests in the file.
    """
    early = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    early.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    early.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    digests = np.array([row.input_digest for row in plan], dtype=f"S{2 * DIGEST_BYTES}")
    ids = [row.utterance_id.encode() for row in plan]
    id_type = h5py.string_dtype("utf-8", max(map(len, ids)))
    target = _Target(stream)
    with h5py.File(target, "w") as file:
        file.attrs["schema_version"] = SCHEMA_VERSION
        file.attrs["library_versions"] = json.dumps({name: version(name) for name in _LIBRARIES})
        for name, value in asdict(identity).items():
            file.attrs[name] = value
        file.create_dataset("offsets", data=offsets)
        file.create_dataset("utterance_id", data=np.array(ids, dtype=id_type))
        file.create_dataset("input_digest", data=digests)
        file.create_dataset("value_digest", data=np.zeros(len(plan), dtype=digests.dtype))
        file.create_dataset("input_stamp", data=np.array([row.stamp for row in plan], dtype=digests.dtype))
        file.create_dataset("values", shape=(int(offsets[-1]), dim), dtype=identity.dtype, dcpl=early)
        starts = {name: file[name].id.get_offset() for name in ("values", "value_digest")}
    if target.error is not None:
        raise target.error
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(stream.fileno(), 0, os.fstat(stream.fileno()).st_size)
    return starts
