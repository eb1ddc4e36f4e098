"""Simulated cross-validations of two equally good systems whose true score is known, for `significance.py`.

They have IEMOCAP's size: 5,531 utterances of four classes in 151 dialogues. Utterances are easy, medium or hard, for
both systems and all seeds alike; a dialogue, a fold, a fold for one system, a seed and a single training each make all
utterances easier or harder by a number of points. The two systems are tested on the same utterances.

Shapes: N experiments, F folds, R seeds, K dialogues, C classes.
"""

from dataclasses import dataclass

import numpy as np

from mmer_pipeline.scoring.metrics import Floats, Integers

UTTERANCES = (1636, 1103, 1708, 1084)  # by class, as in IEMOCAP
DIALOGUES = 151
SEEDS = 5
BY_CLASS = (0.06, -0.02, -0.06, 0.02)  # how much easier each class is; 0 on average
DIALOGUE_SD = 0.03
# Easy, medium and hard utterances: their share, how often they are right, and how much a point of effect moves that.
SHARES, RIGHT, MOVED = (0.45, 0.35, 0.20), (0.95, 0.62, 0.22), (0.35, 1.8, 1.0625)
TRUE_UA = float(np.dot(SHARES, RIGHT))


@dataclass(frozen=True)
class Setting:
    """The standard deviations of the random parts of an experiment, as fractions of UA."""

    folds: int
    luck: float  # between trainings of one system on one fold
    spread: float  # between folds, the same for both systems
    by_fold: float = 0.0  # between folds, for each system separately
    by_seed: float = 0.0  # between seeds, in all folds alike


@dataclass(frozen=True)
class Results:
    """The results of N experiments; `ua` and `correct` have the first system first."""

    ua: Floats  # [N, 2, F, R] UA of each fold and seed
    correct: Integers  # [N, 2, R, K, C] utterances that are right
    support: Integers  # [K, C] utterances


def corpus(folds: int) -> tuple[Integers, Integers]:
    """Draw the utterances `[K, C]` and the fold `[K]` of the dialogues, always the same."""
    generator = np.random.default_rng(151)
    sizes = generator.lognormal(0, 0.4, DIALOGUES)
    shares = generator.dirichlet(np.full(len(UTTERANCES), 1.5), DIALOGUES) * sizes[:, None]  # [K, C]
    support = np.stack(
        [generator.multinomial(n, column / column.sum()) for n, column in zip(UTTERANCES, shares.T, strict=True)],
        axis=1,
    )
    return support, np.arange(DIALOGUES) % folds


def simulate(setting: Setting, experiments: int, generator: np.random.Generator) -> Results:
    """Draw experiments with `SEEDS` seeds of each system; the first seeds are those of a smaller experiment."""
    support, fold = corpus(setting.folds)
    shape = (experiments, 2, SEEDS, DIALOGUES)

    def effect(deviation: float, *drawn: int) -> Floats:
        return generator.normal(0, deviation, drawn) if deviation else np.zeros(drawn)

    of_folds = (
        effect(setting.spread, experiments, 1, 1, setting.folds)
        + effect(setting.by_fold, experiments, 2, 1, setting.folds)
        + effect(setting.luck, experiments, 2, SEEDS, setting.folds)
    )
    easier = of_folds[..., fold] + effect(setting.by_seed, experiments, 2, SEEDS, 1)
    easier = easier + effect(DIALOGUE_SD, experiments, 1, 1, DIALOGUES)
    easier = easier[..., None] + np.array(BY_CLASS)  # [N, 2, R, K, C]
    easy = generator.binomial(support, SHARES[0], (experiments, *support.shape))
    medium = generator.binomial(support - easy, SHARES[1] / (1 - SHARES[0]))
    correct = np.zeros((*shape, support.shape[1]), dtype=np.int64)
    for count, right, moved in zip((easy, medium, support - easy - medium), RIGHT, MOVED, strict=True):
        correct += generator.binomial(count[:, None, None], np.clip(right + moved * easier, 0, 1))
    return Results(_fold_ua(correct, support, fold, setting.folds), correct, support)


def _fold_ua(correct: Integers, support: Integers, fold: Integers, folds: int) -> Floats:
    member = (fold == np.arange(folds)[:, None]).astype(np.float64)  # [F, K]
    recall = (member @ correct) / (member @ support)  # [N, 2, R, F, C]
    return np.asarray(recall.mean(axis=-1).swapaxes(-1, -2))
