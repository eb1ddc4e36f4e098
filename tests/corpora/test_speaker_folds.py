"""Folds of grouped speakers: balanced, the same for any order of rows, and written down."""

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.model_selection import StratifiedGroupKFold

from mmer_pipeline import paths
from mmer_pipeline.corpora import speaker_folds as module
from mmer_pipeline.corpora.folds import fold_names, fold_values, make_fold
from mmer_pipeline.corpora.labels import BUILT_IN
from mmer_pipeline.corpora.manifest import Manifest
from mmer_pipeline.corpora.speaker_folds import (
    group_count,
    group_speakers,
    keep_speaker_folds,
    linked_speakers,
    most_folds,
    speaker_folds,
)
from mmer_pipeline.corpora.utterances import Utterance
from mmer_pipeline.errors import UserError

EMOTIONS = ("hap", "ang", "neu", "sad")


def utterance(speaker: str, emotion: str, take: int, session: str = "1", dialogue: str = "") -> Utterance:
    name = f"{speaker}-{emotion}-{take}"
    return Utterance(name, "a.wav", None, None, speaker, session, dialogue or name, emotion, "")


def manifest_of(utterances: list[Utterance]) -> Manifest:
    return Manifest(Path("manifest.csv"), Path(), "made", BUILT_IN["iemocap-4"], tuple(utterances))


def corpus(speakers: int = 12) -> Manifest:
    """Speakers with unequal numbers of utterances and unequal classes."""
    return manifest_of(
        [
            utterance(f"s{speaker}", emotion, take)
            for speaker in range(speakers)
            for number, emotion in enumerate(EMOTIONS)
            for take in range(1 + (speaker * 7 + number * 3) % 5)
        ]
    )


def reordered(manifest: Manifest, seed: int) -> Manifest:
    order = np.random.default_rng(seed).permutation(len(manifest.utterances))
    return replace(manifest, utterances=tuple(manifest.utterances[i] for i in order))


def in_dialogues(*dialogues: tuple[str, ...], session: str = "1") -> Manifest:
    """Every speaker of a dialogue shows every emotion twice in it."""
    return manifest_of(
        [
            utterance(speaker, emotion, 10 * number + take, session, f"d{number}")
            for number, dialogue in enumerate(dialogues)
            for speaker in dialogue
            for emotion in EMOTIONS
            for take in range(2)
        ]
    )


@pytest.mark.parametrize("count", [2, 3, 5])
def test_the_folds_are_those_of_scikit_learn(count: int) -> None:
    manifest = corpus()
    speakers = [u.speaker for u in manifest.utterances]
    classes = [manifest.label_map.class_of(u.emotion) for u in manifest.utterances]
    splitter = StratifiedGroupKFold(count, shuffle=True, random_state=0)
    expected = {
        speakers[i]: number
        for number, (_, test) in enumerate(splitter.split(speakers, classes, speakers), start=1)
        for i in test
    }
    assert group_speakers(manifest, count) == expected
    assert set(expected.values()) == set(range(1, count + 1))


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_order_of_rows_changes_nothing(seed: int) -> None:
    manifest = corpus()
    assert group_speakers(reordered(manifest, seed), 5) == group_speakers(manifest, 5)


def test_classes_are_balanced_where_neighbouring_speakers_have_the_same_one() -> None:
    # Eight speakers, each of one emotion: folds of neighbours would have one class each.
    manifest = manifest_of(
        [utterance(f"s{n}", EMOTIONS[n // 2], take) for n in range(8) for take in range(5)],
    )
    folds = group_speakers(manifest, 2)
    assert Counter((folds[u.speaker], u.emotion) for u in manifest.utterances) == {
        (fold, emotion): 5 for fold in (1, 2) for emotion in EMOTIONS
    }


def test_speakers_are_linked_by_dialogues_directly_and_through_others() -> None:
    manifest = in_dialogues(("a", "b"), ("b", "c"), ("d",), ("e", "f"))
    assert linked_speakers(manifest.utterances) == {"a": "a", "b": "a", "c": "a", "d": "d", "e": "e", "f": "e"}
    folds = group_speakers(manifest, 3)
    assert folds["a"] == folds["b"] == folds["c"]
    assert folds["e"] == folds["f"]
    assert len(set(folds.values())) == 3


def test_two_sessions_may_use_the_same_name_for_a_dialogue() -> None:
    rows = [*in_dialogues(("a", "b")).utterances, *in_dialogues(("c", "d"), session="2").utterances]
    assert linked_speakers(rows) == {"a": "a", "b": "a", "c": "c", "d": "c"}


def test_unknown_dialogues_link_nobody() -> None:
    assert linked_speakers(corpus(3).utterances) == {"s0": "s0", "s1": "s1", "s2": "s2"}


def test_too_many_folds_are_refused_with_the_largest_number() -> None:
    with pytest.raises(UserError, match=r"--folds 13: manifest\.csv has 12 speakers\. The largest .* number is 12\."):
        group_speakers(corpus(), 13)
    linked = in_dialogues(("a", "b"), ("b", "c"), ("d",), ("e", "f"))
    assert most_folds(linked) == 3
    with pytest.raises(UserError, match=r"6 speakers, of whom those in the same dialogues .* 3 groups\. .* is 3\."):
        group_speakers(linked, 5)
    with pytest.raises(UserError, match=r"leaves 1 group\. No number of folds is possible\."):
        group_speakers(in_dialogues(("a", "b"), ("b", "c")), 2)
    with pytest.raises(UserError, match=r"--folds 1 leaves nothing to train on\. Expected 2 to 12"):
        group_speakers(corpus(), 1)


@pytest.mark.parametrize(
    ("agents", "count", "said"),
    [
        ("x", 5, r"The others are linked by x \(in 6 dialogues\)\. Leave these rows .* there are 6 groups\."),
        ("xy", 5, r"linked by x \(in 5 dialogues\), y \(in 5 dialogues\)\. Leave .* 6 groups\. .*--folds speaker"),
        ("x", 7, r"leaves 1 group\. No number of folds is possible\.$"),  # nor without the agent
    ],
)
def test_speakers_who_link_all_others_are_named_with_the_ways_out(agents: str, count: int, said: str) -> None:
    """Of a call centre whose agents take all calls it was only said that no folds are possible."""
    calls = [(f"caller{number}", agents[number % len(agents)]) for number in range(6)]
    both = [(f"caller{number}", *agents) for number in range(len(agents) - 1)]  # who called all agents
    manifest = in_dialogues(*calls, *(both * 2))
    with pytest.raises(UserError, match=said):
        group_speakers(manifest, count)
    if count < 7:
        callers = replace(manifest, utterances=tuple(u for u in manifest.utterances if u.speaker not in agents))
        assert most_folds(callers) == 6


def test_a_column_that_names_the_same_speaker_in_all_rows_is_questioned() -> None:
    with pytest.raises(UserError, match=r"all rows of manifest\.csv have the speaker agent\..*--column speaker=COLUMN"):
        group_speakers(in_dialogues(("agent",), ("agent",)), 2)


def test_more_folds_than_utterances_of_any_class_are_refused() -> None:
    manifest = manifest_of([utterance(f"s{n}", EMOTIONS[n % 4], 0) for n in range(8)])
    with pytest.raises(UserError, match=r"8 speakers, but no class with more than 2 utterances\. .* is 2\."):
        group_speakers(manifest, 5)
    assert set(group_speakers(manifest, 2).values()) == {1, 2}


def test_a_class_with_fewer_utterances_than_folds_is_no_warning_of_scikit_learn() -> None:
    rows = [u for u in corpus().utterances if u.emotion != "sad"]
    assert len(group_speakers(manifest_of([*rows, utterance("s1", "sad", 0)]), 5)) == 12


def test_no_fold_is_empty_where_scikit_learn_leaves_one_without_speakers(monkeypatch: pytest.MonkeyPatch) -> None:
    class Lazy(StratifiedGroupKFold):
        """Puts nobody into the last fold, unless its seed is 2."""

        def split(self, X, y, groups):  # type: ignore[no-untyped-def]
            parts = [test for _, test in super().split(X, y, groups)]
            if self.random_state != 2:
                parts = [np.concatenate([parts[0], parts[-1]]), *parts[1:-1], parts[-1][:0]]
            return [(None, part) for part in parts]

    expected = module.group_speakers(corpus(), 3)
    monkeypatch.setattr("sklearn.model_selection.StratifiedGroupKFold", Lazy)
    folds = group_speakers(corpus(), 3)
    assert set(folds.values()) == {1, 2, 3}
    assert folds != expected  # of the first seed
    monkeypatch.setattr(module, "TRIES", 2)
    with pytest.raises(UserError, match=r"leaves a fold of .* without speakers"):
        group_speakers(corpus(), 3)


def test_the_assignment_is_written_down_and_outlives_another_algorithm(monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = corpus()
    keep_speaker_folds(manifest, 5)
    before = speaker_folds(manifest, 5)
    assert paths.speaker_folds(manifest.path, 5).read_text().splitlines()[0] == "speaker,fold"
    monkeypatch.setattr(module, "SEED", 7)  # stands for another version of the library
    assert group_speakers(manifest, 5) != before
    assert speaker_folds(manifest, 5) == before
    keep_speaker_folds(manifest, 5)
    assert speaker_folds(manifest, 5) == before


def test_further_utterances_move_nobody() -> None:
    manifest = corpus()
    keep_speaker_folds(manifest, 5)
    more = [*manifest.utterances, *(utterance("s3", "hap", take) for take in range(100, 200))]
    assert group_speakers(manifest_of(more), 5) != group_speakers(manifest, 5)
    assert speaker_folds(manifest_of(more), 5) == group_speakers(manifest, 5)


def test_several_processes_write_the_same_file() -> None:
    manifest = corpus()
    threads = [threading.Thread(target=keep_speaker_folds, args=(manifest, 4)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert speaker_folds(manifest, 4) == group_speakers(manifest, 4)
    assert not list(Path().glob(".*.tmp"))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda text: text.replace("s1,", "other,"), "has no fold for 1 of the 12 speakers of manifest.csv: s1"),
        (lambda text: text + "s1,9\n", "fold is '9', expected a number from 1 to 3"),
        (lambda text: text.replace("speaker", "name"), "missing columns: speaker"),
        (lambda text: text.replace(",3", ",2"), "no speaker of fold 3 is in manifest.csv"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_with_the_command(change: Callable[[str], str], said: str) -> None:
    manifest, path = corpus(), paths.speaker_folds(Path("manifest.csv"), 3)
    keep_speaker_folds(manifest, 3)
    path.write_text(change(path.read_text()))
    with pytest.raises(UserError) as caught:
        speaker_folds(manifest, 3)
    assert said in str(caught.value)
    assert "delete the file (rm manifest.folds-3.csv)" in str(caught.value)


def test_speakers_whom_a_new_dialogue_links_must_be_in_one_fold() -> None:
    manifest = in_dialogues(("a",), ("b",), ("c",))
    keep_speaker_folds(manifest, 3)
    with pytest.raises(UserError, match=r"has the speakers a and b in different folds, but dialogues .* link them"):
        speaker_folds(in_dialogues(("a",), ("b",), ("c",), ("a", "b")), 3)


def test_a_number_makes_folds_without_a_shared_speaker_and_with_every_utterance() -> None:
    manifest = corpus()
    assert fold_names(manifest, "5") == [f"group {number}" for number in range(1, 6)]
    tested: list[int] = []
    for number in range(1, 6):
        fold = make_fold(manifest, number, column="5", validation="session", seed=1)
        parts = [{manifest.utterances[i].speaker for i in part} for part in (fold.train, fold.validation, fold.test)]
        assert sum(map(len, parts)) == len(set().union(*parts)) == 12
        assert {fold_values(manifest, "5")[i] for i in fold.validation} == {f"group {number % 5 + 1}"}
        tested += fold.test
        one = make_fold(manifest, number, column="5", validation="speaker", seed=1)
        assert len({manifest.utterances[i].speaker for i in one.validation}) == 1
        assert set(one.validation) <= set(fold.validation)
    assert sorted(tested) == list(range(len(manifest.utterances)))
    with pytest.raises(UserError, match="folds 1 to 5, one per group of speakers: group 1, group 2"):
        make_fold(manifest, 6, column="5", validation="none", seed=1)


@pytest.mark.parametrize(
    ("word", "count"), [("5", 5), ("10", 10), ("1", 1), ("0", None), ("05", None), ("5.0", None), ("²", None)]
)
def test_a_whole_number_is_a_number_of_folds(word: str, count: int | None) -> None:
    assert group_count(word) == count
