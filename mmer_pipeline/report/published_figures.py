"""The figures of the paper's Table 1, and what each of them most likely is: metric, choice of the epoch, split.

A fact names its source. Where the publication, its code and other publications leave it open, it is "unknown".
"""

from dataclasses import dataclass
from typing import Literal

CORPUS = "iemocap"
CLASSES = {"happy", "angry", "neutral", "sad"}
UTTERANCES = 5531  # of IEMOCAP in these four classes

UNIMODAL, MULTIMODAL = "Unimodal prior art", "Multimodal prior art"
BASELINES, PROPOSED = "Baselines", "Proposed"

Source = Literal["code", "abstract", "paper", "secondary", "inferred", "unverified"]
Certainty = Literal["sure", "likely", "unsure"]

CERTAINTY: dict[Source, Certainty] = {
    "code": "sure",  # the authors' code
    "abstract": "sure",  # the publication's abstract, or the README of its code
    "paper": "sure",  # the paper that Table 1 is from
    "secondary": "likely",  # another publication
    "inferred": "likely",  # follows from what the code does, if the figure was made with it
    "unverified": "unsure",  # not checked against any of them
}
UNKNOWN = "unknown"


@dataclass(frozen=True)
class Fact:
    """One fact about a published figure."""

    value: str  # "unknown": not known
    source: Source | None = None  # None: not known
    certainty: Certainty | None = None  # None: not known

    @property
    def known(self) -> bool:
        """Whether it is known."""
        return self.value != UNKNOWN


@dataclass(frozen=True)
class PublishedKind:
    """The kind of a published figure, as far as it is known."""

    metric: Fact = Fact(UNKNOWN)  # "wa" (accuracy), "ua" (mean recall), "f1" (an F-score)
    selection: Fact = Fact(UNKNOWN)  # of the epoch: "final", "validated", "oracle" (best on the held-out part)
    split: Fact = Fact(UNKNOWN)  # what a fold holds out: "session", "speaker", "random" (speakers are shared)

    @property
    def name(self) -> str:
        """The known parts of metric and selection: "oracle UA", "WA"; "unknown" if neither is known."""
        metric = {"wa": "WA", "ua": "UA", "f1": "F-score"}.get(self.metric.value, "")
        selection = self.selection.value if self.selection.known else ""
        return f"{selection} {metric}".strip() or UNKNOWN


@dataclass(frozen=True)
class Published:
    """One row of Table 1."""

    group: str
    method: str
    folds: int  # of the cross-validation
    modality: str  # "a" (speech), "t" (text), "a,t"
    figure: float  # a fraction; the table calls all of them WA
    kind: PublishedKind
    remark: str = ""  # what else changes its meaning
    not_rebuilt: str = ""  # why no system of ours is this one; "": one is, as far as its publication describes it


def _fact(value: str, source: Source) -> Fact:
    return Fact(value, source, CERTAINTY[source])


# The authors' code computes the mean recall of the classes under the name `wa`, and keeps the epoch in which it is
# highest on the held-out session. Section 4.2 of the paper says that a fold leaves one session out.
_OF_THE_AUTHORS = PublishedKind(_fact("ua", "inferred"), _fact("oracle", "inferred"), _fact("session", "paper"))

TABLE_1 = (
    Published(UNIMODAL, "Wu et al. [31]", 10, "a", 0.7273, PublishedKind(_fact("wa", "abstract")),
              "its UA is 59.71 (abstract); so wide a gap suggests improvised speech without “excited” (inferred)"),
    Published(UNIMODAL, "Sajjad et al. [32]", 5, "a", 0.7225, PublishedKind(_fact("ua", "secondary")),
              not_rebuilt="its choice of segments is underspecified, and it reads ImageNet features of spectrograms"),
    Published(UNIMODAL, "Lu et al. [33]", 10, "a", 0.7260, PublishedKind(_fact("ua", "unverified")),
              "its accuracy is 71.7 (abstract)"),
    Published(UNIMODAL, "Liu et al. [34]", 5, "a", 0.7078, PublishedKind(_fact("ua", "secondary")),
              not_rebuilt="neither its text nor code is openly available"),
    Published(UNIMODAL, "Wang et al. [35]", 5, "a", 0.7330,
              PublishedKind(_fact("ua", "abstract"), _fact("oracle", "code"), _fact("random", "code")),
              "its WA is 72.7 (abstract); its one log that leaves sessions out, of a variant with one spectrogram, "
              "says 56.2 / 57.1 (code)"),
    Published(UNIMODAL, "Pappagari et al. [36]", 5, "a", 0.7030, PublishedKind(_fact("f1", "secondary"))),
    Published(UNIMODAL, "Peng et al. [37]", 5, "a", 0.6260, PublishedKind(_fact("ua", "unverified")),
              not_rebuilt="not yet: an auditory model (gammatone and modulation filters) precedes 3-D convolutions"),
    Published(MULTIMODAL, "Morais et al. [30]", 5, "a,t", 0.7736,
              PublishedKind(selection=_fact("validated", "secondary")),
              "speech only (abstract), weights averaged over the five best epochs on validation data; other "
              "publications give 77.36 as WA and as UA"),
    Published(MULTIMODAL, "Chen et al. [38]", 5, "a,t", 0.7430,
              PublishedKind(selection=_fact("oracle", "code"), split=_fact("session", "code"))),
    Published(MULTIMODAL, "Padi et al. [39]", 5, "a,t", 0.7576, PublishedKind()),
    Published(MULTIMODAL, "Makiuchi et al. [40]", 5, "a,t", 0.7350,
              PublishedKind(selection=_fact("final", "code"), split=_fact("session", "code")),
              "its speaker vectors are averages over utterances of the speaker, test speakers included (code)"),
    Published(MULTIMODAL, "Cai et al. [28]", 10, "a,t", 0.7815, PublishedKind(),
              "text is only the target of CTC; predictions are made from speech alone"),
    Published(BASELINES, "RoBERTa (base)", 5, "t", 0.6982,
              PublishedKind(metric=_fact("wa", "inferred"), split=_fact("session", "paper")),
              "its code is separate from MMER's, computes accuracy, and prints that of the last and of the best epoch"),
    Published(BASELINES, "wav2vec 2.0", 5, "a", 0.7400, _OF_THE_AUTHORS),
    Published(BASELINES, "Cai et al. [28], run by the paper's authors", 5, "a,t", 0.7324, _OF_THE_AUTHORS),
    Published(PROPOSED, "MMER (α = 0)", 5, "a,t", 0.7655, _OF_THE_AUTHORS),
    Published(PROPOSED, "MMER (α = 0.001)", 5, "a,t", 0.7639, _OF_THE_AUTHORS),
    Published(PROPOSED, "MMER (α = 0.01)", 5, "a,t", 0.7662, _OF_THE_AUTHORS),
    Published(PROPOSED, "MMER (α = 0.1)", 5, "a,t", 0.7764, _OF_THE_AUTHORS),
)  # fmt: skip
