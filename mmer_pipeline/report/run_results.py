"""Read evaluated runs and group them into systems: runs that differ only in their seed are one system."""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from mmer_pipeline import paths
from mmer_pipeline.corpora.speaker_folds import group_count
from mmer_pipeline.errors import UserError
from mmer_pipeline.evaluations import PredictionRows, read_evaluation, read_rows
from mmer_pipeline.fusion import Fused
from mmer_pipeline.report import seed_groups, stale_runs
from mmer_pipeline.report.architectures import read_speech_encoder
from mmer_pipeline.report.fold_scores import Confusion, Epoch, Evaluation, check_epochs
from mmer_pipeline.report.report_content import Hole
from mmer_pipeline.report.trained_runs import JsonObject
from mmer_pipeline.runs import (
    RunRecord,
    best_epoch,
    read_metrics,
    trained_folds,
)
from mmer_pipeline.scoring.metrics import Floats, Integers
from mmer_pipeline.settings import Settings
from mmer_pipeline.suggested_commands import evaluate_command, train_command

_NEEDED_FACTS = ("corpus", "folds")
_NOT_OURS = (
    "{path} lacks {lacking}, so mmer-pipe did not write it. To compare predictions from elsewhere, use "
    "`mmer-pipe report --import predictions.csv --name NAME`."
)

Failures = Mapping[str, Mapping[int | None, str]]  # run → fold (None: all of it) → why it is not there


@dataclass(frozen=True)
class HeldOut:
    """Predictions for held-out utterances; all sequences have the same N rows, one per utterance and seed."""

    utterance_ids: tuple[str, ...]
    folds: tuple[int, ...]  # counted from 1
    speakers: tuple[str, ...]  # "": unknown
    clusters: tuple[str, ...]  # dialogues: what the bootstrap resamples
    truth: Integers  # [N] class numbers
    predicted: Integers  # [N]
    probabilities: Floats | None  # [N, C]; None: an import without them
    gates: Floats | None = None  # [N] mean of the acoustic gate; None: a system without one, an older file, an import


@dataclass(frozen=True)
class FoldResult:
    """One evaluated fold."""

    number: int  # counted from 1
    record: RunRecord
    evaluation: Evaluation
    epochs: tuple[Epoch, ...]
    held_out: HeldOut
    validated: HeldOut | None  # predictions of the validated model; None: the fold has none
    speech_encoder: JsonObject | None = None  # facts of its configuration; None: unknown

    def chosen(self, selection: str) -> tuple[int, Confusion] | None:
        """Return the epoch that a selection takes and its held-out confusion; None if it cannot choose."""
        if selection == "final":
            return self.epochs[-1].number, self.evaluation.scores.confusion
        chosen_on = [epoch.held_out if selection == "oracle" else epoch.validation for epoch in self.epochs]
        known = [scores.wa for scores in chosen_on if scores is not None]
        if not known:
            return None
        best = self.epochs[best_epoch(known) - 1]
        if selection == "validated" and self.evaluation.validated is not None:
            return best.number, self.evaluation.validated
        return best.number, best.held_out.confusion


@dataclass(frozen=True)
class RunResults:
    """The evaluated folds of a run."""

    name: str
    folds: tuple[FoldResult, ...]
    left_out: str = ""  # why other folds in its directory are left out, though its cross-validation is complete

    @property
    def record(self) -> RunRecord:
        """The record of its first fold; the others differ only in the fold."""
        return self.folds[0].record

    @property
    def seed(self) -> int:
        """The seed of all its folds."""
        return self.record.settings.seed


@dataclass(frozen=True)
class SystemResults:
    """One system: the runs of its seeds, or a fusion of runs, or an import."""

    name: str  # unique in the report
    runs: tuple[RunResults, ...]  # one per seed, in order; empty: imported or fused
    imported: Path | None  # the file that it was imported from
    held_outs: Mapping[int, str]  # fold → the value that it holds out
    held_out: HeldOut  # all folds and seeds
    validated: HeldOut | None = None  # the same of the validated models; None: a fold has none, or an import
    fused: Fused | None = None  # how a fusion was made; None: it is none
    names_utterances: bool = True  # False: an import whose rows say nothing about which utterance they are

    @property
    def validated_models(self) -> "SystemResults | None":
        """These results with the predictions of the validated models in place of the last epoch's."""
        if self.validated is None:
            return None
        runs = tuple(
            replace(run, folds=tuple(replace(f, held_out=f.validated) for f in run.folds if f.validated is not None))
            for run in self.runs
        )
        return replace(self, runs=runs, held_out=self.validated)


def read_systems(runs: Sequence[Path], failures: Failures | None = None) -> tuple[list[SystemResults], list[Hole]]:
    """Read runs and group them into systems, in order; return these and what is missing.

    `failures` names the folds that the caller knows to have failed, whatever is on disk, with the reason: run → fold
    (None: the whole run) → reason. A run whose folds have different settings, or whose manifest has changed, is missing
    if others can be reported. So is a run that was never begun, of a seed that other systems have.

    Raises:
        UserError: no fold is evaluated, or the runs cannot be compared.
    """
    failures = failures or {}
    found: list[RunResults] = []
    holes: list[Hole] = []
    for path in runs:
        failed = failures.get(path.name, {})
        if None in failed:
            named = {number: why for number, why in failed.items() if number is not None} or failed
            holes += [Hole(path.name, number, why) for number, why in named.items()]
            continue
        run, missing = _read_run(path, leave_out=failed.keys())
        missing = {**missing, **failed}
        if run.folds:
            found.append(run)
        elif len(missing) > 1:
            missing.pop(None, None)  # each fold has a line
        evaluated = {fold.number for fold in run.folds}
        numbers = sorted((n for n in missing if n not in evaluated), key=lambda number: number or 0)
        holes += [Hole(path.name, number, missing[number]) for number in numbers]
    if runs and not found:
        listed = "\n  ".join(f"{hole.run}{f', fold {hole.fold}' if hole.fold else ''}: {hole.why}" for hole in holes)
        raise UserError(f"No fold of {', '.join(str(path) for path in runs)} has been evaluated.\n  {listed}")
    found, stale = stale_runs.without_stale(found)
    holes += stale
    _check_same_corpus(found)
    groups = seed_groups.grouped(found)
    holes += seed_groups.missing_seeds(groups, runs)
    return [_system(name, group) for name, group in groups.items()], holes


def check_same_truth(systems: Sequence[SystemResults], labels: Sequence[str]) -> None:
    """Check that no utterance has two true classes.

    Raises:
        UserError: one has; the message names it and both classes.
    """
    known: dict[str, tuple[int, str]] = {}
    for system in systems:
        for name, truth in zip(system.held_out.utterance_ids, system.held_out.truth.tolist(), strict=True):
            before, where = known.setdefault(name, (truth, system.name))
            if before != truth:
                raise UserError(
                    f"Utterance {name} is {labels[before]} for {where} and {labels[truth]} for {system.name}: they "
                    "were not trained on the same labels. Report them separately, or train one of them again."
                )


def join(parts: Sequence[HeldOut]) -> HeldOut:
    """Concatenate the rows of all parts; keep probabilities, and gates, if every part has them."""
    probabilities = [part.probabilities for part in parts if part.probabilities is not None]
    gates = [part.gates for part in parts if part.gates is not None]
    return HeldOut(
        utterance_ids=tuple(name for part in parts for name in part.utterance_ids),
        folds=tuple(fold for part in parts for fold in part.folds),
        speakers=tuple(speaker for part in parts for speaker in part.speakers),
        clusters=tuple(cluster for part in parts for cluster in part.clusters),
        truth=np.concatenate([part.truth for part in parts]),
        predicted=np.concatenate([part.predicted for part in parts]),
        probabilities=np.concatenate(probabilities) if len(probabilities) == len(parts) else None,
        gates=np.concatenate(gates) if len(gates) == len(parts) else None,
    )


def evaluated_runs(runs_dir: Path) -> list[str]:
    """Return the names of the runs in a directory that have an evaluated fold, and of the fusions.

    Raises:
        UserError: there is none; the message names the command to run first.
    """
    trained = [path for path in sorted(runs_dir.glob("*")) if any(path.glob("fold-[0-9]*/model"))]
    evaluated = [path.name for path in trained if any(path.glob("fold-*/evaluation.json"))]
    if evaluated:
        return evaluated + sorted(path.parent.name for path in runs_dir.glob(f"*/{paths.FUSION_NAME}"))
    if trained:
        commands = "\n  ".join(evaluate_command(path.name) for path in trained)
        raise UserError(f"No evaluated fold in {runs_dir}. Run first:\n  {commands}")
    raise UserError(f"No trained fold in {runs_dir}. Run `mmer-pipe train`, then `mmer-pipe evaluate`.")


def _read_run(run: Path, leave_out: Container[int | None]) -> tuple[RunResults, dict[int | None, str]]:
    """Return the evaluated folds of a run, and why the others are missing."""
    try:
        numbers = trained_folds(run)
    except UserError as error:
        return RunResults(run.name, ()), {None: str(error)}
    missing: dict[int | None, str] = {}
    records: dict[int, RunRecord] = {}
    for number in numbers:
        if number in leave_out:
            continue
        try:
            hint = train_command(Settings(fold=number), run.name, number)
            record = RunRecord.read(paths.fold(run, number).settings, hint)
            _check_facts(record, run, number)
        except UserError as error:
            missing[number] = str(error)
        else:
            records[number] = record
    results: dict[int, FoldResult] = {}
    for number, record in records.items():
        try:
            results[number] = _read_fold(run, number, record)
        except UserError as error:
            missing[number] = str(error)
    chosen, why_not_all = stale_runs.one_training(run, {number: fold.record for number, fold in results.items()})
    if why_not_all and not chosen:
        missing[None] = why_not_all
    if planned := [records[number] for number in chosen] or list(records.values()):
        settings, total = planned[0].settings, len(planned[0].facts["folds"])
        missing = {number: why for number, why in missing.items() if number is None or number <= total}
        for number in {*range(1, total + 1)} - {*numbers}:
            missing[number] = f"not trained: {train_command(settings, run.name, number)}"
    return RunResults(run.name, tuple(results[number] for number in chosen), why_not_all if chosen else ""), missing


def _check_facts(record: RunRecord, run: Path, number: int) -> None:
    """Check that a record says what a report needs.

    Raises:
        UserError: it does not, because another program wrote it.
    """
    known = {**record.inputs, **{name: value for name, value in record.facts.items() if name != "manifest"}}
    lacking = [name for name in (*_NEEDED_FACTS, "manifest") if name not in known]
    lacking += ["manifest's path"] if "manifest" not in record.facts else []
    if lacking:
        raise UserError(_NOT_OURS.format(path=paths.fold(run, number).settings, lacking=", ".join(lacking)))


def _read_fold(run: Path, number: int, record: RunRecord) -> FoldResult:
    """Read an evaluated fold.

    Raises:
        UserError: it has not been evaluated, or its files lack something or are damaged; the message says what to do.
    """
    fold = paths.fold(run, number)
    evaluated = Evaluation.read(read_evaluation(fold, record, run.name))
    lines = read_metrics(fold.metrics)
    held_out = held_out_of(read_rows(fold.predictions, evaluated.labels), record)
    has_validated = evaluated.validated is not None
    validated = None
    if has_validated:
        validated = held_out_of(read_rows(fold.validated_predictions, evaluated.labels), record)
    if record.files is None:  # no digest says that these are the lines that were written
        counts = np.bincount(held_out.truth, minlength=len(evaluated.labels)).tolist()
        check_epochs(fold.metrics, lines, counts, record, run.name)
    epochs = tuple(map(Epoch.read, lines))
    return FoldResult(number, record, evaluated, epochs, held_out, validated, read_speech_encoder(fold))


def held_out_of(rows: PredictionRows, record: RunRecord) -> HeldOut:
    """Name the clusters of the rows of a predictions.csv; `record` is that of a fold of its run."""
    # Two sessions may use the same dialogue name; when speakers are held out, one dialogue is in two folds, but grouped
    # speakers who share one are in the same fold.
    is_in_one_fold = record.settings.folds == "session" or group_count(record.settings.folds) is not None
    named = zip(rows.folds, rows.dialogues, strict=True)
    return HeldOut(
        utterance_ids=rows.utterance_ids,
        folds=rows.folds,
        speakers=rows.speakers,
        clusters=tuple(f"{fold}/{dialogue}" if is_in_one_fold else dialogue for fold, dialogue in named),
        truth=rows.truth,
        predicted=rows.predicted,
        probabilities=rows.probabilities,
        gates=rows.gates,
    )


def _check_same_corpus(runs: Sequence[RunResults]) -> None:
    corpora: dict[str, list[str]] = {}
    for run in runs:
        labels = ", ".join(run.folds[0].evaluation.labels)
        corpora.setdefault(f"{run.record.facts['corpus']} ({labels})", []).append(run.name)
    if len(corpora) > 1:
        listed = "\n  ".join(f"{corpus}: {', '.join(names)}" for corpus, names in corpora.items())
        raise UserError(
            f"These runs use different corpora or classes, which one report cannot compare:\n  {listed}\n"
            "Name the runs that belong together: mmer-pipe report --run NAME --run NAME …"
        )


def _system(name: str, runs: Sequence[RunResults]) -> SystemResults:
    folds = [fold for run in runs for fold in run.folds]
    held_outs = {fold.number: fold.evaluation.held_out for fold in folds}
    validated = [fold.validated for fold in folds if fold.validated is not None]
    return SystemResults(
        name,
        tuple(runs),
        imported=None,
        held_outs=held_outs,
        held_out=join([fold.held_out for fold in folds]),
        validated=join(validated) if len(validated) == len(folds) else None,
    )
