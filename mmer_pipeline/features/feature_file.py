"""The feature store: ragged rows of frozen features in HDF5, one file per encoder and corpus.

Datasets: `values [total_rows, dim]`, `offsets [N + 1]` int64, and for each of the N utterances `utterance_id`,
`input_digest` (of the input of its rows), `value_digest` (of the rows themselves; empty while they are missing) and
`input_stamp` (a digest of a recording's path, size, modification time and segment; while it is unchanged, the recording
need not be read again to find its `input_digest`; empty for text). Attributes: the schema version, the fields of
`FeatureIdentity`, and the versions of the libraries that computed the values.

All offsets are known before the first row is computed. The layout is therefore contiguous (a reader maps the values
without a lock, and a writer writes rows directly at their offset, a hundred times faster than through HDF5), rows may
arrive in any order, and a killed writer leaves a valid file in which some digests are empty.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from mmer_pipeline.digests import SHORT, digest_of
from mmer_pipeline.errors import UserError

SCHEMA_VERSION = 1


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
        return [
            f"{field.name.replace('_', ' ')} is {getattr(other, field.name)!r}, expected {getattr(self, field.name)!r}"
            for field in fields(self)
            if field.name not in ("encoder", "revision") and getattr(self, field.name) != getattr(other, field.name)
        ]


@dataclass(frozen=True)
class Row:
    """An utterance's entry in the plan of a feature file."""

    utterance_id: str
    input_digest: str
    length: int  # tokens or frames
    stamp: str = ""  # of the recording: while it is unchanged, so is the input digest


def _file_state(path: Path) -> tuple[int, ...]:
    stat = path.stat()
    return stat.st_ino, stat.st_size, stat.st_mtime_ns


def value_digest(values: np.ndarray) -> str:
    """Digest the rows `[length, dim]` of one utterance."""
    return digest_of(np.ascontiguousarray(values).tobytes())


class FeatureFile:
    """A feature file opened for reading; its values are memory-mapped, so it can be used in any process.

    Raises:
        UserError: the file is missing or truncated, has another schema, or is not a feature file; the message names
            `command`.
    """

    def __init__(self, path: Path, command: str = "mmer-pipe extract") -> None:
        self.path = path
        if not path.is_file():
            raise UserError(f"No features at {path}. Run `{command}` to compute them.")
        again = f"Delete it and run `{command}`."
        self._state = _file_state(path)
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
            raise UserError(f"{path} is not a complete feature file ({error}). {again}") from None
        size = path.stat().st_size
        if self._offset is None or self._offset + self._bytes > size:
            expected = "its values" if self._offset is None else f"{self._offset + self._bytes} bytes"
            raise UserError(f"{path} is truncated: expected {expected}, found a file of {size} bytes. {again}")
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
        """The values of one utterance `[length, dim]`, mapped from the file."""
        return self.at(self.index[utterance_id])

    def at(self, row: int) -> np.ndarray:
        """The values `[length, dim]` of the utterance at this position in the file (0: the first).

        Raises:
            UserError: the file was replaced between opening it and mapping its values.
        """
        if self._map is None:
            mapped = np.memmap(self.path, dtype=self._dtype, mode="r", offset=self._offset, shape=self.shape)
            self._map = mapped.view(np.ndarray)  # the same memory; slicing a plain array takes a fifth of the time
            if _file_state(self.path) != self._state:  # the offsets and the values come from different files
                raise UserError(
                    f"{self.path} was replaced by another process while it was being read. Run the same command again."
                )
        return self._map[self.offsets[row] : self.offsets[row + 1]]

    def is_intact(self, row: int) -> bool:
        """Whether one utterance's rows have been written and are unchanged since."""
        return bool(self.value_digests[row]) and value_digest(self.at(row)) == self.value_digests[row]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_map": None}  # each process maps the file itself


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
