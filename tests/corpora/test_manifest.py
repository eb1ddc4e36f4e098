"""Manifest files: reading, writing, and the errors of bad rows."""

import json
import unicodedata
from dataclasses import replace
from pathlib import Path

import pytest

from mmer_pipeline import paths
from mmer_pipeline.corpora.labels import BUILT_IN, LabelMap
from mmer_pipeline.corpora.manifest import Manifest, read_manifest, write_manifest
from mmer_pipeline.corpora.utterances import COLUMNS, Utterance, check_audio_path, read_utterances
from mmer_pipeline.errors import UserError

HEADER = ",".join(COLUMNS)
ROW = "a,wav/a.wav,,,Ann,1,d1,hap,Yes."
LABELS = BUILT_IN["iemocap-4"]
UTTERANCES = (
    Utterance("a", "wav/a.wav", None, None, "Ann", "1", "d1", "hap", 'He said "no", then\nleft. [LAUGHTER]'),
    Utterance("b", "wav/long.wav", 3723.123456, 3725.000001, "Bob", "2", "d2", "sad", "Čau – ok"),
)


def read_text(tmp_path: Path, text: str) -> list[Utterance]:
    path = tmp_path / "manifest.csv"
    path.write_text(text, encoding="utf-8")
    return read_utterances(path)


def write(path: Path, label_map: LabelMap = LABELS, utterances=UTTERANCES) -> bool:
    return write_manifest(path, utterances, root=path.parent, corpus="iemocap", label_map=label_map)


def test_what_is_written_reads_back_to_the_last_microsecond(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "manifest.csv"
    assert write(path)
    manifest = read_manifest(path)
    assert manifest.utterances == UTTERANCES
    assert (manifest.root, manifest.corpus, manifest.label_map) == (path.parent, "iemocap", LABELS)
    assert manifest.labels == ("happy", "angry", "neutral", "sad")
    assert manifest.audio_path(UTTERANCES[0]) == path.parent / "wav" / "a.wav"


def test_an_unchanged_manifest_is_not_rewritten_but_every_change_is(tmp_path: Path) -> None:
    path = tmp_path / "manifest.csv"
    assert write(path)
    stamps = {file: file.stat().st_mtime_ns for file in tmp_path.iterdir()}
    assert not write(path)
    assert {file: file.stat().st_mtime_ns for file in tmp_path.iterdir()} == stamps
    assert write(path, utterances=UTTERANCES[:1])
    reordered = replace(LABELS, classes=dict(reversed(LABELS.classes.items())))
    assert write(path, reordered, UTTERANCES[:1])  # the order of the classes is the order of the outputs
    path.with_suffix(".json").write_text("{")
    assert write(path, reordered, UTTERANCES[:1])


def test_the_name_of_a_manifest_ends_in_csv(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"must end in \.csv, such as manifest\.csv"):
        write(tmp_path / "manifest.json")


def test_a_csv_written_by_hand_takes_its_folder_as_root_and_its_labels_as_classes(tmp_path: Path) -> None:
    path = tmp_path / "manifest.csv"
    path.write_text(f"{HEADER}\n{ROW}\nb,b.wav,,,Bob,2,d2,sad,No.\n")
    manifest = read_manifest(path)
    assert (manifest.root, manifest.corpus, manifest.labels) == (tmp_path.resolve(), "csv", ("hap", "sad"))


def test_columns_may_be_in_any_order_and_beside_others(tmp_path: Path) -> None:
    columns = [*reversed(COLUMNS), "remark"]
    cells = dict(zip(COLUMNS, ROW.split(","), strict=True)) | {"remark": "odd"}
    text = ",".join(columns) + "\n" + ",".join(cells[column] for column in columns)
    (row,) = read_text(tmp_path, text)
    assert row.value("remark") == "odd"
    assert [replace(row, others=())] == read_text(tmp_path, f"\ufeff{HEADER}\r\n{ROW}\r\n")


def test_further_columns_are_written_and_read_and_do_not_change_the_digest(tmp_path: Path) -> None:
    path = tmp_path / "manifest.csv"
    rows = [replace(utterance, others=(("site", f"s{n % 2}"),)) for n, utterance in enumerate(UTTERANCES)]
    assert write(path, utterances=rows)
    manifest = read_manifest(path)
    assert manifest.utterances == tuple(rows)
    assert manifest.columns == (*COLUMNS, "site")
    assert write(path, utterances=[replace(utterance, others=(("site", "s0"),)) for utterance in UTTERANCES])
    assert read_manifest(path).digest == manifest.digest


def test_a_column_that_appears_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="column session appears twice"):
        read_text(tmp_path, f"{HEADER},session\n{ROW},2\n")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"missing columns: utterance_id, audio, .*\. Found: none"),
        (f"{HEADER.replace('speaker,', '')}\n", "missing columns: speaker"),
        (f"{HEADER}\n", "no rows below its header"),
        (f"{HEADER}\n{ROW}\n{ROW}\n", "line 3: utterance_id 'a' already appears on line 2"),
        (f"{HEADER}\n{ROW},more\n", "line 2: expected 9 cells, found 10"),
        (f"{HEADER}\na,b\n", "line 2: expected 9 cells, found 2"),
        (f"{HEADER}\n{ROW.replace('Ann', ' ')}\n", "line 2: speaker is empty"),
        (f"{HEADER}\n{ROW.replace('hap', '')}\n", "line 2: emotion is empty"),
        (f"{HEADER}\n{ROW}\nb,wav/a.wav,2,1,Ann,1,d,sad,x\n", r"line 3: end_seconds \(1\) is not after"),
        (f"{HEADER}\n{ROW}\nb,wav/a.wav,x,1,Ann,1,d,sad,x\n", "line 3: start_seconds is 'x'"),
        (f"{HEADER}\n{ROW}\nb,wav/a.wav,-1,,Ann,1,d,sad,x\n", "line 3: start_seconds is '-1'"),
        (f"{HEADER}\n{ROW}\nb,wav/a.wav,,nan,Ann,1,d,sad,x\n", "line 3: end_seconds is 'nan'"),
        (f'{HEADER}\n"a,b\n', "not a UTF-8 CSV file"),
    ],
)
def test_a_wrong_row_is_refused_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_text(tmp_path, text)


@pytest.mark.parametrize(
    "audio", ["", "/a.wav", "../a.wav", "x/../../a.wav", r"C:\a.wav", r"..\a.wav", "C:a.wav", "a\0"]
)
def test_an_audio_path_that_leaves_the_root_is_refused(audio: str) -> None:
    with pytest.raises(UserError, match=r"here: audio path .* leaves the audio root"):
        check_audio_path(audio, "here")


def test_an_audio_path_below_the_root_is_accepted() -> None:
    for audio in ("a.wav", "x/y/a..b.wav", "./a.wav"):
        check_audio_path(audio, "here")


def test_a_missing_file_a_directory_and_bytes_that_are_not_utf8_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="mmer-pipe prepare"):
        read_manifest(tmp_path / "none.csv")
    with pytest.raises(UserError, match="cannot be read: Is a directory"):
        read_manifest(tmp_path)
    (tmp_path / "latin.csv").write_bytes(f"{HEADER}\n{ROW}".encode() + b"\xe9")
    with pytest.raises(UserError, match="not a UTF-8 CSV"):
        read_manifest(tmp_path / "latin.csv")


def test_text_is_normalised_but_file_names_are_not(tmp_path: Path) -> None:
    decomposed = unicodedata.normalize("NFD", "é")
    row = f"{decomposed},{decomposed}.wav,,,{decomposed},1,d1,hap,{decomposed}"
    (utterance,) = read_text(tmp_path, f"{HEADER}\n{row}\n")
    assert (utterance.utterance_id, utterance.speaker, utterance.transcript) == ("é", "é", "é")
    assert utterance.audio == f"{decomposed}.wav"


def test_an_unknown_label_is_refused_and_a_dropped_one_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "manifest.csv"
    write(path, utterances=(*UTTERANCES, replace(UTTERANCES[0], utterance_id="c", emotion="fru")))
    assert read_manifest(path).utterances == UTTERANCES
    write(path, utterances=[replace(UTTERANCES[0], emotion="fru")])
    with pytest.raises(UserError, match="iemocap-4 drops every utterance"):
        read_manifest(path)
    write(path, utterances=[replace(UTTERANCES[0], emotion="bored")])
    with pytest.raises(UserError, match="Unknown emotion label 'bored'"):
        read_manifest(path)


@pytest.mark.parametrize("facts", ["{}", "[]", '{"root": ".", "corpus": "x", "label_map": 3}', "3"])
def test_an_unrelated_json_file_beside_the_manifest_is_named(tmp_path: Path, facts: str) -> None:
    path = tmp_path / "manifest.csv"
    write(path)
    path.with_suffix(".json").write_text(facts)
    with pytest.raises(UserError, match="does not belong to a manifest: expected `root`, `corpus` and `label_map`"):
        read_manifest(path)


def test_the_digest_changes_only_with_rows_and_label_map(tmp_path: Path) -> None:
    manifest = Manifest(tmp_path / "a.csv", tmp_path, "iemocap", LABELS, UTTERANCES)
    assert len(manifest.digest) == 16
    assert replace(manifest, path=tmp_path / "b.csv", root=Path("/else")).digest == manifest.digest
    assert replace(manifest, utterances=UTTERANCES[::-1]).digest != manifest.digest
    assert replace(manifest, label_map=BUILT_IN["ravdess-4"]).digest != manifest.digest


@pytest.mark.parametrize(
    "command",
    ["rm -rf ~", "mmer-pipe prepare csv; rm -rf ~", "mmer-pipe prepare csv --root $(rm -rf ~)", "mmer-pipe predict x",
     "mmer-pipe prepare csv --root 'a\x1b]0;b'", "mmer-pipe prepare 'csv", 3, ["mmer-pipe", "prepare"], None],
)  # fmt: skip
def test_a_command_that_is_no_call_of_prepare_is_not_suggested(manifest, command):
    """Others' manifests are read, and messages name the recorded command, so that somebody may run it."""
    path = paths.manifest_facts(manifest.path)
    facts = json.loads(path.read_text())
    path.write_text(json.dumps({**facts, "command": command}))
    assert read_manifest(manifest.path).command == ""
    path.write_text(json.dumps({**facts, "command": "mmer-pipe prepare csv --root 'my calls'"}))
    assert read_manifest(manifest.path).command == "mmer-pipe prepare csv --root 'my calls'"
