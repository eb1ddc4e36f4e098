"""The words that a recognizer reads: given, automatic, or none."""

from dataclasses import replace

import pytest
from helpers.trained_runs import HEARD, RATE, FakeAsr, model, recognizer, tone

from mmer_pipeline import EmotionRecognizer
from mmer_pipeline.errors import UserError
from mmer_pipeline.prediction import recognizer as module

HELLO = "Hello there"


@pytest.fixture(scope="module")
def mmer(trained):
    """MMER's model of fold 1; its ASR model hears `HEARD` in everything."""
    return recognizer(model(trained))


def probabilities(prediction):
    return list(prediction.probabilities.values())


def test_what_has_no_transcript_is_transcribed(trained):
    asr = FakeAsr()
    found = recognizer(model(trained), asr).predict([tone(0.4), tone(0.5), tone(0.6)], [None, HELLO, None])
    sources = [(one.transcript, one.transcript_source) for one in found]
    assert sources == [(HEARD, "asr"), (HELLO, "given"), (HEARD, "asr")]
    assert asr.asked == 2


def test_an_empty_transcript_is_one(mmer):
    found = mmer(tone(0.5), RATE, transcript="", explain=True)
    assert (found.transcript, found.transcript_source) == ("", "given")
    assert found.explanation.words == ()
    assert 0 < found.gate < 1


def test_with_asr_given_transcripts_are_not_used(trained):
    automatic = recognizer(model(trained), transcripts="asr")
    found = automatic(tone(0.5), RATE, transcript=HELLO)
    assert (found.transcript, found.transcript_source) == (HEARD, "asr")
    assert probabilities(found) == probabilities(automatic(tone(0.5), RATE))


def test_with_gold_a_missing_transcript_is_refused(trained):
    gold = recognizer(model(trained), transcripts="gold")
    assert gold(tone(0.5), RATE, transcript=HELLO).transcript_source == "given"
    with pytest.raises(UserError, match=r"The recording has no transcript, and only given ones may be used \(gold\)"):
        gold(tone(0.5), RATE)
    assert recognizer(model(trained, "cai"), transcripts="gold")(tone(0.5), RATE).transcript_source == "none"


def test_with_none_the_words_do_not_matter(trained):
    silent = recognizer(model(trained), transcripts="none")
    found = silent(tone(0.5), RATE, transcript=HELLO)
    assert (found.transcript, found.transcript_source) == ("", "none")
    assert probabilities(found) == probabilities(silent(tone(0.5), RATE, transcript="Something else"))


def test_a_model_that_was_trained_without_words_reads_none(trained):
    base = model(trained)
    without = replace(base, settings=replace(base.settings, transcripts="none"))
    assert recognizer(without)(tone(0.5), RATE, transcript=HELLO).transcript_source == "none"
    assert recognizer(without, transcripts="asr")(tone(0.5), RATE).transcript == HEARD


def test_annotations_are_treated_as_in_the_training(mmer):
    plain, tagged = (mmer(tone(0.5), RATE, transcript=text) for text in ("Oh no", "[LAUGHTER] Oh no"))
    assert plain.probabilities == tagged.probabilities
    assert tagged.transcript == "[LAUGHTER] Oh no"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, ("embedded/moonshine-tiny", None)),
        ({"asr_model": "my/asr"}, ("my/asr", None)),
        ({"asr_model": "my/asr", "asr_revision": "v1"}, ("my/asr", "v1")),
        ({"asr_revision": "v2"}, ("embedded/moonshine-tiny", "v2")),
    ],
)
def test_the_asr_model_is_loaded_once_when_it_is_first_needed(trained, monkeypatch, options, expected):
    asked = []
    monkeypatch.setattr(module, "resolve_encoder", lambda *name: asked.append(name) or name)
    monkeypatch.setattr(module, "AsrModel", lambda *_: FakeAsr())
    lazy = EmotionRecognizer(model(trained), device="cpu", **options)
    lazy(tone(0.5), RATE, transcript=HELLO)
    assert asked == []
    assert [lazy(tone(0.5), RATE).transcript for _ in range(2)] == [HEARD] * 2
    assert asked == [expected]
