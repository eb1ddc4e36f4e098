"""The paper's Table 1 as data, and which of our systems stands beside which of its rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mmer_pipeline.systems.registry import SYSTEMS

CORPUS = "iemocap"
CLASSES = {"happy", "angry", "neutral", "sad"}
UTTERANCES = 5531  # of IEMOCAP in these four classes
ENOUGH = 5000  # of them, for a corpus named IEMOCAP to be it: a few recordings may be lost, a sample is another corpus
# The authors' code sums the CTC loss over its batches of two: their α is half of ours.
ALPHA_FACTOR = 2

UNIMODAL, MULTIMODAL = "Unimodal prior art", "Multimodal prior art"
BASELINES, PROPOSED = "Baselines", "Proposed"
IMPORTED = "Imported predictions"  # a group of ours


@dataclass(frozen=True)
class Published:
    """One row of Table 1."""

    group: str
    method: str
    folds: int  # of its cross-validation
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

# Row of Table 1 → what of our settings makes the same system. α is the authors' own.
_COUNTERPARTS: dict[str, dict[str, Any]] = {
    "RoBERTa (base)": {"system": "roberta", "finetune_text": True},
    "wav2vec 2.0": {"system": "wav2vec2"},
    "Cai et al. [28], run by the paper's authors": {"system": "cai", "alpha": 0.1},
    **{
        f"MMER (α = {alpha:g})": {"system": "mmer", "alpha": alpha, "gate": True, "r_branch": True, "q_branch": True,
                                  "pooled": "both"}
        for alpha in (0.0, 0.001, 0.01, 0.1)
    },
}  # fmt: skip


def comparable(corpus: str, labels: Sequence[str], utterances: int) -> bool:
    """Whether numbers on a corpus may be subtracted from those of Table 1: it is IEMOCAP in the paper's classes."""
    return corpus == CORPUS and set(labels) == CLASSES and utterances >= ENOUGH


def table_1(systems: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The rows of Table 1 with the name of our system beside each, and rows of their own for the others of ours.

    `systems` are those of the report. A row takes the system whose α weighs CTC as the authors' code does (twice
    the row's α); where there is none, the one with the α that the row names.
    """
    left = {system["name"]: system for system in systems}
    found: dict[str, str] = {}
    for factor in (ALPHA_FACTOR, 1):
        for method, wanted in _COUNTERPARTS.items():
            scaled = {**wanted, "alpha": factor * wanted["alpha"]} if "alpha" in wanted else wanted
            match = next((name for name, system in left.items() if _is_like(system, scaled)), None)
            if method not in found and match is not None:
                found[method] = match
                del left[match]
    rows = [
        {"group": row.group, "method": row.method, "folds": row.folds, "modality": row.modality,
         "published_wa": row.wa, "ours": found.get(row.method)}
        for row in TABLE_1
    ]  # fmt: skip
    for system in left.values():
        group = _group(system)
        places = [number for number, row in enumerate(rows) if row["group"] == group]
        place = places[-1] + 1 if places else len(rows)
        rows.insert(
            place,
            {"group": group, "method": system["title"], "folds": system["folds_expected"],
             "modality": _modality(system), "published_wa": None, "ours": system["name"]},
        )  # fmt: skip
    return rows


def _is_like(system: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Whether a system has the settings of a row and was trained on the texts that the paper had."""
    settings = _settings(system)
    if not wanted.items() <= settings.items() or settings["text_disjoint"]:
        return False
    return "text" not in SYSTEMS[settings["system"]].reads or settings["annotations"] == "strip"


def _settings(system: Mapping[str, Any]) -> Mapping[str, Any]:
    return system["runs"][0]["settings"] if system["runs"] else {}


def _group(system: Mapping[str, Any]) -> str:
    if system["imported"] is not None:
        return IMPORTED
    return PROPOSED if system["system"] == "mmer" else BASELINES


def _modality(system: Mapping[str, Any]) -> str:
    """As the paper writes it: what a CTC head hears and learns to spell counts too. Nothing is known of an import."""
    if system["imported"] is not None:
        return ""
    settings = _settings(system)
    reads, alone = set(SYSTEMS[system["system"]].reads), {settings["pooled"]}  # of MMER one branch may answer alone
    parts = (reads & alone or reads) | ({"speech", "text"} if settings["alpha"] else set())
    return ",".join(letter for letter, part in (("a", "speech"), ("t", "text")) if part in parts)
