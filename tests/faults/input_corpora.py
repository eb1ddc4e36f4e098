"""A small corpus as plain rows, and a writer for each form that `prepare` reads; small trees of published corpora."""

import csv
import gzip
import json
from collections.abc import Callable, Sequence
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

import numpy as np
import openpyxl
import pyarrow as arrow
import pyarrow.parquet as parquet
import soundfile
import yaml

from mmer_pipeline.corpora.utterances import COLUMNS
from mmer_pipeline.demo.iemocap_tree import Turn, write_tree

RATE = 16_000
Entry = dict[str, str]
Files = dict[str, bytes]  # path below the root → content
FIELDS = ("id", "audio", "start", "end", "speaker", "emotion", "transcript")
ROWS: list[Entry] = [
    dict(zip(FIELDS, cells, strict=True))
    for cells in (
        ("u1", "c1.wav", "0.0", "0.25", "ann", "angry", "HELLO YOU"),
        ("u2", "c1.wav", "0.25", "0.5", "ann", "sad", "NO"),
        ("u3", "c2.wav", "0.125", "0.5", "bob", "angry", "YES PLEASE"),
        ("u4", "c2.wav", "0.0", "0.25", "bob", "sad", "I SEE"),
    )
]


def sound(seed: int = 0, seconds: float = 0.5, **form: Any) -> bytes:
    """The bytes of a recording, by default a WAV of 16 bits."""
    stream = BytesIO()
    samples = np.random.default_rng(seed).normal(0, 0.1, round(seconds * RATE)).astype(np.float32)
    soundfile.write(stream, samples, RATE, **{"format": "WAV", "subtype": "PCM_16", **form})
    return stream.getvalue()


RECORDINGS: Files = {"c1.wav": sound(1), "c2.wav": sound(2)}


def as_csv(header: Sequence[str], rows: Sequence[Sequence[str]], delimiter: str = ",") -> bytes:
    """A table with every cell in quotation marks."""
    stream = StringIO()
    csv.writer(stream, delimiter=delimiter, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows([header, *rows])
    return stream.getvalue().encode()


def _cells(rows: list[Entry]) -> list[list[str]]:
    return [[row[name] for name in FIELDS] for row in rows]


HEADER = ("utterance_id", "audio", "start_seconds", "end_seconds", "speaker", "emotion", "transcript")


def _workbook(rows: list[Entry]) -> Files:
    book, stream = openpyxl.Workbook(), BytesIO()
    for row in [HEADER, *_cells(rows)]:
        book.active.append(row)
    book.save(stream)
    return {"table.xlsx": stream.getvalue()}


def _manifest(rows: list[Entry]) -> Files:
    places = {"utterance_id": "id", "start_seconds": "start", "end_seconds": "end", "session": "speaker"}
    cells = [[row[places.get(name, name)] if name != "dialogue" else "d" for name in COLUMNS] for row in rows]
    facts = {"corpus": "own", "root": ".", "label_map": {"name": "m", "classes": {"a": ["angry"], "s": ["sad"]}}}
    return {"manifest.csv": as_csv(COLUMNS, cells), "manifest.json": json.dumps(facts).encode()}


def _kaldi(rows: list[Entry]) -> Files:
    lines = {
        "wav.scp": dict.fromkeys(f"{_name(n)} {row['audio']}" for n, row in enumerate(rows)),
        "segments": [f"{row['id']} {_name(n)} {row['start']} {row['end']}" for n, row in enumerate(rows)],
        "utt2spk": [f"{row['id']} {row['speaker']}" for row in rows],
        "utt2emo": [f"{row['id']} {row['emotion']}" for row in rows],
        "text": [f"{row['id']} {row['transcript']}" for row in rows],
    }
    return {name: "".join(f"{line}\n" for line in each).encode() for name, each in lines.items()}


def _name(number: int) -> str:
    return ROWS[number]["audio"].removesuffix(".wav")


def lhotse_entries(rows: list[Entry]) -> tuple[list[Any], list[Any]]:
    """The recordings and the supervisions."""
    recordings = {
        _name(n): {
            "id": _name(n),
            "sources": [{"type": "file", "channels": [0], "source": row["audio"]}],
            **{"sampling_rate": RATE, "num_samples": RATE, "duration": 1.0},
        }
        for n, row in enumerate(rows)
    }
    supervisions = []
    for n, row in enumerate(rows):
        start, end = (_number(row[name]) for name in ("start", "end"))
        duration = end - start if isinstance(start, float) and isinstance(end, float) else row["end"]
        facts = {"id": row["id"], "recording_id": _name(n), "start": start, "duration": duration, "channel": 0}
        supervisions.append(
            {**facts, "text": row["transcript"], "speaker": row["speaker"], "custom": {"emotion": row["emotion"]}}
        )
    return list(recordings.values()), supervisions


def _number(cell: str) -> float | str:
    try:
        return float(cell)
    except ValueError:
        return cell


def json_lines(entries: Sequence[Any]) -> bytes:
    """A file of JSON lines."""
    return "".join(json.dumps(entry) + "\n" for entry in entries).encode()


def _lhotse(rows: list[Entry]) -> Files:
    recordings, supervisions = lhotse_entries(rows)
    return {
        "recordings.jsonl.gz": gzip.compress(json_lines(recordings), 1),
        "supervisions.jsonl": json_lines(supervisions),
    }


def _cuts(rows: list[Entry]) -> Files:
    recordings, supervisions = lhotse_entries(rows)
    of = {entry["id"]: entry for entry in recordings}
    cuts = [
        {"id": f"cut{n}", "start": 0.0, "supervisions": [spoken], "recording": of[spoken["recording_id"]]}
        for n, spoken in enumerate(supervisions)
    ]
    return {"cuts.jsonl": json_lines(cuts)}


def metadata_entries(rows: list[Entry]) -> list[Any]:
    """The rows of an audiofolder's metadata."""
    names = dict(zip(FIELDS, ("utterance_id", "file_name", "start", "end", "speaker", "emotion", "text"), strict=True))
    return [{names[field]: row[field] for field in FIELDS} for row in rows]


def _audiofolder(rows: list[Entry]) -> Files:
    entries = metadata_entries(rows)
    return {"metadata.csv": as_csv(list(entries[0]), [list(entry.values()) for entry in entries])}


def as_parquet(entries: list[Any], metadata: dict[bytes, bytes] | None = None) -> bytes:
    """A Parquet file of these rows."""
    stream = BytesIO()
    parquet.write_table(arrow.Table.from_pylist(entries).replace_schema_metadata(metadata), stream)
    return stream.getvalue()


AUDFORMAT = {
    "name": "calls",
    "schemes": {"emotion": {"dtype": "str", "labels": ["angry", "sad"]}, "speaker": {"dtype": "str"}},
    "tables": {
        "emotion": {
            "type": "segmented",
            "columns": {
                "emotion": {"scheme_id": "emotion"},
                "speaker": {"scheme_id": "speaker"},
                "transcription": None,
            },
        }
    },
}


def _audformat(rows: list[Entry]) -> Files:
    cells = [[row[name] for name in FIELDS if name != "id"] for row in rows]
    table = as_csv(("file", "start", "end", "speaker", "emotion", "transcription"), cells)
    return {"db.yaml": yaml.safe_dump(AUDFORMAT).encode(), "db.emotion.csv": table}


def _folders(rows: list[Entry]) -> Files:
    return {
        f"{row['emotion']}/{row['speaker']}/{row['id']}.wav": RECORDINGS[f"c{n % 2 + 1}.wav"]
        for n, row in enumerate(rows)
    }


FORMS: dict[str, tuple[str, Callable[[list[Entry]], Files]]] = {  # name → its reader, its writer
    "csv": ("csv", lambda rows: {"table.csv": as_csv(HEADER, _cells(rows))}),
    "tsv": ("csv", lambda rows: {"table.tsv": as_csv(HEADER, _cells(rows), "\t")}),
    "xlsx": ("csv", _workbook),
    "manifest": ("manifest", _manifest),
    "kaldi": ("kaldi", _kaldi),
    "lhotse": ("lhotse", _lhotse),
    "cuts": ("lhotse", _cuts),
    "audiofolder": ("huggingface", _audiofolder),
    "jsonl": ("huggingface", lambda rows: {"metadata.jsonl": json_lines(metadata_entries(rows))}),
    "parquet": ("huggingface", lambda rows: {"metadata.parquet": as_parquet(metadata_entries(rows))}),
    "audformat": ("audformat", _audformat),
}


def _iemocap(root: Path) -> None:
    turns = [
        Turn(session, f"Ses0{session}F_impro01", f"Ses0{session}F_impro01_{'FM'[index]}000", index, index + 0.9, label,
             2.5, 3.0, 2.0, "Where is it?", np.zeros(2000, np.float32))
        for session in range(1, 6)
        for index, label in enumerate(("neu", "ang"))
    ]  # fmt: skip
    write_tree(root, turns)


def _esd() -> Files:
    names = {
        f"0011/{e}/0011_{350 * n + k:06}.wav": e for n, e in enumerate(("Neutral", "Angry", "Happy")) for k in (1, 2)
    }
    lines = [f"{Path(name).stem}\tText {n}.\t{emotion}" for n, (name, emotion) in enumerate(names.items())]
    return {**dict.fromkeys(names, RECORDINGS["c1.wav"]), "0011/0011.txt": "\r\n".join(lines).encode()}


def _meld() -> Files:
    header = ("Sr No.", "Utterance", "Speaker", "Emotion", "Dialogue_ID", "Utterance_ID")
    files: Files = {}
    folders = {"train": "train_splits", "dev": "dev_splits_complete", "test": "output_repeated_splits_test"}
    for part, folder in folders.items():
        cells = [
            [str(n), f"It is {e}.", ("Ross", "Ann")[n % 2], e, "0", str(n)]
            for n, e in enumerate(("joy", "anger", "neutral"))
        ]
        files[f"{part}_sent_emo.csv"] = as_csv(header, cells)
        files |= {f"{folder}/dia0_utt{n}.wav": RECORDINGS["c2.wav"] for n in range(3)}
    return files


def _named(*names: str) -> Files:
    return dict.fromkeys(names, RECORDINGS["c1.wav"])


TREES: dict[str, Callable[[], Files]] = {  # published corpora; `write_tree_of` writes them
    "ravdess": lambda: {
        **_named(*(f"Actor_0{a}/03-01-0{e}-01-01-01-0{a}.wav" for a in (1, 2) for e in (3, 4, 5))),
        "metadata.csv": as_csv(
            ("path", "emotion"),
            [
                [f"Actor_0{a}/03-01-0{e}-01-01-01-0{a}.wav", {3: "happy", 4: "sad", 5: "angry"}[e]]
                for a in (1, 2)
                for e in (3, 4, 5)
            ],
        ),
    },
    "crema-d": lambda: _named(*(f"AudioWAV/100{a}_DFA_{e}_XX.wav" for a in (1, 2) for e in ("ANG", "SAD", "HAP"))),
    "emo-db": lambda: _named(*(f"wav/{s}a01{e}a.wav" for s in ("03", "08") for e in "WTF")),
    "esd": _esd,
    "meld": _meld,
    "iemocap": dict,
    "folders": lambda: _folders(ROWS),
}


def write_tree_of(name: str, root: Path) -> None:
    """Write the tree of a published corpus, or of a folder per class."""
    if name == "iemocap":
        _iemocap(root)
    write_files(TREES[name](), root)


def write_files(files: Files, root: Path) -> None:
    """Write files with their folders."""
    for path, content in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)
