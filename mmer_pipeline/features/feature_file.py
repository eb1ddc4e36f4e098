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
DTYPES = ("float16", "float32")


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


def _state_of(path: Path) -> tuple[int, ...]:
    stat = path.stat()
    return stat.st_ino, stat.st_size, stat.st_mtime_ns


def value_digest(values: np.ndarray) -> str:
    """Digest the rows `[length, dim]` of one utterance."""
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
        return digest_of(*parts, *map(str.encode, rows))[:SHORT]

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
        return bool(self.value_digests[row]) and value_digest(self.at(row)) == self.value_digests[row]

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
