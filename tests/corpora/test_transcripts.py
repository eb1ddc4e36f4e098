"""The two texts of a transcript: what the text encoder reads, and what CTC spells."""

import json
from pathlib import Path

import pytest
import torch

from mmer_pipeline.corpora.transcripts import (
    ANNOTATION_POLICIES,
    BLANK,
    WAV2VEC2_ALPHABET,
    WORD_BOUNDARY,
    Alphabet,
    corpus_alphabet,
    encoder_text,
    frames_needed,
)

LETTERS = Alphabet(WAV2VEC2_ALPHABET)

TRANSCRIPTS = [
    "",
    "   ",
    "Yes.",
    "[LAUGHTER]",
    "Oh [LAUGHTER]  no {BR}.",
    "[LAUGHTER [LOUD] END] yes",
    "{a {b} [c]} d",
    "[a {b] c}",
    "[open and never closed",
    "closed] but never opened",
    "[[]] [] {}",
    "tab\tand\nnew line [...] dots",
    "zażółć gęślą jaźń",
]


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("strip", "Oh no ."),
        ("keep", "Oh [LAUGHTER] no {BR}."),
        ("mask", "Oh [...] no [...] ."),
    ],
)
def test_each_policy_treats_annotations_its_way_and_folds_white_space(policy: str, expected: str) -> None:
    assert encoder_text("  Oh [LAUGHTER]  no\t{BR}.\n", policy) == expected


@pytest.mark.parametrize("policy", ANNOTATION_POLICIES)
@pytest.mark.parametrize("transcript", TRANSCRIPTS)
def test_a_policy_applied_twice_is_the_policy_applied_once(policy: str, transcript: str) -> None:
    once = encoder_text(transcript, policy)
    assert encoder_text(once, policy) == once


@pytest.mark.parametrize("transcript", TRANSCRIPTS)
def test_a_policy_leaves_no_surplus_white_space(transcript: str) -> None:
    for policy in ANNOTATION_POLICIES:
        text = encoder_text(transcript, policy)
        assert text == " ".join(text.split())


@pytest.mark.parametrize(
    ("transcript", "stripped", "masked"),
    [
        ("[LAUGHTER [LOUD] END] yes", "yes", "[...] yes"),
        ("{a {b} [c]} d", "d", "[...] d"),
        ("[[]] e", "e", "[...] e"),
    ],
)
def test_nested_annotations_go_as_a_whole(transcript: str, stripped: str, masked: str) -> None:
    assert encoder_text(transcript, "strip") == stripped
    assert encoder_text(transcript, "mask") == masked


def test_a_bracket_without_its_partner_is_text() -> None:
    assert encoder_text("[open yes", "strip") == "[open yes"
    assert encoder_text("yes closed]", "mask") == "yes closed]"
    assert encoder_text("[open [LAUGHTER] yes", "strip") == "[open yes"


def test_a_transcript_of_annotations_alone_is_empty_once_stripped() -> None:
    assert encoder_text("[LAUGHTER] {BR}", "strip") == ""
    assert LETTERS.encode("[LAUGHTER] {BR}") == []


def test_encoder_text_is_in_composed_unicode() -> None:
    assert encoder_text("cafe\u0301", "keep") == "caf\u00e9"


@pytest.mark.real
def test_the_default_alphabet_is_the_vocabulary_of_wav2vec2_base_960h(shared: Path) -> None:
    vocabulary = json.loads((shared / "models/configs/wav2vec2-base-960h/vocab.json").read_text())
    assert {symbol: number for number, symbol in enumerate(WAV2VEC2_ALPHABET)} == vocabulary


@pytest.mark.parametrize(
    ("transcript", "words"),
    [
        ("Don't do that!", "DON'T DO THAT"),
        ("Don\u2019t, \u2018cause", "DON'T 'CAUSE"),
        ("don\u02bct don`t", "DON'T DON'T"),
        ("well\u2014no", "WELLNO"),
        ("Stra\u00dfe", "STRASSE"),
        ("3 cats | [LAUGHTER] <s>", "CATS S"),
        ("caf\u00e9", "CAF"),
        ("  two\u00a0words ", "TWO WORDS"),
        ("...", ""),
    ],
)
def test_ctc_words_are_upper_case_and_of_the_alphabet_alone(transcript: str, words: str) -> None:
    assert LETTERS.words(transcript) == words


def test_a_target_is_symbol_numbers_with_words_joined_by_the_boundary() -> None:
    assert [WAV2VEC2_ALPHABET[number] for number in LETTERS.encode("Hi, Jo.")] == ["H", "I", "|", "J", "O"]


@pytest.mark.parametrize("transcript", ["Hello, good book", "Don't!", "a", "", "x  y [BREATHING] z"])
def test_decoding_a_target_with_blanks_between_gives_its_words(transcript: str) -> None:
    frames = [number for symbol in LETTERS.encode(transcript) for number in (symbol, symbol, 0)]
    assert LETTERS.decode(frames) == LETTERS.words(transcript)


def test_greedy_decoding_merges_repeats_unless_a_blank_parts_them() -> None:
    number = {symbol: n for n, symbol in enumerate(WAV2VEC2_ALPHABET)}
    spoken = ["|", BLANK, "B", "B", "O", BLANK, "O", "O", "K", "<unk>", "K", "|", "|", BLANK, "|", "</s>", "S", "|"]
    assert LETTERS.decode([number[symbol] for symbol in spoken]) == "BOOKK S"
    assert LETTERS.decode([]) == ""


def test_the_corpus_alphabet_has_the_corpus_s_own_letters_and_digits() -> None:
    alphabet = corpus_alphabet(["Zażółć gęślą jaźń!", "It\u2019s 2. [ŁAAA]"])
    assert alphabet.symbols[:2] == (BLANK, WORD_BOUNDARY)
    assert list(alphabet.symbols[2:]) == sorted("ZAŻÓŁĆGĘŚLĄJŹŃIT2'S")
    assert alphabet.words("zażółć, gęślą") == "ZAŻÓŁĆ GĘŚLĄ"
    assert alphabet.decode(alphabet.encode("jaźń")) == "JAŹŃ"


def test_the_corpus_alphabet_spells_every_transcript_that_it_was_made_from() -> None:
    transcripts = ["Ķīna", "żółw", "naïve façade", "e\u0301te\u0301", "हिन्दी"]
    alphabet = corpus_alphabet(transcripts)
    for transcript in transcripts:
        assert alphabet.words(transcript) == encoder_text(transcript, "strip").upper()


@pytest.mark.parametrize(
    ("target", "frames"),
    [([], 0), ([5], 1), ([5, 6], 2), ([5, 5], 3), ([5, 5, 5], 5), ([5, 6, 5], 3), ([7, 5, 5, 6, 6], 7)],
)
def test_ctc_needs_a_frame_a_symbol_and_a_blank_between_equal_ones(target: list[int], frames: int) -> None:
    assert frames_needed(target) == frames


def test_frames_needed_is_where_torch_s_ctc_loss_becomes_finite() -> None:
    target = [5, 5, 7, 7, 7, 6]
    needed = frames_needed(target)
    for frames in (needed - 1, needed):
        log_probabilities = torch.zeros(frames, 1, 8).log_softmax(dim=-1)
        loss = torch.nn.functional.ctc_loss(
            log_probabilities, torch.tensor([target]), torch.tensor([frames]), torch.tensor([len(target)])
        )
        assert bool(loss.isfinite()) == (frames == needed)
