"""The MELD reader: three tables of transcripts in any of the release's places, and recordings where they are."""

import csv
import io
import shlex
import unicodedata
from collections import Counter
from pathlib import Path

import pytest

from mmer_pipeline.corpora.folds import fold_names, make_fold
from mmer_pipeline.corpora.labels import BUILT_IN
from mmer_pipeline.corpora.manifest import Manifest
from mmer_pipeline.corpora.preparation import choose_label_map, prepare
from mmer_pipeline.corpora.readers import read_corpus
from mmer_pipeline.corpora.readers.meld import PARTS
from mmer_pipeline.errors import UserError

HEADER = "Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID,Season,Episode,StartTime,EndTime"
EMOTIONS = ("neutral", "joy", "sadness", "anger", "surprise", "fear", "disgust")
FOLDERS = {part.name: part.folder for part in PARTS}


def table(rows: list[tuple[str, str, str, int, int]]) -> str:
    """A table as the release has it, from text, speaker, emotion, dialogue and number."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    times = ("00:16:16,059", "00:16:21,731")
    for number, (text, speaker, emotion, dialogue, place) in enumerate(rows, start=1):
        writer.writerow((number, text, speaker, emotion, "neutral", dialogue, place, 8, 21, *times))
    return f"{HEADER}\n{stream.getvalue()}"


def rows(emotions: tuple[str, ...] = EMOTIONS) -> list[tuple[str, str, str, int, int]]:
    """Two dialogues between Ann, who is in every part, and a guest."""
    return [
        (f"Well, that is {emotion}.", ("Ann", "Guest")[number % 2], emotion, dialogue, number)
        for dialogue in (0, 1)
        for number, emotion in enumerate(emotions)
    ]


def write_tables(root: Path, places: dict[str, str] | None = None) -> Path:
    for part in PARTS:
        folder = root / (places or {}).get(part.name, ".")
        folder.mkdir(parents=True, exist_ok=True)
        guest = [(text, speaker.replace("Guest", f"Guest of {part.name}"), *rest) for text, speaker, *rest in rows()]
        (folder / part.table).write_text(table(guest), encoding="utf-8")
    return root


def rewrite(root: Path, text: str, part: str = "dev", encoding: str = "utf-8") -> Path:
    path = root / f"{part}_sent_emo.csv"
    path.write_bytes(text.encode(encoding))
    return path


def dev(root: Path) -> list:
    return [u for u in read_corpus("meld", root).utterances if u.session == "dev"]


def test_a_row_is_an_utterance_of_its_official_part(tmp_path: Path) -> None:
    reading = read_corpus("meld", write_tables(tmp_path))
    assert (len(reading.utterances), reading.label_map) == (42, "meld-4")
    first = reading.utterances[0]
    assert (first.utterance_id, first.audio) == ("train_dia0_utt0", "train_splits/dia0_utt0.wav")
    assert (first.speaker, first.session, first.dialogue) == ("Ann", "train", "train_dia0")
    assert (first.emotion, first.transcript) == ("neutral", "Well, that is neutral.")
    assert (first.start_seconds, first.end_seconds, first.others) == (None, None, (("cast", "guests"),))
    assert Counter(u.session for u in reading.utterances) == {"train": 14, "dev": 14, "test": 14}
    assert len({u.utterance_id for u in reading.utterances}) == 42
    assert len({u.dialogue for u in reading.utterances}) == 6


def test_four_classes_drop_surprise_fear_and_disgust(tmp_path: Path) -> None:
    labels = BUILT_IN["meld-4"]
    classes = Counter(labels.class_of(u.emotion) for u in read_corpus("meld", write_tables(tmp_path)).utterances)
    assert classes == {"happy": 6, "angry": 6, "neutral": 6, "sad": 6, None: 18}


def test_a_fold_over_the_official_parts_leaks_speakers_and_one_over_the_cast_does_not(tmp_path: Path) -> None:
    write_tables(tmp_path)
    for part in PARTS:
        path = tmp_path / part.table
        path.write_text(path.read_text(encoding="utf-8").replace("Ann", "Joey"), encoding="utf-8")
    utterances = read_corpus("meld", tmp_path).utterances
    kept = tuple(u for u in utterances if BUILT_IN["meld-4"].class_of(u.emotion))
    manifest = Manifest(tmp_path / "manifest.csv", tmp_path, "meld", BUILT_IN["meld-4"], kept)
    with pytest.raises(UserError, match="speaker Joey is in both the training part and the held-out part"):
        make_fold(manifest, 1, column="session", validation="none", seed=1)
    assert fold_names(manifest, "cast") == ["Joey", "guests"]
    fold = make_fold(manifest, 1, column="cast", validation="none", seed=1)
    assert {manifest.utterances[i].speaker for i in fold.test} == {"Joey"}


def test_shared_speakers_and_counts_that_differ_from_the_release_are_noted(tmp_path: Path) -> None:
    notes = read_corpus("meld", write_tables(tmp_path)).notes
    assert "speakers in more than one official part: 1 of 4 (the test part has voices from training)" in notes
    assert "test_sent_emo.csv has 14 utterances; the release has 2610" in notes
    assert sum(part.utterances for part in PARTS) == 13_708


@pytest.mark.parametrize(
    "places",
    [
        {"train": "train", "dev": ".", "test": "."},
        {"train": "train", "dev": "dev", "test": "test"},
        dict.fromkeys(("train", "dev", "test"), "data/MELD"),
    ],
)
def test_tables_and_recordings_are_found_in_the_places_of_the_release(tmp_path: Path, places: dict[str, str]) -> None:
    write_tables(tmp_path, places)
    clips = tmp_path / places["train"] / "train_splits"
    clips.mkdir()
    (clips / "dia0_utt0.wav").touch()
    first = read_corpus("meld", tmp_path).utterances[0]
    assert (tmp_path / first.audio) == clips / "dia0_utt0.wav"


def test_recordings_may_be_wav_or_flac_and_hidden_files_are_ignored(tmp_path: Path) -> None:
    write_tables(tmp_path)
    for part, folder in FOLDERS.items():
        (tmp_path / folder).mkdir()
        for utterance in rows():
            clip = f"dia{utterance[3]}_utt{utterance[4]}"
            (tmp_path / folder / f"{clip}{'.flac' if part == 'dev' else '.wav'}").touch()
        (tmp_path / folder / "._dia0_utt0.wav").touch()
        (tmp_path / folder / "final_videos_testdia0_utt0.wav").touch()
    reading = read_corpus("meld", tmp_path)
    assert all((tmp_path / u.audio).is_file() for u in reading.utterances)
    assert {Path(u.audio).suffix for u in reading.utterances if u.session == "dev"} == {".flac"}
    assert not any("without a recording" in note for note in reading.notes)


def test_without_recordings_the_transcripts_are_read_and_the_recordings_noted_as_missing(tmp_path: Path) -> None:
    reading = read_corpus("meld", write_tables(tmp_path))
    (note,) = (note for note in reading.notes if note.startswith("utterances of test without a recording"))
    assert note.endswith(f"in {tmp_path / FOLDERS['test']}: 14 (such as dia0_utt0.wav)")
    with pytest.raises(UserError, match=r"None of the 42 utterances in .*\n.*\n24 × no recording"):
        prepare(reading, choose_label_map(reading))


def test_the_note_about_videos_has_a_command_that_extracts_their_sound(tmp_path: Path) -> None:
    root = tmp_path / "MELD Raw"
    write_tables(root)
    (root / "train_splits").mkdir()
    for name in ("dia0_utt0.mp4", "dia0_utt1.mp4", "dia0_utt1.wav"):
        (root / "train_splits" / name).touch()
    reading = read_corpus("meld", root)
    (note,) = (note for note in reading.notes if "(.mp4)" in note)
    assert note.startswith(f"videos (.mp4) in {root / 'train_splits'}, not read: 1. Extract their sound with: find ")
    command = shlex.split(note.partition("with: ")[2])
    assert command[:4] == ["find", str(root), "-name", "dia*.mp4"]
    assert command[4:8] == [
        "-exec",
        "sh",
        "-c",
        'ffmpeg -nostdin -n -loglevel error -i "$1" -vn -ac 1 -ar 16000 "${1%.mp4}.wav"',
    ]
    assert command[8:] == ["_", "{}", ";"]
    assert reading.utterances[0].audio == "train_splits/dia0_utt0.wav"  # where that command puts it


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("my company\x92s \x93transition\x94\x97so", "my company’s “transition”—so"),
        ("That is it\x85 ", "That is it…"),  # \x85 is white space to Python
        ("he’s lost it".encode().decode("cp1252"), "he’s lost it"),
        ("he’s — a “genius”", "he’s — a “genius”"),
        ("café", "café"),
        (unicodedata.normalize("NFD", "café"), "café"),
        ("  two  \n lines ", "two lines"),
    ],
)
def test_characters_that_went_through_windows_1252_are_repaired(tmp_path: Path, written: str, meant: str) -> None:
    write_tables(tmp_path)
    rewrite(tmp_path, table([(written, "Ann", "joy", 0, 0)]))
    assert [u.transcript for u in dev(tmp_path)] == [meant]


def test_repaired_utterances_are_counted(tmp_path: Path) -> None:
    write_tables(tmp_path)
    rewrite(tmp_path, table([("It\x92s", "Ann", "joy", 0, 0), ("Yes", "Ann", "joy", 0, 1)]))
    note = "utterances of dev_sent_emo.csv with repaired Windows-1252 characters: 1"
    assert note in read_corpus("meld", tmp_path).notes


@pytest.mark.parametrize("encoding", ["utf-8-sig", "cp1252"])
def test_a_table_may_be_saved_in_another_encoding(tmp_path: Path, encoding: str) -> None:
    write_tables(tmp_path)
    rewrite(tmp_path, table([("It’s a café.", "Renée", "joy", 0, 0)]), encoding=encoding)
    assert [(u.transcript, u.speaker) for u in dev(tmp_path)] == [("It’s a café.", "Renée")]


def test_a_folder_without_the_tables_is_refused_with_where_each_was_expected(tmp_path: Path) -> None:
    (tmp_path / "train_splits").mkdir()
    with pytest.raises(UserError, match=r"is not MELD: train_sent_emo\.csv is missing\. .*Found in .*: train_splits\."):
        read_corpus("meld", tmp_path)
    write_tables(tmp_path)
    (tmp_path / "test_sent_emo.csv").unlink()
    with pytest.raises(UserError, match=r"test_sent_emo\.csv is missing\. Expected it in .*, in its folder test"):
        read_corpus("meld", tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"dev_sent_emo\.csv: missing columns: Utterance, .* Found: none\."),
        (HEADER.replace("Speaker", "Who") + "\n", r"missing columns: Speaker\. Found: Sr No\., Utterance, Who"),
        (HEADER + "\n", "no rows below its header"),
        (HEADER + "\n1,Yes,Ann\n", "line 2: expected 11 cells, found 3"),
        (table([("Yes", "Ann", "joy", 0, 0)]) + "2,Yes,Ann,joy,n,x,1,8,21,,\n", "line 3: Dialogue_ID is 'x', expected"),
        (HEADER + "\n1,Yes,Ann,joy,n,0,-1,8,21,,\n", "line 2: Utterance_ID is '-1', expected a whole number"),
        (HEADER + "\n1,Yes, ,joy,n,0,0,8,21,,\n", "line 2: Speaker is empty"),
        (HEADER + '\n1,"Yes,Ann,joy,n,0,0,8,21,,\n', r"dev_sent_emo\.csv is not a UTF-8 CSV file"),
    ],
)
def test_a_broken_table_is_refused_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    write_tables(tmp_path)
    rewrite(tmp_path, text)
    with pytest.raises(UserError, match=message):
        read_corpus("meld", tmp_path)
