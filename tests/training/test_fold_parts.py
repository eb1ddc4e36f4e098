"""The parts of the folds of several jobs."""

from dataclasses import replace

import pytest

from mmer_pipeline import paths
from mmer_pipeline.errors import UserError
from mmer_pipeline.settings import Settings
from mmer_pipeline.training import fold_parts


def test_the_warning_is_about_the_folds_of_all_jobs_and_makes_each_fold_once(manifest, monkeypatch):
    made, make_fold = [], fold_parts.make_fold
    monkeypatch.setattr(fold_parts, "make_fold", lambda *given, **named: made.append(1) or make_fold(*given, **named))
    apart = Settings(fold=1, validation="speaker")  # in this corpus, a dialogue has one speaker
    shared = replace(apart, validation="0.5")
    assert fold_parts.fold_warnings(manifest, [apart]) == []
    (warning,) = fold_parts.fold_warnings(manifest, [apart, shared, replace(shared, alpha=0.5, system="cai")])
    assert "up to 2 speakers and 2 dialogues in common" in warning
    assert len(made) == 1 + 2


@pytest.mark.parametrize(
    ("sessions", "validation", "shared", "apart"),
    [
        (2, "0.5", "speakers", "`--validation speaker`"),  # another session would leave nothing to train on
        (3, "0.5", "speakers", "`--validation session`"),
        (2, "speaker", "dialogues", ""),
    ],
)
def test_only_validation_parts_that_are_possible_are_recommended(tiny_corpus, sessions, validation, shared, apart):
    manifest = tiny_corpus(sessions=sessions)
    together = tuple(replace(u, dialogue=u.emotion) for u in manifest.utterances)
    jobs = [Settings(fold=number, validation=validation) for number in (1, 2)]
    (warning,) = fold_parts.fold_warnings(replace(manifest, utterances=together), jobs)
    remedy = f"; in a cross-validation, {apart} keeps them apart." if apart else "."
    assert warning.endswith(f"not those of new {'conversations' if shared == 'dialogues' else shared}{remedy}")


def test_nothing_is_said_of_the_speakers_that_an_official_split_shares(manifest):
    parts = {"1F": "train", "1M": "train", "2F": "dev", "2M": "test"}
    utterances = tuple(replace(u, session=parts[u.speaker], speaker="one") for u in manifest.utterances)
    official = Settings(fold=1, folds="split", validation="session")
    assert fold_parts.fold_warnings(replace(manifest, utterances=utterances), [official]) == []


def test_classes_that_a_fold_lacks_are_said(manifest):
    rows = tuple(replace(u, emotion="neu") if u.session == "1" else u for u in manifest.utterances)
    warnings = fold_parts.fold_warnings(replace(manifest, utterances=rows), [Settings(fold=1), Settings(fold=2)])
    assert warnings == [
        "Classes are missing from held-out parts, whose UA is then a mean over fewer: fold 1 lacks happy, angry, sad. "
        "Classes are missing from training parts and cannot be learned there: fold 2 lacks happy, angry, sad."
    ]


def test_a_later_fold_that_is_impossible_is_refused_before_the_first_is_trained(manifest):
    rows = tuple(replace(u, session=u.speaker) for u in manifest.utterances)
    rows = tuple(replace(u, speaker="2F") if u.speaker == "2M" and "hap" in u.utterance_id else u for u in rows)
    jobs = [Settings(fold=number, folds="session", validation="session") for number in (1, 2, 3, 4)]
    with pytest.raises(UserError, match="speaker 2F is in both"):
        fold_parts.fold_warnings(replace(manifest, utterances=rows), jobs)


def test_folds_of_grouped_speakers_are_written_down_before_they_are_used(manifest):
    place = paths.speaker_folds(manifest.path, 2)
    fold = fold_parts.fold_of(Settings(fold=2, folds="2"), manifest)
    second = {line.partition(",")[0] for line in place.read_text().splitlines() if line.endswith(",2")}
    assert {manifest.utterances[i].speaker for i in fold.test} == second


def test_systems_that_read_no_words_need_none(manifest):
    silent = replace(manifest, utterances=tuple(replace(u, transcript="") for u in manifest.utterances))
    hearing = [Settings(fold=1, system="wav2vec2", alpha=0.0), Settings(fold=1, system="cai", alpha=0.0)]
    automatic = [Settings(fold=1, transcripts="asr"), Settings(fold=1, system="roberta", alpha=0, transcripts="none")]
    fold_parts.check_words(silent, [*hearing, *automatic])
    with pytest.raises(UserError, match="but cai, mmer read words"):
        fold_parts.check_words(silent, [*hearing, Settings(fold=1, system="cai"), Settings(fold=1), Settings(fold=2)])
    fold_parts.check_words(manifest, [Settings(fold=1)])
