"""Texts that stand in training and in the held-out part: how many, and what knowing them by heart is worth."""

from collections import defaultdict
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from mmer_pipeline.audit.finding import Finding
from mmer_pipeline.audit.split import Mask, Split
from mmer_pipeline.corpora.transcripts import spoken_words
from mmer_pipeline.scoring.metrics import Integers

LONG = 4  # words from which on a text recurs because it is the same line, and not because it is short
FEW = 0.01  # the share of utterances below which recurring lines cannot move a number much


@dataclass(frozen=True)
class LookUp:
    """Test utterances whose words stand in training, and who gets their label right."""

    name: str  # the fold, or the number of words
    utterances: int  # tested, that have words at all
    recurring: int  # of them stand in training
    right: int  # of those: the label that most of the training copies have
    majority_right: int  # of those: the class that is most frequent in training


@dataclass(frozen=True)
class Recurring:
    """Look-ups by fold and by length; `lines` are those of `LONG` words or more."""

    folds: tuple[LookUp, ...]  # lines alone
    lines: LookUp  # lines, all folds together
    lengths: tuple[LookUp, ...]  # all folds together, by number of words; the last is `lines`
    left_out: tuple[int, ...]  # a fold: training utterances, of any length, that share their words with a test one
    members: Mask  # [N] lines that recur
    different: int  # how many different lines these are

    def as_dict(self) -> dict[str, Any]:
        """The tables as plain values, for JSON."""
        folds = [{**asdict(fold), "left_out": n} for fold, n in zip(self.folds, self.left_out, strict=True)]
        return {"words": LONG, "folds": folds, "all": asdict(self.lines), "lengths": list(map(asdict, self.lengths))}


def look_up(split: Split) -> Recurring:
    """Look every test utterance up in the training part of its fold."""
    said = [spoken_words(u.transcript) for u in split.utterances]
    length = np.array([len(text.split()) for text in said])
    folds, classes = len(split.folds), len(split.labels)
    counts: dict[str, Integers] = defaultdict(lambda: np.zeros((folds, classes), dtype=np.int64))
    for text, fold, truth in zip(said, split.fold, split.truth, strict=True):
        if text:
            counts[text][fold, truth] += 1
    prior = np.zeros((folds, classes))
    np.add.at(prior, (split.fold, split.truth), 1)
    prior = prior.sum(axis=0) - prior  # [folds, C] of the training parts

    there = np.zeros(len(said), dtype=bool)
    right, majority = there.copy(), there.copy()
    for i, (text, fold, truth) in enumerate(zip(said, split.fold, split.truth, strict=True)):
        if not text:
            continue
        copies = counts[text].sum(axis=0) - counts[text][fold]  # [C] in training
        there[i] = copies.any()
        right[i] = (copies + prior[fold] / (1 + prior[fold].sum())).argmax() == truth  # a tie: the likelier class
        majority[i] = prior[fold].argmax() == truth
    left_out = np.zeros(folds, dtype=np.int64)
    for places in counts.values():
        copies = places.sum(axis=1)  # [folds]
        left_out += np.where(copies > 0, copies.sum() - copies, 0)

    def rows(name: str, members: Mask) -> LookUp:
        hit = members & there
        return LookUp(name, *(int(part.sum()) for part in (members, hit, hit & right, hit & majority)))

    tested = split.fold < split.tested
    long = tested & (length >= LONG)
    lines = rows(f"{LONG} words or more", long)
    short = [rows(f"{n} word{'s' if n > 1 else ''}", tested & (length == n)) for n in range(1, LONG)]
    return Recurring(
        folds=tuple(rows(name, long & (split.fold == k)) for k, name in enumerate(split.folds[: split.tested])),
        lines=lines,
        lengths=(*short, lines),
        left_out=tuple(left_out[: split.tested].tolist()),
        members=long & there,
        different=len({said[i] for i in np.flatnonzero(long & there)}),
    )


def findings(split: Split, recurring: Recurring) -> list[Finding]:
    """How many lines recur, and whether a look-up beats guessing the most frequent class on them."""
    lines = recurring.lines
    total = len(split.utterances)
    if not lines.recurring:
        meaning, telling = f"No line of {LONG} words or more stands in another fold.", False
    else:
        right, guess = (100 * n / lines.recurring for n in (lines.right, lines.majority_right))
        # Beyond what the same number of guesses scatters by, at two standard deviations.
        telling = right - guess > 200 * (0.25 / lines.recurring) ** 0.5
        trained = [total - int((split.fold == k).sum()) for k in range(split.tested)]
        share = 100 * sum(recurring.left_out) / sum(trained)
        meaning = (
            f"They are {recurring.different:,} different lines. The label that most of their training copies have is "
            f"right for {right:.1f} % of them, the most frequent class for {guess:.1f} %"
            f"{'' if telling else ', no more than chance would'}. `--text-disjoint` leaves "
            f"{'all' if share == 100 else f'{share:.0f} %'} of the training utterances out."
        )
    return [
        Finding(
            "recurring_lines",
            "fine" if not lines.recurring else "weigh" if telling and lines.recurring > FEW * total else "know",
            f"Test utterances of {LONG} words or more that stand word for word in training",
            lines.recurring,
            "utterances",
            meaning,
            total,
            split.examples(recurring.members),
        )
    ]
