"""The CREMA-D reader: everything from the file names."""

from collections import Counter
from itertools import islice, product
from pathlib import Path

import pytest

from mmer_pipeline.corpora.labels import BUILT_IN
from mmer_pipeline.corpora.readers import read_corpus
from mmer_pipeline.corpora.readers.crema_d import EMOTIONS, LEVELS, SENTENCES
from mmer_pipeline.errors import UserError


def names() -> list[str]:
    """As many clips of each emotion as the corpus has; which actor says which is our own choice."""
    stems = []
    for emotion in EMOTIONS:
        count = 1087 if emotion == "NEU" else 1271
        takes = [(code, level) for code in SENTENCES for level in (LEVELS[:3] if code == "IEO" else ("XX",))]
        every = (f"{actor}_{code}_{emotion}_{level}" for (code, level), actor in product(takes, range(1001, 1092)))
        stems += islice(every, count)
    return stems


def write_tree(root: Path, stems: list[str]) -> Path:
    folder = root / "AudioWAV"
    folder.mkdir(parents=True, exist_ok=True)
    for stem in stems:
        (folder / f"{stem}.wav").touch()
    return root


def one_actor(actor: int) -> list[str]:
    return [f"{actor}_{sentence}_{emotion}_XX" for sentence in SENTENCES for emotion in EMOTIONS]


def test_a_file_name_is_an_utterance(tmp_path: Path) -> None:
    (utterance,) = read_corpus("crema-d", write_tree(tmp_path, ["1001_DFA_ANG_XX"])).utterances
    assert (utterance.utterance_id, utterance.audio) == ("1001_DFA_ANG_XX", "AudioWAV/1001_DFA_ANG_XX.wav")
    assert (utterance.speaker, utterance.session, utterance.dialogue) == ("1001", "1", "1001")
    assert (utterance.emotion, utterance.transcript) == ("anger", "Don't forget a jacket")
    assert (utterance.start_seconds, utterance.end_seconds) == (None, None)


def test_the_twelve_sentences_and_six_emotions_are_told_by_their_codes(tmp_path: Path) -> None:
    reading = read_corpus("crema-d", write_tree(tmp_path, one_actor(1001)))
    assert Counter(u.emotion for u in reading.utterances) == dict.fromkeys(
        ("anger", "disgust", "fear", "happy", "neutral", "sad"), 12
    )
    assert Counter(u.transcript for u in reading.utterances) == dict.fromkeys(SENTENCES.values(), 6)
    said = {u.utterance_id[5:8]: u.transcript for u in reading.utterances}
    assert said["ITS"] == "I think I've seen this before"  # TSI and ITS, IWL and IWW are easily confused
    assert said["TSI"] == "The surface is slick"
    assert said["IWW"] == "I wonder what this is about"
    assert said["IWL"] == "I would like a new alarm clock"


def test_four_classes_drop_disgust_and_fear(tmp_path: Path) -> None:
    reading = read_corpus("crema-d", write_tree(tmp_path, one_actor(1001)))
    labels = BUILT_IN[reading.label_map]
    classes = Counter(labels.class_of(u.emotion) for u in reading.utterances)
    assert classes == {"happy": 12, "angry": 12, "neutral": 12, "sad": 12, None: 24}


def test_sessions_are_groups_of_actors_and_no_actor_is_in_two(tmp_path: Path) -> None:
    stems = [f"{actor}_DFA_ANG_XX" for actor in range(1001, 1092)]
    reading = read_corpus("crema-d", write_tree(tmp_path, stems))
    assert Counter(u.session for u in reading.utterances) == {"1": 19, "2": 18, "3": 18, "4": 18, "5": 18}
    of_actor = {u.speaker: u.session for u in reading.utterances}
    assert [of_actor[actor] for actor in ("1001", "1005", "1006", "1091")] == ["1", "5", "1", "1"]


def test_the_level_of_one_letter_in_the_official_tree_is_read(tmp_path: Path) -> None:
    (utterance,) = read_corpus("crema-d", write_tree(tmp_path, ["1040_ITH_SAD_X"])).utterances
    assert (utterance.utterance_id, utterance.emotion) == ("1040_ITH_SAD_X", "sad")


def test_macos_leftovers_are_skipped_and_other_recordings_counted(tmp_path: Path) -> None:
    write_tree(
        tmp_path, ["1001_DFA_ANG_XX", "._1001_DFA_ANG_XX", "1092_DFA_ANG_XX", "1000_DFA_ANG_XX", "1001_DFG_ANG_XX"]
    )
    (tmp_path / "AudioWAV" / ".DS_Store").touch()
    (tmp_path / "AudioWAV" / "list.txt").touch()
    reading = read_corpus("crema-d", tmp_path)
    assert [u.utterance_id for u in reading.utterances] == ["1001_DFA_ANG_XX"]
    assert reading.notes == (
        "files not named like 1001_DFA_ANG_XX.wav, ignored: 3 (such as AudioWAV/1000_DFA_ANG_XX.wav)",
        "found 1 recordings of 1 actors; the corpus has 7442 of 91",
    )


def test_a_whole_corpus_needs_no_note(tmp_path: Path) -> None:
    reading = read_corpus("crema-d", write_tree(tmp_path, names()))
    counts = Counter(u.emotion for u in reading.utterances)
    assert counts == dict.fromkeys(("anger", "disgust", "fear", "happy", "sad"), 1271) | {"neutral": 1087}
    assert (len(reading.utterances), reading.notes) == (7442, ())


def test_the_folder_of_the_recordings_may_be_the_root(tmp_path: Path) -> None:
    write_tree(tmp_path, ["1001_DFA_ANG_XX"])
    (utterance,) = read_corpus("crema-d", tmp_path / "AudioWAV").utterances
    assert utterance.audio == "1001_DFA_ANG_XX.wav"


def test_another_tree_is_refused_with_what_was_expected_and_found(tmp_path: Path) -> None:
    (tmp_path / "Actor_01").mkdir()
    with pytest.raises(UserError, match=r"is not CREMA-D\. Expected a folder AudioWAV .* Found in .*: Actor_01\."):
        read_corpus("crema-d", tmp_path)
    write_tree(tmp_path, [])
    with pytest.raises(UserError, match=r"Found in .*AudioWAV: nothing\."):
        read_corpus("crema-d", tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"Found in .*: a file\."):
        read_corpus("crema-d", tmp_path / "file")


def test_pointers_of_git_lfs_are_refused_with_the_command_that_fetches_the_recordings(tmp_path: Path) -> None:
    write_tree(tmp_path, ["1001_DFA_ANG_XX"])
    pointer = tmp_path / "AudioWAV" / "1001_DFA_ANG_XX.wav"
    pointer.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 72812\n")
    with pytest.raises(UserError, match=r"1001_DFA_ANG_XX\.wav is a git-lfs pointer.* `git lfs pull`"):
        read_corpus("crema-d", tmp_path)
