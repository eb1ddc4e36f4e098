"""The parts of the folds of several jobs."""

from dataclasses import replace

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


def test_nothing_is_said_of_the_speakers_that_an_official_split_shares(manifest):
    parts = {"1F": "train", "1M": "train", "2F": "dev", "2M": "test"}
    utterances = tuple(replace(u, session=parts[u.speaker], speaker="one") for u in manifest.utterances)
    official = Settings(fold=1, folds="split", validation="session")
    assert fold_parts.fold_warnings(replace(manifest, utterances=utterances), [official]) == []
