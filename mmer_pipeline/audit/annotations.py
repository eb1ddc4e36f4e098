"""Annotations in transcripts, what remains after stripping them, and letters that CTC cannot spell."""

import re
from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from mmer_pipeline.audit.association import Association, association
from mmer_pipeline.audit.corpus_split import Mask, Split
from mmer_pipeline.audit.finding import Finding, Severity
from mmer_pipeline.corpora.transcripts import ANNOTATION, WAV2VEC2_ALPHABET, Alphabet, encoder_text

# What stripping does not remove: unpaired brackets, other brackets and asterisks, codes without brackets.
_MARKS = re.compile(r"[\[\]{}]|\([^)]*\)|<[^>]*>|\*[^*]+\*")
_CODES = re.compile(r"\b(?:LAUGHTER|BREATHING|GARBAGE|LG|BR|NS)\b")
_REPLACEMENT = "\ufffd"  # replaces a byte that could not be decoded
MANY = 0.01  # share of utterances with problems for CTC that changes what its loss means


@dataclass(frozen=True)
class AnnotationCount:
    """How often an annotation occurs, and in which classes."""

    text: str  # with its brackets
    occurrences: int
    utterances: int
    classes: dict[str, int]  # class → utterances with it
    association: Association


@dataclass(frozen=True)
class Annotations:
    """The annotations and other marks found in the transcripts, with their counts."""

    kinds: tuple[AnnotationCount, ...]  # the most frequent first
    annotated: Mask  # [N]
    empty: Mask  # [N] nothing remains after stripping
    unstripped: Mask  # [N] something like an annotation remains after stripping
    undecodable: Mask  # [N] a byte could not be decoded
    unspellable_letters: dict[str, int]  # letter missing from wav2vec 2.0's alphabet → occurrences
    unspellable: Mask  # [N] contains such a letter
    without_target: Mask  # [N] no word can be spelt

    def as_dict(self) -> dict[str, Any]:
        """The tables as plain values, for JSON."""
        return {"kinds": [asdict(kind) for kind in self.kinds], "unspellable_letters": self.unspellable_letters}


def read_annotations(split: Split) -> Annotations:
    """Examine every transcript."""
    transcripts = [u.transcript for u in split.utterances]
    stripped = [encoder_text(text, "strip") for text in transcripts]
    found = [ANNOTATION.findall(text) for text in transcripts]
    occurrences = Counter(text for texts in found for text in texts)
    alphabet = Alphabet(WAV2VEC2_ALPHABET)
    unspellable = [alphabet.unspellable(text) for text in transcripts]
    kinds = []
    for text, count in occurrences.most_common():
        members = np.array([text in texts for texts in found])
        classes = split.class_counts(members)
        kinds.append(AnnotationCount(text, count, int(members.sum()), classes, association(split, members)))
    return Annotations(
        kinds=tuple(kinds),
        annotated=np.array([bool(texts) for texts in found]),
        empty=np.array([not text for text in stripped]),
        unstripped=np.array([_has_annotation(text) for text in stripped]),
        undecodable=np.array([_REPLACEMENT in text for text in transcripts]),
        unspellable_letters=dict(Counter("".join(unspellable)).most_common()),
        unspellable=np.array([bool(letters) for letters in unspellable]),
        without_target=np.array([not alphabet.words(text) for text in transcripts]),
    )


def _has_annotation(text: str) -> bool:
    """Whether a stripped text contains something like an annotation; in a text in capitals a code may be a word."""
    if _MARKS.search(text):
        return True
    return bool(_CODES.search(text)) and (text != text.upper() or bool(_CODES.fullmatch(text)))


def findings(split: Split, annotations: Annotations) -> list[Finding]:
    """Annotations that reveal the label, empty and unstripped transcripts, problems of CTC, undecodable bytes."""
    return [
        _annotated(split, annotations),
        _empty(split, annotations.empty),
        _count(
            split,
            annotations.unstripped,
            "unstripped_annotations",
            "warning",
            "Transcripts with annotations that are not stripped",
            "Words in round brackets or asterisks and bare codes such as LG remain in the text and in the CTC target.",
            "Nothing like an annotation remains in the text or the CTC target.",
        ),
        *_spelling(split, annotations),
        _count(
            split,
            annotations.undecodable,
            "undecodable_bytes",
            "note",
            "Transcripts with undecodable bytes",
            "Each is replaced by �: the file has another encoding than the one it was read in.",
            "Every byte could be decoded.",
        ),
    ]


def _annotated(split: Split, annotations: Annotations) -> Finding:
    revealing = [kind for kind in annotations.kinds if kind.association.significant]
    count = int(annotations.annotated.sum())
    if revealing:
        strongest = min(revealing, key=lambda kind: kind.association.p)
        meaning = (
            f"They reveal the label: of the utterances with {strongest.text}, {strongest.association}. "
            "`--annotations strip` (the default) removes them; `keep` makes them part of the result."
        )
    else:
        meaning = "None is clearly associated with a class." if count else "The transcripts contain only words."
    return Finding(
        "annotations",
        "warning" if revealing else "note" if count else "ok",
        "Transcripts with annotations",
        count,
        "utterances",
        meaning,
        len(split.utterances),
        split.examples(annotations.annotated),
    )


def _empty(split: Split, empty: Mask) -> Finding:
    classes = association(split, empty)
    reveals = f" They reveal the label: {classes}." if classes.significant else ""
    untranscribed = sum(not utterance.transcript for utterance in split.utterances)
    if untranscribed:
        reveals += (
            f" {untranscribed:,} have no transcript at all: train with `--transcripts asr` or `none`, or a system that "
            "only hears."
        )
    return _count(
        split,
        empty,
        "empty_transcripts",
        "warning" if classes.significant else "note",
        "Transcripts without words",
        f"The text encoder sees only <s> and </s>, and CTC has no target.{reveals}",
        "Every transcript contains words.",
    )


def _spelling(split: Split, annotations: Annotations) -> list[Finding]:
    letters = ", ".join(f"{letter} {count:,}" for letter, count in list(annotations.unspellable_letters.items())[:8])
    unspelt = int((annotations.without_target & ~annotations.empty).sum())
    return [
        _count(
            split,
            annotations.unspellable,
            "unspellable_letters",
            "warning" if annotations.unspellable.mean() > MANY else "note",
            "Transcripts with letters or digits that CTC cannot spell",
            f"wav2vec 2.0's alphabet lacks {letters}. `--ctc-alphabet corpus` includes them.",
            "wav2vec 2.0's alphabet has every letter.",
        ),
        _count(
            split,
            annotations.without_target,
            "no_ctc_target",
            "warning" if annotations.without_target.mean() > MANY else "note",
            "Utterances without a CTC target",
            "They add nothing to the CTC loss."
            + (f" {unspelt:,} of them have words, but none that can be spelt." if unspelt else ""),
            "Every utterance has a CTC target.",
        ),
    ]


def _count(
    split: Split, members: Mask, key: str, severity: Severity, title: str, meaning: str, otherwise: str
) -> Finding:
    """A finding about the number of such utterances; "ok" if there are none."""
    count = int(members.sum())
    return Finding(
        key,
        severity if count else "ok",
        title,
        count,
        "utterances",
        meaning if count else otherwise,
        len(split.utterances),
        split.examples(members),
    )
