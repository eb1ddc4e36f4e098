"""Tables that people make, in every form: the same manifest, and one list of faults."""

import csv
import shutil
from collections.abc import Callable
from pathlib import Path

import openpyxl
import pytest
from helpers.command_line import fail, succeed
from helpers.spreadsheets import (
    HEADER,
    ROWS,
    THEIRS,
    changed,
    decimal_commas,
    notes,
    prepared,
    write_recordings,
    write_text,
)

from mmer_pipeline.corpora.folds import make_fold
from mmer_pipeline.corpora.manifest import Manifest, read_manifest
from mmer_pipeline.corpora.readers import read_corpus
from mmer_pipeline.corpora.utterances import COLUMNS


@pytest.fixture
def calls(tmp_path: Path) -> Path:
    return write_recordings(tmp_path / "calls")


def write_workbook(path: Path) -> Path:
    book = openpyxl.Workbook()
    book.active.append(HEADER)
    for row in ROWS:
        book.active.append([float(cell) if n in (1, 2) and cell else cell for n, cell in enumerate(row)])
    book.save(path)
    return path


MANIFEST = """\
utterance_id,audio,start_seconds,end_seconds,speaker,session,dialogue,emotion,transcript
anna-c1-0,anna/c1.wav,0.0,0.5,Anna,Anna,Anna,fröhlich,Schöne Grüße
anna-c2-0.25,anna/c2.wav,0.25,1.0,Anna,Anna,Anna,wütend,"Nein, danke"
bert-c3,bert/c3.wav,,,Bert,Bert,Bert,fröhlich,Ja
bert-c4-0.5,bert/c4.wav,0.5,,Bert,Bert,Bert,wütend,Für Tränen zu spät
"""
FORMS: dict[str, Callable[[Path], list[object]]] = {
    "commas": lambda root: [write_text(root / "t.csv")],
    "semicolons": lambda root: [write_text(root / "t.csv", delimiter=";")],
    "tabs": lambda root: [write_text(root / "t.tsv", delimiter="\t")],
    "decimal commas": lambda root: [write_text(root / "t.csv", changed(decimal_commas), delimiter=";")],
    "utf-8 with a mark": lambda root: [write_text(root / "t.csv", encoding="utf-8-sig")],
    "cp1252": lambda root: [write_text(root / "t.csv", encoding="cp1252")],
    "utf-16": lambda root: [write_text(root / "t.txt", delimiter="\t", encoding="utf-16")],
    "xlsx": lambda root: [write_workbook(root / "t.xlsx")],
    "other names": lambda root: [write_text(root / "t.csv", header=THEIRS)],
    "named columns": lambda root: [
        write_text(root / "t.csv", header=["a", "b", "c", "d", "e", "f"]),
        *(word for meaning, name in zip(HEADER, "abcdef", strict=True) for word in ("--column", f"{meaning}={name}")),
    ],
    "backslashes": lambda root: [
        write_text(root / "t.csv", changed(lambda row: [row[0].replace("/", "\\"), *row[1:]]))
    ],
    "absolute": lambda root: [write_text(root / "t.csv", changed(lambda row: [str(root / row[0]), *row[1:]]))],
    "of another machine": lambda root: [
        write_text(root / "t.csv", changed(lambda row: ["D:\\Daten\\" + row[0].replace("/", "\\"), *row[1:]]))
    ],
    "patterns": lambda root: [
        write_text(root / "t.csv", changed(lambda row: [row[0][:-6] + "*" + row[0][-5:], *row[1:]]))
    ],
    "no extensions": lambda root: [write_text(root / "t.csv", changed(lambda row: [row[0][:-4], *row[1:]]))],
    "no folders": lambda root: [write_text(root / "t.csv", changed(lambda row: [row[0][5:], *row[1:]]))],
    "another case": lambda root: [write_text(root / "t.csv", changed(lambda row: [row[0].upper(), *row[1:]]))],
    "clock": lambda root: [
        write_text(
            root / "t.csv",
            changed(lambda row: [row[0], *(f"0:0{float(c)}" if c else c for c in row[1:3]), *row[3:]]),
        )
    ],
    "blank rows": lambda root: [write_text(root / "t.csv", [[""] * 6, *ROWS, [""] * 6])],
}


@pytest.mark.parametrize("form", FORMS)
def test_a_table_in_any_form_is_the_same_manifest(calls: Path, form: str) -> None:
    assert prepared("csv", "--root", *FORMS[form](calls)).decode() == MANIFEST


def test_a_folder_a_class_is_the_same_manifest_up_to_paths_ids_and_words(calls: Path) -> None:
    whole = [[row[0], "", "", *row[3:5], ""] for row in ROWS]
    plain = prepared("csv", "--root", write_text(calls / "t.csv", whole))
    for audio, _, _, speaker, emotion, _ in whole:
        path = Path("tree", emotion, f"{speaker}_{Path(audio).name}")
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(calls / audio, path)
    found = prepared("folders", "--root", "tree", "--speaker-pattern", "^[^_]+")
    rows = [list(csv.DictReader(text.decode().splitlines())) for text in (plain, found)]
    same = [{key: row[key] for key in COLUMNS[2:]} for row in rows[0]]
    assert sorted(same, key=str) == sorted(({key: row[key] for key in COLUMNS[2:]} for row in rows[1]), key=str)


def test_the_columns_of_a_manifest_give_the_manifest_of_before(manifest: Manifest) -> None:
    rows = manifest.path.read_text().splitlines()
    table = manifest.root / "manifest.csv"
    table.write_text("\n".join([rows[0] + ",file,label", *(f"{row},x,{n}" for n, row in enumerate(rows[1:]))]) + "\n")
    succeed("prepare", "csv", "--root", manifest.root, "--label-map", "iemocap-4", "--manifest", "again.csv")
    assert Path("again.csv").read_text() == table.read_text()
    table.write_bytes(manifest.path.read_bytes())
    result = succeed("prepare", "csv", "--root", table, "--label-map", "iemocap-4", "--manifest", "again.csv")
    assert Path("again.csv").read_bytes() == manifest.path.read_bytes()
    assert "note" not in result.stderr


# What is said.


def test_guesses_and_defaults_are_shown(calls: Path) -> None:
    said = notes(write_text(calls / "t.csv", [[r[0], r[3], r[4]] for r in ROWS], ["Datei", "Sprecher", "Gefühl"]))
    assert "note: columns: audio ← Datei, speaker ← Sprecher, emotion ← Gefühl\n" in said
    assert (
        "note: no columns of times (an utterance is a whole recording), sessions or dialogues (each speaker is one); "
        "calls or scenes are dialogues: --column dialogue=COLUMN\n"
    ) in said
    assert said.count("note: ") == 2


def test_only_columns_of_other_names_are_shown_and_nothing_that_needs_no_decision(calls: Path) -> None:
    """Five notes came with every preparation, the last of them three lines long."""
    header = [*HEADER[:3], "Sprecher", *HEADER[4:], "session"]
    rows = [[*row, "one"] for row in changed(decimal_commas)]
    said = notes(
        write_text(calls / "t.csv", rows, header, delimiter=";", encoding="utf-16"), "--column", "dialogue=audio"
    )
    assert [line for line in said.splitlines() if line.startswith("note: ")] == [
        "note: columns: speaker ← Sprecher, dialogue ← audio",
        "note: the default CTC alphabet lacks Ü, Ö, Ä; train with --ctc-alphabet corpus to spell them",
    ]


def test_an_encoding_that_is_guessed_is_said(calls: Path) -> None:
    assert "t.csv is not UTF-8, so it was read as cp1252" in notes(write_text(calls / "t.csv", encoding="cp1252"))


def test_bytes_in_no_such_encoding_are_refused(calls: Path) -> None:
    for data in (b"audio,speaker\n\x81\x8d", "audio,speaker\n".encode("utf-16-le")):
        (calls / "t.csv").write_bytes(data)
        assert "is not text in UTF-8, UTF-16 with a byte order mark, or cp1252" in fail(
            "prepare", "csv", "--root", calls / "t.csv"
        )


def test_the_sheet_that_was_read_is_said(calls: Path) -> None:
    path = write_workbook(calls / "t.xlsx")
    book = openpyxl.load_workbook(path)
    book.create_sheet("Notizen").append(["x"])
    book.create_sheet("leer", 0)
    book.save(path)
    assert "the sheet 'Sheet' of t.xlsx was read, not 'Notizen'" in notes(path)
    path.write_bytes(b"PK nonsense")
    assert "is not an .xlsx workbook" in fail("prepare", "csv", "--root", path)


def test_a_column_that_may_be_several_is_an_error_that_names_the_option(calls: Path) -> None:
    path = write_text(calls / "t.csv", [[*row, row[0]] for row in ROWS], [*THEIRS, "filename"])
    message = fail("prepare", "csv", "--root", path)
    assert '--column audio="Datei" or --column audio="filename"' in message
    assert prepared("csv", "--root", path, "--column", "audio=filename")
    assert "no column 'filname' for --column audio=filname. The closest is 'filename'" in fail(
        "prepare", "csv", "--root", path, "--column", "audio=filname"
    )
    assert "expected MEANING=COLUMN" in fail("prepare", "csv", "--root", path, "--column", "voice=filename")


def test_a_column_can_be_recording_and_dialogue(calls: Path) -> None:
    path = write_text(calls / "t.csv", header=["file", *HEADER[1:]])
    prepared("csv", "--root", path, "--column", "dialogue=file")
    manifest = read_manifest(Path("out.csv"))
    assert [u.dialogue for u in manifest.utterances] == [u.audio for u in manifest.utterances]


def test_two_party_calls_without_sessions_are_never_divided(calls: Path) -> None:
    """The session was the speaker, so that both folds and clusters took the two speakers of a call apart."""
    turns = [
        ["anna/c1.wav", f"{who}{call}", emotion, f"call{call}"] for call in range(8) for who in "ab" for emotion in "xy"
    ]
    said = notes(write_text(calls / "t.csv", turns * 2, ["audio", "speaker", "emotion", "call"]))
    assert "sessions (speakers of the same dialogues share one: 16 speakers, 8 sessions)" in said
    assert "each speaker is one" not in said
    manifest = read_manifest(Path("cache/manifest.csv"))
    assert {(u.session, u.dialogue) for u in manifest.utterances} == {(f"a{n}", f"call{n}") for n in range(8)}
    for number in range(1, 5):
        fold = make_fold(manifest, number, column="4", validation="session", seed=1)
        parts = [{manifest.utterances[i].dialogue for i in part} for part in (fold.train, fold.validation, fold.test)]
        assert sum(map(len, parts)) == len(set().union(*parts)) == 8


def test_speakers_who_are_linked_through_others_share_a_session_and_unknown_dialogues_link_nobody(calls: Path) -> None:
    turns = [["c", "1"], ["b", "1"], ["b", "2"], ["a", "2"], ["d", ""], ["e", ""]]
    rows = [["anna/c1.wav", speaker, "x", call] for speaker, call in turns]
    reading = read_corpus("csv", write_text(calls / "t.csv", rows, ["audio", "speaker", "emotion", "call"]))
    assert [u.session for u in reading.utterances] == ["a", "a", "a", "a", "d", "e"]


def test_a_column_that_is_not_what_its_name_says_can_be_left_out(calls: Path) -> None:
    path = write_text(calls / "t.csv")
    prepared("csv", "--root", path, "--column", "transcript=")
    assert {u.transcript for u in read_manifest(Path("out.csv")).utterances} == {""}


def test_a_missing_column_says_what_was_found_and_how_to_name_it(calls: Path) -> None:
    path = write_text(calls / "t.csv", header=["Datei", "von", "bis", "Wer", "Gefühl", "Wortlaut"])
    message = fail("prepare", "csv", "--root", path)
    assert "missing columns: speaker. The table has: Datei, von, bis, Wer, Gefühl, Wortlaut" in message
    assert "audio ← Datei" in message
    assert "--column speaker=COLUMN" in message


def test_options_of_tables_are_refused_for_a_corpus_whose_columns_are_known(tmp_path: Path) -> None:
    assert "are for the forms of your own corpus" in fail(
        "prepare", "ravdess", "--root", tmp_path, "--column", "speaker=x"
    )
