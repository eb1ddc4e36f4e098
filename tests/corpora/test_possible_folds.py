"""The folds and validation parts that a corpus allows, and those that prepare suggests."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.command_line import succeed

from mmer_pipeline.corpora.folds import make_fold
from mmer_pipeline.corpora.labels import BUILT_IN
from mmer_pipeline.corpora.manifest import Manifest
from mmer_pipeline.corpora.possible_folds import PossibleFolds, possible_folds
from mmer_pipeline.corpora.speaker_folds import speaker_folds
from mmer_pipeline.corpora.utterances import Utterance
from mmer_pipeline.errors import UserError

EMOTIONS = ("hap", "ang", "neu", "sad")


def corpus(sessions: int = 5, **cells: Callable[[Utterance], object]) -> Manifest:
    """Two speakers a session, each emotion five times a speaker; `cells` change the rows."""
    rows = [
        Utterance(f"{n}{sex}{emotion}{take}", "a.wav", None, None, f"{n}{sex}", str(n), f"{n}{sex}", emotion, "")
        for n in range(1, sessions + 1)
        for sex in "FM"
        for emotion in EMOTIONS
        for take in range(5)
    ]
    changed = [
        replace(u, **{column: cell(u) for column, cell in cells.items()})  # type: ignore[arg-type]
        for u in rows
    ]
    return Manifest(Path("manifest.csv"), Path(), "made", BUILT_IN["iemocap-4"], tuple(changed))


def line(found: PossibleFolds, folds: str) -> str:
    (chosen,) = [choice.line() for choice in found.choices if choice.folds == folds]
    return chosen


def test_sessions_that_keep_speakers_apart_are_suggested() -> None:
    found = possible_folds(corpus())
    assert found.lines() == [
        "--folds session: 5 folds, 40 utterances held out",
        "--folds speaker: 10 folds, 20 utterances held out",
        "--folds 5: 5 folds, 40 utterances held out (speakers grouped, classes balanced)",
        "Suggested: --folds session, which allows --validation session, speaker, 0.1",
    ]
    assert not Path("manifest.folds-5.csv").exists()  # only training writes it


def test_speakers_in_several_sessions_are_named_and_groups_suggested() -> None:
    found = possible_folds(corpus(speaker=lambda u: u.speaker.replace("4M", "2M")))
    assert line(found, "session") == "--folds session: refused; 1 speaker (2M) is in several folds"
    assert found.recommended == "5"
    with pytest.raises(UserError, match=r"speaker 2M is in both .* or use --folds speaker, or --folds 5, which groups"):
        make_fold(
            corpus(speaker=lambda u: u.speaker.replace("4M", "2M")), 2, column="session", validation="none", seed=1
        )


def test_the_groups_of_speakers_are_computed_twice_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    """They were computed for each fold and validation part: eleven seconds with 1,000 speakers."""
    calls = []

    def counted(manifest: Manifest, count: int) -> dict[str, int]:
        calls.append(count)
        return speaker_folds(manifest, count)

    monkeypatch.setattr("mmer_pipeline.corpora.folds.speaker_folds", counted)
    found = possible_folds(corpus(11, speaker=lambda u: u.session))
    assert found.recommended == "5"
    assert set(found.validations.values()) == {""}
    assert calls == [5, 5]  # the folds and the validation parts


def test_many_sessions_are_possible_and_groups_suggested() -> None:
    found = possible_folds(corpus(11, speaker=lambda u: u.session))
    assert line(found, "session").startswith("--folds session: 11 folds")
    assert (found.recommended, found.validations) == ("5", {"session": "", "speaker": "", "0.1": ""})


def test_a_validation_part_that_does_not_fit_is_named_with_the_reason() -> None:
    found = possible_folds(corpus(2))
    assert found.lines()[-1] == (
        "Suggested: --folds session, which allows --validation speaker, 0.1; "
        "not session (Fold 1: the training part is empty)"
    )


def test_folds_that_lack_a_class_are_named() -> None:
    found = possible_folds(corpus(3, emotion=lambda u: "neu" if u.speaker in ("1F", "1M") else u.emotion))
    assert line(found, "session") == (
        "--folds session: 3 folds, 40 utterances held out; the held-out part lacks a class in 1 (happy, angry, sad)"
    )
    found = possible_folds(corpus(3, emotion=lambda u: "neu" if u.session != "2" else u.emotion))
    assert line(found, "session").endswith("; the training part lacks a class in 2 (happy, angry, sad)")


def test_groups_are_suggested_where_sessions_lack_classes_that_groups_have() -> None:
    def moved(u: Utterance) -> str:  # a session of one speaker, who is never neutral
        return "happy" if u.speaker == "1F" else u.session

    def never_neutral(u: Utterance) -> str:
        return "sad" if u.speaker == "1F" and u.emotion == "neu" else u.emotion

    found = possible_folds(corpus(session=moved, emotion=never_neutral))
    assert "lacks a class in happy (neutral)" in line(found, "session")
    assert "lacks" not in line(found, "5")
    assert found.recommended == "5"


def test_further_columns_are_listed_if_they_could_define_folds() -> None:
    found = possible_folds(
        corpus(
            others=lambda u: (("site", "ab"[u.session in "12"]), ("take", u.utterance_id[-1]), ("text", u.utterance_id))
        )
    )
    assert line(found, "site") == "--folds site: 2 folds, 80 to 120 utterances held out"
    assert line(found, "take") == ("--folds take: refused; 10 speakers (1F, 1M, 2F, and 7 more) are in several folds")
    assert "text" not in [choice.folds for choice in found.choices]


def test_the_official_split_comes_before_groups() -> None:
    parts = {"1": "train", "2": "dev", "3": "test"}
    found = possible_folds(corpus(3, session=lambda u: parts[u.session], speaker=lambda u: u.speaker[-1]))
    assert line(found, "split") == (
        "--folds split: 1 fold, 40 utterances held out; 2 speakers (F, M) are also in the training part"
    )
    assert (found.recommended, line(found, "session")[:31]) == ("split", "--folds session: refused; 2 spe")


def test_one_speaker_allows_no_folds() -> None:
    found = possible_folds(corpus(1, speaker=lambda _: "one"))
    assert found.recommended is None
    assert "at least two speakers are needed" in found.lines()[-1]
    assert line(found, "2").startswith("--folds 2: refused; all rows of manifest.csv have the speaker one. ")


def test_prepare_says_what_is_possible_and_suggests_groups(manifest: Manifest) -> None:
    rows = manifest.path.read_text().replace(",2,", ",1,")  # one session
    Path("corpus/manifest.csv").write_text(rows)
    result = succeed("prepare", "csv", "--root", "corpus", "--label-map", "iemocap-4", "--manifest", "cache/new.csv")
    assert "--folds session: refused; there is only one session, 1\n" in result.stdout
    assert "--folds 4: 4 folds, 4 utterances held out (speakers grouped, classes balanced)\n" in result.stdout
    assert result.stderr.endswith("Next: mmer-pipe audit --folds 4 --manifest cache/new.csv\n")


@pytest.mark.parametrize("validation", ["session", "speaker"])
def test_folds_by_a_column_of_several_sessions_can_have_a_validation_speaker(validation: str) -> None:
    """Before, the session after the held-out one was held out, too: "the validation part is empty"."""
    manifest = corpus(others=lambda u: (("site", "north" if u.session in "12" else "south"),))
    fold = make_fold(manifest, 1, column="site", validation=validation, seed=1)
    speakers = {manifest.utterances[i].speaker for i in fold.validation}
    assert speakers == ({"3F"} if validation == "speaker" else {"3F", "3M"})
    assert fold.train


def test_a_validation_part_that_is_impossible_is_refused_with_those_that_are_possible() -> None:
    manifest = corpus(2, others=lambda u: (("site", u.speaker),))
    with pytest.raises(UserError, match=r"training part is empty.* --folds session, all folds .* speaker, 0\.1, none"):
        make_fold(manifest, 1, column="session", validation="session", seed=1)
    alone = corpus(2, speaker=lambda u: u.session)
    with pytest.raises(UserError, match=r"training part is empty\. .* all folds can be trained with .* 0\.1, none\."):
        make_fold(alone, 1, column="speaker", validation="speaker", seed=1)
