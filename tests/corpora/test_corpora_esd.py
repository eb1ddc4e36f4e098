"""The ESD reader: speakers' folders, their lists in four encodings, two languages."""

from collections import Counter
from pathlib import Path

import pytest

from mmer_pipeline.corpora.labels import BUILT_IN
from mmer_pipeline.corpora.readers import read_corpus
from mmer_pipeline.corpora.readers.esd import EMOTIONS, SESSIONS, SPEAKERS, TEXTS
from mmer_pipeline.errors import UserError

WORDS = {"neutral": "中立", "angry": "生气", "happy": "快乐", "sad": "伤心", "surprise": "惊喜"}


def write_speaker(root: Path, speaker: str, *, texts: int = 2, part: str = "", encoding: str = "utf-8") -> Path:
    """A speaker's folder with the first few texts in each emotion, as the release numbers them."""
    lines = []
    for place, emotion in enumerate(EMOTIONS):
        folder = root / speaker / emotion.capitalize() / part
        folder.mkdir(parents=True, exist_ok=True)
        for text in range(1, texts + 1):
            name = f"{speaker}_{place * TEXTS + text:06}"
            (folder / f"{name}.wav").touch()
            said = f"今天天气 {text}。" if speaker in SPEAKERS["zh"] else f"It’s text {text}, café."
            word = WORDS[emotion] if speaker in SPEAKERS["zh"] else emotion.capitalize()
            lines.append(f"{name}\t{said}\t{word}")
    (root / speaker / f"{speaker}.txt").write_bytes("\r\n".join(["", *lines, "", ""]).encode(encoding))
    return root


def replace_line(root: Path, speaker: str, number: int, line: str) -> None:
    path = root / speaker / f"{speaker}.txt"
    lines = path.read_text(encoding="utf-8").splitlines()
    lines[number] = line
    path.write_text("\n".join(lines), encoding="utf-8")


def test_a_recording_with_its_line_is_an_utterance(tmp_path: Path) -> None:
    reading = read_corpus("esd", write_speaker(tmp_path, "0011"))
    assert (len(reading.utterances), reading.label_map) == (10, "esd-4")
    first = reading.utterances[0]
    assert (first.utterance_id, first.audio) == ("0011_000351", "0011/Angry/0011_000351.wav")
    assert (first.speaker, first.session, first.dialogue) == ("0011", "1", "0011")
    assert (first.emotion, first.transcript) == ("angry", "It’s text 1, café.")


def test_each_emotion_has_the_same_texts_and_four_classes_drop_surprise(tmp_path: Path) -> None:
    reading = read_corpus("esd", write_speaker(tmp_path, "0011"))
    said = {emotion: {u.transcript for u in reading.utterances if u.emotion == emotion} for emotion in EMOTIONS}
    assert len({frozenset(texts) for texts in said.values()}) == 1
    labels = BUILT_IN["esd-4"]
    classes = Counter(labels.class_of(u.emotion) for u in reading.utterances)
    assert classes == {"happy": 2, "angry": 2, "neutral": 2, "sad": 2, None: 2}


@pytest.mark.parametrize("part", ["train", "evaluation", "test"])
def test_copies_that_divide_the_recordings_once_more_read_the_same(tmp_path: Path, part: str) -> None:
    (utterance, *_) = read_corpus("esd", write_speaker(tmp_path, "0011", part=part)).utterances
    assert (utterance.audio, utterance.session) == (f"0011/Angry/{part}/0011_000351.wav", "1")


@pytest.mark.parametrize(
    ("speaker", "encoding"),
    [
        ("0001", "gb2312"),
        ("0001", "utf-8"),
        ("0001", "utf-16"),
        ("0011", "utf-8-sig"),
        ("0011", "utf-16"),
        ("0011", "utf-16-le"),
        ("0011", "cp1252"),
    ],
)
def test_a_list_is_read_in_every_encoding_of_the_release(tmp_path: Path, speaker: str, encoding: str) -> None:
    reading = read_corpus("esd", write_speaker(tmp_path, speaker, encoding=encoding))
    assert {u.transcript for u in reading.utterances} == (
        {"今天天气 1。", "今天天气 2。"} if speaker == "0001" else {"It’s text 1, café.", "It’s text 2, café."}
    )
    assert not any("replaced" in note for note in reading.notes)


@pytest.mark.parametrize(
    ("line", "transcript"),
    [
        ("0011_000351 It is here. Angry", "It is here."),
        ("0011_000351\tIt is here. Angry", "It is here."),
        ("0011_000351 It is here.\tAngry", "It is here."),
        ("0011_000351\tIt is here.", "It is here."),
        (" 0011_000351 \t It is here.  \t Angry \t", "It is here."),
        ("0011_000351\tHe is angry\tAngry", "He is angry"),
        ("0011_000351\t\tAngry", ""),
    ],
)
def test_a_line_that_lacks_a_tab_loses_its_emotion_and_nothing_else(tmp_path: Path, line: str, transcript: str) -> None:
    write_speaker(tmp_path, "0011")
    replace_line(tmp_path, "0011", 3, line)
    said = {u.utterance_id: u.transcript for u in read_corpus("esd", tmp_path).utterances}
    assert said["0011_000351"] == transcript


def test_sessions_hold_a_woman_and_a_man_of_either_language_and_no_speaker_twice(tmp_path: Path) -> None:
    for speaker in (*SPEAKERS["zh"], *SPEAKERS["en"]):
        write_speaker(tmp_path, speaker, texts=1)
    reading = read_corpus("esd", tmp_path)
    assert len({u.speaker for u in reading.utterances}) == 20
    groups = {number: {u.speaker for u in reading.utterances if u.session == number} for number in "12345"}
    assert sorted(speaker for group in groups.values() for speaker in group) == [*SPEAKERS["zh"], *SPEAKERS["en"]]
    men = {"0004", "0005", "0006", "0008", "0010", "0011", "0012", "0013", "0014", "0020"}
    for group in (*groups.values(), *map(set, SESSIONS)):
        assert len(group & men) == len(group & set(SPEAKERS["en"])) == 2
        assert len(group & men & set(SPEAKERS["en"])) == 1


def test_one_language_can_be_read_separately(tmp_path: Path) -> None:
    write_speaker(write_speaker(tmp_path, "0001"), "0011")
    assert {u.speaker for u in read_corpus("esd", tmp_path).utterances} == {"0001", "0011"}
    assert {u.speaker for u in read_corpus("esd-en", tmp_path).utterances} == {"0011"}
    assert {u.speaker for u in read_corpus("esd-zh", tmp_path).utterances} == {"0001"}
    assert read_corpus("esd", tmp_path).notes[-1].startswith("Mandarin and English are read together")


def test_the_speakers_may_be_in_a_folder_of_the_root(tmp_path: Path) -> None:
    write_speaker(tmp_path / "Emotion Speech Dataset", "0011")
    (utterance, *_) = read_corpus("esd", tmp_path).utterances
    assert utterance.audio == "Emotion Speech Dataset/0011/Angry/0011_000351.wav"


def test_missing_speakers_and_those_without_all_1750_recordings_are_noted(tmp_path: Path) -> None:
    for speaker in ("0011", "0012"):
        write_speaker(tmp_path, speaker, texts=350 if speaker == "0011" else 1)
    reading = read_corpus("esd-en", tmp_path)
    assert reading.notes == (
        "found 2 of 10 speakers; missing: 0013, 0014, 0015, 0016, 0017, 0018, 0019, 0020",
        "speakers that do not have 1750 recordings: 0012 5",
    )


def test_hidden_files_are_skipped_and_unexpected_recordings_counted(tmp_path: Path) -> None:
    write_speaker(tmp_path, "0011")
    angry = tmp_path / "0011" / "Angry"
    for name in ("._0011_000351.wav", ".DS_Store", "0012_000351.wav", "take.wav", "0011_000009.wav"):
        (angry / name).touch()
    (tmp_path / "__MACOSX" / "0011").mkdir(parents=True)
    (tmp_path / "0011" / "Bored").mkdir()
    replace_line(tmp_path, "0011", 0, "speaker 0011")
    reading = read_corpus("esd", tmp_path)
    assert len(reading.utterances) == 11
    assert reading.notes[:3] == (
        "lines of 0011.txt that do not begin with an utterance id, ignored: 1",
        "files not named like 0011_000351.wav (beginning with their speaker), ignored: 2 (such as "
        "0011/Angry/0012_000351.wav)",
        "recordings in the folder of another emotion than their number indicates: 1 (such as "
        "0011/Angry/0011_000009.wav); the folder's emotion is used",
    )
    (unlisted,) = (u for u in reading.utterances if u.utterance_id == "0011_000009")
    assert (unlisted.emotion, unlisted.transcript) == ("angry", "")


def test_bytes_in_no_known_encoding_are_replaced_and_counted(tmp_path: Path) -> None:
    write_speaker(tmp_path, "0011")
    path = tmp_path / "0011" / "0011.txt"
    path.write_bytes(path.read_bytes() + b"0011_001750\tA \x81 and \xff.\tSurprise\n")
    assert "characters of 0011.txt that are not cp1252, replaced: 1" in read_corpus("esd", tmp_path).notes


def test_another_tree_is_refused_with_what_was_expected_and_found(tmp_path: Path) -> None:
    (tmp_path / "Actor_01").mkdir()
    with pytest.raises(
        UserError, match=r"is not ESD\. Expected folders of speakers \(0001 … 0020\).*Found: Actor_01\."
    ):
        read_corpus("esd", tmp_path)
    write_speaker(tmp_path, "0001")
    with pytest.raises(UserError, match=r"is not ESD\. Expected folders of speakers \(0011 … 0020\)"):
        read_corpus("esd-en", tmp_path)


def test_a_speaker_without_list_or_recordings_is_refused(tmp_path: Path) -> None:
    write_speaker(tmp_path, "0011")
    path = tmp_path / "0011" / "0011.txt"
    path.write_text("nothing of use\n")
    with pytest.raises(UserError, match=r"0011\.txt has no line of the form id, text, emotion"):
        read_corpus("esd", tmp_path)
    path.unlink()
    with pytest.raises(
        UserError, match=r"0011\.txt is missing\. .*Found in .*0011: Angry, Happy, Neutral, Sad, Surprise"
    ):
        read_corpus("esd", tmp_path)
    (tmp_path / "0012").mkdir()
    (tmp_path / "0012" / "0012.txt").write_text("0012_000351\tYes.\tAngry\n")
    write_speaker(tmp_path, "0011")
    with pytest.raises(UserError, match=r"0012 has no recordings\. Expected folders Neutral, Angry, Happy, Sad"):
        read_corpus("esd", tmp_path)
