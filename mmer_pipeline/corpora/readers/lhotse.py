"""Manifests of lhotse: recordings and supervisions, or cuts, as JSON lines (`.jsonl`, `.jsonl.gz`).

The keys are those of lhotse's `Recording`, `SupervisionSegment` and `MonoCut`. The emotion and further facts are
entries of a supervision or of its `custom`. The package lhotse is not needed.
"""

import gzip
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from mmer_pipeline.corpora.readers.folder_walk import contents
from mmer_pipeline.corpora.readers.reader_interface import ReaderOptions, Reading
from mmer_pipeline.corpora.recording_paths import audio_root
from mmer_pipeline.corpora.table_utterances import read_utterances_of
from mmer_pipeline.corpora.tables import Row, Table, refuse_faults
from mmer_pipeline.errors import UserError

ROUNDED_SECONDS = 0.001  # a supervision that differs by less from its recording is the whole recording
GIVEN = {"utterance_id": "id", "audio": "recording", "start_seconds": "start", "end_seconds": "end"}
_SKIPPED = {"id", "recording_id", "start", "duration", "custom", "alignment"}  # keys of a supervision


def read_lhotse(root: Path, options: ReaderOptions) -> Reading:
    """Read the manifests in `root`: `*recordings*.jsonl` and `*supervisions*.jsonl`, else `*cuts*.jsonl`.

    Raises:
        UserError: there are no such files, one is not JSON lines of this form, or see `read_utterances_of`.
    """
    found = {kind: _manifests(root, kind) for kind in ("recordings", "supervisions", "cuts")}
    if found["recordings"] and found["supervisions"]:
        recordings = {str(entry["id"]): entry for path in found["recordings"] for _, entry in _entries(path)}
        spoken = [
            (place, recordings.get(str(entry.get("recording_id"))), entry, 0.0)
            for path in found["supervisions"]
            for place, entry in _entries(path)
        ]
    elif found["cuts"]:
        spoken = [
            (place, cut.get("recording"), entry, float(cut.get("start", 0.0)))
            for path in found["cuts"]
            for place, cut in _entries(path)
            for entry in cut.get("supervisions", ())
        ]
    else:
        raise UserError(
            f"{root} has no manifests of lhotse: expected recordings and supervisions, or cuts, as .jsonl or "
            f".jsonl.gz. Found: {contents(root)}."
        )
    rows, faults, several = [], [], 0
    for place, recording, supervision, offset in spoken:
        path = _path(recording)
        if path is None or recording is None:
            faults.append(f"{place}: no recording that is a single file")
            continue
        several += len(recording["sources"][0].get("channels") or [0]) > 1
        rows.append(Row(place, _cells(path, recording, supervision, offset)))
    refuse_faults(root, faults)
    names = tuple(dict.fromkeys(name for row in rows for name in row.cells))
    notes = (f"{several} utterances are of recordings with several channels, which are averaged",) if several else ()
    table = Table(root, names, tuple(rows), notes)
    where = audio_root(
        root if root.is_dir() else root.parent, list(dict.fromkeys(row.cells["recording"] for row in rows))
    )
    return read_utterances_of(table, where, replace(options, columns={**GIVEN, **options.columns}))


def _manifests(root: Path, kind: str) -> list[Path]:
    if root.is_file():
        return [root] if kind in root.name else []
    return sorted(path for path in root.glob(f"*{kind}*") if path.name.endswith((".jsonl", ".jsonl.gz")))


def _entries(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The objects of a file of JSON lines, each with its place."""
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (gzip.BadGzipFile, EOFError) as error:
        raise UserError(f"{path} is not a complete gzip file: {error}.") from None
    for number, line in enumerate(data.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
        except ValueError as error:
            raise UserError(f"{path}, line {number}: not JSON ({error}).") from None
        if not isinstance(entry, dict) or "id" not in entry:
            raise UserError(f"{path}, line {number}: expected a JSON object with an `id`.")
        yield f"{path.name}, line {number}", entry


def _path(recording: Mapping[str, Any] | None) -> str | None:
    """The path of a recording that is one file; None if it is something else."""
    sources = (recording or {}).get("sources") or []
    return str(sources[0]["source"]) if len(sources) == 1 and sources[0].get("type") == "file" else None


def _cells(path: str, recording: Mapping[str, Any], supervision: Mapping[str, Any], offset: float) -> dict[str, str]:
    start = round(offset + float(supervision.get("start", 0.0)), 6)
    end = round(start + float(supervision.get("duration", 0.0)), 6)
    whole = start < ROUNDED_SECONDS and end > float(recording.get("duration", 0.0)) - ROUNDED_SECONDS
    facts = {key: value for key, value in supervision.items() if key not in _SKIPPED}
    facts |= supervision.get("custom") or {}
    return {
        "id": str(supervision.get("id", "")),
        "recording": path,
        "start": "" if whole else repr(start),
        "end": "" if whole else repr(end),
        **{
            key: "" if value is None else str(value)
            for key, value in facts.items()
            if not isinstance(value, list | dict)
        },
    }
