"""Rows of a Parquet file, with recordings embedded as the Hugging Face library `datasets` does: {bytes, path}."""

import json
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path, PurePosixPath
from typing import Any

from mmer_pipeline import digests, files
from mmer_pipeline.corpora.recording_paths import AUDIO_SUFFIXES
from mmer_pipeline.errors import UserError

AT_A_TIME = 64  # rows in memory
MOST_UNPACKED_BYTES, MOST_RATIO = 1 << 30, 100  # of a row group: bytes, and times the size of the file
SHOWN = 500  # characters of an error of pyarrow, which may contain rows
NAME_BYTES = 200  # of the recording's own name in the name of an unpacked one
NAME_DIGITS = 16  # of the digest in the name of an unpacked recording
_SIGNATURES = {b"RIFF": ".wav", b"fLaC": ".flac", b"OggS": ".ogg", b"ID3": ".mp3", b"FORM": ".aiff"}


def parquet_rows(path: Path, unpack_to: Path | None = None, folder: str = "") -> Iterator[dict[str, str]]:
    """The rows of a Parquet file: column → text, class numbers as the names of their classes.

    A recording is written to the folder `folder` below `unpack_to`, unless it is there already; its cell is the path
    relative to `unpack_to`. Its name contains a digest of its bytes, so that it stays with its row when rows change.

    Raises:
        UserError: the package pyarrow is missing, the file is not Parquet, or recordings are embedded where
            `unpack_to` is None.
    """
    try:
        import pyarrow as arrow
        import pyarrow.parquet
    except ImportError:
        raise UserError(
            f"{path} is a Parquet file: reading it requires pyarrow. Run `pip install 'mmer-pipeline[parquet]'`."
        ) from None
    files.check_is_file(path)
    try:
        with arrow.parquet.ParquetFile(path) as source:
            _check_unpacked(path, source.metadata)
            classes = _class_names(source.schema_arrow.metadata or {})
            for batch in source.iter_batches(batch_size=AT_A_TIME):
                for row in _in_microseconds(batch).to_pylist():
                    yield {
                        column: _unpacked(value, path, unpack_to, folder)
                        if isinstance(value, dict) and "bytes" in value
                        else _text(value, classes.get(column, ()))
                        for column, value in row.items()
                    }
    except OSError as error:
        if error.errno is not None:  # it could not be opened, or a recording could not be written
            raise
        raise UserError(f"{path} is not a readable Parquet file: {str(error)[:SHOWN]}.") from None
    except (arrow.ArrowException, UnicodeDecodeError, ValueError, OverflowError, RecursionError) as error:
        raise UserError(f"{path} is not a readable Parquet file: {str(error)[:SHOWN]}.") from None


def _check_unpacked(path: Path, metadata: Any) -> None:
    """Refuse a file that is small, but very large once unpacked."""
    for number in range(metadata.num_row_groups):
        size, packed = metadata.row_group(number).total_byte_size, path.stat().st_size
        if size > max(MOST_UNPACKED_BYTES, MOST_RATIO * packed):
            raise UserError(
                f"{path}: its row group {number} has {size:,} bytes when unpacked, the file {packed:,}. Write it again "
                "with smaller row groups."
            )


def _class_names(metadata: dict[bytes, bytes]) -> dict[str, list[str]]:
    """Column → the names of its classes, from the features that `datasets` writes into a schema."""
    try:
        features = json.loads(metadata.get(b"huggingface", b"{}"))["info"]["features"]
        named = {
            column: feature["names"] for column, feature in features.items() if feature.get("_type") == "ClassLabel"
        }
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError):  # written by something else
        return {}
    return {column: names for column, names in named.items() if isinstance(names, list)}


def _text(value: Any, names: Sequence[str]) -> str:
    if isinstance(value, timedelta):
        return repr(value.total_seconds())
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(names):
        return str(names[value])
    return "" if value is None else str(value).strip()


def _in_microseconds(batch: Any) -> Any:
    """A batch whose durations Python's `timedelta` can hold: it has no nanoseconds."""
    import pyarrow as arrow

    fields = [
        field.with_type(arrow.duration("us")) if arrow.types.is_duration(field.type) else field
        for field in batch.schema
    ]
    return arrow.Table.from_batches([batch]).cast(arrow.schema(fields), safe=False)


def _unpacked(value: dict[str, Any], source: Path, unpack_to: Path | None, folder: str) -> str:
    """The path below `unpack_to` of a row's recording, after its bytes have been written there."""
    data, path = value["bytes"], str(value.get("path") or "").replace("\\", "/")
    if data is None:
        return path
    if not isinstance(data, bytes):
        raise UserError(f"{source}: expected the bytes of recordings, found {type(data).__name__}.")
    if unpack_to is None:
        raise UserError(f"{source} contains recordings, and there is no folder to unpack them to.")
    suffix = next(
        (suffix for start, suffix in _SIGNATURES.items() if data.startswith(start)), PurePosixPath(path).suffix
    )
    stem = "".join(letter for letter in PurePosixPath(path).stem if letter.isprintable())
    stem = stem.encode()[:NAME_BYTES].decode(errors="ignore")
    name = "-".join(filter(None, (stem, digests.digest_of(data)[:NAME_DIGITS])))
    target = unpack_to / folder / f"{name}{suffix if suffix.lower() in AUDIO_SUFFIXES else '.wav'}"
    if not target.is_file() or target.stat().st_size != len(data):
        files.write_bytes(target, data)
    return target.relative_to(unpack_to).as_posix()
