"""Association with the class: whether belonging to a group of utterances says something about the label."""

from dataclasses import dataclass

import numpy as np
from scipy.stats import hypergeom

from mmer_pipeline.audit.corpus_split import Mask, Split

SIGNIFICANT_P = 1 / 30_000  # a chance association below this is reported
SIGNIFICANT_UTTERANCES = 10  # smaller groups are never reported


@dataclass(frozen=True)
class Association:
    """The class that is most over-represented in a group of utterances."""

    label: str
    inside: int  # utterances of the group in this class
    members: int  # utterances of the group
    base: float  # share of the class among all utterances
    p: float  # probability that chance makes any class this frequent (hypergeometric, Bonferroni-corrected)

    @property
    def significant(self) -> bool:
        """Whether chance is an implausible explanation."""
        return self.members >= SIGNIFICANT_UTTERANCES and self.p < SIGNIFICANT_P

    def __str__(self) -> str:
        return f"{self.inside:,} of {self.members:,} are {self.label}, compared with {100 * self.base:.1f} % of all"


def association(split: Split, members: Mask) -> Association:
    """Measure how a group `[N]` of utterances is associated with the class."""
    total, size = len(members), int(members.sum())
    inside = np.bincount(split.truth[members], minlength=len(split.labels))
    everywhere = np.bincount(split.truth, minlength=len(split.labels))
    p = hypergeom.sf(inside - 1, total, everywhere, size)  # [C] at least as many of the class in a random group
    best = int(p.argmin())
    corrected = min(1.0, float(p[best]) * np.count_nonzero(everywhere))
    return Association(split.labels[best], int(inside[best]), size, float(everywhere[best] / total), corrected)
