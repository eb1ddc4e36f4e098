"""Inputs of a prediction: which recordings are found, their ids, and one clear message for every wrong input."""

import json
import os
from pathlib import Path

import pytest

from mmer_pipeline.errors import UserError
from mmer_pipeline.prediction.inputs import Found, find_items
from mmer_pipeline.prediction.results import Item


def touch(*names: str) -> None:
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()


def write_csv(text: str, name: str = "list.csv") -> Path:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def ids(found: Found) -> list[str]:
    return [item.utterance_id for item in found.items]


def test_a_recording_may_have_any_name():
    touch("take.one.wav", "voice")
    found = find_items([Path("voice"), Path("take.one.wav")])
    assert found == Found([Item("voice", Path("voice")), Item("take.one", Path("take.one.wav"))], [])


def test_a_folder_stands_for_the_recordings_below_it():
    touch("in/b.wav", "in/a.FLAC", "in/deep/c.opus", "in/d.mp3", "in/e.aif", "in/f.oga")
    touch("in/notes.txt", "in/labels.csv", "in/x.raw", "in/x.mat", "in/._b.wav", "in/.trash/g.wav")
    Path("in/folder.wav").mkdir()
    found = find_items([Path("in")])
    names = ["a.FLAC", "b.wav", "d.mp3", "deep/c.opus", "e.aif", "f.oga"]
    assert [item.path for item in found.items] == [Path("in") / name for name in names]
    assert ids(found) == ["a", "b", "d", "c", "e", "f"]
    assert found.problems == []


def test_a_dangling_link_is_found_so_that_reading_reports_it():
    Path("in").mkdir()
    Path("in/annexed.wav").symlink_to("nowhere")
    assert ids(find_items([Path("in")])) == ["annexed"]


def test_links_to_one_recording_are_recordings_of_their_own():
    touch("store/blob", "in/other.txt")
    for name in "ab":
        Path(f"in/{name}.wav").symlink_to(Path("store/blob").absolute())
    assert ids(find_items([Path("in")])) == ["a", "b"]


def test_what_is_given_twice_appears_once():
    touch("in/a.wav", "in/b.wav")
    Path("link").symlink_to("in")
    paths = [Path("in/b.wav"), Path("in"), Path("in/../in/a.wav"), Path("in").absolute(), Path("link")]
    assert [item.path for item in find_items(paths).items] == [Path("in/b.wav"), Path("in/a.wav")]


def test_a_row_of_a_csv_file_says_more_than_the_recording_alone():
    touch("in/a.wav", "in/b.wav")
    listed = write_csv("audio,transcript\na.wav,hello\n", "in/list.csv")
    found = find_items([Path("in"), listed, listed])
    assert [(item.path.name, item.transcript) for item in found.items] == [("b.wav", None), ("a.wav", "hello")]


def test_a_recording_is_kept_beside_its_segments():
    touch("a.wav")
    listed = write_csv("audio,start_seconds,end_seconds\na.wav,0,1\n")
    assert ids(find_items([Path("a.wav"), listed])) == ["a", "a-0001"]


def test_an_input_that_cannot_be_used_does_not_hold_up_the_others():
    touch("a.wav", "films/x.txt", "songs/x.m4a", "songs/y.mp4", "songs/y.wav", "mixed/z.wav", "mixed/deep/v.m4a")
    os.mkfifo("pipe")
    found = find_items([Path(name) for name in ("none.wav", "films", "a.wav", "songs", "mixed", "pipe", "none.csv")])
    assert ids(found) == ["a", "y", "z"]
    assert found.problems == [
        "none.wav does not exist.",
        "films contains no recordings: expected files such as .wav, .flac, .mp3 or .ogg, found x.txt.",
        "songs contains recordings of a kind that cannot be read (1 in all, such as x.m4a); expected files such as "
        ".wav, .flac, .mp3 or .ogg. Convert them, for example with `ffmpeg -i x.m4a x.wav`.",
        "mixed contains recordings of a kind that cannot be read (1 in all, such as deep/v.m4a); expected files such "
        "as .wav, .flac, .mp3 or .ogg. Convert them, for example with `ffmpeg -i v.m4a v.wav`.",
        "pipe is neither a file nor a folder.",
        "none.csv does not exist.",
    ]


def test_a_name_that_is_too_long_is_a_problem_and_not_a_crash():
    (problem,) = find_items([Path("x" * 300 + ".wav")]).problems
    assert problem.endswith("cannot be read: File name too long.")


def test_all_columns_of_a_csv_file():
    path = write_csv(
        "audio,utterance_id,start_seconds,end_seconds,transcript,speaker,dialogue,fold,emotion,more\n"
        "a.wav,one,0.5,2, Hello.,S,D,3,joy,x\n"
        "/data/b.wav,two,,,,,,,,\n",
        "lists/list.csv",
    )
    assert find_items([path], truth="emotion").items == [
        Item("one", Path("lists/a.wav"), 0.5, 2.0, "Hello.", "joy", "S", "D", "3"),
        Item("two", Path("/data/b.wav")),
    ]
    assert find_items([path]).items[0].truth is None


def test_a_manifest_says_where_its_recordings_are(manifest):
    found = find_items([manifest.path], truth="emotion")
    assert [item.path for item in found.items] == [manifest.audio_path(row) for row in manifest.utterances]
    assert [item.truth for item in found.items] == [row.emotion for row in manifest.utterances]
    assert ids(found) == [row.utterance_id for row in manifest.utterances]
    assert all(item.path.is_file() and item.transcript and item.speaker for item in found.items)


@pytest.mark.parametrize("facts", ['{"root": 3}', "[1]", "no JSON", "{}"])
def test_json_of_something_else_beside_a_csv_file_is_no_matter(facts):
    Path("list.json").write_text(facts)
    assert find_items([write_csv("audio\na.wav\n")]).items == [Item("a", Path("a.wav"))]


def test_recordings_with_one_stem_are_told_apart_by_their_paths():
    touch("in/x/a.wav", "in/y/a.wav", "in/y/b.wav", "in/y/b.mp3")
    assert ids(find_items([Path("in")])) == ["x/a", "y/a", "y/b", "y/b-2"]
    assert ids(find_items([Path("in/x"), Path("in/y")])) == ["a", "a-2", "b", "b-2"]


def test_segments_without_an_id_are_numbered_in_each_recording():
    touch("b-0001.wav")
    path = write_csv("audio,start_seconds,end_seconds\na.wav,0,1\nb.wav,,3\na.wav,1,\na.wav,,\n")
    assert ids(find_items([Path("b-0001.wav"), path])) == ["b-0001", "a-0001", "b-0001-2", "a-0002", "a"]


def test_an_id_that_a_csv_file_gives_stays():
    touch("in/a.wav", "in/b.wav")
    path = write_csv("audio,utterance_id\nx.wav,a\ny.wav,\n")
    assert ids(find_items([Path("in"), path])) == ["a-2", "b", "a", "y"]


def test_every_name_of_a_file_gives_an_id_that_can_be_written():
    Path("in").mkdir()
    for name in (b"caf\xe9.wav", "cafe\u0301.wav".encode(), b" .wav"):
        (Path("in") / os.fsdecode(name)).touch()
    assert ids(find_items([Path("in")])) == [" ", "café", "caf\ufffd"]


def test_a_transcript_is_for_one_recording():
    touch("a.wav", "b.wav")
    listed = write_csv("audio,transcript\na.wav,old\n")
    assert find_items([listed], transcript="new").items[0].transcript == "new"
    assert find_items([Path("a.wav")], transcript=" ").items[0].transcript is None
    for others in ("b.wav", "none.wav"):
        with pytest.raises(UserError, match="--transcript is the text of one recording, but 2 were given"):
            find_items([Path("a.wav"), Path(others)], transcript="new")
    assert find_items([Path("none.wav")], transcript="new") == Found([], ["none.wav does not exist."])


def test_a_bad_option_or_no_input_at_all():
    touch("a.wav")
    with pytest.raises(UserError, match=r"No inputs\. Expected recordings, folders"):
        find_items([])
    with pytest.raises(UserError, match="--truth emotion names a column of a CSV file, but no CSV file"):
        find_items([Path("a.wav")], truth="emotion")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,text\na,b\n", r"list\.csv: missing columns: audio\. Found: file, text\. Required: audio; optional: utt"),
        ("audio\n", "no rows below its header"),
        ("audio,label\na.wav,\n", r"list\.csv has no column 'emotion' for --truth\. Columns: audio, label\."),
        ("audio,emotion\n ,x\n", "line 2: audio is '', expected the path of a recording"),
        ("audio,emotion\na\0,x\n", "line 2: audio is 'a.x00', expected the path of a recording"),
        ("audio,emotion,end_seconds\na,x,1\na,x,1 s\n", "line 3: end_seconds is '1 s', expected seconds"),
        ("audio,emotion,start_seconds\na,x,-1\n", "line 2: start_seconds is '-1', expected seconds"),
        (
            "audio,emotion,start_seconds,end_seconds\na,x,1,1\n",
            r"line 2: end_seconds \(1\) is not after start_seconds \(1\)",
        ),
        ("audio,emotion,utterance_id\na,x,1\nb,x,1\n", "line 3: utterance_id '1' already appears on line 2"),
    ],
)
def test_a_bad_csv_file_gets_one_clear_message(text, message):
    with pytest.raises(UserError, match=message):
        find_items([write_csv(text)], truth="emotion")


def test_an_id_that_two_csv_files_give_is_refused():
    one, two = (write_csv("audio,utterance_id\na.wav,u\n", name) for name in ("one.csv", "two.csv"))
    with pytest.raises(UserError, match=r"two\.csv, line 2: utterance_id 'u' already appears in one\.csv, line 2"):
        find_items([one, two])


@pytest.mark.parametrize("root", ["a\\u0000b", "\\ud800", 7, None])
def test_a_root_that_is_no_path_is_passed_over(root):
    """It was a traceback; a list without a root is relative to its folder."""
    path = write_csv("audio\na.wav\n", "lists/manifest.csv")
    text = f'"{root}"' if isinstance(root, str) else json.dumps(root)
    Path("lists/manifest.json").write_text(f'{{"root": {text}}}')
    assert [item.path for item in find_items([path]).items] == [Path("lists/a.wav")]
