"""The rows of the paper's Table 1 with our systems; part of the report's content (`report_content.py`)."""

from dataclasses import dataclass

from mmer_pipeline.report.published_figures import PublishedKind


@dataclass(frozen=True)
class SameKind:
    """Our figure of the same kind as a published one, over folds and seeds."""

    mean: float
    sd: float | None  # the sample standard deviation; None: one fold and seed


@dataclass(frozen=True)
class Table1Row:
    """A row of the paper's Table 1, or a row that we add to it."""

    group: str
    method: str
    folds: int
    modality: str  # "a" (speech), "t" (text), "a,t"; "": unknown
    published: float | None  # None: a row of ours
    kind: PublishedKind | None  # what the published figure most likely is; None: a row of ours
    remark: str = ""  # what else changes the meaning of the published figure
    not_rebuilt: str = ""  # why no system of ours is this one
    ours: str | None = None  # the name of our matching system
    same_kind: SameKind | None = None  # None: no system of ours, or the kind is not known well enough
    difference: float | None = None  # ours − published; None: not the same kind or corpus, or folds are missing
    paper_alpha: float | None = None  # α of our system as the paper counts it, half of ours; None: no CTC head


@dataclass(frozen=True)
class Table1:
    """The paper's Table 1 with our systems."""

    rows: tuple[Table1Row, ...]
    comparable: bool  # whether our corpus is that of the published figures
