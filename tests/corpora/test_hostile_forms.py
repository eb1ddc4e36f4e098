"""Names that no file can hold, and files of another form than their names say: each is one message."""

import json
import os
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from faults.input_corpora import FORMS, RECORDINGS, ROWS, json_lines
from helpers.command_line import fail, succeed
from helpers.hostile_corpora import lay_out, refused

from mmer_pipeline.corpora.manifest import read_manifest
from mmer_pipeline.corpora.readers import read_corpus
from mmer_pipeline.errors import UserError

TABLE = ("audio", "speaker", "emotion", "transcript")


# Names.


@pytest.mark.parametrize("sign", ["\0", "\x1b", "\n", "\x7f", "\x85", "\u2028"])
@pytest.mark.parametrize("field", ["id", "speaker", "emotion"])
@pytest.mark.parametrize("form", ["jsonl", "cuts", "manifest"])
def test_control_characters_in_names_are_refused(form: str, field: str, sign: str) -> None:
    """An id that ended in NUL was out of date for ever."""
    rows = [{**row, field: f"a{sign}b"} if n == 0 else row for n, row in enumerate(ROWS)]
    root = lay_out(form, rows=rows)
    with pytest.raises(UserError, match=r"contains the control character"):
        read_manifest(root / "manifest.csv") if form == "manifest" else read_corpus(FORMS[form][0], root)


@pytest.mark.parametrize("field", ["id", "speaker", "transcript"])
def test_half_characters_are_refused(field: str) -> None:
    """The manifest could not be written: UnicodeEncodeError."""
    rows = [{**row, field: "a\ud800"} if n == 0 else row for n, row in enumerate(ROWS)]
    lay_out("jsonl", rows=rows)
    assert "cannot be written as UTF-8" in fail("prepare", "huggingface", "--root", "corpus")


def test_a_file_name_that_is_not_utf_8_is_refused() -> None:
    for speaker, content in zip((b"caf\xe9", b"b"), RECORDINGS.values(), strict=True):
        folder = Path("corpus") / "angry" / os.fsdecode(speaker)
        folder.mkdir(parents=True)
        (folder / "x.wav").write_bytes(content)
    assert "cannot be written as UTF-8" in fail("prepare", "folders", "--root", "corpus")


def test_ids_that_differ_only_in_the_form_of_accents_are_one_id() -> None:
    forms = [unicodedata.normalize(form, "é") for form in ("NFC", "NFD")]
    rows = [{**row, "id": forms[n]} if n < 2 else row for n, row in enumerate(ROWS)]
    root = lay_out("jsonl", rows=rows)
    with pytest.raises(UserError, match="already appears in"):
        read_corpus("huggingface", root)


def test_letters_of_any_script_and_direction_come_back_as_written() -> None:
    names = ["أهلا", "न\u093f", "\u202eabc", "日本", "e\u0301", "İ", "\U0001f600"]
    rows = [{**ROWS[n % 4], "id": name, "speaker": name, "transcript": name} for n, name in enumerate(names)]
    root = lay_out("jsonl", rows=rows)
    succeed("prepare", "huggingface", "--root", root)
    found = read_manifest(Path("cache/manifest.csv")).utterances
    expected = [unicodedata.normalize("NFC", name) for name in names]
    assert [u.utterance_id for u in found] == [u.speaker for u in found] == [u.transcript for u in found] == expected


# Other forms than expected.


@pytest.mark.parametrize(
    ("form", "name"),
    [("csv", "table.csv"), ("jsonl", "metadata.jsonl"), ("audiofolder", "metadata.csv"),
     ("parquet", "metadata.parquet"), ("cuts", "cuts.jsonl"), ("kaldi", "wav.scp"),
     ("audformat", "db.yaml"), ("xlsx", "table.xlsx")],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["pipe", "folder", "loop"])
def test_what_is_no_table_is_refused_and_not_waited_for(form: str, name: str, kind: str) -> None:
    root = lay_out(form)
    (root / name).unlink()
    if kind == "pipe":
        os.mkfifo(root / name)
    elif kind == "folder":
        (root / name).mkdir()
    else:
        (root / name).symlink_to(name)
    with pytest.raises(UserError):
        read_corpus(FORMS[form][0], root)


@pytest.mark.parametrize("name", ["manifest.csv", "train_sent_emo.csv"])
def test_a_pipe_in_the_place_of_the_pipelines_own_tables_is_refused(name: str) -> None:
    os.mkfifo(name)
    if name == "manifest.csv":
        with pytest.raises(UserError, match="is a pipe, a socket or a device"):
            read_manifest(Path(name))
    else:
        with pytest.raises(UserError, match="is a pipe, a socket or a device"):
            read_corpus("meld", Path())


def cut(**changes: Any) -> bytes:
    """The first cut of lhotse with other entries; "supervision" and "recording" are those within it."""
    (first, *others) = [json.loads(line) for line in FORMS["cuts"][1](ROWS)["cuts.jsonl"].splitlines()]
    first["supervisions"][0] |= changes.pop("supervision", {})
    first["recording"] |= changes.pop("recording", {})
    return json_lines([{**first, **changes}, *others])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (cut(recording={"sources": 3}), "no recording that is a single file"),
        (cut(recording={"sources": [{"type": "file"}]}), "no recording that is a single file"),
        (cut(recording={"transforms": [{"name": "Speed"}]}), "has transforms, which are not applied"),
        (cut(recording={"duration": "long"}), "duration: expected seconds, found long"),
        (cut(supervision={"start": float("nan")}), "start: expected seconds, found nan"),
        (cut(supervision={"duration": 1e308}), "duration: expected seconds, found 1e+308"),
        (cut(supervision={"custom": [1]}), "custom: expected an object, found list"),
        (cut(supervisions=7), "expected a supervision, found int"),
        (cut(start=True), "start: expected seconds, found True"),
        (b"[" * 100_000, "not JSON"),
        (b"3\n", "expected a JSON object, found int"),
    ],
)
def test_an_entry_of_lhotse_of_another_form_is_refused(content: bytes, said: str) -> None:
    assert said in refused("cuts", {"cuts.jsonl": content})


@pytest.mark.parametrize(
    ("form", "changes", "said"),
    [
        ("kaldi", {"utt2emo": b"u1 sad\nu1 angry\n"}, "'u1' has two lines that differ"),
        ("lhotse", {"recordings.jsonl": b'{"id": "c1"}\n'}, "the recording 'c1' has two entries"),
        (
            "audformat",
            {"db.emotion.csv": b"file,speaker,emotion\nc1.wav,a,x\nc1.wav,a,y\n"},
            "has two entries that differ",
        ),
        ("audformat", {"db.emotion.csv": b"path,emotion\nc1.wav,x\n"}, "entry 1: no file"),
        ("audformat", {"db.yaml": b"[1, 2]"}, "expected entries such as tables, found list"),
        ("audformat", {"db.yaml": b"tables: [1]"}, "`tables` is not of the form"),
        ("audformat", {"db.yaml": b"x: 2001-99-99\ntables: {}"}, "ValueError"),
        ("audformat", {"db.yaml": b"tables: " + b"[" * 1200}, "RecursionError"),
        ("jsonl", {"metadata.jsonl": b'{"x": ' + b"[" * 100_000}, "line 1: not JSON"),
    ],
)
def test_a_corpus_that_contradicts_itself_or_has_another_form_is_refused(form: str, changes, said: str) -> None:
    assert said in refused(form, changes)


@pytest.mark.parametrize("time", ["1e308", "9" * 5000 + ":0:0", "9" * 400 + ":0:0", "nan", "-1", "inf"])
def test_times_of_any_size_are_refused_or_outside_the_recording(time: str) -> None:
    """Hours with hundreds of digits, and 1e308, ended in an OverflowError."""
    root = lay_out("csv", rows=[{**row, "end": time} if n == 0 else row for n, row in enumerate(ROWS)])
    if time == "1e308":
        assert "1 × segment extends beyond its recording" in succeed("prepare", "csv", "--root", root).stdout
    else:
        assert "is not a time" in fail("prepare", "csv", "--root", root)


def test_tables_with_a_byte_order_mark_are_read() -> None:
    for form in ("csv", "kaldi", "jsonl", "audformat", "manifest"):
        root = lay_out(
            form,
            {
                name: b"\xef\xbb\xbf" + content
                for name, content in FORMS[form][1](ROWS).items()
                if name != "manifest.json"
            },
        )
        found = read_manifest(root / "manifest.csv") if form == "manifest" else read_corpus(FORMS[form][0], root)
        assert [u.speaker for u in found.utterances] == ["ann", "ann", "bob", "bob"]
        for path in root.iterdir():
            path.unlink()


def test_names_of_files_do_not_command_the_terminal() -> None:
    """They cleared the screen, or wrote backwards."""
    root = lay_out("csv", rows=[{**row, "audio": "\x1b[2J\u202e.wav"} if n == 0 else row for n, row in enumerate(ROWS)])
    (root / "\x1b[2J\u202e.wav").write_bytes(b"no recording")
    shown = succeed("prepare", "csv", "--root", root).stdout
    assert "u1: \\x1b[2J\\u202e.wav: it is damaged" in shown
    assert "\x1b" not in shown
    assert "\\x1b[2J.csv" in fail("prepare", "csv", "--root", "\x1b[2J.csv")
