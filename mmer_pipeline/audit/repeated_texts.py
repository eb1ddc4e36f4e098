"""Texts in both the training and the held-out part: how many there are, and how well memorising them works."""

from collections import defaultdict
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from mmer_pipeline.audit.corpus_split import Mask, Split
from mmer_pipeline.audit.finding import Finding
from mmer_pipeline.corpora.transcripts import spoken_words
from mmer_pipeline.scoring.metrics import Integers

LONG = 4  # words; shorter texts may be repeated by coincidence
FEW = 0.01  # share of utterances below which repeated texts hardly change a result


@dataclass(frozen=True)
class LookUp:
    """Test utterances whose words occur in training, and how often two rules find their label."""

    name: str  # the fold, or the number of words
    utterances: int  # test utterances with words
    repeated: int  # of these: in training
    correct: int  # of those: by the most frequent label among the training copies
    majority_correct: int  # of those: by the most frequent class in training


@dataclass(frozen=True)
class RepeatedTexts:
    """Look-ups by fold and by length."""

    folds: tuple[LookUp, ...]  # texts of `LONG` words or more
    all: LookUp  # texts of `LONG` words or more, over all folds
    lengths: tuple[LookUp, ...]  # over all folds, by number of words; the last is `all`
    excluded: tuple[int, ...]  # per fold: training utterances, of any length, with the words of a test utterance
    members: Mask  # [N] repeated texts of `LONG` words or more
    different: int  # number of different texts among them

    def as_dict(self) -> dict[str, Any]:
        """The tables as plain values, for JSON."""
        folds = [{**asdict(fold), "excluded": n} for fold, n in zip(self.folds, self.excluded, strict=True)]
        return {"words": LONG, "folds": folds, "all": asdict(self.all), "lengths": list(map(asdict, self.lengths))}


def look_up(split: Split) -> RepeatedTexts:
    """Look up every test utterance in the training part of its fold."""
    texts = [spoken_words(u.transcript) for u in split.utterances]
    length = np.array([len(text.split()) for text in texts])
    folds, classes = len(split.folds), len(split.labels)
    counts: dict[str, Integers] = defaultdict(lambda: np.zeros((folds, classes), dtype=np.int64))
    for text, fold, truth in zip(texts, split.fold, split.truth, strict=True):
        if text:
            counts[text][fold, truth] += 1
    prior = np.zeros((folds, classes))
    np.add.at(prior, (split.fold, split.truth), 1)
    prior = prior.sum(axis=0) - prior  # [folds, C] of the training parts

    repeated = np.zeros(len(texts), dtype=bool)
    correct, majority = repeated.copy(), repeated.copy()
    for i, (text, fold, truth) in enumerate(zip(texts, split.fold, split.truth, strict=True)):
        if not text:
            continue
        copies = counts[text].sum(axis=0) - counts[text][fold]  # [C] in training
        repeated[i] = copies.any()
        correct[i] = (copies + prior[fold] / (1 + prior[fold].sum())).argmax() == truth  # a tie: the likelier class
        majority[i] = prior[fold].argmax() == truth
    excluded = np.zeros(folds, dtype=np.int64)
    for count in counts.values():
        copies = count.sum(axis=1)  # [folds]
        excluded += np.where(copies > 0, copies.sum() - copies, 0)

    def row(name: str, members: Mask) -> LookUp:
        hit = members & repeated
        return LookUp(name, *(int(part.sum()) for part in (members, hit, hit & correct, hit & majority)))

    tested = split.fold < split.tested
    long = tested & (length >= LONG)
    total = row(f"{LONG} words or more", long)
    short = [row(f"{n} word{'s' if n > 1 else ''}", tested & (length == n)) for n in range(1, LONG)]
    return RepeatedTexts(
        folds=tuple(row(name, long & (split.fold == k)) for k, name in enumerate(split.folds[: split.tested])),
        all=total,
        lengths=(*short, total),
        excluded=tuple(excluded[: split.tested].tolist()),
        members=long & repeated,
        different=len({texts[i] for i in np.flatnonzero(long & repeated)}),
    )


def findings(split: Split, texts: RepeatedTexts) -> list[Finding]:
    """How many texts are repeated, and whether looking them up beats guessing the most frequent class."""
    repeated, total = texts.all.repeated, len(split.utterances)
    if not repeated:
        meaning, significant = f"No text of {LONG} words or more occurs in several folds.", False
    else:
        correct, guess = (100 * n / repeated for n in (texts.all.correct, texts.all.majority_correct))
        # More than two standard deviations of as many guesses.
        significant = correct - guess > 200 * (0.25 / repeated) ** 0.5
        trained = [total - int((split.fold == k).sum()) for k in range(split.tested)]
        share = 100 * sum(texts.excluded) / sum(trained)
        meaning = (
            f"They are {texts.different:,} different texts. Answering with the most frequent label of the training "
            f"copies is correct for {correct:.1f} % of them, answering with the most frequent class for {guess:.1f} %"
            f"{'' if significant else ', which is no significant gain'}. `--text-disjoint` excludes "
            f"{'all' if share == 100 else f'{share:.0f} % of the'} training utterances."
        )
    return [
        Finding(
            "repeated_texts",
            "ok" if not repeated else "warning" if significant and repeated > FEW * total else "note",
            f"Test utterances of {LONG} words or more that occur word for word in training",
            repeated,
            "utterances",
            meaning,
            total,
            split.examples(texts.members),
        )
    ]
