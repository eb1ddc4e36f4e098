"""Read files of JSON lines that other programs wrote, also compressed: an object per line, each of a limited size."""

import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmer_pipeline import files
from mmer_pipeline.errors import UserError

MOST_LINE_BYTES = 1 << 26  # of one object
MOST_BYTES = 1 << 31  # of a file once unpacked; 30 hours of speech need some 50 MB


def json_objects(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the number and the object of each line that is not blank.

    Raises:
        UserError: the file is no file, is damaged or too large, or a line is not a JSON object.
    """
    files.check_is_file(path)
    read = 0
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
            number = 0
            while line := stream.readline(MOST_LINE_BYTES + 1):
                number += 1
                read += len(line)
                if len(line) > MOST_LINE_BYTES or read > MOST_BYTES:
                    raise UserError(
                        f"{path}, line {number}: expected lines of at most {MOST_LINE_BYTES:,} bytes and "
                        f"{MOST_BYTES:,} bytes in all; found more. Divide the corpus."
                    )
                if line.strip():
                    yield number, _object(path, number, line)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UserError(f"{path} is not a complete gzip file: {error}.") from None


def _object(path: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError) as error:  # not JSON, not UTF-8, a number too long, lists too deep
        raise UserError(f"{path}, line {number}: not JSON ({error}).") from None
    if not isinstance(entry, dict):
        raise UserError(f"{path}, line {number}: expected a JSON object, found {type(entry).__name__}.")
    return entry
