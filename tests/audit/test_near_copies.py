"""Near copies: the searches compared with exhaustive ones, and the worth of copies with a hand-computed case."""

import json

import huggingface_hub.constants
import numpy as np
import pytest
from helpers.audit_example import found, texts_alone
from helpers.planted_corpus import WORDS, sound
from rapidfuzz import process
from rapidfuzz.distance import Levenshtein
from scipy.signal import correlate
from scipy.stats import binomtest

from mmer_pipeline.audit import near_texts, sound_fingerprint
from mmer_pipeline.audit.encoder_origins import read_origins
from mmer_pipeline.audit.near_copies import score_answers
from mmer_pipeline.audit.run_audit import make_audit


def edited_texts(count):
    """Sentences, and as many with a word more, less or another."""
    random = np.random.default_rng(0)
    texts = [" ".join(random.choice(WORDS, random.integers(5, 12))) for _ in range(count)]
    for text in list(texts):
        words = text.split()
        place = int(random.integers(len(words)))
        words[place : place + int(random.integers(2))] = random.choice(WORDS, random.integers(2)).tolist()
        texts.append(" ".join(words))
    return list(dict.fromkeys(texts))


def test_hashing_finds_nearly_all_pairs_that_comparing_every_pair_finds():
    texts = edited_texts(150)
    distances = process.cdist(texts, texts, scorer=Levenshtein.normalized_similarity, dtype=np.float64)
    exhaustive = {(a, b) for a, b in np.argwhere(distances >= near_texts.SIMILAR).tolist() if a != b}
    number = {text: n for n, text in enumerate(texts)}
    similar = near_texts._similar_texts(texts)
    hashed = {(number[a], number[b]) for a, others in similar.items() for _, b in others}
    assert hashed <= exhaustive
    assert len(hashed) > 0.95 * len(exhaustive) > 100


@pytest.mark.parametrize(
    ("text", "essential"),
    [
        ("uh i'm sure you can't", "i am sure you cannot"),
        ("well you know it won't it's gonna rain", "it will not it is going to rain"),
        ("the umbrella is well under the welcome mat", "the umbrella is under the welcome mat"),
    ],
)
def test_contractions_and_fillers_are_removed(text, essential):
    assert near_texts.essential_words(text) == essential


def test_the_answer_is_the_label_that_most_of_the_nearest_training_texts_have(tmp_path):
    line = "we will meet behind the old mill"
    rows = [("1", "hap", f"uh {line}"), ("2", "sad", line), ("2", "sad", line), ("2", "hap", line), ("3", "ang", "No.")]
    audit = make_audit(texts_alone(rows, tmp_path / "m.csv"), audio=False)
    assert found(audit, "near_texts")["value"] == 4
    assert [pair["in_training"] for pair in audit["near_texts"]["pairs"]] == ["u1", "u0", "u0", "u0"]
    assert audit["near_texts"]["correct"] == 1  # the first is answered with sad, the others with happy


def test_worth_agrees_with_a_hand_computed_case():
    truth, answers = np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1])
    worth = score_answers(truth, answers, np.array([[1.0, 3.0]] * 4))
    assert (worth.correct, worth.ua, worth.guessing_ua) == (3, pytest.approx((2 / 3 + 1) / 2), (1 / 4 + 3 / 4) / 2)
    # The chances of a correct guess are 1/4, 1/4, 1/4 and 3/4; the most frequent class is as often correct.
    assert worth.significant == (binomtest(3, 4, 3 / 8, alternative="greater").pvalue < 0.01)
    many = score_answers(np.tile(truth, 50), np.tile(answers, 50), np.array([[1.0, 3.0]] * 200))
    assert many.significant
    assert not score_answers(truth[:0], answers[:0], np.zeros((0, 2))).utterances


def test_sorted_hashes_find_the_pairs_that_comparing_every_pair_finds():
    recordings = [sound(n) for n in range(6)] + [0.2 * sound(2)[3000:], sound(3)[:-5000]]
    hashes = [sound_fingerprint.sound_hashes(samples.astype(np.float32)) for samples in recordings]
    common = {
        (a, b): len(np.intersect1d(hashes[a], hashes[b])) for a in range(8) for b in range(a + 1, 8)
    }  # fmt: skip
    expected = sorted(pair for pair, count in common.items() if count >= sound_fingerprint.COMMON_HASHES)
    assert sound_fingerprint.similar_pairs(hashes) == expected == [(2, 6), (3, 7)]
    assert sound_fingerprint.similar_pairs([]) == []


def test_digital_silence_and_a_moment_have_no_hashes():
    for samples in (np.zeros(16_000), sound(1)[: sound_fingerprint.SHORTEST - 1]):
        assert not len(sound_fingerprint.sound_hashes(samples.astype(np.float32)))


def test_cross_correlation_is_that_of_whitened_waveforms():
    first, second = sound(1).astype(np.float32), (0.1 * sound(1)[4000:]).astype(np.float32)
    assert sound_fingerprint.cross_correlation(first, first) == pytest.approx(1, abs=1e-3)
    assert sound_fingerprint.cross_correlation(first, second) > 0.5
    assert sound_fingerprint.cross_correlation(first, sound(2).astype(np.float32)) < 0.1
    # White noise needs no whitening: the highest normalised correlation of its waveforms is nearly the same.
    noise = np.random.default_rng(0).normal(size=32_000).astype(np.float32)
    other = (0.6 * noise + 0.8 * np.random.default_rng(1).normal(size=32_000)).astype(np.float32)
    plain = correlate(noise, other).max() / np.sqrt((noise @ noise) * (other @ other))
    assert plain == pytest.approx(0.6, abs=0.02)
    assert sound_fingerprint.cross_correlation(noise, other) == pytest.approx(plain, abs=0.15)


def test_an_encoder_in_the_hubs_cache_is_read_there(tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    repository = tmp_path / "models--someone--speech"
    snapshot = repository / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("abc")
    (snapshot / "config.json").write_text(json.dumps({"id2label": {"0": "Happy", "1": "Sad"}}))
    known, unknown, embedded, unusable = read_origins(
        "ravdess", {"a": "someone/speech", "b": "someone/else", "c": "embedded/minilm-l6", "d": "/nowhere/at/all"}
    )
    assert known.described
    assert known.signs == ("its configuration has the classes Happy, Sad",)
    assert not unknown.described
    assert not [*unknown.signs, *embedded.signs, *unusable.signs]
