"""Scores of a report's systems on other corpora: their content in report.json, and how it is read from the runs.

Every model scores the whole other corpus. These rows are never averaged with those of the folds, which are about the
speakers that a fold holds out.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmer_pipeline import paths, sealed_json
from mmer_pipeline.corpora.manifest import read_manifest
from mmer_pipeline.errors import UserError
from mmer_pipeline.evaluations import read_evaluation_on, read_rows
from mmer_pipeline.runs import OF_A_FOLD, RunRecord
from mmer_pipeline.scoring import statistics
from mmer_pipeline.scoring.metrics import Floats, Integers, rates_of_confusion
from mmer_pipeline.suggested_commands import evaluate_command

if TYPE_CHECKING:  # it reads the report's content, which contains this module's
    from mmer_pipeline.report.run_results import SystemResults

FOLDS, EVERYTHING = "folds", "everything"

Interval = tuple[float, float]  # 95 %


@dataclass(frozen=True)
class MetricOnOther:
    """One metric on another corpus."""

    mean: float  # over models, each counted once
    sd: float | None  # the sample standard deviation over models; None: a single model
    interval_95: Interval | None  # of the mean, on other dialogues with other such models; None: a single dialogue


@dataclass(frozen=True)
class ScoresOnOther:
    """The scores of a system on another corpus: the last epoch of each model."""

    system: str  # its name in the report
    corpus: str
    manifest: str  # where it was when it was scored
    trained_on: str  # "folds": each model on the training part of a fold; "everything": on the whole corpus
    models: int  # folds × seeds, or seeds
    utterances: int
    clusters: int  # dialogues: what the interval resamples, besides models
    classes: tuple[str, ...]  # that the corpus has; UA is the mean of their recalls
    summary: Mapping[str, MetricOnOther]  # by metric: "wa", "ua"
    recall: Mapping[str, float]  # by class that the corpus has, mean over models
    confusion: tuple[tuple[int, ...], ...]  # rows are the truth; all models together
    shared_speakers: int | None  # names that the training corpus has too; None: not checked
    clusters_are_speakers: bool = False  # the corpus names no dialogues: all utterances of a speaker count as one


@dataclass(frozen=True)
class _Model:
    """The predictions of one model for another corpus."""

    trained_on: str
    evaluation: Mapping[str, Any]
    utterance_ids: tuple[str, ...]
    clusters: tuple[str, ...]
    clusters_are_speakers: bool
    truth: Integers  # [N]
    predicted: Integers  # [N]


def read_other_corpora(
    systems: "Sequence[SystemResults]", runs: Sequence[Path], labels: Sequence[str]
) -> tuple[tuple[ScoresOnOther, ...], list[str]]:
    """Read the scores of the systems' models on other corpora, by corpus; return them and what was left out, and why.

    Scores of other weights, or of another version of the manifest, are left out.
    """
    directories, notes = {path.name: path for path in runs}, []
    found: dict[tuple[str, str, str], list[_Model]] = {}
    current: dict[str, str | None] = {}
    for system in systems:
        for run in system.runs:
            directory = directories[run.name]
            stale: dict[str, str] = {}
            for fold, record in _models_of(directory, run.record, [result.number for result in run.folds]):
                for there in sorted(paths.fold(directory, fold).directory.glob(f"{paths.ON_PREFIX}*")):
                    corpus = there.name.removeprefix(paths.ON_PREFIX)
                    evaluation = read_evaluation_on(paths.fold(directory, fold), corpus, record.identity)
                    if evaluation is None or _is_outdated(evaluation, current):
                        stale[corpus] = evaluate_command(run.name, manifest=_manifest_of(there))
                        continue
                    model = _read(there, evaluation, labels, EVERYTHING if fold == 0 else FOLDS)
                    found.setdefault((evaluation["corpus"], system.name, model.trained_on), []).append(model)
            notes += [f"{run.name}: scores on {name} are out of date; run `{line}`." for name, line in stale.items()]
    rows = [_scores(system, models, labels) for (_, system, _), models in found.items()]
    corpora = list(dict.fromkeys(row.corpus for row in rows))
    return tuple(sorted(rows, key=lambda row: corpora.index(row.corpus))), notes


def _models_of(run: Path, record: RunRecord, folds: Sequence[int]) -> Iterator[tuple[int, RunRecord]]:
    """Yield the models of a run that belong together: those of its folds, and the one that holds nothing out."""
    for number in (*folds, 0):
        path = paths.fold(run, number)
        if not path.settings.is_file():
            continue
        try:
            mine = RunRecord.read(path.settings, "mmer-pipe train")
        except UserError:
            continue
        if all(line.partition(":")[0] in OF_A_FOLD for line in record.differences(mine)):
            yield number, mine


def _manifest_of(directory: Path) -> Path:
    """The manifest that an evaluation names, whether it is up to date or not."""
    try:
        path = paths.FoldPaths(directory).evaluation
        return Path(sealed_json.read(path, "mmer-pipe evaluate --manifest")["manifest"])
    except (UserError, KeyError, TypeError):
        return Path("OTHER/manifest.csv")


def _is_outdated(evaluation: Mapping[str, Any], current: dict[str, str | None]) -> bool:
    """Whether the manifest has changed since; `current` keeps the digests of those that were read, None: not there."""
    path = evaluation["manifest"]
    if path not in current:
        try:
            current[path] = read_manifest(Path(path)).digest if Path(path).is_file() else None
        except UserError:
            current[path] = ""  # damaged since
    return current[path] not in (None, evaluation["inputs"]["manifest"])


def _read(directory: Path, evaluation: Mapping[str, Any], labels: Sequence[str], trained_on: str) -> _Model:
    rows = read_rows(paths.FoldPaths(directory).predictions, labels)
    order = sorted(range(len(rows.utterance_ids)), key=rows.utterance_ids.__getitem__)
    return _Model(
        trained_on,
        evaluation,
        utterance_ids=tuple(rows.utterance_ids[at] for at in order),
        clusters=tuple(rows.dialogues[at] or rows.utterance_ids[at] for at in order),
        clusters_are_speakers=all(rows.dialogues) and rows.dialogues == rows.speakers,
        truth=rows.truth[order],
        predicted=rows.predicted[order],
    )


def _scores(system: str, models: Sequence[_Model], labels: Sequence[str]) -> ScoresOnOther:
    """Summarise the models of one system on one corpus; all have scored the same utterances."""
    first = models[0].evaluation
    models = [model for model in models if model.utterance_ids == models[0].utterance_ids]
    counts: Floats = np.stack(
        [statistics.cluster_counts(m.truth, m.predicted, m.clusters, len(labels)) for m in models], axis=1
    )  # [K, M, C, C]
    of_models = statistics.rates_of_confusions(counts.sum(axis=0))
    intervals = statistics.crossed_intervals(counts) or {}
    confusion = counts.sum(axis=(0, 1)).astype(np.int64)
    per_class = rates_of_confusion(confusion, labels)["per_class"]
    return ScoresOnOther(
        system=system,
        corpus=first["corpus"],
        manifest=first["manifest"],
        trained_on=models[0].trained_on,
        models=len(models),
        utterances=len(models[0].utterance_ids),
        clusters=len(counts),
        classes=tuple(label for label in labels if per_class[label]["support"]),
        summary={
            name: MetricOnOther(
                mean=float(of_models[name].mean()),
                sd=float(of_models[name].std(ddof=1)) if len(models) > 1 else None,
                interval_95=intervals.get(name),
            )
            for name in statistics.COMPARED
        },
        recall={label: scores["recall"] for label, scores in per_class.items() if scores["support"]},
        confusion=tuple(map(tuple, confusion.tolist())),
        shared_speakers=None if first["shared_speakers"] is None else len(first["shared_speakers"]),
        clusters_are_speakers=models[0].clusters_are_speakers,
    )
