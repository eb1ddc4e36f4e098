"""Which systems read words, and how titles say where the words come from."""

from dataclasses import asdict

import pytest

from mmer_pipeline.systems.catalogue import NAMED_LISTS
from mmer_pipeline.systems.registry import settings_for, split_name
from mmer_pipeline.systems.titles import title


def test_a_system_that_reads_no_words_has_the_same_settings_whatever_their_source():
    plain = settings_for("wav2vec2", fold=1)
    assert settings_for("wav2vec2", fold=1, transcripts="asr", test_transcripts="none") == plain
    for system in ("mmer", "cai", "roberta"):
        assert settings_for(system, fold=1, transcripts="asr") != settings_for(system, fold=1)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "MMER (α = 0.1)"),
        ({"transcripts": "asr"}, "MMER (α = 0.1, ASR transcripts)"),
        ({"transcripts": "asr", "test_transcripts": "asr"}, "MMER (α = 0.1, ASR transcripts)"),
        ({"test_transcripts": "asr"}, "MMER (α = 0.1, tested on ASR transcripts)"),
        ({"test_transcripts": "none"}, "MMER (α = 0.1, tested without transcripts)"),
        ({"transcripts": "none"}, "MMER (α = 0.1, no transcripts)"),
        (
            {"transcripts": "asr", "test_transcripts": "gold"},
            "MMER (α = 0.1, ASR transcripts, tested on gold transcripts)",
        ),
    ],
)
def test_a_title_says_where_the_words_come_from(settings, said):
    assert title(asdict(settings_for("mmer", fold=1, **settings))) == said


def test_the_title_of_a_run_from_before_the_setting_is_unchanged():
    old = asdict(settings_for("mmer", fold=1))
    for name in ("transcripts", "test_transcripts"):
        del old[name]
    assert title(old) == "MMER (α = 0.1)"


def test_the_list_of_transcripts_is_four_times_the_same_system():
    entries = [split_name(entry) for entry in NAMED_LISTS["transcripts"].split(",")]
    assert [name for name, _ in entries] == ["mmer"] * 4
    assert [words for _, words in entries] == [[], ["transcripts=asr"], ["test-transcripts=asr"], ["transcripts=none"]]
