"""Texts that occur almost word for word in training: other contractions or fillers, or a small edit.

Candidates are found with MinHash and locality-sensitive hashing (Broder 1997), whose time grows with the number of
texts and not with that of their pairs, and are then compared by edit distance. Exact repeats belong to
`repeated_texts`.
"""

import re
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np

from mmer_pipeline.audit.corpus_split import Split
from mmer_pipeline.audit.finding import NAMED, Finding
from mmer_pipeline.audit.near_copies import NearCopy, Worth, pairs_as_dicts, training_prior, worth_of_copies
from mmer_pipeline.audit.repeated_texts import FEW, LONG
from mmer_pipeline.corpora.transcripts import spoken_words

SIMILAR = 0.85  # 1 − edit distance / length of the longer text, in letters
SHINGLE = 4  # letters
# Texts that have half of their shingles in common become candidates in 87 % of cases, those with 65 % in 99.8 %.
BANDS, ROWS = 32, 4
PERMUTATIONS = BANDS * ROWS
FILLERS = re.compile(r"\b(?:uh|um|uhm|er|erm|eh|ah|oh|hm|hmm|mm|mhm|well|you know|i mean)\b")
_CONTRACTIONS = (
    (re.compile(r"\bcan't\b"), "cannot"),
    (re.compile(r"\bcan not\b"), "cannot"),
    (re.compile(r"\bwon't\b"), "will not"),
    (re.compile(r"\bshan't\b"), "shall not"),
    (re.compile(r"n't\b"), " not"),
    (re.compile(r"'re\b"), " are"),
    (re.compile(r"'ve\b"), " have"),
    (re.compile(r"'ll\b"), " will"),
    (re.compile(r"'d\b"), " would"),
    (re.compile(r"'m\b"), " am"),
    (re.compile(r"\blet's\b"), "let us"),
    (re.compile(r"'s\b"), " is"),  # also of a possessive, in both texts
    (re.compile(r"\bgonna\b"), "going to"),
    (re.compile(r"\bwanna\b"), "want to"),
    (re.compile(r"\bgotta\b"), "got to"),
)


@dataclass(frozen=True)
class NearTexts:
    """Test utterances whose words are almost those of a training utterance."""

    copies: tuple[NearCopy, ...]
    worth: Worth

    def as_dict(self, split: Split) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"similarity": SIMILAR, **self.worth.as_dict(), "pairs": pairs_as_dicts(split, self.copies)}


def essential_words(spoken: str) -> str:
    """The words of a text (see `spoken_words`) without contractions and fillers: "uh i'm fine" → "i am fine"."""
    for contraction, words in _CONTRACTIONS:
        spoken = contraction.sub(words, spoken)
    return " ".join(FILLERS.sub(" ", spoken).split())


def find(split: Split) -> NearTexts:
    """Find the most similar training text of every test utterance whose exact words are not in training."""
    spoken = [spoken_words(u.transcript) for u in split.utterances]
    essential = [essential_words(text) for text in spoken]
    folds_of: dict[str, set[int]] = defaultdict(set)  # exact words → folds
    # Essential words → fold → numbers of utterances.
    members: dict[str, dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
    for number, (text, fold) in enumerate(zip(essential, split.fold.tolist(), strict=True)):
        folds_of[spoken[number]].add(fold)
        if len(text.split()) >= LONG:
            members[text][fold].append(number)
    similar = _similar_texts(list(members))
    prior = training_prior(split)
    copies = []
    for text, of_fold in members.items():
        ranked = [(1.0, text), *similar.get(text, ())]
        for fold, numbers in of_fold.items():
            tested = [i for i in numbers if not folds_of[spoken[i]] - {fold}] if fold < split.tested else []
            best = max((s for s, other in ranked if members[other].keys() - {fold}), default=None) if tested else None
            if best is None:
                continue
            nearest = [
                i for s, other in ranked if s == best for k, part in members[other].items() if k != fold for i in part
            ]
            votes = Counter(split.truth[nearest].tolist())
            answer = max(votes, key=lambda label: (votes[label], prior[fold, label]))
            copies += [NearCopy(i, nearest[0], best, answer) for i in tested]
    copies.sort(key=lambda copy: copy.utterance)
    return NearTexts(tuple(copies), worth_of_copies(split, copies))


def _similar_texts(texts: list[str]) -> dict[str, list[tuple[float, str]]]:
    """Text → similarity and words of the other texts that are at least `SIMILAR`."""
    from datasketch import MinHash, MinHashLSH
    from rapidfuzz.distance import Levenshtein

    shingles = [{text[i : i + SHINGLE].encode() for i in range(len(text) - SHINGLE + 1)} for text in texts]
    hashes = MinHash.bulk(shingles, num_perm=PERMUTATIONS)
    index = MinHashLSH(num_perm=PERMUTATIONS, params=(BANDS, ROWS))
    similar: dict[str, list[tuple[float, str]]] = defaultdict(list)
    for number, (text, signature) in enumerate(zip(texts, hashes, strict=True)):
        for other in index.query(signature):
            similarity = Levenshtein.normalized_similarity(text, texts[other], score_cutoff=SIMILAR)
            if similarity:
                similar[text].append((similarity, texts[other]))
                similar[texts[other]].append((similarity, text))
        index.insert(number, signature)
    return similar


def findings(split: Split, texts: NearTexts) -> list[Finding]:
    """How many texts are almost in training, and whether their copies' labels beat guessing."""
    count, total = len(texts.copies), len(split.utterances)
    chosen = [texts.copies[n] for n in np.unique(np.linspace(0, count - 1, NAMED).astype(int))] if count else []
    return [
        Finding(
            "near_texts",
            "ok" if not count else "warning" if texts.worth.significant and count > FEW * total else "note",
            f"Test utterances of {LONG} words or more that occur almost word for word in training",
            count,
            "utterances",
            f"They differ from a training text in contractions, fillers or at most {100 * (1 - SIMILAR):.0f} % of the "
            f"letters. Answering with the label of the most similar one reaches {texts.worth}. `--text-disjoint` "
            "excludes only exact repeats; audit.json lists these: report scores without them, too."
            if count
            else "No other text differs from a training text only in contractions, fillers or a few letters.",
            total,
            tuple(
                f"{split.utterances[c.utterance].utterance_id} ({split.label(c.utterance)}): "
                f"{split.quoted(c.utterance)}; in training: {split.quoted(c.copy)} ({split.label(c.copy)})"
                for c in chosen
            ),
        )
    ]
