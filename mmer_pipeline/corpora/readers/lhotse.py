"""Manifests of lhotse: recordings and supervisions, or cuts, as JSON lines (`.jsonl`, `.jsonl.gz`).

The keys are those of lhotse's `Recording`, `SupervisionSegment` and `MonoCut`. The emotion and further facts are
entries of a supervision or of its `custom`. The package lhotse is not needed.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from mmer_pipeline.corpora.readers.folder_walk import contents
from mmer_pipeline.corpora.readers.json_objects import json_objects
from mmer_pipeline.corpora.readers.reader_interface import ReaderOptions, Reading
from mmer_pipeline.corpora.recording_paths import audio_root
from mmer_pipeline.corpora.table_utterances import read_utterances_of
from mmer_pipeline.corpora.tables import Row, Table, refuse_faults
from mmer_pipeline.corpora.utterances import SHOWN
from mmer_pipeline.errors import UserError

ROUNDED_SECONDS = 0.001  # a supervision that differs by less from its recording is the whole recording
GIVEN = {"utterance_id": "id", "audio": "recording", "start_seconds": "start", "end_seconds": "end"}
MOST_SECONDS = 1e9
_SKIPPED = {"id", "recording_id", "start", "duration", "custom", "alignment"}  # keys of a supervision


class _FormError(Exception):
    """An entry that does not have lhotse's form: the message is a clause without the place."""


def read_lhotse(root: Path, options: ReaderOptions) -> Reading:
    """Read the manifests in `root`: `*recordings*.jsonl` and `*supervisions*.jsonl`, else `*cuts*.jsonl`.

    Raises:
        UserError: there are no such files, one is not JSON lines of this form, or see `read_utterances_of`.
    """
    rows, faults, several = [], [], 0
    for place, recording, supervision, offset in _spoken(root):
        try:
            path, channels = _source(recording)
            rows.append(Row(place, _cells(path, recording, supervision, offset)))
            several += channels > 1
        except _FormError as fault:
            faults.append(f"{place}: {fault}")
    refuse_faults(root, faults)
    names = tuple(dict.fromkeys(name for row in rows for name in row.cells))
    notes = (f"{several} utterances are of recordings with several channels, which are averaged",) if several else ()
    table = Table(root, names, tuple(rows), notes)
    where = audio_root(
        root if root.is_dir() else root.parent, list(dict.fromkeys(row.cells["recording"] for row in rows))
    )
    return read_utterances_of(table, where, replace(options, columns={**GIVEN, **options.columns}))


def _spoken(root: Path) -> Iterator[tuple[str, Any, Any, Any]]:
    """Place, recording, supervision, and the start of its cut, of each supervision; not checked."""
    found = {kind: _manifests(root, kind) for kind in ("recordings", "supervisions", "cuts")}
    if found["recordings"] and found["supervisions"]:
        recordings: dict[str, Any] = {}
        for path in found["recordings"]:
            for place, entry in _entries(path):
                if recordings.setdefault(str(entry["id"]), entry) != entry:
                    raise UserError(f"{root}, {place}: the recording {str(entry['id'])[:SHOWN]!r} has two entries.")
        for path in found["supervisions"]:
            for place, entry in _entries(path):
                yield place, recordings.get(str(entry.get("recording_id"))), entry, 0.0
    elif found["cuts"]:
        for path in found["cuts"]:
            for place, cut in _entries(path):
                spoken = cut.get("supervisions") or ()
                for entry in spoken if isinstance(spoken, list | tuple) else (spoken,):
                    yield place, cut.get("recording"), entry, cut.get("start")
    else:
        raise UserError(
            f"{root} has no manifests of lhotse: expected recordings and supervisions, or cuts, as .jsonl or "
            f".jsonl.gz. Found: {contents(root)}."
        )


def _manifests(root: Path, kind: str) -> list[Path]:
    if root.is_file():
        return [root] if kind in root.name else []
    return sorted(path for path in root.glob(f"*{kind}*") if path.name.endswith((".jsonl", ".jsonl.gz")))


def _entries(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The objects of a file of JSON lines, each with its place."""
    for number, entry in json_objects(path):
        if "id" not in entry:
            raise UserError(f"{path}, line {number}: expected a JSON object with an `id`.")
        yield f"{path.name}, line {number}", entry


def _source(recording: Any) -> tuple[str, int]:
    """The path of a recording, and the number of its channels.

    Raises:
        _FormError: it is not a single file, or lhotse would change its sound while reading it.
    """
    sources = recording.get("sources") if isinstance(recording, dict) else None
    source = sources[0] if isinstance(sources, list) and len(sources) == 1 else None
    if not (isinstance(source, dict) and source.get("type") == "file" and isinstance(source.get("source"), str)):
        raise _FormError("no recording that is a single file")
    if recording.get("transforms"):
        raise _FormError("its recording has transforms, which are not applied: save the changed recording")
    channels = source.get("channels")
    return source["source"], len(channels) if isinstance(channels, list) else 1


def _cells(path: str, recording: Mapping[str, Any], supervision: Any, offset: Any) -> dict[str, str]:
    if not isinstance(supervision, dict):
        raise _FormError(f"expected a supervision, found {type(supervision).__name__}")
    custom = supervision.get("custom") or {}
    if not isinstance(custom, dict):
        raise _FormError(f"custom: expected an object, found {type(custom).__name__}")
    start = round(_seconds("start", offset) + _seconds("start", supervision.get("start")), 6)
    end = round(start + _seconds("duration", supervision.get("duration")), 6)
    whole = start < ROUNDED_SECONDS and end > _seconds("duration", recording.get("duration")) - ROUNDED_SECONDS
    facts = {key: value for key, value in supervision.items() if key not in _SKIPPED} | custom
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


def _seconds(name: str, value: Any) -> float:
    """A time; 0 if there is none."""
    if value is None:
        return 0.0
    if not isinstance(value, int | float) or isinstance(value, bool) or not -MOST_SECONDS < value < MOST_SECONDS:
        raise _FormError(f"{name}: expected seconds, found {str(value)[:SHOWN]}")
    return float(value)
