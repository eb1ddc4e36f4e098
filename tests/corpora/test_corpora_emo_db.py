"""The EMO-DB reader: everything from the file names, in German."""

import unicodedata
from collections import Counter
from itertools import islice, product
from pathlib import Path

import pytest

from mmer_pipeline.corpora.labels import BUILT_IN
from mmer_pipeline.corpora.readers import read_corpus
from mmer_pipeline.corpora.readers.emo_db import EMOTIONS, PAIRS, SENTENCES
from mmer_pipeline.errors import UserError

SPEAKERS = ("03", "08", "09", "10", "11", "12", "13", "14", "15", "16")
OFFICIAL = {"W": 127, "L": 81, "E": 46, "A": 69, "F": 71, "T": 62, "N": 79}


def names() -> list[str]:
    """As many utterances of each emotion as the corpus has; who says which is our own choice."""
    stems: list[str] = []
    for emotion, count in OFFICIAL.items():
        every = (f"{speaker}{text}{emotion}{version}" for version, text, speaker in product("ab", SENTENCES, SPEAKERS))
        stems += islice(every, count)
    return stems


def write_tree(root: Path, stems: list[str]) -> Path:
    (root / "wav").mkdir(parents=True, exist_ok=True)
    for stem in stems:
        (root / "wav" / f"{stem}.wav").touch()
    return root


def test_a_file_name_is_an_utterance(tmp_path: Path) -> None:
    (utterance,) = read_corpus("emo-db", write_tree(tmp_path, ["03a01Fa"])).utterances
    assert (utterance.utterance_id, utterance.audio) == ("03a01Fa", "wav/03a01Fa.wav")
    assert (utterance.speaker, utterance.session, utterance.dialogue) == ("03", "1", "03")
    assert (utterance.emotion, utterance.transcript) == ("happiness", "Der Lappen liegt auf dem Eisschrank.")


def test_the_letters_stand_for_german_words(tmp_path: Path) -> None:
    reading = read_corpus("emo-db", write_tree(tmp_path, [f"03a01{letter}a" for letter in "WLEAFTN"]))
    assert {u.utterance_id[5]: u.emotion for u in reading.utterances} == {
        **{"W": "anger", "L": "boredom", "E": "disgust", "A": "fear"},
        **{"F": "happiness", "T": "sadness", "N": "neutral"},
    }
    assert list(EMOTIONS) == list("WLEAFTN")


def test_the_whole_corpus_has_535_utterances_of_which_four_classes_keep_339(tmp_path: Path) -> None:
    reading = read_corpus("emo-db", write_tree(tmp_path, names()))
    assert (len(reading.utterances), reading.label_map, reading.notes) == (535, "emo-db-4", ())
    labels = BUILT_IN["emo-db-4"]
    classes = Counter(labels.class_of(u.emotion) for u in reading.utterances)
    assert classes == {"happy": 71, "angry": 127, "neutral": 79, "sad": 62, None: 196}


def test_sentences_are_in_composed_unicode_with_their_umlauts() -> None:
    assert all(unicodedata.is_normalized("NFC", sentence) for sentence in SENTENCES.values())
    assert set("äöüß") & set("".join(SENTENCES.values())) == {"ö", "ü"}
    assert list(SENTENCES) == ["a01", "a02", "a04", "a05", "a07", "b01", "b02", "b03", "b09", "b10"]


def test_sessions_are_pairs_of_a_man_and_a_woman(tmp_path: Path) -> None:
    reading = read_corpus("emo-db", write_tree(tmp_path, [f"{speaker}b10Nb" for speaker in SPEAKERS]))
    session = {u.speaker: u.session for u in reading.utterances}
    men, women = ("03", "10", "11", "12", "15"), ("08", "09", "13", "14", "16")
    assert [session[man] for man in men] == [session[woman] for woman in women] == ["1", "2", "3", "4", "5"]
    assert sorted(speaker for pair in PAIRS for speaker in pair) == list(SPEAKERS)


def test_a_version_may_have_no_letter_and_leftovers_are_skipped(tmp_path: Path) -> None:
    write_tree(tmp_path, ["03a01F", "._03a01Fa", "04a01Fa", "03a03Fa", "03a01Xa"])
    (tmp_path / "wav" / ".DS_Store").touch()
    reading = read_corpus("emo-db", tmp_path)
    assert [u.utterance_id for u in reading.utterances] == ["03a01F"]
    assert reading.notes == (
        "files not named like 03a01Fa.wav, ignored: 3 (such as wav/03a01Xa.wav)",
        "found 1 recordings of 1 actors; the corpus has 535 of 10",
    )


def test_the_folder_of_the_recordings_may_be_the_root(tmp_path: Path) -> None:
    write_tree(tmp_path, ["16b10Wb"])
    (utterance,) = read_corpus("emo-db", tmp_path / "wav").utterances
    assert utterance.audio == "16b10Wb.wav"


def test_another_tree_is_refused_with_what_was_expected_and_found(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is not EMO-DB\. Expected a folder wav .* such as 03a01Fa\.wav.*: nothing\."):
        read_corpus("emo-db", tmp_path)
    write_tree(tmp_path, ["one", "two"])
    with pytest.raises(UserError, match=r"Found in .*wav: one\.wav, two\.wav\."):
        read_corpus("emo-db", tmp_path)
