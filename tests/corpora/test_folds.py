"""Folds: who trains, who chooses an epoch, who is held out, and that no speaker is in two parts."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from mmer_pipeline.corpora.fold_overlap import Overlap, overlap_warning, shared_speakers, validation_overlap
from mmer_pipeline.corpora.folds import Fold, fold_names, make_fold, parse_fraction
from mmer_pipeline.corpora.labels import BUILT_IN
from mmer_pipeline.corpora.manifest import Manifest
from mmer_pipeline.corpora.utterances import Utterance
from mmer_pipeline.errors import UserError

EMOTIONS = ("hap", "ang", "neu", "sad")


def corpus(sessions: int = 5, per_emotion: int = 5) -> Manifest:
    """Two speakers a session, each emotion `per_emotion` times a speaker."""
    utterances = tuple(
        Utterance(
            f"{session}{sex}{emotion}{take}", "a.wav", None, None, f"{session}{sex}", str(session), "d", emotion, ""
        )
        for session in range(1, sessions + 1)
        for sex in "FM"
        for emotion in EMOTIONS
        for take in range(per_emotion)
    )
    return Manifest(Path("manifest.csv"), Path(), "made", BUILT_IN["iemocap-4"], utterances)


def fold_of(manifest: Manifest, number: int, column: str = "session", validation: str = "none", seed: int = 0) -> Fold:
    return make_fold(manifest, number, column=column, validation=validation, seed=seed)


def values(manifest: Manifest, part: tuple[int, ...], column: str) -> set[str]:
    return {getattr(manifest.utterances[position], column) for position in part}


def assert_parts(manifest: Manifest, fold: Fold) -> None:
    """Every utterance is in exactly one part, each part in the manifest's order."""
    parts = (fold.train, fold.validation, fold.test)
    assert sorted(position for part in parts for position in part) == list(range(len(manifest.utterances)))
    for part in parts:
        assert list(part) == sorted(part)


def renamed(manifest: Manifest, **names: Callable[[Utterance], str]) -> Manifest:
    return replace(
        manifest,
        utterances=tuple(
            replace(u, **{column: name(u) for column, name in names.items()}) for u in manifest.utterances
        ),
    )


@pytest.mark.parametrize("number", [1, 2, 3, 4, 5])
def test_fold_k_holds_out_the_k_th_session(number: int) -> None:
    manifest = corpus()
    fold = fold_of(manifest, number)
    assert_parts(manifest, fold)
    assert (fold.number, fold.held_out) == (number, str(number))
    assert (len(fold.train), len(fold.validation), len(fold.test)) == (160, 0, 40)
    assert values(manifest, fold.test, "session") == {str(number)}
    assert not values(manifest, fold.train, "speaker") & values(manifest, fold.test, "speaker")


def test_folds_by_speaker_hold_out_one_speaker_each() -> None:
    manifest = corpus()
    assert fold_names(manifest, "speaker") == [f"{session}{sex}" for session in range(1, 6) for sex in "FM"]
    for number, speaker in enumerate(fold_names(manifest, "speaker"), start=1):
        fold = fold_of(manifest, number, "speaker")
        assert_parts(manifest, fold)
        assert values(manifest, fold.test, "speaker") == {speaker}
        assert len(fold.test) == 20


@pytest.mark.parametrize(
    ("names", "ordered"),
    [
        (["10", "9", "1", "2"], ["1", "2", "9", "10"]),
        (["Ses10", "Ses2", "Ses1b", "Ses1a"], ["Ses1a", "Ses1b", "Ses2", "Ses10"]),
        (["b", "2", "a1"], ["2", "a1", "b"]),
        (["1", "01", "001"], ["001", "01", "1"]),
        (["\u00b2", "2"], ["2", "\u00b2"]),
    ],
)
def test_folds_are_in_natural_order(names: list[str], ordered: list[str]) -> None:
    manifest = renamed(corpus(len(names)), session=lambda u: names[int(u.session) - 1])
    assert fold_names(manifest, "session") == ordered
    assert [fold_of(manifest, number + 1).held_out for number in range(len(names))] == ordered


@pytest.mark.parametrize("number", [1, 4, 5])
def test_the_next_session_validates_and_the_first_comes_after_the_last(number: int) -> None:
    manifest = corpus()
    fold = fold_of(manifest, number, validation="session")
    assert_parts(manifest, fold)
    assert values(manifest, fold.validation, "session") == {str(number % 5 + 1)}
    assert (len(fold.train), len(fold.validation)) == (120, 40)


@pytest.mark.parametrize("number", [2, 5])
def test_one_speaker_of_the_next_session_validates(number: int) -> None:
    manifest = corpus()
    fold = fold_of(manifest, number, validation="speaker")
    assert_parts(manifest, fold)
    assert values(manifest, fold.validation, "speaker") == {f"{number % 5 + 1}F"}
    assert (len(fold.train), len(fold.validation)) == (140, 20)


def test_folds_and_validation_by_speaker() -> None:
    manifest = corpus()
    fold = fold_of(manifest, 10, "speaker", validation="speaker")
    assert (fold.held_out, values(manifest, fold.validation, "speaker")) == ("5M", {"1F"})


def test_a_validation_speaker_in_several_sessions_is_in_none_of_training() -> None:
    manifest = renamed(corpus(), speaker=lambda u: u.speaker.replace("3F", "2F"))
    fold = fold_of(manifest, 1, validation="speaker")
    assert_parts(manifest, fold)
    assert values(manifest, fold.validation, "session") == {"2", "3"}
    assert "2F" not in values(manifest, fold.train, "speaker")


def test_a_fraction_takes_that_part_of_each_class_out_of_training() -> None:
    manifest = corpus()
    fold = fold_of(manifest, 3, validation="0.1")
    assert_parts(manifest, fold)
    assert Counter(manifest.utterances[position].emotion for position in fold.validation) == dict.fromkeys(EMOTIONS, 4)
    assert len(fold.train) == 144


def test_a_fraction_depends_only_on_the_seed() -> None:
    manifest = corpus()
    drawn = [fold_of(manifest, 3, validation="0.2", seed=seed).validation for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]


@pytest.mark.parametrize("number", [-1, 6])
def test_the_error_about_a_missing_fold_lists_the_folds(number: int) -> None:
    with pytest.raises(UserError, match=f"no fold {number}") as caught:
        fold_of(corpus(), number)
    for words in ("1 to 5", "session", "1, 2, 3, 4, 5"):
        assert words in str(caught.value)


def test_fold_0_trains_on_everything_in_the_manifest_s_order() -> None:
    manifest = corpus()
    assert fold_of(manifest, 0) == Fold(0, "", tuple(range(len(manifest.utterances))), (), ())
    assert fold_of(corpus(1), 0).train == tuple(range(40))  # a single session, which cannot be held out


def test_a_fraction_validates_fold_0_and_a_session_or_a_speaker_does_not() -> None:
    manifest = corpus()
    fold = fold_of(manifest, 0, validation="0.2", seed=3)
    assert_parts(manifest, fold)
    assert not fold.test
    assert Counter(manifest.utterances[i].emotion for i in fold.validation) == dict.fromkeys(EMOTIONS, 10)
    assert fold_of(manifest, 0, validation="0.2", seed=3) == fold
    for validation in ("session", "speaker"):
        with pytest.raises(UserError, match=f"'{validation}', but --fold none holds nothing out"):
            fold_of(manifest, 0, validation=validation)


def test_a_single_session_is_refused() -> None:
    with pytest.raises(UserError, match="leaves nothing to train on"):
        fold_of(corpus(1), 1)


def test_two_sessions_leave_nothing_to_train_on_when_one_validates() -> None:
    with pytest.raises(UserError, match="training part is empty"):
        fold_of(corpus(2), 1, validation="session")
    assert fold_of(corpus(2), 1, validation="speaker").train


def test_a_fraction_that_is_too_small_for_one_utterance_is_refused() -> None:
    with pytest.raises(UserError, match="validation part is empty"):
        fold_of(corpus(), 1, validation="0.001")


def test_a_speaker_in_training_and_held_out_part_is_refused() -> None:
    manifest = renamed(corpus(), speaker=lambda u: u.speaker.replace("4M", "2M"))
    with pytest.raises(UserError, match="speaker 2M is in both the training part and the held-out part") as caught:
        fold_of(manifest, 2)
    assert "--folds speaker" in str(caught.value)
    assert_parts(manifest, fold_of(manifest, 2, "speaker"))


def test_a_speaker_in_training_and_validation_part_is_refused() -> None:
    manifest = renamed(corpus(), speaker=lambda u: u.speaker.replace("4M", "2M"))
    with pytest.raises(UserError, match="speaker 2M is in both the training part and the validation part"):
        fold_of(manifest, 1, validation="session")


@pytest.mark.parametrize("word", ["none", "session", "speaker"])
def test_a_word_is_not_a_fraction(word: str) -> None:
    assert parse_fraction(word) is None


@pytest.mark.parametrize("word", ["0", "1", "1.5", "-0.1", "nan", "inf", "10%", "sessions", ""])
def test_what_is_neither_a_word_nor_a_fraction_is_refused(word: str) -> None:
    with pytest.raises(UserError, match="expected none, session, speaker or a fraction") as caught:
        parse_fraction(word)
    assert repr(word) in str(caught.value)


def test_a_validation_session_is_a_whole_session_even_if_speakers_are_held_out() -> None:
    manifest = corpus()
    fold = fold_of(manifest, 1, column="speaker", validation="session")
    assert_parts(manifest, fold)
    assert values(manifest, fold.test, "speaker") == {"1F"}
    assert values(manifest, fold.validation, "speaker") == {"2F", "2M"}


@pytest.mark.parametrize("validation", ["none", "session", "0.2"])
def test_text_disjoint_folds_have_no_words_in_two_parts(validation: str) -> None:
    # Take 0 is said in every session, annotated and in capitals in some; each other take in its own session alone.
    manifest = renamed(
        corpus(),
        transcript=lambda u: (
            ("[LAUGHTER] Come HERE, please!" if u.session in "13" else "come here please")
            if u.utterance_id.endswith("0")
            else u.utterance_id
        ),
    )
    whole = fold_of(manifest, 2, validation=validation)
    fold = make_fold(manifest, 2, column="session", validation=validation, seed=0, text_disjoint=True)
    recurring = [i for i, u in enumerate(manifest.utterances) if u.utterance_id.endswith("0") and u.session != "2"]
    assert list(fold.left_out) == recurring
    assert fold.test == whole.test
    parts = (fold.train, fold.validation, fold.test, fold.left_out)
    assert sorted(position for part in parts for position in part) == list(range(len(manifest.utterances)))
    assert not whole.left_out


def test_words_of_the_validation_part_are_not_in_training_either() -> None:
    manifest = renamed(corpus(3), transcript=lambda u: "the same" if u.session != "1" else u.utterance_id)
    with pytest.raises(UserError, match=r"training part is empty \(--text-disjoint leaves out 40 utterances\)"):
        make_fold(manifest, 1, column="session", validation="session", seed=0, text_disjoint=True)


def test_utterances_without_words_never_count_as_repeated() -> None:
    manifest = renamed(corpus(), transcript=lambda _: "[LAUGHTER]")
    fold = make_fold(manifest, 1, column="session", validation="none", seed=0, text_disjoint=True)
    assert not fold.left_out


def test_text_disjoint_folds_are_refused_where_words_are_unknown() -> None:
    manifest = renamed(corpus(), transcript=lambda u: "" if u.utterance_id == "3Fneu1" else u.utterance_id)
    with pytest.raises(UserError, match=r"1 of 200 in manifest\.csv have no transcript \(3Fneu1\)\. Leave .*, or run"):
        make_fold(manifest, 1, column="session", validation="none", seed=0, text_disjoint=True)


def test_folds_by_a_further_column_of_the_corpus() -> None:
    manifest = renamed(corpus(), others=lambda u: (("site", "north" if u.session in "12" else "south"),))
    assert fold_names(manifest, "site") == ["north", "south"]
    assert values(manifest, fold_of(manifest, 1, column="site").test, "session") == {"1", "2"}


def test_a_missing_or_partly_empty_fold_column_is_refused() -> None:
    with pytest.raises(UserError, match=r"no column 'site' for --folds\. Columns: utterance_id, audio"):
        fold_of(corpus(), 1, column="site")
    manifest = renamed(corpus(), others=lambda u: (("site", "" if u.utterance_id == "2Fang1" else "a"),))
    with pytest.raises(UserError, match="column site of 2Fang1 is empty"):
        fold_of(manifest, 1, column="site")


def split_corpus() -> Manifest:
    """Speakers who stand in the train, the dev and the test part, as MELD's do."""
    parts = {"1": "train", "2": "train", "3": "dev", "4": "test"}
    return renamed(corpus(4), session=lambda u: parts[u.session], speaker=lambda u: u.speaker[-1])


@pytest.mark.parametrize(("validation", "chooses"), [("none", set()), ("session", {"dev"})])
def test_an_official_split_has_one_fold_and_never_trains_on_dev(validation: str, chooses: set[str]) -> None:
    manifest = split_corpus()
    assert fold_names(manifest, "split") == ["test"]
    fold = fold_of(manifest, 1, column="split", validation=validation)
    assert values(manifest, fold.train, "session") == {"train"}
    assert values(manifest, fold.validation, "session") == chooses
    assert values(manifest, fold.test, "session") == {"test"}
    assert shared_speakers(manifest, fold) == ["F", "M"]


def test_a_split_requires_official_parts_and_no_other_validation_than_dev() -> None:
    with pytest.raises(UserError, match="requires the sessions train, dev, test"):
        fold_of(corpus(), 1, column="split")
    with pytest.raises(UserError, match=r"session \(the dev part\) or none"):
        fold_of(split_corpus(), 1, column="split", validation="0.1")
    with pytest.raises(UserError, match="--folds split for the official train, dev and test"):
        fold_of(split_corpus(), 3)


def test_text_disjoint_applies_to_official_splits_too() -> None:
    manifest = renamed(split_corpus(), transcript=lambda u: "hello" if "ang" in u.utterance_id else u.utterance_id)
    fold = make_fold(manifest, 1, column="split", validation="session", seed=0, text_disjoint=True)
    assert len(fold.left_out) == 30  # 20 in train, 10 in dev
    assert not shared_speakers(corpus(), fold_of(corpus(), 1))


def in_dialogues() -> Manifest:
    """Five dialogues a session, whose two speakers take turns; every session uses the same names."""
    return renamed(corpus(), dialogue=lambda u: f"d{u.utterance_id[-1]}")


@pytest.mark.parametrize(
    ("validation", "expected"),
    [
        ("none", Overlap(0, 0)),
        ("session", Overlap(0, 0)),
        ("speaker", Overlap(5, 0)),  # the partner's turns in the dialogues of one session
        ("0.5", Overlap(20, 8)),
    ],
)
def test_what_the_validation_part_shares_with_training(validation: str, expected: Overlap) -> None:
    manifest = in_dialogues()
    assert validation_overlap(manifest, fold_of(manifest, 1, validation=validation)) == expected


def test_a_speaker_without_a_partner_shares_no_dialogue() -> None:
    manifest = renamed(corpus(), dialogue=lambda u: u.speaker)
    assert validation_overlap(manifest, fold_of(manifest, 1, validation="speaker")) == Overlap(0, 0)


def test_the_warning_says_what_is_shared_and_what_to_do() -> None:
    assert overlap_warning([]) == overlap_warning([Overlap(0, 0)]) == ""
    partner = overlap_warning([Overlap(28, 0), Overlap(31, 0)], "session")
    assert "up to 31 dialogues in common with its training part, through their other speakers" in partner
    assert "not those of new conversations" in partner
    assert "`--validation session` keeps them apart" in partner
    both = overlap_warning([Overlap(1, 8)])
    assert "up to 8 speakers and 1 dialogue in common with its training part. Validation" in both
    assert both.endswith("not those of new speakers.")  # nothing can be recommended
