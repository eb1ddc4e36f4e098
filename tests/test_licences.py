"""Licences: every corpus that has a reader has one, and a model gets the strictest."""

import pytest

from mmer_pipeline import licences
from mmer_pipeline.corpora.readers import CORPORA, READERS
from mmer_pipeline.licences import OTHER, licence_for_model, licence_of_corpus, licence_of_encoder
from mmer_pipeline.settings import DEFAULTS

PERMISSIVE = {"mit", "apache-2.0"}


@pytest.mark.parametrize("corpus", sorted(CORPORA))
def test_every_corpus_with_a_reader_of_its_own_has_a_licence(corpus):
    licence = licence_of_corpus(corpus)
    assert licence is not None
    assert licence.title
    assert licence.note.endswith(".")


@pytest.mark.parametrize("corpus", ["csv", "корпус", "", "RAVDESS"])
def test_the_licence_of_another_corpus_is_unknown(corpus):
    assert licence_of_corpus(corpus) is None


def test_no_corpus_is_listed_without_a_reader():
    assert set(licences._CORPORA) <= set(READERS)


@pytest.mark.parametrize("name", ["text_encoder", "speech_encoder"])
def test_the_licences_of_the_default_encoders_are_known(name):
    licence = licence_of_encoder(DEFAULTS[name])
    assert licence is not None
    assert licence.name in PERMISSIVE


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("embedded/moonshine-tiny", "mit"),
        ("embedded/minilm-l6", "apache-2.0"),
        ("facebook/hubert-base-ls960", "apache-2.0"),
        ("microsoft/wavlm-base", OTHER),
    ],
)
def test_licences_of_encoders(name, expected):
    assert licence_of_encoder(name).name == expected


@pytest.mark.parametrize("name", ["/models/roberta-base", "facebook/wav2vec2-base-10k-voxpopuli", "me/roberta-base"])
def test_a_name_that_only_resembles_a_known_one_is_unknown(name):
    assert licence_of_encoder(name) is None


def test_encoders_add_nothing_to_the_corpus_licence_or_are_other():
    # `licence_for_model` takes the corpus's licence for that reason.
    assert {licence.name for licence in licences._ENCODERS.values()} <= PERMISSIVE | {OTHER}


@pytest.mark.parametrize(
    ("corpus", "encoders", "expected"),
    [
        ("ravdess", ["roberta-base", "facebook/wav2vec2-base"], "cc-by-nc-sa-4.0"),
        ("ravdess", [], "cc-by-nc-sa-4.0"),
        ("crema-d", ["embedded/minilm-l6"], "odbl"),
        ("iemocap", ["roberta-base"], OTHER),
        ("meld", ["roberta-base"], OTHER),
        ("csv", ["roberta-base"], OTHER),
        ("ravdess", ["roberta-base", "./my-encoder"], OTHER),
        ("ravdess", ["microsoft/wavlm-base"], OTHER),
    ],
)
def test_the_licence_of_a_model_is_the_strictest(corpus, encoders, expected):
    assert licence_for_model(corpus, encoders) == expected
    assert licence_for_model(corpus, iter(encoders)) == expected
