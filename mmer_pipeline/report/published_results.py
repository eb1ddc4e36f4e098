"""The paper's Table 1, its rows matched with our systems, and our figures of the same kind as the published ones."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mmer_pipeline.corpora.transcripts import GOLD
from mmer_pipeline.presets import RECIPES
from mmer_pipeline.report.published_figures import BASELINES, CLASSES, CORPUS, PROPOSED, TABLE_1, PublishedKind
from mmer_pipeline.report.report_content import (
    System,
)
from mmer_pipeline.report.table_1_content import SameKind, Table1, Table1Row
from mmer_pipeline.report.trained_runs import SettingValue
from mmer_pipeline.settings import SAME
from mmer_pipeline.systems.registry import modalities_read

ENOUGH = 5000  # fewer utterances of IEMOCAP are a sample, not the corpus (a few recordings may be missing)
# The authors' code sums the CTC loss over its batches of two: their α is half of ours.
ALPHA_FACTOR = 2
IMPORTED = "Imported predictions"  # our own groups of rows
FUSIONS = "Fusions"


@dataclass(frozen=True)
class _Counterpart:
    """The settings that make our system the one of a row of Table 1, or the systems whose fusion it is."""

    settings: Mapping[str, SettingValue]
    alpha: float | None = None  # the authors' own; None: no CTC head
    fused: frozenset[str] = frozenset()  # the names of the systems


_COUNTERPARTS = {
    "Wu et al. [31]": _Counterpart({"system": "wu"}),
    "Lu et al. [33]": _Counterpart({"system": "lu"}),
    "Wang et al. [35]": _Counterpart({"system": "wang"}),
    "Pappagari et al. [36]": _Counterpart({"system": "pappagari", "speaker_weights": "finetuned"}),
    "Morais et al. [30]": _Counterpart({"system": "morais"}),
    "Chen et al. [38]": _Counterpart({"system": "chen"}),
    "Padi et al. [39]": _Counterpart({}, fused=frozenset({"padi", "roberta"})),
    "Makiuchi et al. [40]": _Counterpart({}, fused=frozenset({"makiuchi-speech", "makiuchi-text"})),
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


def table_1(systems: Sequence[System], *, comparable: bool) -> Table1:
    """Match the rows of Table 1 with our systems, and add rows for our other systems.

    A row takes a system that leaves speakers out; its figure of the published kind may come from another run of the
    same system, with random folds. Its α weighs CTC as the authors' code does: twice the row's α. A system with the
    row's own α was trained with half the weight, so it is another system and has a separate row. Of several such
    systems, a row takes the one that has most settings of the authors' code.
    """
    left = {system.name: system for system in systems}
    system_of = {run.run: str(system.system) for system in systems for run in system.runs}
    rows: list[Table1Row] = []
    for published in TABLE_1:
        wanted = _COUNTERPARTS.get(published.method)
        matches = [system for system in left.values() if wanted and _is_like(system, wanted, system_of)]
        match = max(matches, key=lambda system: (not system.shares_speakers, _nearness(system)), default=None)
        row = Table1Row(
            published.group, published.method, published.folds, published.modality, published.figure, published.kind,
            published.remark, published.not_rebuilt,
        )  # fmt: skip
        if match is not None:
            shared = [system for system in matches if system.shares_speakers]
            row = with_ours(row, match, comparable=comparable, others=shared)
            for system in (match, *shared):
                left.pop(system.name, None)
        rows.append(row)
    for system in left.values():
        group = _group(system)
        places = [number for number, row in enumerate(rows) if row.group == group]
        place = places[-1] + 1 if places else len(rows)
        row = Table1Row(group, system.title, system.folds_expected, _modality(system), None, None)
        rows.insert(place, with_ours(row, system, comparable=comparable))
    return Table1(tuple(rows), comparable)


def with_ours(row: Table1Row, system: System, *, comparable: bool, others: Sequence[System] = ()) -> Table1Row:
    """Add our system to a row: its figure of the row's kind, and the difference where it means something.

    `others` are runs of the same system on other folds, of which the figure of the row's kind may be.
    """
    found = [(one, _of_the_same_kind(one, row.kind)) for one in (system, *others) if row.kind is not None]
    source, same = next(((one, kind) for one, kind in found if kind is not None), (system, None))
    difference = None
    is_same_protocol = source.is_complete and source.folds_expected == row.folds
    if same is not None and row.published is not None and comparable and is_same_protocol:
        difference = same.mean - row.published
    alpha = float(system.runs[0].settings["alpha"] or 0) if system.runs else 0.0
    return replace(
        row,
        ours=system.name,
        same_kind=same,
        difference=difference,
        paper_alpha=alpha / ALPHA_FACTOR if alpha else None,
    )


def _of_the_same_kind(system: System, kind: PublishedKind) -> SameKind | None:
    """Return a system's figure of a kind: same metric, selection and split; None if one is unknown or not ours.

    The oracle takes the epoch that is best on the held-out part by the figure's own metric, as the authors' code does.
    """
    metric, selection = kind.metric.value, kind.selection.value
    if not system.runs or kind.split.value != system.runs[0].settings["folds"] or metric not in ("wa", "ua"):
        return None
    if selection == "final":
        values = [getattr(fold, metric) for fold in system.selections.final.folds]
    elif selection == "oracle":
        values = [max(getattr(curve, metric)) for curve in system.curves]
    else:
        return None
    return SameKind(float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else None)


def _is_like(system: System, wanted: _Counterpart, system_of: Mapping[str, str]) -> bool:
    """Whether a system has the settings of a row and was trained on the same texts as in the paper.

    `system_of` has the systems of runs by name, to know those of a fusion.
    """
    if wanted.fused or not system.runs:
        members = system.fused.members if system.fused and wanted.fused else ()
        return bool(members) and {system_of.get(name) for name in members} == wanted.fused
    settings = system.runs[0].settings
    alike = wanted.settings.items() <= settings.items()
    if wanted.alpha is not None:
        alike = alike and settings["alpha"] == ALPHA_FACTOR * wanted.alpha
    alike = alike and settings["transcripts"] == GOLD and settings["test_transcripts"] in (SAME, GOLD)
    reads_text = "text" in modalities_read(settings)
    return alike and not settings["text_disjoint"] and (not reads_text or settings["annotations"] == "strip")


def _nearness(system: System) -> int:
    """The number of settings of the authors' code that a system was trained with."""
    if not system.runs:
        return 0
    settings = system.runs[0].settings
    recipe = RECIPES["reference"].get(str(settings["system"]), {})
    return sum(settings.get(name) == value for name, value in recipe.items())


def _group(system: System) -> str:
    if system.imported is not None:
        return IMPORTED
    if system.fused is not None:
        return FUSIONS
    return PROPOSED if system.system == "mmer" else BASELINES


def _modality(system: System) -> str:
    """Return the modality in the paper's notation; the CTC head counts as speech and text; "" without a run."""
    if not system.runs:
        return ""
    settings = system.runs[0].settings
    reads = modalities_read(settings)
    alone = {settings["pooled"]}  # MMER may use a single branch
    parts = (reads & alone or reads) | ({"speech", "text"} if settings["alpha"] else set())
    return ",".join(letter for letter, part in (("a", "speech"), ("t", "text")) if part in parts)
