"""The feature store: ragged rows of frozen features in HDF5, one file per encoder and corpus.

Datasets: `values [total_rows, dim]`, `offsets [N + 1]` int64, and for each of the N utterances `utterance_id`,
`input_digest` (of the input of its rows), `value_digest` (of the rows themselves; empty while they are missing) and
`input_stamp` (a digest of a recording's path, size, modification time and segment; while it is unchanged, the recording
need not be read again to find its `input_digest`; empty for text). Attributes: the schema version, the fields of
`FeatureIdentity`, and the versions of the libraries that computed the values.

All offsets are known before the first row is computed. The layout is therefore contiguous (a reader reads rows
without a lock, and a writer writes them directly at their offset, a hundred times faster than through HDF5), rows may
arrive in any order, and a killed writer leaves a valid file in which some digests are empty.
"""

import json
import os
import re
import weakref
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from mmer_pipeline.digests import DIGEST_BYTES, SHORT, digest_of
from mmer_pipeline.errors import UserError
from mmer_pipeline.features import hdf5_parts

SCHEMA_VERSION = 1
DTYPES = ("float16", "float32")
_DIGEST_OR_NOTHING = re.compile(rf"([0-9a-f]{{{2 * DIGEST_BYTES}}})?").fullmatch


@dataclass(frozen=True)
class FeatureIdentity:
    """Properties that all rows of a file share; features with different identities are never mixed."""

    kind: str  # "text" or "speech"
    encoder: str  # hub id or directory, as the user gave it
    revision: str  # commit on the hub; "" for a local directory
    encoder_digest: str  # of configuration, tokenizer and weights
    layer: str  # which layer's output the values are
    policy: str  # text: the annotation policy; speech: what is done to the waveform
    dtype: str  # "float16" or "float32"

    def mismatches(self, other: "FeatureIdentity") -> list[str]:
        """Describe what differs; the encoder's location does not matter, only its digest does."""
        both = [(field.name, getattr(other, field.name), getattr(self, field.name)) for field in fields(self)]
        return [
            f"{name.replace('_', ' ')} is {found!r:.100}, expected {expected!r}"
            for name, found, expected in both
            if name not in ("encoder", "revision") and found != expected
        ]


_IDENTITY = tuple(field.name for field in fields(FeatureIdentity))


@dataclass(frozen=True)
class Row:
    """An utterance's entry in the plan of a feature file."""

    utterance_id: str
    input_digest: str
    length: int  # tokens or frames
    stamp: str = ""  # of the recording: while it is unchanged, so is the input digest


def _state(stat: os.stat_result) -> tuple[int, ...]:
    return stat.st_ino, stat.st_size, stat.st_mtime_ns


def value_digest(values: np.ndarray) -> str:
    """Digest the rows `[length, dim]` of one utterance."""
    return digest_of(np.ascontiguousarray(values).tobytes())


def identity_of(path: Path) -> FeatureIdentity | None:
    """The identity of the file at `path`; None if there is no feature file."""
    try:
        with h5py.File(path, "r") as file:
            return FeatureIdentity(**hdf5_parts.text_attributes(file, _IDENTITY, path.stat().st_size))
    except hdf5_parts.FAULTS:
        return None


def _finite(values: np.ndarray) -> bool:
    """Whether all values are finite; on float16, six times as fast as `np.isfinite`."""
    exponent = {2: 0x7C00, 4: 0x7F800000}[values.itemsize]  # all bits of it are set in infinity and NaN
    return not values.size or bool((values.view(f"u{values.itemsize}") & exponent).max() < exponent)


class FeatureFile:
    """A feature file opened for reading, whose structure has been checked; it can be used in any process.

    Values are read when they are asked for. They are not mapped into memory: if the file were cut short meanwhile, the
    system would end the process without a message.

    Raises:
        UserError: the file is missing or truncated, has another schema, or is not a feature file; the message names
            `command`.
    """

    def __init__(self, path: Path, command: str = "mmer-pipe extract") -> None:
        self.path, self.command = path, command
        self._descriptor: int | None = None
        if not path.is_file():
            raise UserError(f"No features at {path}. Run `{command}` to compute them.")
        try:
            self._state = _state(path.stat())
            with h5py.File(path, "r") as file:
                version = hdf5_parts.number_attribute(file, "schema_version")
                if version != SCHEMA_VERSION:
                    again = f"Run `{command}` to compute it again."
                    raise UserError(f"{path} has schema {version}, expected {SCHEMA_VERSION}. {again}")
                self._read_attributes(file, self._state[1])
                self._read_datasets(file, self._state[1])
        except hdf5_parts.FAULTS as error:
            reason = " ".join(str(error).split())[:300] or type(error).__name__
            raise UserError(
                f"{path} is not a complete feature file ({reason}). Run `{command}` to compute it again."
            ) from None
        self.index = {utterance_id: row for row, utterance_id in enumerate(self.utterance_ids)}

    def _read_attributes(self, file: h5py.File, size: int) -> None:
        found = hdf5_parts.text_attributes(file, (*_IDENTITY, "library_versions"), size)
        versions = json.loads(found.pop("library_versions"))
        if not isinstance(versions, dict):
            raise ValueError(f"library_versions: expected a JSON object, found a {type(versions).__name__}")
        self.versions: Mapping[str, str] = versions
        self.identity = FeatureIdentity(**found)
        if self.identity.dtype not in DTYPES:
            raise ValueError(f"dtype: expected {' or '.join(DTYPES)}, found {self.identity.dtype!r}")
        self.dtype = np.dtype(self.identity.dtype)

    def _read_datasets(self, file: h5py.File, size: int) -> None:
        values = hdf5_parts.dataset(file, "values", 2, size)
        offsets = hdf5_parts.dataset(file, "offsets", 1, size)
        for found, expected in ((values, self.dtype), (offsets, np.dtype(np.int64))):
            if found.dtype != expected:
                raise ValueError(f"{found.name[1:]}: expected {expected}, found {found.dtype}")
        self.shape: tuple[int, int] = values.shape
        self._start = values.id.get_offset()
        self.offsets: np.ndarray = offsets[:]
        self.utterance_ids = hdf5_parts.texts(file, "utterance_id", size)
        rows, count = self.shape[0], len(self.utterance_ids)
        if self.shape[1] < 1:
            raise ValueError(f"values: expected rows of at least one number, found shape {self.shape}")
        if len(set(self.utterance_ids)) != count:
            raise ValueError("utterance_id: two utterances have the same id")
        rising = len(self.offsets) == count + 1 and (self.offsets[1:] >= self.offsets[:-1]).all()
        if not rising or (self.offsets[0], self.offsets[-1]) != (0, rows):
            raise ValueError(f"offsets: expected {count + 1} rising numbers from 0 to {rows}, found others")
        self.input_digests, self.value_digests, self.stamps = (
            self._digests(file, name, size) for name in ("input_digest", "value_digest", "input_stamp")
        )

    def _digests(self, file: h5py.File, name: str, size: int) -> list[str]:
        digests = hdf5_parts.texts(file, name, size)
        if len(digests) != len(self.utterance_ids) or not all(map(_DIGEST_OR_NOTHING, digests)):
            raise ValueError(
                f"{name}: expected {len(self.utterance_ids)} digests of {2 * DIGEST_BYTES} hex digits, found others"
            )
        return digests

    @property
    def dim(self) -> int:
        """Size of one row."""
        return self.shape[1]

    @property
    def complete(self) -> bool:
        """Whether the rows of every utterance have been written."""
        return all(self.value_digests)

    @property
    def known_inputs(self) -> dict[str, tuple[str, str]]:
        """Utterance id → stamp of its recording and digest of its input."""
        return dict(zip(self.utterance_ids, zip(self.stamps, self.input_digests, strict=True), strict=True))

    def digest(self, utterance_ids: Iterable[str]) -> str:
        """Digest the identity and the inputs of these utterances' rows: 16 hex digits."""
        parts = [value.encode() for name, value in asdict(self.identity).items() if name not in ("encoder", "revision")]
        rows = sorted(f"{key}\0{self.input_digests[self.index[key]]}" for key in utterance_ids)
        return digest_of(*parts, *map(str.encode, rows))[:SHORT]

    def length(self, row: int) -> int:
        """Number of tokens or frames of one utterance."""
        return int(self.offsets[row + 1] - self.offsets[row])

    def rows(self, utterance_id: str) -> np.ndarray:
        """The values of one utterance `[length, dim]`; raises as `at`."""
        return self.at(self.index[utterance_id])

    def at(self, row: int) -> np.ndarray:
        """The values `[length, dim]` of the utterance at this position in the file (0: the first); raises as `read`."""
        values = np.empty((self.length(row), self.dim), self.dtype)
        self.read(row, values)
        return values

    def read(self, row: int, values: np.ndarray) -> None:
        """Read the values of the utterance at this position in the file into a contiguous array `[length, dim]`.

        Raises:
            UserError: the file was replaced between opening it and reading the first values; it or these values were
                changed since; or it cannot be read.
        """
        try:
            descriptor = self._open() if self._descriptor is None else self._descriptor
            missing = values.data.cast("B") if values.size else memoryview(b"")
            position = self._start + int(self.offsets[row]) * self.dim * self.dtype.itemsize
            while missing:  # the system returns at most 2 GiB at once
                count = os.preadv(descriptor, [missing], position)
                if not count:
                    raise UserError(
                        f"{self.path} was cut short while it was being read. Run `{self.command}` to compute it again."
                    )
                missing, position = missing[count:], position + count
            changed = _state(os.fstat(descriptor)) != self._state
        except OSError as error:
            raise UserError(
                f"{self.path} cannot be read ({error.strerror}). Run the same command again; if that fails, too, "
                f"delete the file and run `{self.command}`."
            ) from None
        if changed and value_digest(values) != self.value_digests[row]:
            raise UserError(
                f"{self.path}: the values of {self.utterance_ids[row]} were changed while they were being read. "
                f"Run `{self.command}` to compute them again."
            )

    def _open(self) -> int:
        descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        weakref.finalize(self, os.close, descriptor)
        if _state(os.fstat(descriptor)) != self._state:  # the offsets and the values come from different files
            raise UserError(
                f"{self.path} was replaced or changed by another process while it was being read. "
                "Run the same command again."
            )
        self._descriptor = descriptor
        return descriptor

    def is_intact(self, row: int) -> bool:
        """Whether one utterance's rows have been written, can be read, are unchanged, and are finite."""
        if not self.value_digests[row]:
            return False
        try:
            values = self.at(row)
        except UserError:
            return False
        return value_digest(values) == self.value_digests[row] and _finite(values)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_descriptor": None}  # each process opens the file itself


@dataclass(frozen=True)
class StoredRow:
    """The values `[length, dim]` of one utterance, which are read only where they are needed: into a batch."""

    file: FeatureFile
    row: int  # position in the file

    def __len__(self) -> int:
        return self.file.length(self.row)

    @property
    def shape(self) -> tuple[int, int]:
        """Number of tokens or frames, and size of each."""
        return len(self), self.file.dim

    @property
    def dtype(self) -> np.dtype:
        """The number format in which they are stored."""
        return self.file.dtype

    def read(self, values: np.ndarray) -> None:
        """See `FeatureFile.read`."""
        self.file.read(self.row, values)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self.file.at(self.row).astype(dtype or self.dtype, copy=False)


def open_features(path: Path, expected: FeatureIdentity | None, inputs: Mapping[str, str], command: str) -> FeatureFile:
    """Open a complete feature file that covers all `inputs` (utterance id → digest).

    `expected` is the identity that the file must have; None accepts any.

    Raises:
        UserError: the file has another identity, is out of date, or is incomplete; the message names `command`.
    """
    file = FeatureFile(path, command)
    mismatches = expected.mismatches(file.identity) if expected else []
    if mismatches:
        raise UserError(
            f"{path} was computed with another encoder or other settings: {'; '.join(mismatches)}. "
            f"Run `{command}` to compute it again."
        )
    stale = [
        utterance_id
        for utterance_id, digest in inputs.items()
        if utterance_id not in file.index or file.input_digests[file.index[utterance_id]] != digest
    ]
    if stale:
        raise UserError(
            f"{path} is out of date: {len(stale)} of {len(inputs)} utterances were added or changed after it was "
            f"computed ({', '.join(stale[:3])}{' …' if len(stale) > 3 else ''}). Run `{command}` to update it."
        )
    if not file.complete:
        missing = file.value_digests.count("")
        raise UserError(
            f"{path} is incomplete: {missing} of {len(file.value_digests)} utterances have no values yet. "
            f"Run `{command}` to compute them."
        )
    return file
