"""Corpora that someone made to do harm, or that are broken in unusual ways; none of their code is ever run."""

import contextlib
import gzip
import json
import os
import pickle
import sys
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any

import openpyxl
import pyarrow as arrow
import pyarrow.parquet as parquet
import pytest
from faults.input_corpora import AUDFORMAT, FORMS, RECORDINGS, ROWS, as_csv, json_lines, lhotse_entries, write_files
from helpers.command_line import fail, succeed
from helpers.hostile_corpora import lay_out, read, refused

from mmer_pipeline.corpora import tables
from mmer_pipeline.corpora.manifest import read_manifest
from mmer_pipeline.corpora.readers import ReaderOptions, json_objects, read_corpus
from mmer_pipeline.errors import UserError

TABLE = ("audio", "speaker", "emotion", "transcript")


# Nothing is run.


class Payload:
    """Pickled, it makes a file when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, ("RUN",))


def test_a_command_in_the_place_of_a_recording_is_never_run() -> None:
    for command in ("mkdir RUN |", "| mkdir RUN", "$(mkdir RUN)", "`mkdir RUN`", "x.wav; mkdir RUN"):
        scp = f"c1 {command}\nc2 c2.wav\n".encode()
        with contextlib.suppress(UserError):  # or a recording that is missing
            read("kaldi", {"wav.scp": scp})
    recordings = lhotse_entries(ROWS)[0]
    recordings[0]["sources"][0] = {"type": "command", "channels": [0], "source": "mkdir RUN"}
    (Path("corpus") / "recordings.jsonl.gz").unlink(missing_ok=True)
    message = refused("lhotse", {"recordings.jsonl.gz": gzip.compress(json_lines(recordings))})
    assert "no recording that is a single file" in message
    assert not Path("RUN").exists()


@pytest.mark.parametrize(
    "tag",
    ["!!python/object/apply:os.mkdir ['RUN']", "!!python/object/new:os.mkdir ['RUN']", "!!python/name:os.mkdir ''"],
)
def test_tags_of_yaml_are_never_followed(tag: str) -> None:
    header = FORMS["audformat"][1](ROWS)["db.yaml"] + f"\nx: {tag}\n".encode()
    assert "is not the header of an audformat database" in refused("audformat", {"db.yaml": header})
    assert not Path("RUN").exists()


def test_types_of_parquet_are_never_unpickled() -> None:
    """As pyarrow before 14.0.1 did: CVE-2023-47248."""
    field = arrow.field(
        "x",
        arrow.string(),
        metadata={
            b"ARROW:extension:name": b"arrow.py_extension_type",
            b"ARROW:extension:metadata": pickle.dumps(Payload()),
        },
    )
    schema = arrow.schema(
        [*((name, arrow.string()) for name in TABLE), field], {b"huggingface": pickle.dumps(Payload())}
    )
    rows = [
        {**dict(zip(TABLE, ("c1.wav", s, e, "NO"), strict=True)), "x": "y"} for s, e in (("a", "sad"), ("b", "joy"))
    ]
    write_files(RECORDINGS, Path("corpus"))
    parquet.write_table(arrow.Table.from_pylist(rows, schema), "corpus/metadata.parquet")
    assert len(read_corpus("huggingface", Path("corpus")).utterances) == 2
    assert not Path("RUN").exists()


def test_a_script_of_datasets_is_never_imported() -> None:
    root = lay_out(
        "jsonl", {"corpus.py": b"import os\nos.mkdir('RUN')\n", "metadata.py": b"import os\nos.mkdir('RUN')\n"}
    )
    before = set(sys.modules)
    assert len(read_corpus("huggingface", root).utterances) == 4
    assert not {"corpus", "metadata", "datasets"} & (set(sys.modules) - before)
    assert not Path("RUN").exists()


# Nothing outside the root is read.


def test_a_recording_that_is_a_link_out_of_the_root_is_left_out_unless_links_are_followed() -> None:
    """It was followed."""
    root = lay_out("csv")
    write_files({"private.wav": RECORDINGS["c1.wav"]}, Path("elsewhere"))
    (root / "c1.wav").unlink()
    (root / "c1.wav").symlink_to(Path("elsewhere/private.wav").resolve())
    shown = succeed("prepare", "csv", "--root", root / "table.csv").stdout
    assert "2 × recording is a link to a file outside the audio root (--follow-links reads such files)" in shown
    assert {u.audio for u in read_manifest(Path("cache/manifest.csv")).utterances} == {"c2.wav"}
    succeed("prepare", "csv", "--root", root / "table.csv", "--follow-links")
    manifest = read_manifest(Path("cache/manifest.csv"))
    assert len([manifest.audio_path(u) for u in manifest.utterances]) == 4


def test_a_recording_that_becomes_a_link_out_of_the_root_after_prepare_is_refused() -> None:
    root = lay_out("csv")
    succeed("prepare", "csv", "--root", root / "table.csv")
    (root / "c1.wav").rename("private.wav")
    (root / "c1.wav").symlink_to(Path("private.wav").resolve())
    message = fail("audit")
    assert "u1: its recording" in message
    assert "outside the audio root. To read such files, run `mmer-pipe prepare csv" in message
    assert "--follow-links" in message


def test_links_within_the_root_and_a_root_that_is_a_link_are_read() -> None:
    """As git-annex and DataLad make them."""
    root = lay_out("csv", {".git/annex/objects/x1": RECORDINGS["c1.wav"]})
    (root / "c1.wav").unlink()
    (root / "c1.wav").symlink_to(".git/annex/objects/x1")
    Path("link").symlink_to(root)
    succeed("prepare", "csv", "--root", "link/table.csv", "--strict")
    manifest = read_manifest(Path("cache/manifest.csv"))
    assert len([manifest.audio_path(u) for u in manifest.utterances]) == 4


def test_links_to_folders_outside_are_named_where_recordings_are_missing() -> None:
    root = lay_out("csv")
    (root / "c1.wav").unlink()
    (root / "c2.wav").unlink()
    write_files(RECORDINGS, Path("store"))
    (root / "wavs").symlink_to(Path("store").resolve())
    message = fail("prepare", "csv", "--root", root / "table.csv")
    assert "Not followed without --follow-links, as they leave the folder: links wavs." in message
    succeed("prepare", "csv", "--root", root / "table.csv", "--follow-links", "--strict")


@pytest.mark.parametrize(
    "path", ["../c1.wav", "/etc/passwd", "..\\c1.wav", "C:\\c1.wav", "a/../../c1.wav", "\\\\host\\c1.wav"]
)
@pytest.mark.parametrize("form", ["csv", "jsonl", "kaldi", "cuts", "audformat", "manifest"])
def test_a_path_out_of_the_root_is_refused_or_no_recording(form: str, path: str) -> None:
    write_files(RECORDINGS, Path())
    root = lay_out(form, rows=[{**row, "audio": path} if row["audio"] == "c1.wav" else row for row in ROWS])
    try:
        reading = read_manifest(root / "manifest.csv") if form == "manifest" else read_corpus(FORMS[form][0], root)
    except UserError as error:
        message = str(error)
    else:
        message = ""
        for utterance in reading.utterances:
            assert ".." not in Path(utterance.audio).parts
            assert (reading.root / utterance.audio).resolve().is_relative_to(root.resolve())
    assert not message or "audio path" in message or "outside the audio root" in message


def test_a_table_of_audformat_is_no_path() -> None:
    header = {**AUDFORMAT, "tables": {"x/../../secret": AUDFORMAT["tables"]["emotion"]}}
    write_files({"db.x/a": b"", "../secret.csv": b"file,emotion,speaker\nc1.wav,a,b\n"}, Path("corpus"))
    assert "is a path, expected a name" in refused("audformat", {"db.yaml": json.dumps(header).encode()})


@pytest.mark.parametrize(
    "name", ["../../x.wav", "/x.wav", "..", "a\0b.wav", "\x1b[2J.wav", "é" * 300 + ".wav", "x.exe", ""]
)
def test_unpacked_recordings_stay_in_their_folder_whatever_their_names(name: str) -> None:
    """A NUL was a traceback, and so was a name that was too long."""
    rows = [
        {
            "audio": {"bytes": RECORDINGS[f"c{n}.wav"], "path": name},
            "speaker": f"s{n}",
            "emotion": "x",
            "transcript": "y",
        }
        for n in (1, 2)
    ]
    write_files({"corpus/readme": b""}, Path())
    parquet.write_table(arrow.Table.from_pylist(rows), "corpus/train.parquet")
    reading = read_corpus("huggingface", Path("corpus"), ReaderOptions(unpack_to=Path("unpacked")))
    paths = [reading.root / utterance.audio for utterance in reading.utterances]
    assert [path.read_bytes() for path in paths] == [RECORDINGS["c1.wav"], RECORDINGS["c2.wav"]]
    assert all(path.resolve().is_relative_to(Path("unpacked").resolve()) for path in paths)
    assert all(path.name.isprintable() and path.suffix == ".wav" for path in paths)
    assert {path.name for path in Path().iterdir()} == {"corpus", "unpacked"}


# Nothing grows without bounds.


def test_a_workbook_that_is_large_once_unpacked_is_refused(monkeypatch) -> None:
    monkeypatch.setattr(tables, "MOST_UNPACKED_BYTES", 1 << 20)
    stream = BytesIO(FORMS["xlsx"][1](ROWS)["table.xlsx"])
    with zipfile.ZipFile(stream, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/media/x.xml", bytes(2 << 20))
    message = refused("xlsx", {"table.xlsx": stream.getvalue()})
    assert "bytes when unpacked, expected at most 1,048,576. Save the table as CSV" in message


def workbook(change: Any) -> dict[str, bytes]:
    """A workbook whose sheet is rewritten as text."""
    source, target = BytesIO(FORMS["xlsx"][1](ROWS)["table.xlsx"]), BytesIO()
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            content = old.read(name).decode()
            new.writestr(name, change(content) if name.endswith("sheet1.xml") else content)
    return {"table.xlsx": target.getvalue()}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda text: text.replace('<row r="3"', '<row r="999999999999"'), "has more than 1,048,576 rows"),
        (lambda text: text[: len(text) // 2], "is not an .xlsx workbook (ParseError"),
        (lambda text: text.replace('r="B2"', 'r="ZZZZ2"'), "is not an .xlsx workbook"),
    ],
)
def test_a_sheet_that_no_program_writes_is_refused(change, said: str) -> None:
    """A row with a large number took for ever, and broken XML was a traceback."""
    assert said in refused("xlsx", workbook(change))


def test_a_sheet_of_many_columns_and_rows_is_refused_before_it_is_padded(monkeypatch) -> None:
    monkeypatch.setattr(tables, "MOST_CELLS", 100)
    book, stream = openpyxl.Workbook(), BytesIO()
    for row in [[f"column {n}" for n in range(50)], ["x"], ["y"]]:
        book.active.append(row)
    book.save(stream)
    assert "has 3 rows and 50 columns, expected at most 100 cells" in refused("xlsx", {"table.xlsx": stream.getvalue()})


@pytest.mark.parametrize("limit", ["MOST_BYTES", "MOST_LINE_BYTES"])
def test_a_compressed_manifest_that_is_large_once_unpacked_is_refused(limit: str, monkeypatch) -> None:
    monkeypatch.setattr(json_objects, limit, 1 << 16)
    bomb = gzip.compress(json_lines([{"id": n, "x": "y" * 100} for n in range(999)]) + b" " * (1 << 20))
    assert "Divide the corpus" in refused("lhotse", {"recordings.jsonl.gz": bomb})


def test_a_parquet_file_that_is_large_once_unpacked_is_refused(monkeypatch) -> None:
    from mmer_pipeline.corpora.readers import parquet_rows

    monkeypatch.setattr(parquet_rows, "MOST_UNPACKED_BYTES", 1 << 20)
    rows = [dict(zip(TABLE, ("c1.wav", "a", "sad", "y" * (1 << 20) + str(n)), strict=True)) for n in range(9)]
    Path("corpus").mkdir()
    parquet.write_table(arrow.Table.from_pylist(rows), "corpus/train.parquet", compression="zstd")
    with pytest.raises(UserError, match="Write it again with smaller row groups"):
        read_corpus("huggingface", Path("corpus"))


def test_a_table_of_thirty_thousand_columns_is_read() -> None:
    """Its columns were compared each with each."""
    header = [*TABLE, *(f"column {n}" for n in range(30_000))]
    rows = [["c1.wav", "a", "sad", "NO"], ["c2.wav", "b", "joy", "YES"]]
    table = as_csv(header, [[*row, *("1" for _ in range(30_000))] for row in rows])
    write_files({**RECORDINGS, "table.csv": table}, Path("corpus"))
    assert [u.emotion for u in read_corpus("csv", Path("corpus")).utterances] == ["sad", "joy"]
    Path("corpus/table.csv").write_bytes(table.replace(b'"speaker"', b'"spaeker"', 1))
    with pytest.raises(UserError, match="missing columns: speaker") as caught:
        read_corpus("csv", Path("corpus"))
    assert len(str(caught.value)) < 2_000


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_a_transcript_of_half_a_megabyte_is_read(form: str) -> None:
    """It was said not to be UTF-8, and a manifest that prepare had written could not be read."""
    long = "word " * 100_000
    root = lay_out(form, rows=[{**row, "transcript": long} if n == 0 else row for n, row in enumerate(ROWS)])
    succeed("prepare", FORMS[form][0], "--root", root)
    assert read_manifest(Path("cache/manifest.csv")).utterances[0].transcript == long.strip()


def test_a_column_of_a_thousand_labels_is_not_that_of_emotions() -> None:
    """Every label was compared with every other."""
    rows = [["c1.wav", f"s{n}", f"label {n}", ""] for n in range(20_000)]
    write_files({**RECORDINGS, "table.csv": as_csv(TABLE, rows)}, Path("corpus"))
    message = fail("prepare", "csv", "--root", "corpus")
    assert "expected at most 1,000 classes, found 20,000" in message
    assert len(message) < 2_000


@pytest.mark.parametrize("spaces", [200_000])
def test_long_runs_of_spaces_and_names_take_no_long_time(spaces: int) -> None:
    """The patterns of IEMOCAP and ESD took a time that grew with the square of their number."""
    from mmer_pipeline.corpora.readers.esd import _LINE, _transcripts
    from mmer_pipeline.corpora.readers.iemocap import TRANSCRIPT_LINE, UTTERANCE_ID

    assert TRANSCRIPT_LINE.fullmatch("Ses01F_impro01_F000" + " " * spaces + "x") is None
    assert UTTERANCE_ID.search("Ses01F_impro" * (spaces // 10)) is None
    Path("0011.txt").write_text(f"0011_000001 a{' ' * spaces}b\n")
    assert _transcripts(Path("0011.txt"), []) == {"0011_000001": "a b"}
    assert _LINE.fullmatch("0011_000001 a b") is not None
