"""How the runs of a report were trained; part of the report's content (`report_content.py`) and of report.json."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

SettingValue = str | int | float | bool | None
UNKNOWN = "unknown"
JsonObject = Mapping[str, Any]  # as read from a run's settings.json


@dataclass(frozen=True)
class JobFacts:
    """The facts of a trained fold that the report shows."""

    device: str
    hardware: str | None
    platform: str
    python: str
    git_commit: str | None
    versions: Mapping[str, str]  # by library
    trained_parameters: int | None
    without_ctc_target: int | None  # training utterances
    revisions: Mapping[str, str]  # of the encoders that name one, by kind

    @staticmethod
    def read(facts: JsonObject) -> "JobFacts":
        """Read the facts of a settings.json; those of older versions and of other programs lack some."""
        return JobFacts(
            device=facts.get("device", UNKNOWN),
            hardware=facts.get("hardware"),
            platform=facts.get("platform", UNKNOWN),
            python=facts.get("python", UNKNOWN),
            git_commit=facts.get("git_commit"),
            versions=facts.get("versions", {}),
            trained_parameters=facts.get("trained_parameters"),
            without_ctc_target=facts.get("without_ctc_target"),
            revisions={part: revision for part, revision in facts.get("revisions", {}).items() if revision},
        )


@dataclass(frozen=True)
class GradientNorms:
    """Norms of the gradients of one epoch's steps."""

    mean: float  # of CE + α · CTC, before clipping
    max: float
    emotion: float | None  # mean of CE's part, in the steps that measure the parts; None: a single loss, or --compile
    ctc: float | None  # mean of α · CTC's part, likewise
    clipped: float  # share of the steps


@dataclass(frozen=True)
class TrainedFold:
    """How one fold was trained."""

    fold: int
    held_out: str
    utterances: int  # held out
    facts: JsonObject  # as in its settings.json: hardware, versions; see `JobFacts`
    training_seconds: float
    utterances_per_second: float  # median over epochs
    gradient_norms: tuple[GradientNorms, ...] | None = None  # by epoch; None: trained by version 0.1.0

    @property
    def job_facts(self) -> JobFacts:
        """The facts that the report shows."""
        return JobFacts.read(self.facts)


@dataclass(frozen=True)
class TrainedRun:
    """One run: a seed of a system."""

    run: str
    seed: int
    settings: Mapping[str, SettingValue]  # by name, without the fold
    inputs: JsonObject  # digests of manifest and features, labels, alphabet
    folds: tuple[TrainedFold, ...]
    speech_encoder: JsonObject | None = None  # type and SpecAugment in its configuration; None: unknown
