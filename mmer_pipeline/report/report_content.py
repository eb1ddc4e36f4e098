"""The report's content: every number that it shows in any format, and the schema of report.json.

Fields are in the order of the keys in report.json. Rates, and differences of rates, are fractions from 0 to 1, shown
in percent. Folds and epochs are counted from 1.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

from mmer_pipeline.corpora.random_folds import RANDOM
from mmer_pipeline.fusion import Fused
from mmer_pipeline.report.corpus_content import Baselines, HeldOutCorpus
from mmer_pipeline.report.gate_content import Gates
from mmer_pipeline.report.other_corpora import ScoresOnOther
from mmer_pipeline.report.table_1_content import Table1
from mmer_pipeline.report.trained_runs import TrainedRun
from mmer_pipeline.scoring.metrics import ReliabilityBin

Interval = tuple[float, float]  # 95 %


@dataclass(frozen=True)
class Encoders:
    """The encoders that a system uses."""

    text: str | None  # None: the system reads no text
    speech: str | None  # None: the system reads no recordings

    @property
    def used(self) -> dict[str, str]:
        """Map kind ("text", "speech") to name."""
        return {kind: name for kind, name in asdict(self).items() if name}


@dataclass(frozen=True)
class FoldScores:
    """The held-out scores of one fold and seed at the epoch that a selection takes."""

    seed: int | None  # None: an import
    fold: int
    held_out: str  # the value that the fold holds out: a session, a speaker
    epoch: int | None  # None: an import
    utterances: int
    wa: float
    ua: float
    wf1: float
    macro_f1: float


@dataclass(frozen=True)
class TrainedAgain:
    """A mean, or a difference of two, that holds for systems trained again with other seeds on other speakers.

    Folds and seeds are random; see `scoring.trained_again`.
    """

    value: float | None = None  # the mean over units and seeds; None: there are fewer than two units
    interval_95: Interval | None = None  # None, as df and p: for the reason in `why_not`
    df: float | None = None  # degrees of freedom
    p: float | None = None  # two-sided; None also for a single system
    p_holm: float | None = None  # corrected as the other p-values of the report
    unit: str = "fold"  # "fold", or "speaker" where there is one held-out part
    units: int = 0
    seeds: tuple[int, ...] = ()  # the number of seeds of each system
    units_needed: int | None = None  # to find this difference with a power of 80 %; None: a mean, or very many
    seeds_needed: int | None = None  # the same by more seeds, with these units; None also: seeds alone are not enough
    why_not: str = ""


@dataclass(frozen=True)
class MetricSummary:
    """One metric over all folds and seeds of a system."""

    mean: float  # over folds and seeds, each counted once
    sd: float | None  # the sample standard deviation; None: one fold and seed
    pooled: float  # over all held-out predictions together
    interval_95: Interval | None  # of the pooled value; None: no predictions of these models, or few dialogues
    trained_again: TrainedAgain | None = None  # None: no predictions of these models


@dataclass(frozen=True)
class Selection:
    """The scores under one way of choosing the epoch."""

    folds: tuple[FoldScores, ...]
    summary: Mapping[str, MetricSummary]  # by metric: "wa", "ua", "wf1", "macro_f1"


@dataclass(frozen=True)
class Selections:
    """The three ways of choosing the epoch, kept apart."""

    final: Selection  # the last epoch, no selection
    validated: Selection | None  # best epoch on the validation part; None: no validation part
    oracle: Selection | None  # best epoch on the held-out fold itself; None: an import

    @property
    def known(self) -> dict[str, Selection]:
        """Map name to selection, leaving out those that are None."""
        every = {"final": self.final, "validated": self.validated, "oracle": self.oracle}
        return {name: selection for name, selection in every.items() if selection is not None}


@dataclass(frozen=True)
class OracleGap:
    """Oracle − final of the means: what choosing the epoch on the test fold would have added."""

    wa: float
    ua: float


@dataclass(frozen=True)
class ClassScores:
    """The final scores of one class, pooled."""

    precision: float
    recall: float
    f1: float
    support: int  # predictions with this true class


@dataclass(frozen=True)
class SpeakerScores:
    """The final scores of one speaker in the fold that holds it out, over all seeds."""

    speaker: str
    utterances: int
    wa: float
    ua: float


@dataclass(frozen=True)
class Reliability:
    """How well confidence matches accuracy; final, pooled."""

    ece: float  # expected calibration error
    bins: tuple[ReliabilityBin, ...]  # those with predictions, lowest confidence first


@dataclass(frozen=True)
class LengthBin:
    """The utterances of (from, to] seconds; the first bin also has the shortest one."""

    from_seconds: float
    to_seconds: float
    utterances: int
    error_rate: float  # over all seeds


@dataclass(frozen=True)
class Curve:
    """One fold and seed by epoch; all sequences have one value per epoch."""

    seed: int
    fold: int
    epochs: tuple[int, ...]
    ce: tuple[float, ...]  # training loss
    ctc: tuple[float, ...] | None  # None: no CTC head
    wa: tuple[float, ...]  # held out
    ua: tuple[float, ...]  # held out
    validation_wa: tuple[float, ...] | None  # None: no validation part
    oracle_epoch: int | None
    validated_epoch: int | None


@dataclass(frozen=True)
class Spelling:
    """Error rates of the greedy CTC transcripts, averaged over folds and seeds."""

    wer: float  # word error rate; may exceed 1
    cer: float  # character error rate


@dataclass(frozen=True)
class ConfidentError:
    """A wrong prediction with high confidence."""

    utterance_id: str
    fold: int
    speaker: str  # "": unknown
    truth: str
    prediction: str
    probabilities: Mapping[str, float]  # by class
    transcript: str | None  # None: unknown


@dataclass(frozen=True)
class System:
    """One system: a row of the report's tables."""

    name: str  # unique in the report
    title: str  # its name in tables and plots
    system: str | None  # its name in `systems.registry`; None: an import
    imported: str | None  # the file that it was imported from
    seeds: tuple[int, ...]
    encoders: Encoders
    folds_expected: int  # per seed
    utterances: int  # held-out utterances, each counted once
    selections: Selections
    oracle_gap: OracleGap | None  # None: an import
    per_class: Mapping[str, ClassScores]
    confusion: tuple[tuple[int, ...], ...]  # rows are the truth; final, pooled
    speakers: tuple[SpeakerScores, ...]
    reliability: Reliability | None  # None: an import without probabilities
    lengths: tuple[LengthBin, ...] | None  # None: lengths are unknown
    curves: tuple[Curve, ...]
    spelling: Spelling | None  # None: no CTC head, or nothing to spell
    errors: tuple[ConfidentError, ...]  # highest confidence first
    runs: tuple[TrainedRun, ...]  # one per seed; empty: an import
    gates: Gates | None = None  # None: no acoustic gate, predictions older than the column, or an import
    fused: Fused | None = None  # how a fusion of runs was made; None: a trained system, or an import

    @property
    def shares_speakers(self) -> bool:
        """Whether its held-out speakers are in training too, by random folds: such scores are not results."""
        return bool(self.runs) and self.runs[0].settings.get("folds") == RANDOM

    @property
    def is_complete(self) -> bool:
        """Whether every seed has all its folds."""
        return len(self.selections.final.folds) == self.folds_expected * max(1, len(self.seeds))

    @property
    def counted(self) -> str:
        """The unit of pooled counts: with several seeds, an utterance has several predictions."""
        return "predictions" if len(self.seeds) > 1 else "utterances"


@dataclass(frozen=True)
class MetricDifference:
    """First − second of two systems in one metric, pooled; about these trained models, except for `trained_again`."""

    difference: float
    interval_95: Interval | None  # paired bootstrap; None: few dialogues
    p: float | None  # two-sided, paired randomisation test; None: a single dialogue
    p_holm: float | None  # corrected over all pairs of the report
    trained_again: TrainedAgain = TrainedAgain()  # what holds for the systems, not only for these models

    @property
    def is_about_systems(self) -> bool:
        """Whether something can be said about the systems when they are trained again."""
        return self.trained_again.p is not None

    @property
    def strongest(self) -> tuple[Interval | None, float | None]:
        """The interval and the corrected p-value of the widest claim that can be made."""
        found = self.trained_again
        return (found.interval_95, found.p_holm) if self.is_about_systems else (self.interval_95, self.p_holm)

    @property
    def strongest_value(self) -> float:
        """The difference that the widest claim is about: of means over folds and seeds, or pooled."""
        again = self.trained_again.value
        return again if self.is_about_systems and again is not None else self.difference

    def reversed(self) -> "MetricDifference":
        """Return second − first."""
        again = self.trained_again
        value = None if again.value is None else -again.value
        again = replace(again, value=value, interval_95=_reversed(again.interval_95), seeds=again.seeds[::-1])
        difference, interval = -self.difference, _reversed(self.interval_95)
        return replace(self, difference=difference, interval_95=interval, trained_again=again)


def _reversed(interval: Interval | None) -> Interval | None:
    return None if interval is None else (-interval[1], -interval[0])


@dataclass(frozen=True)
class PairComparison:
    """Two systems compared on the utterances that both have."""

    first: str  # names of systems
    second: str
    utterances: int
    clusters: int  # dialogues
    metrics: Mapping[str, MetricDifference]  # by metric: "wa", "ua"

    def reversed(self) -> "PairComparison":
        """Return second − first."""
        metrics = {name: found.reversed() for name, found in self.metrics.items()}
        return replace(self, first=self.second, second=self.first, metrics=metrics)


@dataclass(frozen=True)
class Hole:
    """A fold or run that is missing from the report."""

    run: str
    fold: int | None  # None: the whole run
    why: str  # with the command to run


@dataclass(frozen=True)
class Report:
    """The whole report."""

    corpus: str
    labels: tuple[str, ...]
    systems: tuple[System, ...]  # highest UA first
    pairs: tuple[PairComparison, ...]
    table_1: Table1
    holes: tuple[Hole, ...]
    notes: tuple[str, ...]  # what changes the meaning of the numbers, one sentence each
    validated_pairs: tuple[PairComparison, ...] = ()  # as `pairs`, of the validated models, if every system has them
    other_corpora: tuple[ScoresOnOther, ...] = ()  # by corpus; empty: the models were not scored on another one
    against: str | None = None  # the system that the others are compared with; None: all pairs
    answer: str = ""  # the report in one sentence
    held_out: HeldOutCorpus | None = None  # None: made by hand
    baselines: Baselines | None = None  # None: the manifest of the runs is unknown

    def system(self, name: str) -> System:
        """Return the system of that name."""
        return next(system for system in self.systems if system.name == name)

    def as_json(self) -> dict[str, object]:
        """Return the plain values of report.json, the answer first."""
        return {"answer": self.answer, **asdict(self)}
