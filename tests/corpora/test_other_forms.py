"""Corpora as a folder per class, and for the library `datasets`, as its version 5.2 writes them."""

import json
from pathlib import Path

import pyarrow as arrow
import pyarrow.parquet as parquet
import pytest
from helpers.command_line import fail, succeed
from helpers.other_forms import facts, read, record

from mmer_pipeline.corpora.manifest import read_manifest
from mmer_pipeline.corpora.readers import ReaderOptions, read_corpus
from mmer_pipeline.errors import UserError

# A folder per class.


def test_a_folder_per_class_with_the_speaker_in_file_names(tmp_path: Path) -> None:
    record(tmp_path, "angry/ann_1.wav", "sad/bob_2.flac", "sad/._bob.wav")
    assert facts(read("folders", tmp_path, "^[a-z]+")) == [
        ("angry-ann_1", "angry/ann_1.wav", None, None, "ann", "angry", ""),
        ("sad-bob_2", "sad/bob_2.flac", None, None, "bob", "sad", ""),
    ]


def test_a_folder_per_class_without_speakers_is_refused_with_the_option(tmp_path: Path) -> None:
    record(tmp_path, "angry/1.wav", "sad/2.wav")
    message = fail("prepare", "folders", "--root", tmp_path)
    assert "nothing says who speaks in angry/1.wav. Folds hold out speakers" in message
    assert "--speaker-pattern REGEX" in message


@pytest.mark.parametrize("template", ["{emotion}/{speaker}/{n}.wav", "{speaker}/{emotion}/{n}.wav"])
def test_the_level_whose_names_are_emotions_is_the_emotion(tmp_path: Path, template: str) -> None:
    pairs = [("angry", "Ann"), ("sad", "Bob")]
    record(tmp_path, *(template.format(emotion=e, speaker=s, n=n) for n, (e, s) in enumerate(pairs)))
    reading = read("folders", tmp_path)
    assert {(u.emotion, u.speaker) for u in reading.utterances} == set(pairs)
    assert any("emotion ← folder" in note for note in reading.notes)


def test_links_to_folders_are_followed_once_and_recordings_in_no_folder_are_counted(tmp_path: Path) -> None:
    """Both were left out without a word."""
    root = record(tmp_path / "corpus", "angry/anna/1.wav", "top.wav")
    (root / "sad").symlink_to(record(tmp_path / "elsewhere", "bert/2.wav"))
    (root / "angry" / "again").symlink_to(root)
    (root / "all").symlink_to(root / "angry")
    with pytest.raises(UserError, match=r"has links to folders outside it: sad\. .* only with --follow-links"):
        read("folders", root)
    reading = read_corpus("folders", root, ReaderOptions(follow_links=True))
    assert [(u.audio, u.emotion) for u in reading.utterances] == [
        ("angry/anna/1.wav", "angry"), ("sad/bert/2.wav", "sad"),
    ]  # fmt: skip
    assert "recordings in no folder of a class, left out: 1 (such as top.wav)" in reading.notes


def test_a_level_can_be_named(tmp_path: Path) -> None:
    record(tmp_path, "x/p/1.wav", "y/q/2.wav")
    assert [u.emotion for u in read("folders", tmp_path).utterances] == ["x", "y"]
    assert [(u.emotion, u.speaker) for u in read("folders", tmp_path, emotion="folder 2").utterances] == [
        ("p", "x"), ("q", "y"),
    ]  # fmt: skip
    with pytest.raises(UserError, match="has no folders with recordings"):
        read("folders", tmp_path / "x" / "p")


# datasets.


def test_an_audiofolder_with_csv_and_with_json_lines(tmp_path: Path) -> None:
    record(tmp_path, "train/a.wav", "test/b.wav")
    (tmp_path / "train/metadata.csv").write_text("file_name,speaker_id,emotion,text\na.wav,1,angry,Hello\n")
    row = {"file_name": "b.wav", "speaker_id": 2, "emotion": "sad", "text": None}
    (tmp_path / "test/metadata.jsonl").write_text(json.dumps(row) + "\n")
    reading = read("huggingface", tmp_path)
    assert facts(reading) == [
        ("test-b", "test/b.wav", None, None, "2", "sad", ""),
        ("train-a", "train/a.wav", None, None, "1", "angry", "Hello"),
    ]
    assert [u.value("part") for u in reading.utterances] == ["test", "train"]
    assert [u.session for u in read("huggingface", tmp_path, session="part").utterances] == ["test", "train"]


def test_a_row_of_metadata_with_too_many_cells_is_refused(tmp_path: Path) -> None:
    """The row was lost without a word."""
    record(tmp_path, "train/a.wav", "train/b.wav")
    text = "file_name,speaker_id,emotion,text\na.wav,1,angry,Hello\nb.wav,2,sad,well, yes\n"
    (tmp_path / "train/metadata.csv").write_text(text)
    with pytest.raises(UserError, match=r"train/metadata\.csv, row 3: expected 4 cells, found 5"):
        read("huggingface", tmp_path)


def test_an_audiofolder_without_metadata_is_refused(tmp_path: Path) -> None:
    record(tmp_path, "angry/a.wav")
    with pytest.raises(UserError, match="use `mmer-pipe prepare folders`"):
        read("huggingface", tmp_path)


def write_parquet(root: Path) -> Path:
    """Two parts with recordings, with the schema's metadata that `datasets` writes."""
    features = {
        "audio": {"_type": "Audio"},
        "label": {"names": ["angry", "sad"], "_type": "ClassLabel"},
        "speaker_id": {"dtype": "int64", "_type": "Value"},
    }
    audio = arrow.struct([("bytes", arrow.binary()), ("path", arrow.string())])
    schema = arrow.schema(
        [("audio", audio), ("label", arrow.int64()), ("speaker_id", arrow.int64())],
        metadata={"huggingface": json.dumps({"info": {"features": features}})},
    )
    (root / "data").mkdir(parents=True)
    for number, part in enumerate(("train", "validation", "test")):
        record(root, "whole.wav")
        rows = [
            {
                "audio": {"bytes": (root / "whole.wav").read_bytes(), "path": f"{n}.wav"},
                "label": n,
                "speaker_id": number,
            }
            for n in range(2)
        ]
        (root / "whole.wav").unlink()
        parquet.write_table(arrow.Table.from_pylist(rows, schema), root / "data" / f"{part}-00000-of-00001.parquet")
    return root


def test_recordings_in_parquet_are_unpacked_once_beside_the_manifest(tmp_path: Path) -> None:
    root = write_parquet(tmp_path / "corpus")
    arguments = ("prepare", "huggingface", "--root", root, "--keep-untranscribed", "--column", "session=part")
    result = succeed(*arguments)
    manifest = read_manifest(Path("cache/manifest.csv"))
    assert manifest.root == Path("cache/manifest.audio").resolve()
    assert f"recordings were unpacked to {Path('cache/manifest.audio')}" in result.stderr
    assert {(u.session, u.emotion) for u in manifest.utterances} == {
        (part, emotion) for part in ("train", "dev", "test") for emotion in ("angry", "sad")
    }
    paths = [manifest.audio_path(utterance) for utterance in manifest.utterances]
    stamps = [path.stat().st_mtime_ns for path in paths]
    assert "unchanged" in succeed(*arguments).stdout
    assert [path.stat().st_mtime_ns for path in paths] == stamps


def write_embedded(path: Path, *speakers: str) -> None:
    """Rows with recordings of equal size without paths; the bytes name the speaker."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [
        {"audio": {"bytes": b"RIFF" + name.encode(), "path": None}, "emotion": "x", "speaker": name}
        for name in speakers
    ]
    parquet.write_table(arrow.Table.from_pylist(rows), path)


def recordings_of_speakers(root: Path, unpack_to: Path) -> list[tuple[str, bytes]]:
    reading = read_corpus("huggingface", root, ReaderOptions(unpack_to=unpack_to))
    return [(u.speaker, (reading.root / u.audio).read_bytes()) for u in reading.utterances]


def test_unpacked_recordings_stay_with_their_rows_when_rows_change_places(tmp_path: Path) -> None:
    """A recording of equal size that was there under the row's number was kept, though it was another row's."""
    path = tmp_path / "calls.parquet"
    for speakers in (("a", "b"), ("b", "a"), ("c", "b", "a")):
        write_embedded(path, *speakers)
        expected = [(name, b"RIFF" + name.encode()) for name in speakers]
        assert recordings_of_speakers(path, tmp_path / "unpacked") == expected


def test_parquet_files_of_one_name_in_two_folders_keep_their_recordings_apart(tmp_path: Path) -> None:
    root = tmp_path / "corpus"
    write_embedded(root / "de" / "train-0.parquet", "a", "s")
    write_embedded(root / "en" / "train-0.parquet", "b", "s")
    expected = [(name, b"RIFF" + name.encode()) for name in "asbs"]
    assert recordings_of_speakers(root, tmp_path / "unpacked") == expected
    reading = read_corpus("huggingface", root, ReaderOptions(unpack_to=tmp_path / "unpacked"))
    assert len({u.audio for u in reading.utterances}) == len({u.utterance_id for u in reading.utterances}) == 4
    assert len(set(reading.places)) == 4


def test_a_file_that_is_not_parquet_is_refused(tmp_path: Path) -> None:
    (tmp_path / "train.parquet").write_bytes(b"PAR1 nonsense")
    with pytest.raises(UserError, match=r"train\.parquet is not a readable Parquet file"):
        read("huggingface", tmp_path)
