"""Two texts come from a transcript: one for the text encoder, one for CTC.

Annotations (`[LAUGHTER]`, `{LG}`) can leak the label: of IEMOCAP's 117 utterances with `[LAUGHTER]` 114 are
happy. The default policy removes them; CTC never sees them, whatever the policy, since nobody speaks them.
"""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

ANNOTATION_POLICIES = ("strip", "keep", "mask")
ANNOTATION_MASK = "[...]"  # policy "mask": something was annotated here, but not what
_INNERMOST_ANNOTATION = re.compile(r"\[[^\[\]]*\]|\{[^{}]*\}")
_REMOVED = "\0"  # stands for an annotation while the ones around it are still to be found

BLANK = "<pad>"
WORD_BOUNDARY = "|"
# Symbols of facebook/wav2vec2-base-960h, in its order; the blank is the first.
WAV2VEC2_ALPHABET = (
    *(BLANK, "<s>", "</s>", "<unk>", WORD_BOUNDARY),
    *"ETAONIHSRDLUMWCFGYPBVK'XJQZ",
)
_APOSTROPHES = str.maketrans({"\u2019": "'", "\u02bc": "'", "\u2018": "'", "`": "'"})


def encoder_text(transcript: str, annotations: str) -> str:
    """The text for the text encoder: annotations by the policy, white space folded, Unicode NFC."""
    text = unicodedata.normalize("NFC", transcript)
    if annotations != "keep":
        while _INNERMOST_ANNOTATION.search(text):  # from the inside: annotations may be nested
            text = _INNERMOST_ANNOTATION.sub(_REMOVED, text)
        text = text.replace(_REMOVED, f" {ANNOTATION_MASK} " if annotations == "mask" else " ")
    return " ".join(text.split())


@dataclass(frozen=True)
class Alphabet:
    """The symbols of the CTC head."""

    symbols: tuple[str, ...]  # in the order of the logits; the first is the blank

    def words(self, transcript: str) -> str:
        """The transcript as CTC can spell it: no annotations, upper case, alphabet alone, single spaces."""
        text = encoder_text(transcript, "strip").translate(_APOSTROPHES)
        text = unicodedata.normalize("NFC", text.upper())
        known = set(self.symbols) - {WORD_BOUNDARY}
        return " ".join("".join(letter if letter in known else " " * letter.isspace() for letter in text).split())

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


def corpus_alphabet(transcripts: Iterable[str]) -> Alphabet:
    """The corpus's own letters and digits, a word boundary and a blank (paper, section 3.4)."""
    letters: set[str] = set()
    for transcript in transcripts:
        text = encoder_text(transcript, "strip").translate(_APOSTROPHES)
        letters.update(unicodedata.normalize("NFC", text.upper()))
    kept = sorted(letter for letter in letters if letter == "'" or unicodedata.category(letter)[0] in "LMN")
    return Alphabet((BLANK, WORD_BOUNDARY, *kept))


def frames_needed(target: Sequence[int]) -> int:
    """Frames that CTC needs to spell a target: one a symbol, and a blank between two equal ones."""
    return len(target) + sum(first == second for first, second in pairwise(target))
