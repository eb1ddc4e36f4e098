"""JSON files that contain a digest of their own content, so that a later change is noticed."""

import json
from pathlib import Path
from typing import Any

from mmer_pipeline import files
from mmer_pipeline.digests import digest_of_facts
from mmer_pipeline.errors import UserError, shortened

SEAL = "digest"  # the key; the digest is that of all others


def write(path: Path, value: dict[str, Any]) -> None:
    """Write an object with its digest, completely or not at all."""
    files.write_json(path, {**value, SEAL: _digest(value)})


def read(path: Path, made_by: str) -> dict[str, Any]:
    """Read an object without its digest, which is checked; files of earlier versions have none.

    Raises:
        UserError: the file is missing, broken, no object, or was changed after it was written; the message names
            `made_by`, the command that writes it.
    """
    value = files.read_json(path, made_by)
    if not isinstance(value, dict):
        raise UserError(
            f"{path} contains {type(value).__name__}, expected an object. Run `{made_by}` to write it again."
        )
    expected = value.pop(SEAL, None)
    if expected is not None and expected != (found := _digest(value)):
        raise UserError(
            f"{path} was changed after it was written: its digest is {found}, expected {shortened(expected)}. Restore "
            f"it, or run `{made_by}` to write it again."
        )
    return value


def _digest(value: dict[str, Any]) -> str:
    return digest_of_facts(json.loads(json.dumps(value)))  # as it will be read: keys are texts
