"""Tables with faults: one list; paths however they are spelt; labels and names of a corpus."""

import json
import shutil
import unicodedata
from pathlib import Path

import pytest
from helpers.command_line import fail, succeed
from helpers.spreadsheets import HEADER, ROWS, THEIRS, decimal_commas, notes, prepared, write_recordings, write_text

from mmer_pipeline.corpora.manifest import read_manifest
from mmer_pipeline.corpora.published_counts import PUBLISHED
from mmer_pipeline.corpora.readers import ReaderOptions, read_corpus
from mmer_pipeline.corpora.tables import MOST_FAULTS
from mmer_pipeline.errors import UserError


@pytest.fixture
def calls(tmp_path: Path) -> Path:
    return write_recordings(tmp_path / "calls")


# Faults.


def test_all_faults_are_in_one_list_with_row_and_column(calls: Path) -> None:
    rows = [
        ["anna/c1.wav", "0", "0,5", "", "froh", "x"],
        ["../c2.wav", "1", "0,5", "Anna", "froh", "x"],
        [],
        ["anna/c2.wav", "bald", "", "Anna", "", "x"],
        ["anna/c2.wav", "", "", "Anna"],
        ["*/c*.wav", "", "", "Anna", "froh", "x"],
        ["/data/other.wav", "", "", "Anna", "froh", "x"],
    ]
    path = write_text(calls / "t.csv", rows, THEIRS)
    message = fail("prepare", "csv", "--root", path).partition("Error: ")[2].splitlines()
    assert message[0] == f"{path} has 8 faults:"
    assert [line.partition(": ")[0].strip() for line in message[1:]] == [
        "row 6", "row 2, column Sprecher", "row 3, column Datei", "row 3, column bis", "row 5, column Gefühl",
        "row 5, column von", "row 7, column Datei", "row 8, column Datei",
    ]  # fmt: skip
    assert "expected 6 cells, found 4" in message[1]
    assert "leaves the audio root" in message[3]
    assert "'bald' is not a time" in message[6]
    assert "fits 4 recordings: anna/c1.wav" in message[7]


def test_many_faults_are_counted(calls: Path) -> None:
    path = write_text(calls / "t.csv", [["anna/c1.wav", "", "", "", "froh", ""]] * 50)
    message = fail("prepare", "csv", "--root", path)
    assert "has 50 faults" in message
    assert message.count("column speaker: empty") == MOST_FAULTS
    assert "and 30 more faults" in message


def test_the_same_id_twice_names_both_rows(calls: Path) -> None:
    path = write_text(calls / "t.csv", [["a", *row] for row in ROWS[:2]], ["utterance_id", *HEADER])
    assert "row 3, column utterance_id: 'a' already appears in row 2" in fail("prepare", "csv", "--root", path)


def test_starts_without_ends_and_mixed_decimals_are_refused(calls: Path) -> None:
    rows = [["anna/c1.wav", "0", "Anna", "x"], ["anna/c1.wav", "0.5", "Anna", "y"]]
    path = write_text(calls / "t.csv", rows, ["file", "start", "speaker", "emotion"])
    assert "anna/c1.wav has several rows with a start (start), but there is no end" in fail(
        "prepare", "csv", "--root", path
    )
    path = write_text(calls / "t.csv", [decimal_commas(ROWS[0]), ROWS[1]])
    assert "decimal commas in some cells and points in others" in fail("prepare", "csv", "--root", path)


def test_a_duration_stands_for_the_end(calls: Path) -> None:
    rows = [["anna/c1.wav", "0.1", "0.2", "Anna", "x"], ["anna/c2.wav", "0.7", "0.1", "Anna", "y"]]
    path = write_text(calls / "t.csv", rows, ["file", "start", "duration", "speaker", "emotion"])
    assert [(u.start_seconds, u.end_seconds) for u in read_corpus("csv", path).utterances] == [(0.1, 0.3), (0.7, 0.8)]


def test_a_duration_without_starts_is_kept_as_a_fact_unless_it_is_named_as_the_end(calls: Path) -> None:
    """It was shown as recognised and then lost."""
    path = write_text(
        calls / "t.csv", [["anna/c1.wav", "0.5", "Anna", "x"]], ["file", "duration", "speaker", "emotion"]
    )
    (fact,) = read_corpus("csv", path).utterances
    assert (fact.end_seconds, fact.value("duration")) == (None, "0.5")
    (segment,) = read_corpus("csv", path, ReaderOptions({"duration_seconds": "duration"})).utterances
    assert (segment.start_seconds, segment.end_seconds) == (None, 0.5)


# Paths.


def test_backslashes_in_paths_lose_no_row(calls: Path) -> None:
    """They were looked for as names with backslashes: the rows were left out, and the exit code was 0."""
    rows = [ROWS[0], *([row[0].replace("/", "\\"), *row[1:]] for row in ROWS[1:])]
    result = succeed("prepare", "csv", "--root", write_text(calls / "t.csv", rows), "--json")
    assert json.loads(result.stdout)["utterances"] == 4
    assert json.loads(result.stdout)["problems"] == {}
    assert "3 with backslashes" in notes(calls / "t.csv")


def test_paths_that_lead_nowhere_are_an_error_that_shows_both_kinds(calls: Path) -> None:
    rows = [["wav\\" + row[0].replace("/", "\\"), *row[1:]] for row in ROWS[:3]]
    message = fail("prepare", "csv", "--root", write_text(calls / "t.csv", [*rows, ROWS[3]]))
    assert "3 of 4 recordings are missing, such as wav/anna/c1.wav" in message
    assert "contains 4 recordings, such as anna/c1.wav" in message
    assert not Path("cache").exists()
    kept = succeed("prepare", "csv", "--root", write_text(calls / "t.csv", [*rows[:1], *ROWS[1:]]))
    assert "1 × no recording" in kept.stdout


def test_a_name_that_fits_two_recordings_is_refused(calls: Path) -> None:
    shutil.copy(calls / "anna/c1.wav", calls / "bert/c1.wav")
    message = fail("prepare", "csv", "--root", write_text(calls / "t.csv", [["c1", *ROWS[0][1:]]]))
    assert "row 2, column audio: 'c1' fits 2 recordings: anna/c1.wav, bert/c1.wav" in message


def test_two_absolute_paths_are_not_one_recording(calls: Path) -> None:
    rows = [["/x/anna/c1.wav", *ROWS[0][1:]], ["/y/anna/c1.wav", *ROWS[1][1:]]]
    assert "would both be anna/c1.wav" in fail("prepare", "csv", "--root", write_text(calls / "t.csv", rows))


def test_a_recording_outside_the_root_is_not_replaced_by_one_of_the_same_name(calls: Path, tmp_path: Path) -> None:
    """`calls/anna/c1.wav` was taken for it."""
    outside = tmp_path / "elsewhere" / "anna" / "c1.wav"
    outside.parent.mkdir(parents=True)
    shutil.copy(calls / "bert/c3.wav", outside)
    path = write_text(calls / "t.csv", [[str(outside), *ROWS[0][1:]], *ROWS[1:]])
    message = fail("prepare", "csv", "--root", path)
    assert f"row 2, column audio: {str(outside)!r} is a recording outside the audio root {calls}" in message
    outside.unlink()
    outside.symlink_to(calls / "anna/c1.wav")
    assert read_corpus("csv", path).utterances[0].audio == "anna/c1.wav"


def test_another_form_of_accents_is_the_same_recording(calls: Path) -> None:
    (calls / "anna").rename(calls / unicodedata.normalize("NFD", "ännä"))
    rows = [[unicodedata.normalize("NFC", "ännä/c1"), *ROWS[0][1:]], ROWS[2]]
    found = read_corpus("csv", write_text(calls / "t.csv", rows)).utterances[0]
    assert (calls / found.audio).is_file()


def test_made_ids_stay_the_same_when_rows_are_added(calls: Path) -> None:
    rows = [["anna/c1.wav", "", "", "Anna", "x", ""], ["anna/c2.wav", "1", "2", "Anna", "y", ""]]
    more = [*rows, ["anna/c1.wav", "", "", "Anna", "x", ""], ["anna/c2.wav", "3.25", "4", "Anna", "y", ""]]
    ids = [
        [u.utterance_id for u in read_corpus("csv", write_text(calls / "t.csv", part)).utterances]
        for part in (rows, more)
    ]
    assert ids == [["anna-c1", "anna-c2-1"], ["anna-c1", "anna-c2-1", "anna-c1-2", "anna-c2-3.25"]]


def test_made_ids_are_unique_where_a_recording_has_the_name_of_another_ones_second_row(calls: Path) -> None:
    """The third row was refused as a duplicate, although there is no column of ids."""
    for name in ("call.wav", "call-2.wav"):
        shutil.copy(calls / "anna/c1.wav", calls / name)
    rows = [
        [name, "", "", "Anna", "x", ""] for name in ("call.wav", "call.wav", "call-2.wav", "call.wav", "call-2.wav")
    ]
    utterances = read_corpus("csv", write_text(calls / "t.csv", rows)).utterances
    assert [u.utterance_id for u in utterances] == ["call", "call-2", "call-2-2", "call-3", "call-2-3"]


def test_a_recording_has_one_path_however_it_is_written(calls: Path) -> None:
    """`./c1.wav` and `c1.wav` were two recordings."""
    rows = [[path, *ROWS[0][1:]] for path in ("anna/c1.wav", "./anna/c1.wav", "anna//c1.wav", "anna/./c1.wav")]
    assert {u.audio for u in read_corpus("csv", write_text(calls / "t.csv", rows)).utterances} == {"anna/c1.wav"}


# Labels.


def test_a_label_error_names_file_row_and_label_and_all_labels_at_once(calls: Path) -> None:
    """It read `Error: 10: Unknown emotion label`, where 10 was an id, and named the first label only."""
    Path("labels.toml").write_text('[classes]\nfroh = ["fröhlich"]\nwut = ["wütend"]\n')
    arguments = ("prepare", "csv", "--label-map", "labels.toml", "--root")
    rows = [
        ROWS[0],
        [*ROWS[1][:4], "wuetend", ""],
        ROWS[2],
        [*ROWS[3][:4], "fröhlic", ""],
        [*ROWS[3][:4], "fröhlic", ""],
    ]
    path = write_text(calls / "t.csv", rows[:3], THEIRS)
    assert f"Unknown emotion label 'wuetend' ({path}, row 3, column Gefühl): did you mean 'wütend'?\n" in fail(
        *arguments, path
    )
    message = fail(*arguments, write_text(path, rows, THEIRS))
    assert "2 unknown emotion labels:\n" in message
    assert f"  'fröhlic' (2 utterances, the first in {path}, row 5, column Gefühl): did you mean 'fröhlich'?" in message
    assert "  'wuetend' (" in message


def test_a_class_that_may_be_misspelt_is_noted(calls: Path) -> None:
    rows = [[*row[:4], "angry" if n % 2 else "happy", "x"] for n, row in enumerate(ROWS * 2)]
    for number, row in enumerate(rows):
        row[1:3] = [f"0.{number}", "0.95"]
    rows[0][4] = "hapy"
    said = notes(write_text(calls / "t.csv", rows))
    assert f"classes that may be misspellings: hapy ({calls / 't.csv'}, row 2, column emotion) of happy (3" in said
    rows[0][4] = "calm"
    assert "misspelling" not in notes(write_text(calls / "t.csv", rows))


# Names.


def test_a_corpus_has_the_name_of_its_folder_or_table(calls: Path) -> None:
    write_text(calls / "manifest.csv")
    for table, name in ((calls, "calls"), (calls / "manifest.csv", "calls"), (write_text(calls / "may.csv"), "may")):
        prepared("csv", "--root", table)
        assert read_manifest(Path("out.csv")).corpus == name


def test_a_folder_named_like_a_published_corpus_is_not_taken_for_it(calls: Path) -> None:
    assert "iemocap" in PUBLISHED
    calls.rename("IEMOCAP")
    Path("IEMOCAP").rename("iemocap")
    write_text(Path("iemocap/manifest.csv"))
    result = succeed("prepare", "csv", "--root", "iemocap", "--json", "--keep-untranscribed")
    value = json.loads(result.stdout)
    assert (value["corpus"], value["published"]) == ("iemocap (csv)", None)


def test_a_speaker_pattern_needs_no_column_of_speakers(calls: Path) -> None:
    path = write_text(calls / "t.csv", [[row[0], *row[4:]] for row in ROWS], ["audio", "emotion", "transcript"])
    reading = read_corpus("csv", path, ReaderOptions(speaker_pattern=r"c(\d)"))
    assert [u.speaker for u in reading.utterances] == ["1", "2", "3", "4"]
    with pytest.raises(UserError, match="row 2, column audio: --speaker-pattern finds no speaker in 'c1'"):
        read_corpus("csv", path, ReaderOptions(speaker_pattern=r"x(\d)"))
    with pytest.raises(UserError, match="not a regular expression"):
        read_corpus("csv", path, ReaderOptions(speaker_pattern="("))
