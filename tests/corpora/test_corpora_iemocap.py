"""The IEMOCAP reader, on a small tree written by hand with every pitfall of the real one."""

import shutil
from pathlib import Path

import pytest

from mmer_pipeline.corpora.labels import BUILT_IN
from mmer_pipeline.corpora.readers import Reading, read_corpus
from mmer_pipeline.errors import UserError

HEADER = "% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\n\n"
VOTES = "C-E2:\tNeutral;\t()\nC-F1:\tHappiness; Excited;\t(laughs)\nA-E3:\tval 3; act 2; dom  2;\t()\n\n"


def label_line(utterance: str, label: str) -> str:
    return f"[6.2901 - 8.2357]\t{utterance}\t{label}\t[2.5000, 2.5000, 2.5000]\n"


def label_file(*rows: tuple[str, str]) -> str:
    return HEADER + "".join(label_line(*row) + VOTES for row in rows)


def write(path: Path, content: str | bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """Sessions 2 to 5 hold a dialogue of two utterances each; session 1 has all that can go wrong."""
    root = tmp_path / "IEMOCAP_full_release"
    first = root / "Session1" / "dialog"
    write(
        first / "EmoEvaluation" / "Ses01F_impro01.txt",
        label_file(
            ("Ses01F_impro01_F000", "neu"),
            ("Ses01F_impro01_M000", "xxx"),
            ("Ses01F_impro01_F001", "fru"),
            ("Ses01F_impro01_M001", "exc"),
            ("Ses01F_impro01_M002", "hap"),
        ),
    )
    write(
        first / "transcriptions" / "Ses01F_impro01.txt",
        b"Ses01F_impro01_F000 [006.2902-008.2358]: Excuse me.\r\n"  # the times differ in the last digit
        b"Ses01F_impro01_M000 [010.0100-011.3925]: It\x92s here: [BREATHING] wait.\r\n"
        b"M: Where?\r\n"
        b"Ses01F_impro01_MXX0 [012.0000-013.0000]: Hm.\r\n"
        b"\r\n"
        b"Ses01F_impro01_F001 [014.8872-018.0175]: No.\r\n"
        b"F: There!\r\n"
        b"Ses01F_impro01_M001 [019.2900-020.7875]: [LAUGHTER]\r\n",
    )
    write(first / "EmoEvaluation" / "Ses01M_script01_1b.txt", label_file(("Ses01M_script01_1b_F012", "ang")))
    write(first / "transcriptions" / "Ses01M_script01_1b.txt", "Ses01M_script01_1b_F012 [1.0-2.0]: Out.\n")
    for folder in (first / "EmoEvaluation", first / "transcriptions"):
        write(folder / "._Ses01F_impro01.txt", b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X")
        write(folder / ".DS_Store", b"\x00\x00\x00\x01Bud1")
    for kind in ("Attribute", "Categorical", "Self-evaluation"):
        votes = first / "EmoEvaluation" / kind / "Ses01F_impro01_e2.txt"
        write(votes, label_line("Ses01F_impro01_F000", "ang"))
    for session in "2345":
        dialogue = f"Ses0{session}M_script02_2"
        folder = root / f"Session{session}" / "dialog"
        rows = ((f"{dialogue}_F000", "sad"), (f"{dialogue}_M000", "ang"))
        write(folder / "EmoEvaluation" / f"{dialogue}.txt", label_file(*rows))
        said = "".join(f"{name} [000.1000-001.2000]: Words of {label}.\n" for name, label in rows)
        write(folder / "transcriptions" / f"{dialogue}.txt", said)
    for labels in root.glob("Session*/dialog/EmoEvaluation/Ses*.txt"):
        (labels.parents[2] / "sentences" / "wav" / labels.stem).mkdir(parents=True)
    return root


def by_id(reading: Reading) -> dict[str, object]:
    return {utterance.utterance_id: utterance for utterance in reading.utterances}


def test_every_label_is_read_and_nothing_is_dropped(release: Path) -> None:
    reading = read_corpus("iemocap", release)
    assert reading.label_map == "iemocap-4"
    assert reading.name is None  # that of the reader
    assert [(u.utterance_id, u.emotion) for u in reading.utterances if u.session == "1"] == [
        ("Ses01F_impro01_F000", "neu"),  # "neu" of the joint label file, not "ang" of a single annotator
        ("Ses01F_impro01_M000", "xxx"),
        ("Ses01F_impro01_F001", "fru"),
        ("Ses01F_impro01_M001", "exc"),
        ("Ses01F_impro01_M002", "hap"),
        ("Ses01M_script01_1b_F012", "ang"),
    ]
    assert len(reading.utterances) == 14
    assert {u.emotion for u in reading.utterances} <= {
        *("neu", "hap", "exc", "ang", "sad"),
        *BUILT_IN["iemocap-4"].dropped,
    }


def test_the_speaker_is_the_letter_of_the_turn_and_never_that_of_the_prefix(release: Path) -> None:
    utterances = by_id(read_corpus("iemocap", release))
    assert utterances["Ses01F_impro01_M000"].speaker == "Ses01_M"
    assert utterances["Ses01F_impro01_F000"].speaker == "Ses01_F"
    assert utterances["Ses01M_script01_1b_F012"].speaker == "Ses01_F"
    assert len({utterance.speaker for utterance in utterances.values()}) == 10


def test_session_dialogue_and_audio_path_follow_the_tree(release: Path) -> None:
    utterances = by_id(read_corpus("iemocap", release))
    first, scripted = utterances["Ses01F_impro01_F000"], utterances["Ses05M_script02_2_M000"]
    assert (first.session, first.dialogue) == ("1", "Ses01F_impro01")
    assert first.audio == "Session1/sentences/wav/Ses01F_impro01/Ses01F_impro01_F000.wav"
    assert (first.start_seconds, first.end_seconds) == (None, None)
    assert (scripted.session, scripted.dialogue) == ("5", "Ses05M_script02_2")


def test_transcripts_are_joined_on_the_id_and_keep_their_annotations(release: Path) -> None:
    utterances = by_id(read_corpus("iemocap", release))
    assert utterances["Ses01F_impro01_F000"].transcript == "Excuse me."
    assert utterances["Ses01F_impro01_M000"].transcript == "It\ufffds here: [BREATHING] wait."
    assert utterances["Ses01F_impro01_M001"].transcript == "[LAUGHTER]"
    assert utterances["Ses01F_impro01_M002"].transcript == ""  # no line carries its id


def test_the_notes_count_every_oddity_and_name_its_file(release: Path) -> None:
    assert read_corpus("iemocap", release).notes == (
        "bytes that are not UTF-8, replaced: 1 (Ses01F_impro01.txt)",
        "transcript lines without an utterance id, skipped: 2 (Ses01F_impro01.txt)",
        "transcript lines whose id has no label: 1 (Ses01F_impro01_MXX0)",
    )


def test_an_id_transcribed_twice_keeps_its_first_line_and_is_noted(release: Path) -> None:
    path = release / "Session2" / "dialog" / "transcriptions" / "Ses02M_script02_2.txt"
    with path.open("a") as stream:
        stream.write("Ses02M_script02_2_F000 [000.1-001.2]: Other words.\n")
        stream.write("Ses02M_script02_2_M000 [000.1-001.2]: Words of ang.\n")
    reading = read_corpus("iemocap", release)
    assert by_id(reading)["Ses02M_script02_2_F000"].transcript == "Words of sad."
    note = "transcript lines that repeat an id with other words (the first is used): 1 (Ses02M_script02_2_F000)"
    assert note in reading.notes


def test_dialogues_that_lack_labels_words_or_recordings_are_noted(release: Path) -> None:
    folder = release / "Session3" / "dialog"
    write(folder / "transcriptions" / "Ses03F_impro07.txt", "Ses03F_impro07_F000 [1-2]: Lost.\n")
    write(folder / "EmoEvaluation" / "Ses03F_impro08.txt", label_file(("Ses03F_impro08_F000", "neu")))
    write(folder / "transcriptions" / "Ses03F_impro08.txt", "")  # an empty file counts as missing
    reading = read_corpus("iemocap", release)
    assert "dialogues without a label file, skipped: 1 (Ses03F_impro07)" in reading.notes
    assert "dialogues without transcripts: 1 (Ses03F_impro08)" in reading.notes
    assert "dialogues without a folder of recordings: 1 (Ses03F_impro08)" in reading.notes
    assert by_id(reading)["Ses03F_impro08_F000"].transcript == ""


def test_the_root_may_be_the_release_or_its_parent(release: Path) -> None:
    assert read_corpus("iemocap", release.parent) == read_corpus("iemocap", release)
    assert read_corpus("iemocap", release.parent).root == release


# Trees that are incomplete, or not at --root: the message says what was expected and found.


def refusal(root: Path) -> str:
    with pytest.raises(UserError) as caught:
        read_corpus("iemocap", root)
    return str(caught.value)


def test_a_missing_session_is_named_with_what_is_there(release: Path) -> None:
    (release / "Session4").rename(release / "Session4_old")
    message = refusal(release.parent)
    assert f"{release} lacks Session4. Expected Session1 … Session5" in message
    assert "Found: Session1, Session2, Session3, Session4_old, Session5." in message


def test_names_in_another_case_are_recognised(release: Path) -> None:
    (release / "Session4").rename(release / "session4")
    assert "rename session4 to Session4" in refusal(release)
    (release / "session4").rename(release / "Session4")
    (release / "Session2" / "dialog").rename(release / "Session2" / "Dialog")
    message = refusal(release)
    assert "Session2/dialog/EmoEvaluation is missing" in message
    assert "rename Dialog to dialog" in message


def test_a_tree_without_recordings_is_refused_with_where_they_belong(release: Path) -> None:
    for session in "12345":
        shutil.rmtree(release / f"Session{session}" / "sentences")
    message = refusal(release)
    assert "Session1/sentences/wav is missing. Expected: the recordings, one folder per dialogue." in message
    assert f"In {release / 'Session1'}: Found: dialog." in message


def test_the_first_missing_folders_are_named_and_the_rest_counted(release: Path) -> None:
    for session in "345":
        shutil.rmtree(release / f"Session{session}" / "dialog")
        shutil.rmtree(release / f"Session{session}" / "sentences")
    message = refusal(release)
    assert message.count("is missing") == 5
    assert "4 more folders are missing." in message


def test_the_message_about_a_packed_release_says_to_unpack_it(tmp_path: Path) -> None:
    archive = tmp_path / "IEMOCAP_full_release.tar.gz"
    archive.write_bytes(b"\x1f\x8b")
    assert "is a file. Expected the folder IEMOCAP_full_release" in refusal(archive)
    assert "Unpack it and give the folder." in refusal(archive)
    assert "IEMOCAP_full_release.tar.gz is still packed: unpack it." in refusal(tmp_path)


@pytest.mark.parametrize("below", [".", "..", "Session1", "Session1/dialog"])
def test_the_message_about_a_root_too_high_or_too_low_names_the_right_one(release: Path, below: str) -> None:
    deep = release.parent / "data" / "iemocap_full_release"
    deep.parent.mkdir()
    release.rename(deep)
    if below == ".":
        assert len(read_corpus("iemocap", deep / below).utterances) == 14
    else:
        assert f"The sessions are in {deep}: pass --root {deep}." in refusal(deep / below)


def test_a_file_where_a_folder_should_be_is_named_as_one(release: Path) -> None:
    folder = release / "Session5" / "sentences" / "wav"
    shutil.rmtree(folder)
    folder.write_text("")
    message = refusal(release)
    assert "Session5/sentences/wav is missing" in message
    assert "wav is not a folder" in message


@pytest.mark.parametrize("kind", ["EmoEvaluation", "transcriptions"])
def test_a_missing_or_empty_folder_is_named_with_what_belongs_there(release: Path, kind: str) -> None:
    folder = release / "Session2" / "dialog" / kind
    for file in folder.iterdir():
        file.unlink()
    with pytest.raises(UserError, match=rf"Session2/dialog/{kind} has no file Ses\*\.txt"):
        read_corpus("iemocap", release)
    folder.rmdir()
    with pytest.raises(UserError, match=f"Session2/dialog/{kind} is missing"):
        read_corpus("iemocap", release)


def test_another_directory_is_not_iemocap_and_the_message_says_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "Actor_01").mkdir()
    with pytest.raises(UserError, match=r"is not IEMOCAP.*Found: Actor_01"):
        read_corpus("iemocap", tmp_path)
    with pytest.raises(UserError, match="nowhere does not exist"):
        read_corpus("iemocap", tmp_path / "nowhere")


@pytest.mark.parametrize(
    "line",
    [
        "[6.2901 - 8.2357]\tSes01F_impro01_F009\tne",
        "[6.2901 - 8.2357]\tSes01F_impro01_F009",
        "[6.2901 - 8.2357]\tSes01F_impro01_F009\tneu\t[2.5000, 2.50",
        "[6.2901",
        "[6.2901 - 8.2357]\tF009\tneu\t[2.5000, 2.5000, 2.5000]",
        "[6.2901 - 8.2357]\tSes02F_impro01_F009\tneu\t[2.5000, 2.5000, 2.5000]",  # of another session
    ],
)
def test_a_broken_label_line_is_refused_with_file_and_line(release: Path, line: str) -> None:
    path = release / "Session1" / "dialog" / "EmoEvaluation" / "Ses01F_impro02.txt"
    write(path, HEADER + line)
    with pytest.raises(UserError, match=r"Ses01F_impro02\.txt, line 3: not a label line of session 1"):
        read_corpus("iemocap", release)


def test_a_label_file_without_labels_is_refused(release: Path) -> None:
    write(release / "Session1" / "dialog" / "EmoEvaluation" / "Ses01F_impro02.txt", HEADER)
    with pytest.raises(UserError, match=r"Ses01F_impro02\.txt has no label line"):
        read_corpus("iemocap", release)


def test_a_label_twice_is_refused_with_both_places(release: Path) -> None:
    folder = release / "Session3" / "dialog" / "EmoEvaluation"
    write(folder / "Ses03M_script02_2 (copy).txt", (folder / "Ses03M_script02_2.txt").read_bytes())
    message = refusal(release)
    assert "Ses03M_script02_2.txt, line 3: Ses03M_script02_2_F000 already has a label in" in message
    assert "Ses03M_script02_2 (copy).txt, line 3" in message


def test_a_renamed_label_file_keeps_its_dialogue_and_is_noted(release: Path) -> None:
    folder = release / "Session3" / "dialog" / "EmoEvaluation"
    (folder / "Ses03M_script02_2.txt").rename(folder / "Ses03M_script09.txt")
    reading = read_corpus("iemocap", release)
    assert "labels in a file named after another dialogue: 2 (Ses03M_script09.txt)" in reading.notes
    first = by_id(reading)["Ses03M_script02_2_F000"]
    assert first.dialogue == "Ses03M_script02_2"
    assert first.audio == "Session3/sentences/wav/Ses03M_script02_2/Ses03M_script02_2_F000.wav"
    assert first.transcript == "Words of sad."


def test_malformed_lines_are_skipped_with_a_note(release: Path) -> None:
    folder = release / "Session3" / "dialog"
    for kind in ("EmoEvaluation", "transcriptions"):
        path = folder / kind / "Ses03M_script02_2.txt"
        text = path.read_text().replace("[6.2901 - 8.2357]\tSes03M_script02_2_M", "(6.2901)\tSes03M_script02_2_M")
        path.write_text(text.replace("F000 [000.1000-001.2000]:", "F000 [000.1000"))
    reading = read_corpus("iemocap", release)
    notes = "\n".join(reading.notes)
    assert "lines with an utterance id that are not label lines, skipped: 1 (Ses03M_script02_2.txt)" in notes
    assert "transcript lines with an id but not of the form `id [start-end]: words`, skipped: 1 (" in notes
    assert by_id(reading)["Ses03M_script02_2_F000"].transcript == ""


def test_a_transcription_whose_line_ends_are_lost_is_noted(release: Path) -> None:
    said = release / "Session3" / "dialog" / "transcriptions" / "Ses03M_script02_2.txt"
    said.write_text(said.read_text().replace("\n", " "))
    reading = read_corpus("iemocap", release)
    assert "transcript lines that run on into the next utterance: 1 (Ses03M_script02_2_F000)" in reading.notes
    assert by_id(reading)["Ses03M_script02_2_M000"].transcript == ""


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_end_as_on_any_system_and_nowhere_else(release: Path, end: str) -> None:
    folder = release / "Session3" / "dialog"
    said = folder / "transcriptions" / "Ses03M_script02_2.txt"
    said.write_text(said.read_text().replace("Words of sad", "Words\u2028of\x85sad"))
    before = read_corpus("iemocap", release)
    assert by_id(before)["Ses03M_script02_2_F000"].transcript == "Words\u2028of\x85sad."
    for path in folder.rglob("*.txt"):
        path.write_bytes(path.read_bytes().replace(b"\n", end.encode()))
    assert read_corpus("iemocap", release) == before


def test_a_dangling_link_or_a_folder_is_not_a_text_file(release: Path) -> None:
    folder = release / "Session3" / "dialog" / "EmoEvaluation"
    (folder / "Ses03F_impro05.txt").symlink_to(folder / "Ses03F_impro05.txt")
    (folder / "Ses03F_impro06.txt").mkdir()
    assert len(read_corpus("iemocap", release).utterances) == 14


def test_a_byte_order_mark_is_not_a_replaced_byte(release: Path) -> None:
    path = release / "Session2" / "dialog" / "EmoEvaluation" / "Ses02M_script02_2.txt"
    before = read_corpus("iemocap", release)
    write(path, b"\xef\xbb\xbf" + path.read_bytes())
    assert read_corpus("iemocap", release) == before
