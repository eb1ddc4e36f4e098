"""Properties of transcripts and alphabets that hold for any text."""

import unicodedata

from helpers.property_examples import (
    ALPHABETS,
    SAID,
)
from hypothesis import example, given
from hypothesis import strategies as st

from mmer_pipeline.corpora.transcripts import (
    ANNOTATION_POLICIES,
    BLANK,
    WORD_BOUNDARY,
    Alphabet,
    corpus_alphabet,
    encoder_text,
    frames_needed,
)

# Texts.


@given(SAID, st.sampled_from(ANNOTATION_POLICIES))
def test_a_policy_settles_what_it_did_once_it_does_not_do_again(transcript: str, policy: str) -> None:
    once = encoder_text(transcript, policy)
    assert encoder_text(once, policy) == once
    assert once == " ".join(once.split())


@given(SAID)
@example("a\0b")
def test_stripping_leaves_no_whole_annotation_and_loses_nothing_outside_one(transcript: str) -> None:
    kept = encoder_text(transcript, "strip")
    assert not any(first in kept and second in kept.split(first, 1)[1] for first, second in ("[]", "{}"))
    plain = transcript.translate(str.maketrans(dict.fromkeys("[]{}")))
    assert encoder_text(plain, "strip") == encoder_text(plain, "keep")


@given(SAID)
def test_a_mask_stands_wherever_an_annotation_was_stripped_and_nowhere_else(transcript: str) -> None:
    mask, strip = encoder_text(transcript, "mask"), encoder_text(transcript, "strip")
    assert encoder_text(mask, "strip") == strip
    assert (mask == strip) == (mask.count("[...]") == 0)


@given(ALPHABETS, SAID)
@example(corpus_alphabet(["\u0149"]), "\u0149")
def test_words_are_spelt_with_the_alphabet_alone_and_settle(alphabet: Alphabet, transcript: str) -> None:
    words = alphabet.words(transcript)
    assert set(words) <= {*alphabet.symbols, " "}
    if unicodedata.is_normalized("NFC", words):  # otherwise an accent may follow another letter than its own
        assert alphabet.words(words) == words


@given(ALPHABETS, SAID)
def test_what_is_encoded_is_decoded_from_as_many_frames_as_are_needed(alphabet: Alphabet, transcript: str) -> None:
    target = alphabet.encode(transcript)
    frames: list[int] = []
    for symbol in target:
        if frames and frames[-1] == symbol:
            frames.append(0)  # the blank between two equal symbols
        frames.append(symbol)
    assert len(frames) == frames_needed(target)
    assert alphabet.decode(frames) == alphabet.words(transcript)
    assert alphabet.decode([frame for frame in frames for _ in range(3)]) == alphabet.words(transcript)
    assert all(0 < symbol < len(alphabet.symbols) for symbol in target)


@given(st.lists(SAID, max_size=4))
def test_a_corpus_alphabet_spells_every_letter_of_its_corpus(transcripts: list[str]) -> None:
    alphabet = corpus_alphabet(transcripts)
    assert alphabet.symbols[:2] == (BLANK, WORD_BOUNDARY)
    assert len(set(alphabet.symbols)) == len(alphabet.symbols)
    for transcript in transcripts:
        said = [letter for letter in encoder_text(transcript, "strip") if letter.isalnum()]
        assert bool(said) <= bool(alphabet.words(transcript))
        assert alphabet.unspellable(transcript) == ""


@given(ALPHABETS, st.data())
def test_any_frames_decode_to_words_of_the_alphabet(alphabet: Alphabet, data: st.DataObject) -> None:
    frames = data.draw(st.lists(st.integers(0, len(alphabet.symbols) - 1), max_size=20))
    words = alphabet.decode(frames)
    assert words == " ".join(words.split())
    assert len(words) <= len(frames)
