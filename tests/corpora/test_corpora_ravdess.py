"""The RAVDESS reader: two layouts, the same utterances."""

import csv
from pathlib import Path

import pytest

from mmer_pipeline.corpora.readers import read_corpus
from mmer_pipeline.errors import UserError

REAL = Path(__file__).resolve().parents[3] / "shared" / "data" / "ravdess4"


def names(actors: range = range(1, 25)) -> list[str]:
    """All speech file names: neutral has no strong intensity."""
    return [
        f"03-01-{emotion:02}-{intensity:02}-{statement:02}-{repetition:02}-{actor:02}"
        for actor in actors
        for emotion in range(1, 9)
        for intensity in ((1,) if emotion == 1 else (1, 2))
        for statement in (1, 2)
        for repetition in (1, 2)
    ]


def write_tree(root: Path, stems: list[str]) -> Path:
    for stem in stems:
        folder = root / f"Actor_{stem[-2:]}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{stem}.wav").touch()
    return root


def write_metadata(root: Path, rows: list[tuple[str, ...]], header: tuple[str, ...] = ("path", "emotion")) -> Path:
    with (root / "metadata.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([header, *rows])
    return root


def test_the_original_tree_gives_all_1440_utterances(tmp_path: Path) -> None:
    reading = read_corpus("ravdess", write_tree(tmp_path, names()))
    assert len(reading.utterances) == 1440
    assert (reading.label_map, reading.notes) == ("ravdess-4", ())
    first = reading.utterances[0]
    assert (first.utterance_id, first.audio) == ("03-01-01-01-01-01-01", "Actor_01/03-01-01-01-01-01-01.wav")
    assert (first.speaker, first.session, first.dialogue) == ("Actor_01", "1", "Actor_01")
    assert (first.emotion, first.transcript) == ("neutral", "Kids are talking by the door")
    last = reading.utterances[-1]
    assert (last.emotion, last.transcript) == ("surprised", "Dogs are sitting by the door")


def test_sessions_are_pairs_of_actors_and_no_speaker_is_in_two(tmp_path: Path) -> None:
    reading = read_corpus("ravdess", write_tree(tmp_path, names()))
    of_speaker = {utterance.speaker: utterance.session for utterance in reading.utterances}
    assert {(u.speaker, u.session) for u in reading.utterances} == set(of_speaker.items())
    chosen = [of_speaker[f"Actor_{actor:02}"] for actor in (1, 2, 3, 9, 10, 11, 12, 24)]
    assert chosen == ["1", "1", "2", "5", "5", "1", "1", "2"]


def test_songs_videos_and_other_files_are_ignored_and_counted_and_hidden_ones_skipped(tmp_path: Path) -> None:
    write_tree(tmp_path, names())
    for name in ("03-02-01-01-01-01-01.wav", "01-01-01-01-01-01-01.wav", "take2.wav"):
        (tmp_path / "Actor_01" / name).touch()
    for name in ("._03-01-01-01-01-01-01.wav", ".DS_Store", "notes.txt"):
        (tmp_path / "Actor_01" / name).touch()
    reading = read_corpus("ravdess", tmp_path)
    assert len(reading.utterances) == 1440
    (note,) = reading.notes
    assert note.startswith("files that are not audio-only speech (03-01-…), ignored: 3 (such as Actor_01/")


def test_missing_actors_are_noted(tmp_path: Path) -> None:
    assert read_corpus("ravdess", write_tree(tmp_path, names(range(1, 4)))).notes == ("found 3 of 24 actors",)


def test_a_directory_that_is_neither_layout_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="Expected folders Actor_01"):
        read_corpus("ravdess", tmp_path)
    (tmp_path / "Actor_01").mkdir()
    with pytest.raises(UserError, match="contains no utterances"):
        read_corpus("ravdess", tmp_path)


def test_metadata_that_contradicts_a_file_name_is_refused_with_its_line(tmp_path: Path) -> None:
    rows = [("a/03-01-03-01-01-01-01.flac", "happy"), ("a/03-01-04-01-01-01-01.flac", "angry")]
    with pytest.raises(UserError, match=r"line 3: emotion is 'angry', but the file name .* says 'sad'"):
        read_corpus("ravdess", write_metadata(tmp_path, rows))


def test_metadata_needs_its_columns_and_paths_below_the_root(tmp_path: Path) -> None:
    write_metadata(tmp_path, [("a/03-01-03-01-01-01-01.flac", "01")], ("path", "speaker"))
    with pytest.raises(UserError, match=r"missing columns: emotion\. Found: path, speaker"):
        read_corpus("ravdess", tmp_path)
    write_metadata(tmp_path, [("../03-01-03-01-01-01-01.flac", "happy")])
    with pytest.raises(UserError, match=r"line 2: audio path .* leaves the audio root"):
        read_corpus("ravdess", tmp_path)
    (tmp_path / "metadata.csv").write_bytes(b"path,emotion\n\xff\xfe,happy\n")
    with pytest.raises(UserError, match="not a UTF-8 CSV"):
        read_corpus("ravdess", tmp_path)


@pytest.mark.real
@pytest.mark.skipif(not REAL.is_dir(), reason="needs ../shared/data/ravdess4")
def test_the_real_recordings_read_the_same_in_both_layouts(tmp_path: Path) -> None:
    listed = read_corpus("ravdess", REAL)
    tree = read_corpus("ravdess", write_tree(tmp_path, [u.utterance_id for u in listed.utterances]))

    def facts(reading):
        return {(u.utterance_id, u.emotion, u.speaker, u.session, u.dialogue, u.transcript) for u in reading.utterances}

    assert facts(listed) == facts(tree)
    emotions = [utterance.emotion for utterance in listed.utterances]
    counts = {emotion: emotions.count(emotion) for emotion in set(emotions)}
    assert counts == {"happy": 192, "sad": 192, "angry": 192, "neutral": 96}
    assert all((listed.root / utterance.audio).is_file() for utterance in listed.utterances)
    with (REAL / "metadata.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    stated = [(f"Actor_{row['speaker']}", row["session"], row["transcript"]) for row in rows]
    assert [(u.speaker, u.session, u.transcript) for u in listed.utterances] == stated
