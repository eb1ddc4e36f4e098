"""Make two texts from a transcript: one for the text encoder, one for CTC.

Annotations (`[LAUGHTER]`, `{LG}`) can leak the label: 114 of IEMOCAP's 117 utterances with `[LAUGHTER]` are happy.
The default policy removes them. Since they are not spoken, CTC never sees them, whatever the policy.
"""

import re
import unicodedata
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

GOLD, ASR, NONE = TRANSCRIPT_SOURCES = ("gold", "asr", "none")  # the manifest's, automatic ones, unknown words
ANNOTATION_POLICIES = ("strip", "keep", "mask")
ANNOTATION_MASK = "[...]"  # policy "mask": shows that something was annotated, but not what
ANNOTATION = re.compile(r"\[[^\[\]]*\]|\{[^{}]*\}")  # an innermost annotation
_REMOVED = "\0"  # replaces an annotation until those around it are found

BLANK = "<pad>"
WORD_BOUNDARY = "|"
# The symbols of facebook/wav2vec2-base-960h in its order, beginning with the blank.
WAV2VEC2_ALPHABET = (
    *(BLANK, "<s>", "</s>", "<unk>", WORD_BOUNDARY),
    *"ETAONIHSRDLUMWCFGYPBVK'XJQZ",
)
_APOSTROPHES = str.maketrans({"\u2019": "'", "\u02bc": "'", "\u2018": "'", "`": "'"})
# Capitals that `str.upper`, which ignores the language, never returns: it turns both Turkish "i" and "ı" into I, and
# "ß" into two letters. An alphabet with such a capital uses it for the small letter.
_SPECIAL_CAPITALS = {"İ": "i", "ẞ": "ß"}
_EVIDENCE = {"İ": re.compile("[ıİ]|i\u0307"), "ẞ": re.compile("[ßẞ]")}  # what shows that a corpus needs the capital


def encoder_text(transcript: str, annotations: str) -> str:
    """The text for the text encoder: annotations treated by the policy, white space folded, Unicode NFC."""
    text = unicodedata.normalize("NFC", transcript).replace(_REMOVED, " ")
    if annotations != "keep":
        while ANNOTATION.search(text):  # from the inside out: annotations may be nested
            text = ANNOTATION.sub(_REMOVED, text)
        text = text.replace(_REMOVED, f" {ANNOTATION_MASK} " if annotations == "mask" else " ")
    return " ".join(text.split())


@dataclass(frozen=True)
class Alphabet:
    """The symbols of the CTC head."""

    symbols: tuple[str, ...]  # in the order of the logits, beginning with the blank

    def words(self, transcript: str) -> str:
        """The transcript as CTC can spell it: no annotations, upper case, only symbols of the alphabet, single spaces.

        Upper case follows the alphabet's language where the alphabet shows it: with İ in it, as in Turkish, "i"
        becomes İ and "ı" becomes I; with ẞ in it, "ß" becomes ẞ and not SS.
        """
        known = set(self.symbols) - {WORD_BOUNDARY}
        text = _upper(encoder_text(transcript, "strip"), known)
        return " ".join("".join(letter if letter in known else " " * letter.isspace() for letter in text).split())

    def unspellable(self, transcript: str) -> str:
        """The letters and digits of a transcript that the alphabet cannot spell, in upper case."""
        text = _upper(encoder_text(transcript, "strip"), self.symbols)
        return "".join(letter for letter in text if letter not in self.symbols and _is_spoken(letter))

    def encode(self, transcript: str) -> list[int]:
        """The CTC target: symbol numbers, words joined by `|`; empty if no word can be spelt."""
        index = {symbol: number for number, symbol in enumerate(self.symbols)}
        return [index[letter] for letter in self.words(transcript).replace(" ", WORD_BOUNDARY)]

    def decode(self, best: Iterable[int]) -> str:
        """The greedy transcript from the best symbol of each frame: repeats merged, blanks dropped."""
        letters: list[str] = []
        before = -1
        for number in best:
            if number != before and len(self.symbols[number]) == 1:
                letters.append(self.symbols[number])
            before = number
        return " ".join("".join(letters).replace(WORD_BOUNDARY, " ").split())


def spoken_words(transcript: str) -> str:
    """The words of a transcript for comparison with another: no annotations, case or punctuation.

    Empty for a transcript that consists only of annotations.
    """
    text = unicodedata.normalize("NFC", encoder_text(transcript, "strip").translate(_APOSTROPHES).casefold())
    return " ".join("".join(letter if _is_spoken(letter) else " " for letter in text).split())


def corpus_alphabet(transcripts: Iterable[str]) -> Alphabet:
    """The letters and digits of a corpus, a word boundary and a blank (paper, section 3.4).

    Works for any language without merging letters: if a transcript contains "ı" or "İ", all are spelt as in Turkish
    (see `Alphabet.words`).
    """
    texts = [encoder_text(transcript, "strip") for transcript in transcripts]
    special = {capital for capital, sign in _EVIDENCE.items() if any(sign.search(text) for text in texts)}
    letters = special.union(*(_upper(text, special) for text in texts))
    return Alphabet((BLANK, WORD_BOUNDARY, *sorted(filter(_is_spoken, letters))))


def _is_spoken(letter: str) -> bool:
    """Whether a character is a letter, a mark on one, a digit or an apostrophe."""
    return letter == "'" or unicodedata.category(letter)[0] in "LMN"


def _upper(text: str, capitals: Container[str]) -> str:
    """Upper case in composed Unicode, with the `_SPECIAL_CAPITALS` that are in `capitals`."""
    text = text.translate(_APOSTROPHES)
    if "İ" in capitals:
        text = text.replace("i\u0307", "i")  # the result of `"İ".lower()`
    for capital, small in _SPECIAL_CAPITALS.items():
        if capital in capitals:
            text = text.replace(small, capital)
    return unicodedata.normalize("NFC", text.upper()).translate(_APOSTROPHES)  # again: upper-case "ŉ" has one


def frames_needed(target: Sequence[int]) -> int:
    """Frames that CTC needs to spell a target: one per symbol, and a blank between two equal ones."""
    return len(target) + sum(first == second for first, second in pairwise(target))
