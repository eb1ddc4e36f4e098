"""What stands in a transcript beside its words: annotations, what stripping leaves of them, what CTC cannot spell."""

import re
from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from mmer_pipeline.audit.finding import Finding, Severity
from mmer_pipeline.audit.split import Lean, Mask, Split, lean
from mmer_pipeline.corpora.transcripts import ANNOTATION, WAV2VEC2_ALPHABET, Alphabet, encoder_text

# What they do not: brackets without a partner, other brackets and stars, and codes whose brackets were dropped.
_MARKS = re.compile(r"[\[\]{}]|\([^)]*\)|<[^>]*>|\*[^*]+\*")
_CODES = re.compile(r"\b(?:LAUGHTER|BREATHING|GARBAGE|LG|BR|NS)\b")
_REPLACED = "\ufffd"  # stands where a byte could not be decoded
MANY_LOST = 0.01  # the share of utterances beyond which letters that CTC cannot spell change what its loss means


@dataclass(frozen=True)
class Kind:
    """One annotation as it is written, and where it stands."""

    text: str  # with its brackets
    occurrences: int
    utterances: int
    classes: dict[str, int]  # class → utterances with it
    lean: Lean


@dataclass(frozen=True)
class Annotations:
    """What stands in the transcripts beside words."""

    kinds: tuple[Kind, ...]  # the most frequent first
    annotated: Mask  # [N]
    empty: Mask  # [N] nothing is left once stripped
    left: Mask  # [N] something like an annotation is left
    replaced: Mask  # [N] a byte could not be decoded
    lost: dict[str, int]  # letter that wav2vec 2.0's alphabet cannot spell → how often, the most frequent first
    lossy: Mask  # [N] such a letter stands in it
    without_target: Mask  # [N] nothing of it can be spelt

    def as_dict(self) -> dict[str, Any]:
        """The tables as plain values, for JSON."""
        return {"kinds": [asdict(kind) for kind in self.kinds], "lost_letters": self.lost}


def read_annotations(split: Split) -> Annotations:
    """Look at every transcript."""
    transcripts = [u.transcript for u in split.utterances]
    stripped = [encoder_text(text, "strip") for text in transcripts]
    found = [ANNOTATION.findall(text) for text in transcripts]
    occurrences = Counter(text for texts in found for text in texts)
    alphabet = Alphabet(WAV2VEC2_ALPHABET)
    lost = [alphabet.unspellable(text) for text in transcripts]
    kinds = []
    for text, times in occurrences.most_common():
        members = np.array([text in texts for texts in found])
        kinds.append(Kind(text, times, int(members.sum()), split.class_counts(members), lean(split, members)))
    return Annotations(
        kinds=tuple(kinds),
        annotated=np.array([bool(texts) for texts in found]),
        empty=np.array([not text for text in stripped]),
        left=np.array([_stays(text) for text in stripped]),
        replaced=np.array([_REPLACED in text for text in transcripts]),
        lost=dict(Counter("".join(lost)).most_common()),
        lossy=np.array([bool(letters) for letters in lost]),
        without_target=np.array([not alphabet.words(text) for text in transcripts]),
    )


def _stays(text: str) -> bool:
    """Whether something like an annotation is left; in a text of capitals alone a code may be a word."""
    if _MARKS.search(text):
        return True
    return bool(_CODES.search(text)) and (text != text.upper() or bool(_CODES.fullmatch(text)))


def findings(split: Split, annotations: Annotations) -> list[Finding]:
    """Annotations and the label, empty texts, what stripping leaves, what CTC cannot spell, replaced bytes."""
    return [
        _tags(split, annotations),
        _empty(split, annotations.empty),
        _finding(
            split,
            annotations.left,
            "annotations_that_stay",
            "weigh",
            "Annotations that stripping leaves",
            "Words in round brackets or stars and bare codes such as LG stay in the text and in the CTC target.",
            "Nothing like an annotation is left in the text, or reaches the CTC target.",
        ),
        *_spelling(split, annotations),
        _finding(
            split,
            annotations.replaced,
            "replaced_bytes",
            "know",
            "Transcripts with a byte that was no letter",
            "A � stands for it: the file was in another encoding than it was read in.",
            "Every byte was read as a letter.",
        ),
    ]


def _tags(split: Split, annotations: Annotations) -> Finding:
    telling = [kind for kind in annotations.kinds if kind.lean.tells]
    there = int(annotations.annotated.sum())
    if telling:
        best = min(telling, key=lambda kind: kind.lean.p)
        meaning = (
            f"They tell the label: of the utterances with {best.text} {best.lean}. "
            "`--annotations strip` (the default) hides them; with `keep` they are part of a result."
        )
    else:
        meaning = "None of them goes with a class beyond doubt." if there else "The transcripts are words alone."
    return Finding(
        "annotations",
        "weigh" if telling else "know" if there else "fine",
        "Transcripts with annotations",
        there,
        "utterances",
        meaning,
        len(split.utterances),
        split.examples(annotations.annotated),
    )


def _empty(split: Split, empty: Mask) -> Finding:
    there = lean(split, empty)
    tells = f" They tell the label: {there}." if there.tells else ""
    return _finding(
        split,
        empty,
        "empty_texts",
        "weigh" if there.tells else "know",
        "Transcripts that are empty once stripped",
        f"The text branch sees the sentence marks alone, and CTC has no target.{tells}",
        "Words are left of every transcript.",
    )


def _spelling(split: Split, annotations: Annotations) -> list[Finding]:
    letters = ", ".join(f"{letter} {times:,}" for letter, times in list(annotations.lost.items())[:8])
    share = annotations.lossy.mean()
    unspelt = int((annotations.without_target & ~annotations.empty).sum())
    return [
        _finding(
            split,
            annotations.lossy,
            "letters_ctc_loses",
            "weigh" if share > MANY_LOST else "know",
            "Transcripts with letters or digits that CTC cannot spell",
            f"wav2vec 2.0's alphabet drops {letters}. `--ctc-alphabet corpus` spells them.",
            "wav2vec 2.0's alphabet spells every letter.",
        ),
        _finding(
            split,
            annotations.without_target,
            "no_ctc_target",
            "weigh" if annotations.without_target.mean() > MANY_LOST else "know",
            "Utterances without a CTC target",
            "They add nothing to the CTC loss"
            + (f"; {unspelt:,} of them have words, but none that it can spell." if unspelt else "."),
            "CTC has something to spell in every utterance.",
        ),
    ]


def _finding(
    split: Split, members: Mask, key: str, severity: Severity, title: str, meaning: str, otherwise: str
) -> Finding:
    """A finding of how many utterances are like that; "fine" where none is."""
    there = int(members.sum())
    return Finding(
        key,
        severity if there else "fine",
        title,
        there,
        "utterances",
        meaning if there else otherwise,
        len(split.utterances),
        split.examples(members),
    )
