"""The paper's Table 1 as data, matched with our systems."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mmer_pipeline.corpora.transcripts import GOLD
from mmer_pipeline.report.report_content import System, Table1Row
from mmer_pipeline.report.trained_runs import SettingValue
from mmer_pipeline.settings import SAME
from mmer_pipeline.systems.registry import describe_system

CORPUS = "iemocap"
CLASSES = {"happy", "angry", "neutral", "sad"}
UTTERANCES = 5531  # of IEMOCAP in these four classes
ENOUGH = 5000  # fewer of them are a sample of IEMOCAP, not the corpus (a few recordings may be missing)
# The authors' code sums the CTC loss over its batches of two: their α is half of ours.
ALPHA_FACTOR = 2

UNIMODAL, MULTIMODAL = "Unimodal prior art", "Multimodal prior art"
BASELINES, PROPOSED = "Baselines", "Proposed"
IMPORTED = "Imported predictions"  # our own group


@dataclass(frozen=True)
class Published:
    """One row of Table 1."""

    group: str
    method: str
    folds: int  # of the cross-validation
    modality: str  # "a" (speech), "t" (text), "a,t"
    wa: float  # a fraction


TABLE_1 = (
    Published(UNIMODAL, "Wu et al. [31]", 10, "a", 0.7273),
    Published(UNIMODAL, "Sajjad et al. [32]", 5, "a", 0.7225),
    Published(UNIMODAL, "Lu et al. [33]", 10, "a", 0.7260),
    Published(UNIMODAL, "Liu et al. [34]", 5, "a", 0.7078),
    Published(UNIMODAL, "Wang et al. [35]", 5, "a", 0.7330),
    Published(UNIMODAL, "Pappagari et al. [36]", 5, "a", 0.7030),
    Published(UNIMODAL, "Peng et al. [37]", 5, "a", 0.6260),
    Published(MULTIMODAL, "Morais et al. [30]", 5, "a,t", 0.7736),
    Published(MULTIMODAL, "Chen et al. [38]", 5, "a,t", 0.7430),
    Published(MULTIMODAL, "Padi et al. [39]", 5, "a,t", 0.7576),
    Published(MULTIMODAL, "Makiuchi et al. [40]", 5, "a,t", 0.7350),
    Published(MULTIMODAL, "Cai et al. [28]", 10, "a,t", 0.7815),
    Published(BASELINES, "RoBERTa (base)", 5, "t", 0.6982),
    Published(BASELINES, "wav2vec 2.0", 5, "a", 0.7400),
    Published(BASELINES, "Cai et al. [28], run by the paper's authors", 5, "a,t", 0.7324),
    Published(PROPOSED, "MMER (α = 0)", 5, "a,t", 0.7655),
    Published(PROPOSED, "MMER (α = 0.001)", 5, "a,t", 0.7639),
    Published(PROPOSED, "MMER (α = 0.01)", 5, "a,t", 0.7662),
    Published(PROPOSED, "MMER (α = 0.1)", 5, "a,t", 0.7764),
)


@dataclass(frozen=True)
class _Counterpart:
    """The settings that make our system the one of a row of Table 1."""

    settings: Mapping[str, SettingValue]
    alpha: float | None = None  # the authors' own; None: no CTC head


_COUNTERPARTS = {
    "RoBERTa (base)": _Counterpart({"system": "roberta", "finetune_text": True}),
    "wav2vec 2.0": _Counterpart({"system": "wav2vec2"}),
    "Cai et al. [28], run by the paper's authors": _Counterpart({"system": "cai"}, alpha=0.1),
    **{
        f"MMER (α = {alpha:g})": _Counterpart(
            {"system": "mmer", "gate": True, "r_branch": True, "q_branch": True, "pooled": "both"}, alpha
        )
        for alpha in (0.0, 0.001, 0.01, 0.1)
    },
}


def comparable(corpus: str, labels: Sequence[str], utterances: int) -> bool:
    """Whether a corpus is that of Table 1, IEMOCAP in the paper's classes, so that numbers may be subtracted."""
    return corpus == CORPUS and set(labels) == CLASSES and utterances >= ENOUGH


def table_1(systems: Sequence[System]) -> tuple[Table1Row, ...]:
    """Match the rows of Table 1 with our systems, and add rows for our other systems.

    A row takes the system whose α weighs CTC as the authors' code does (twice the row's α), or else the one with the
    row's own α.
    """
    left = {system.name: system for system in systems}
    found: dict[str, str] = {}
    for factor in (ALPHA_FACTOR, 1):
        for method, wanted in _COUNTERPARTS.items():
            match = next((name for name, system in left.items() if _is_like(system, wanted, factor)), None)
            if method not in found and match is not None:
                found[method] = match
                del left[match]
    rows = [Table1Row(row.group, row.method, row.folds, row.modality, row.wa, found.get(row.method)) for row in TABLE_1]
    for system in left.values():
        group = _group(system)
        places = [number for number, row in enumerate(rows) if row.group == group]
        place = places[-1] + 1 if places else len(rows)
        rows.insert(place, Table1Row(group, system.title, system.folds_expected, _modality(system), None, system.name))
    return tuple(rows)


def _is_like(system: System, wanted: _Counterpart, alpha_factor: int) -> bool:
    """Whether a system has the settings of a row and was trained on the same texts as in the paper."""
    if not system.runs:
        return False
    settings = system.runs[0].settings
    alike = wanted.settings.items() <= settings.items()
    if wanted.alpha is not None:
        alike = alike and settings["alpha"] == alpha_factor * wanted.alpha
    alike = alike and settings["transcripts"] == GOLD and settings["test_transcripts"] in (SAME, GOLD)
    reads_text = "text" in describe_system(str(settings["system"])).reads
    return alike and not settings["text_disjoint"] and (not reads_text or settings["annotations"] == "strip")


def _group(system: System) -> str:
    if system.imported is not None:
        return IMPORTED
    return PROPOSED if system.system == "mmer" else BASELINES


def _modality(system: System) -> str:
    """Return the modality in the paper's notation; the CTC head counts as speech and text. "" for an import."""
    if system.imported is not None:
        return ""
    settings = system.runs[0].settings
    reads = set(describe_system(str(settings["system"])).reads)
    alone = {settings["pooled"]}  # MMER may use a single branch
    parts = (reads & alone or reads) | ({"speech", "text"} if settings["alpha"] else set())
    return ",".join(letter for letter, part in (("a", "speech"), ("t", "text")) if part in parts)
