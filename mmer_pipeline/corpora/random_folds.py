"""Folds of utterances at random (`--folds random`): speakers, dialogues and sentences are in training and test alike.

Some published figures come from such a split. It is here to measure what it adds to a score, and nothing else: every
result made with it says that speakers are shared.
"""

import numpy as np

from mmer_pipeline.corpora.manifest import Manifest

RANDOM = "random"  # `--folds random`: not a column
COUNT = 5  # folds
SEED = 0  # of the shuffle


def part_name(number: int) -> str:
    """The name of what fold `number` holds out: "part 2"."""
    return f"part {number}"


def random_parts(manifest: Manifest) -> list[str]:
    """The name of the fold that holds out each utterance, by position.

    The parts depend on the utterances' ids alone: not on the order of the rows, and not on the seed of training.
    """
    ids = [utterance.utterance_id for utterance in manifest.utterances]
    order = sorted(range(len(ids)), key=ids.__getitem__)
    shuffled = np.random.default_rng(SEED).permutation(len(ids))
    parts = [""] * len(ids)
    for number, chosen in enumerate(np.array_split(shuffled, COUNT), 1):
        for place in chosen:
            parts[order[place]] = part_name(number)
    return parts
