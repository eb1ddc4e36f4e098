"""Two texts come from a transcript: one for the text encoder, one for CTC.

Annotations (`[LAUGHTER]`, `{LG}`) can leak the label: of IEMOCAP's 117 utterances with `[LAUGHTER]` 114 are
happy. The default policy removes them; CTC never sees them, whatever the policy, since nobody speaks them.
"""

import re
import unicodedata
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

ANNOTATION_POLICIES = ("strip", "keep", "mask")
ANNOTATION_MASK = "[...]"  # policy "mask": something was annotated here, but not what
ANNOTATION = re.compile(r"\[[^\[\]]*\]|\{[^{}]*\}")  # one that holds no other
_REMOVED = "\0"  # stands for an annotation while the ones around it are still to be found

BLANK = "<pad>"
WORD_BOUNDARY = "|"
# Symbols of facebook/wav2vec2-base-960h, in its order; the blank is the first.
WAV2VEC2_ALPHABET = (
    *(BLANK, "<s>", "</s>", "<unk>", WORD_BOUNDARY),
    *"ETAONIHSRDLUMWCFGYPBVK'XJQZ",
)
_APOSTROPHES = str.maketrans({"\u2019": "'", "\u02bc": "'", "\u2018": "'", "`": "'"})
# Capitals that `str.upper` does not give, since it knows no language: it makes both of Turkish "i" and "ı" an I,
# and of "ß" two letters. An alphabet that has such a capital spells the small letter with it.
_OWN_CAPITALS = {"İ": "i", "ẞ": "ß"}
_SHOWN_BY = {"İ": re.compile("[ıİ]|i\u0307"), "ẞ": re.compile("[ßẞ]")}  # what shows that a corpus needs it


def encoder_text(transcript: str, annotations: str) -> str:
    """The text for the text encoder: annotations by the policy, white space folded, Unicode NFC."""
    text = unicodedata.normalize("NFC", transcript).replace(_REMOVED, " ")
    if annotations != "keep":
        while ANNOTATION.search(text):  # from the inside: annotations may be nested
            text = ANNOTATION.sub(_REMOVED, text)
        text = text.replace(_REMOVED, f" {ANNOTATION_MASK} " if annotations == "mask" else " ")
    return " ".join(text.split())


@dataclass(frozen=True)
class Alphabet:
    """The symbols of the CTC head."""

    symbols: tuple[str, ...]  # in the order of the logits; the first is the blank

    def words(self, transcript: str) -> str:
        """The transcript as CTC can spell it: no annotations, upper case, alphabet alone, single spaces.

        Upper case is that of the alphabet's language where the alphabet tells it: with an İ in it, as in Turkish,
        "i" is İ and "ı" is I; with an ẞ in it, "ß" is that and not SS.
        """
        known = set(self.symbols) - {WORD_BOUNDARY}
        text = _upper(encoder_text(transcript, "strip"), known)
        return " ".join("".join(letter if letter in known else " " * letter.isspace() for letter in text).split())

    def lost(self, transcript: str) -> str:
        """The letters and digits of a transcript that the alphabet cannot spell, in upper case."""
        text = _upper(encoder_text(transcript, "strip"), self.symbols)
        return "".join(letter for letter in text if letter not in self.symbols and _is_spoken(letter))

    def encode(self, transcript: str) -> list[int]:
        """The CTC target: symbol numbers, words joined by `|`; empty when nothing of it can be spelt."""
        index = {symbol: number for number, symbol in enumerate(self.symbols)}
        return [index[letter] for letter in self.words(transcript).replace(" ", WORD_BOUNDARY)]

    def decode(self, best: Iterable[int]) -> str:
        """The greedy transcript of the best symbol of each frame: repeats merged, blanks dropped."""
        letters: list[str] = []
        before = -1
        for number in best:
            if number != before and len(self.symbols[number]) == 1:
                letters.append(self.symbols[number])
            before = number
        return " ".join("".join(letters).replace(WORD_BOUNDARY, " ").split())


def spoken_words(transcript: str) -> str:
    """The words alone, by which two transcripts are the same: no annotations, case or punctuation.

    Empty where a transcript is nothing but annotations.
    """
    text = unicodedata.normalize("NFC", encoder_text(transcript, "strip").translate(_APOSTROPHES).casefold())
    return " ".join("".join(letter if _is_spoken(letter) else " " for letter in text).split())


def corpus_alphabet(transcripts: Iterable[str]) -> Alphabet:
    """The corpus's own letters and digits, a word boundary and a blank (paper, section 3.4).

    In any language, and no two letters become one: where a transcript has "ı" or "İ", all are spelt as in Turkish
    (see `Alphabet.words`).
    """
    texts = [encoder_text(transcript, "strip") for transcript in transcripts]
    own = {capital for capital, sign in _SHOWN_BY.items() if any(sign.search(text) for text in texts)}
    letters = own.union(*(_upper(text, own) for text in texts))
    return Alphabet((BLANK, WORD_BOUNDARY, *sorted(filter(_is_spoken, letters))))


def _is_spoken(letter: str) -> bool:
    """Whether it is a letter, a sign that belongs to one, a digit or an apostrophe."""
    return letter == "'" or unicodedata.category(letter)[0] in "LMN"


def _upper(text: str, capitals: Container[str]) -> str:
    """Upper case in composed Unicode, with those of `_OWN_CAPITALS` that are in `capitals`."""
    text = text.translate(_APOSTROPHES)
    if "İ" in capitals:
        text = text.replace("i\u0307", "i")  # what `lower` makes of İ
    for capital, small in _OWN_CAPITALS.items():
        if capital in capitals:
            text = text.replace(small, capital)
    return unicodedata.normalize("NFC", text.upper()).translate(_APOSTROPHES)  # again: "ŉ" has one in upper case


def frames_needed(target: Sequence[int]) -> int:
    """Frames that CTC needs to spell a target: one a symbol, and a blank between two equal ones."""
    return len(target) + sum(first == second for first, second in pairwise(target))
