"""Manifests of Kaldi, lhotse and audformat; the latter two as lhotse 1.33 and audformat 1.4 write them."""

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as arrow
import pyarrow.parquet as parquet
import pytest
from helpers.other_forms import RATE, facts, read, record

from mmer_pipeline.errors import UserError

# Kaldi.


def write_kaldi(root: Path, **files: str) -> Path:
    record(root, "wav/c1.wav", "wav/c2.wav")
    texts = {
        "wav.scp": "c1 wav/c1.wav\nc2 wav/c2.wav\n",
        "segments": "u1 c1 0.0 0.5\nu2 c1 0.5 -1\nu3 c2 0 0.25\n",
        "utt2spk": "u1 ann\nu2 ann\nu3 bob\n",
        "text": "u1 HELLO YOU\nu2\nu3 NO\n",
        "utt2emo": "u1 angry\nu2 sad\nu3 sad\n",
        **files,
    }
    for name, text in texts.items():
        if text:
            (root / name).write_text(text)
    return root


def test_a_kaldi_directory(tmp_path: Path) -> None:
    assert facts(read("kaldi", write_kaldi(tmp_path))) == [
        ("u1", "wav/c1.wav", 0.0, 0.5, "ann", "angry", "HELLO YOU"),
        ("u2", "wav/c1.wav", 0.5, None, "ann", "sad", ""),
        ("u3", "wav/c2.wav", 0.0, 0.25, "bob", "sad", "NO"),
    ]


def test_a_kaldi_directory_without_segments_and_with_paths_from_above(tmp_path: Path) -> None:
    data = tmp_path / "data" / "train"
    data.mkdir(parents=True)
    per_recording = {"utt2spk": "c1 ann\nc2 bob\n", "utt2emo": "", "emotion": "c1 angry\nc2 sad\n", "text": ""}
    write_kaldi(data, segments="", **per_recording)
    record(tmp_path, "wav/c1.wav", "wav/c2.wav")
    for path in (data / "wav").iterdir():
        path.unlink()
    reading = read("kaldi", data)
    assert reading.root == tmp_path
    assert facts(reading) == [
        ("c1", "wav/c1.wav", None, None, "ann", "angry", ""),
        ("c2", "wav/c2.wav", None, None, "bob", "sad", ""),
    ]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"utt2emo": ""}, r"has no file of emotions: expected one of utt2emo, .* --column emotion=FILE"),
        ({"wav.scp": "c1 sph2pipe c1.sph |\n"}, "1 recordings are the output of a command, such as c1: sph2pipe"),
        ({"segments": "u1 c9 0 1\n"}, r"segments, line 1: there is no recording 'c9'"),
        ({"segments": "u1 c1 0\n"}, "expected `utterance recording start end`"),
        ({"utt2spk": ""}, "missing columns: speaker"),
        ({"utt2emo": "u1 angry\n"}, r"utterance u2, column utt2emo: empty\n  utterance u3, column utt2emo: empty"),
    ],
)
def test_a_faulty_kaldi_directory_is_refused(tmp_path: Path, files: dict[str, str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        read("kaldi", write_kaldi(tmp_path, **files))


# lhotse.


def recording(root: Path, name: str, channels: int = 1) -> dict[str, Any]:
    source = {"type": "file", "channels": list(range(channels)), "source": str(root / "audio" / f"{name}.wav")}
    common = {"sampling_rate": RATE, "num_samples": RATE, "duration": 1.0, "channel_ids": list(range(channels))}
    return {"id": name, "sources": [source], **common}


def supervision(name: str, of: str, start: float, duration: float, speaker: str, emotion: str) -> dict[str, Any]:
    times = {"start": start, "duration": duration, "channel": 0}
    return {"id": name, "recording_id": of, **times, "text": "yes", "speaker": speaker, "custom": {"emotion": emotion}}


def write_lines(path: Path, *entries: dict[str, Any]) -> None:
    data = "".join(json.dumps(entry) + "\n" for entry in entries).encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


LHOTSE = [
    ("s1", "c1.wav", 0.0, 0.4, "ann", "angry", "yes"),
    ("s2", "c1.wav", 0.4, 1.0, "ann", "sad", "yes"),
    ("s3", "c2.wav", None, None, "bob", "sad", "yes"),
]


def test_recordings_and_supervisions_of_lhotse(tmp_path: Path) -> None:
    record(tmp_path, "audio/c1.wav", "audio/c2.wav")
    write_lines(tmp_path / "x_recordings.jsonl.gz", recording(tmp_path, "c1"), recording(tmp_path, "c2", channels=2))
    spoken = [supervision("s1", "c1", 0.0, 0.4, "ann", "angry"), supervision("s2", "c1", 0.4, 0.6, "ann", "sad")]
    write_lines(tmp_path / "x_supervisions.jsonl", *spoken, supervision("s3", "c2", 0, 1.0, "bob", "sad"))
    reading = read("lhotse", tmp_path)
    assert reading.root == tmp_path / "audio"
    assert facts(reading) == LHOTSE
    assert any("several channels" in note for note in reading.notes)


def test_cuts_of_lhotse_whose_supervisions_begin_within_the_cut(tmp_path: Path) -> None:
    record(tmp_path, "audio/c1.wav", "audio/c2.wav")
    first, second = recording(tmp_path, "c1"), recording(tmp_path, "c2")
    cuts = [
        {
            "id": "k1",
            "start": 0.0,
            "supervisions": [supervision("s1", "c1", 0, 0.4, "ann", "angry")],
            "recording": first,
        },
        {
            "id": "k2",
            "start": 0.3,
            "supervisions": [supervision("s2", "c1", 0.1, 0.6, "ann", "sad")],
            "recording": first,
        },
        {
            "id": "k3",
            "start": 0.0,
            "supervisions": [supervision("s3", "c2", 0, 1.0, "bob", "sad")],
            "recording": second,
        },
        {"id": "k4", "start": 0.0, "supervisions": [], "recording": second},
    ]
    write_lines(tmp_path / "cuts.jsonl.gz", *cuts)
    assert facts(read("lhotse", tmp_path)) == LHOTSE
    cuts[0]["recording"]["sources"][0]["type"] = "url"
    write_lines(tmp_path / "cuts.jsonl.gz", *cuts)
    with pytest.raises(UserError, match=r"cuts\.jsonl\.gz, line 2: no recording that is a single file"):
        read("lhotse", tmp_path)
    (tmp_path / "cuts.jsonl.gz").unlink()
    with pytest.raises(UserError, match="has no manifests of lhotse"):
        read("lhotse", tmp_path)


# audformat.

HEADER = """name: calls
schemes:
  emotion: {dtype: str, labels: [happy, angry]}
  speaker:
    dtype: str
    labels:
      '3': {gender: male}
      '8': {gender: female}
  transcription:
    dtype: str
    labels: {a01: The cloth lies there, a02: She will}
tables:
  emotion: {type: filewise, columns: {emotion: {scheme_id: emotion}}}
  files: {type: filewise, columns: {speaker: {scheme_id: speaker}, transcription: {scheme_id: transcription}}}
"""
FILES = "file,speaker,transcription\naudio/c1.wav,3,a01\naudio/c2.wav,8,a02\n"


def write_database(root: Path, emotion: str) -> Path:
    record(root, "audio/c1.wav", "audio/c2.wav")
    (root / "db.yaml").write_text(HEADER)
    (root / "db.files.csv").write_text(FILES)
    (root / "db.emotion.csv").write_text(emotion)
    return root


def test_tables_of_audformat_are_joined_and_codes_replaced_by_their_labels(tmp_path: Path) -> None:
    reading = read("audformat", write_database(tmp_path, "file,emotion\naudio/c1.wav,happy\naudio/c2.wav,angry\n"))
    assert reading.name == "calls"
    assert facts(reading) == [
        ("audio-c1", "audio/c1.wav", None, None, "3", "happy", "The cloth lies there"),
        ("audio-c2", "audio/c2.wav", None, None, "8", "angry", "She will"),
    ]


def test_a_row_of_audformat_with_too_many_cells_is_refused(tmp_path: Path) -> None:
    """The row was lost without a word."""
    write_database(tmp_path, "file,emotion\naudio/c1.wav,happy\naudio/c2.wav,angry,sad\n")
    with pytest.raises(UserError, match=r"db\.emotion\.csv, row 3: expected 2 cells, found 3"):
        read("audformat", tmp_path)


def test_rows_of_audformat_without_an_emotion_are_left_out_and_counted(tmp_path: Path) -> None:
    """They ended in a KeyError."""
    reading = read("audformat", write_database(tmp_path, "file,emotion\naudio/c1.wav,\naudio/c2.wav,angry\n"))
    assert [u.audio for u in reading.utterances] == ["audio/c2.wav"]
    assert "rows without an emotion (emotion), left out: 1 (such as audio/c1.wav)" in reading.notes


def test_segments_of_audformat_have_times_and_take_the_facts_of_their_file(tmp_path: Path) -> None:
    rows = [
        "audio/c1.wav,0 days 00:00:00.000000,0 days 00:00:00.400000,happy",
        "audio/c1.wav,0 days 00:00:00.400000,,angry",
        "audio/c2.wav,0 days 00:00:00.000000,,angry",
    ]
    reading = read("audformat", write_database(tmp_path, "\n".join(["file,start,end,emotion", *rows]) + "\n"))
    assert [entry[1:6] for entry in facts(reading)] == [
        ("audio/c1.wav", 0.0, 0.4, "3", "happy"),
        ("audio/c1.wav", 0.4, None, "3", "angry"),
        ("audio/c2.wav", None, None, "8", "angry"),
    ]


def test_a_table_of_audformat_in_parquet(tmp_path: Path) -> None:
    write_database(tmp_path, "")
    (tmp_path / "db.emotion.csv").unlink()
    nanoseconds = arrow.duration("ns")
    table = arrow.table(
        {
            "file": ["audio/c1.wav", "audio/c2.wav"],
            "start": arrow.array([400_000_000, 0], nanoseconds),
            "end": arrow.array([None, 250_000_000], nanoseconds),
            "emotion": ["happy", "angry"],
        }
    )
    parquet.write_table(table, tmp_path / "db.emotion.parquet")
    assert [entry[1:6] for entry in facts(read("audformat", tmp_path))] == [
        ("audio/c1.wav", 0.4, None, "3", "happy"),
        ("audio/c2.wav", 0.0, 0.25, "8", "angry"),
    ]


def test_a_faulty_database_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"there is no db\.yaml"):
        read("audformat", tmp_path)
    write_database(tmp_path, "file,mood\naudio/c1.wav,happy\n")
    with pytest.raises(UserError, match=r"no table has an emotion\. Columns: mood, speaker, transcription"):
        read("audformat", tmp_path)
    assert read("audformat", tmp_path, emotion="mood").utterances[0].emotion == "happy"
    (tmp_path / "db.emotion.csv").unlink()
    with pytest.raises(UserError, match=r"expected db\.emotion\.csv or db\.emotion\.parquet"):
        read("audformat", tmp_path)
    (tmp_path / "db.yaml").write_text("name: [")
    with pytest.raises(UserError, match="is not the header of an audformat database"):
        read("audformat", tmp_path)
