"""Build the report's content from runs and imports.

Three numbers are kept apart. final: the last epoch, no selection; the headline. validated: the epoch that
is best on the validation part. oracle: the epoch that is best on the held-out fold itself, as many published numbers
are; never used for anything else. "Best" is the highest WA; among equals, the earliest epoch.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mmer_pipeline import paths
from mmer_pipeline.corpora.folds import natural_order
from mmer_pipeline.errors import UserError
from mmer_pipeline.report import fused_results, published_results, ranking, repeated_training, report_content
from mmer_pipeline.report.answer import answer
from mmer_pipeline.report.cheap_baselines import baselines_of
from mmer_pipeline.report.comparisons import compare_all, intervals_of
from mmer_pipeline.report.fold_scores import Confusion
from mmer_pipeline.report.gates import gates_of
from mmer_pipeline.report.held_out_corpus import held_out_corpus
from mmer_pipeline.report.imported_results import Import, read_imports
from mmer_pipeline.report.lengths import lengths_of
from mmer_pipeline.report.notes import corpus_notes, notes_of
from mmer_pipeline.report.other_corpora import read_other_corpora
from mmer_pipeline.report.report_content import Report, Selection, System
from mmer_pipeline.report.run_results import (
    Failures,
    FoldResult,
    HeldOut,
    RunResults,
    SystemResults,
    check_same_truth,
    read_systems,
)
from mmer_pipeline.report.stale_runs import training_notes
from mmer_pipeline.report.trained_runs import GradientNorms, TrainedFold, TrainedRun
from mmer_pipeline.report.utterance_facts import UtteranceFacts, read_utterance_facts
from mmer_pipeline.runs import OF_A_FOLD
from mmer_pipeline.scoring import statistics
from mmer_pipeline.scoring.metrics import HEADLINE, calibration_error, rates_of_confusion, reliability
from mmer_pipeline.settings import Settings
from mmer_pipeline.systems.registry import modalities_read
from mmer_pipeline.systems.titles import title

MOST_CONFIDENT_ERRORS = 10


def make_report(
    runs: Sequence[Path],
    imports: Sequence[Import] = (),
    failures: Failures | None = None,
    against: str | None = None,
) -> Report:
    """Read runs and imports and build their report.

    `failures` gives reasons for missing folds (`results.read_systems`); `against`, the one system to compare with.

    Raises:
        UserError: there is nothing to report, the systems cannot be compared, or an import is invalid.
    """
    trained, fusions = fused_results.apart(runs)
    systems, holes = read_systems(trained, failures)
    records = [run.record for system in systems for run in system.runs]
    labels = list(systems[0].runs[0].folds[0].evaluation.labels) if systems else []
    corpus = str(records[0].facts["corpus"]) if records else "unknown"
    taken = {system.name for system in systems} | {path.name for path in runs}
    notes = training_notes(systems)
    imported, labels, said = read_imports(imports, systems, labels, taken)
    fused, missing = fused_results.read_fusions(fusions, corpus, labels)
    systems, holes, notes = [*systems, *fused, *imported], [*holes, *missing], [*notes, *said]
    if not systems:
        raise UserError("Nothing to report: give a run with --run, or a file of predictions with --import.")
    check_same_truth(systems, labels)
    others, outdated = read_other_corpora(systems, trained, labels)
    report = build(systems, labels, corpus, holes, read_utterance_facts(records), [*notes, *outdated], against)
    return replace(report, other_corpora=others)


def build(
    systems: Sequence[SystemResults],
    labels: Sequence[str],
    corpus: str,
    holes: Sequence[report_content.Hole],
    facts: UtteranceFacts,
    notes: Sequence[str] = (),
    against: str | None = None,
) -> Report:
    """Build the report, the system with the highest UA first; the same input gives the same report."""
    folds = max((len(system.runs[0].record.facts["folds"]) for system in systems if system.runs), default=0)
    by_name = {
        system.name: _system(system, labels, facts, folds if system.names_utterances else 0) for system in systems
    }
    order = [system.name for system in ranking.ranked(list(by_name.values()))]
    rows = _set_apart([by_name[name] for name in order])
    systems = sorted(systems, key=lambda system: order.index(system.name))
    pairs = compare_all(systems, len(labels), against)
    validated = [models for system in systems if (models := system.validated_models) is not None]
    held_out = held_out_corpus(systems, labels, facts)
    comparable = published_results.comparable(corpus, labels, held_out.utterances)
    report = Report(
        corpus=corpus,
        labels=tuple(labels),
        systems=rows,
        pairs=pairs,
        table_1=published_results.table_1(rows, comparable=comparable),
        holes=tuple(holes),
        notes=(*corpus_notes(corpus), *facts.notes, *notes, *notes_of(systems, pairs, labels, held_out.unit)),
        validated_pairs=compare_all(validated, len(labels), against) if len(validated) == len(systems) else (),
        against=against,
        held_out=held_out,
        baselines=baselines_of(systems, facts),
    )
    return replace(report, answer=answer(report))


def _set_apart(rows: Sequence[System]) -> tuple[System, ...]:
    """Add the name to the title of systems that share one."""
    titles = [row.title for row in rows]
    return tuple(
        replace(row, title=f"{row.title} [{row.name}]") if titles.count(row.title) > 1 else row for row in rows
    )


def _system(system: SystemResults, labels: Sequence[str], facts: UtteranceFacts, folds: int) -> System:
    """Build a system's row; `folds` are those of our runs, of which an import may have a part."""
    held_out = system.held_out
    record = system.runs[0].record if system.runs else None
    settings = record.settings if record else None
    final = _selection(system, "final", labels)
    assert final is not None, "every fold has a last epoch"
    oracle = _selection(system, "oracle", labels)
    confusion = _confusion(held_out, len(labels))
    return System(
        name=system.name,
        title=title(asdict(settings)) if settings else system.fused.title if system.fused else system.name,
        system=settings.system if settings else None,
        imported=str(system.imported) if system.imported else None,
        seeds=tuple(run.seed for run in system.runs),
        encoders=_encoders(settings),
        folds_expected=len(record.facts["folds"]) if record else max(folds, len(system.held_outs)),
        utterances=len(set(held_out.utterance_ids)),
        selections=report_content.Selections(final, _selection(system, "validated", labels), oracle),
        oracle_gap=_gap(final, oracle),
        per_class=class_scores(rates_of_confusion(confusion, labels)["per_class"]),
        confusion=tuple(map(tuple, confusion.tolist())),
        speakers=_speakers(held_out, len(labels)),
        reliability=_reliability(held_out),
        lengths=lengths_of(held_out, facts),
        curves=tuple(_curve(run.seed, fold) for run in system.runs for fold in run.folds),
        spelling=_spelling(system),
        errors=_errors(held_out, labels, facts),
        runs=tuple(map(_run, system.runs)),
        gates=gates_of(held_out, labels, facts),
        fused=system.fused,
    )


def class_scores(per_class: Mapping[str, Mapping[str, Any]]) -> dict[str, report_content.ClassScores]:
    """Convert the class scores of `scoring.metrics`."""
    return {label: report_content.ClassScores(**scores) for label, scores in per_class.items()}


def _encoders(settings: Settings | None) -> report_content.Encoders:
    if settings is None:
        return report_content.Encoders(None, None)
    reads = modalities_read(asdict(settings), with_encoder=True)
    return report_content.Encoders(
        text=paths.encoder_name(settings.text_encoder) if "text" in reads else None,
        speech=paths.encoder_name(settings.speech_encoder) if "speech" in reads else None,
    )


@dataclass(frozen=True)
class _Pick:
    """The epoch that a selection takes of one fold and seed, with its confusion matrix."""

    seed: int | None
    fold: int
    held_out: str
    epoch: int | None
    confusion: Confusion


def _picks(system: SystemResults, selection: str, classes: int) -> Iterator[_Pick | None]:
    """Yield what a selection takes of each fold and seed; None if it had nothing to choose on."""
    for run in system.runs:
        for fold in run.folds:
            chosen = fold.chosen(selection)
            if chosen is None:
                yield None
            else:
                epoch, confusion = chosen
                yield _Pick(run.seed, fold.number, fold.evaluation.held_out, epoch, confusion)
    if not system.runs:
        folds = np.array(system.held_out.folds)
        for number, held_out in sorted(system.held_outs.items()):
            confusion = _confusion(system.held_out, classes, folds == number).tolist()
            yield _Pick(None, number, held_out, None, confusion) if selection == "final" else None


def _selection(system: SystemResults, selection: str, labels: Sequence[str]) -> Selection | None:
    """Score each fold and seed and summarise them; None if one had nothing to choose on."""
    jobs: list[report_content.FoldScores] = []
    confusions = []
    for pick in _picks(system, selection, len(labels)):
        if pick is None:
            return None
        scores = rates_of_confusion(pick.confusion, labels)
        utterances, rates = int(np.sum(pick.confusion)), {name: scores[name] for name in HEADLINE}
        jobs.append(report_content.FoldScores(pick.seed, pick.fold, pick.held_out, pick.epoch, utterances, **rates))
        confusions.append(np.asarray(pick.confusion))
    pooled = rates_of_confusion(np.sum(confusions, axis=0), labels)
    models = {"final": system, "validated": system.validated_models}.get(selection)
    intervals = intervals_of(models.held_out, len(labels)) if models else None
    again = repeated_training.of_system(models, len(labels)) if models else {}
    summary = {}
    for name in HEADLINE:
        values = np.array([getattr(job, name) for job in jobs])
        summary[name] = report_content.MetricSummary(
            mean=float(values.mean()),
            sd=float(values.std(ddof=1)) if len(values) > 1 else None,
            pooled=pooled[name],
            interval_95=intervals[name] if intervals else None,
            trained_again=again.get(name),
        )
    return Selection(tuple(jobs), summary)


def _gap(final: Selection, oracle: Selection | None) -> report_content.OracleGap | None:
    """Return what choosing the epoch on the test fold would have added."""
    if oracle is None:
        return None
    gap = {name: oracle.summary[name].mean - final.summary[name].mean for name in statistics.COMPARED}
    return report_content.OracleGap(**gap)


def _confusion(
    held_out: HeldOut, classes: int, where: npt.NDArray[np.bool_] | slice = slice(None)
) -> npt.NDArray[np.int64]:
    counts = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(counts, (held_out.truth[where], held_out.predicted[where]), 1)
    return counts


def _speakers(held_out: HeldOut, classes: int) -> tuple[report_content.SpeakerScores, ...]:
    counts = statistics.cluster_counts(held_out.truth, held_out.predicted, held_out.speakers, classes)
    scores = statistics.rates_of_confusions(counts)
    utterances = Counter(speaker for speaker, _ in set(zip(held_out.speakers, held_out.utterance_ids, strict=True)))
    rows = [
        report_content.SpeakerScores(speaker, utterances[speaker], float(wa), float(ua))
        for speaker, wa, ua in zip(sorted(utterances), scores["wa"], scores["ua"], strict=True)
        if speaker  # "": unknown
    ]
    return tuple(sorted(rows, key=lambda row: natural_order(row.speaker)))


def _reliability(held_out: HeldOut) -> report_content.Reliability | None:
    if held_out.probabilities is None:
        return None
    ece = calibration_error(held_out.probabilities, held_out.truth)
    return report_content.Reliability(ece, tuple(reliability(held_out.probabilities, held_out.truth)))


def _curve(seed: int, fold: FoldResult) -> report_content.Curve:
    oracle, validated = (fold.chosen(name) for name in ("oracle", "validated"))
    ctc = [epoch.ctc for epoch in fold.epochs if epoch.ctc is not None]
    validation = [epoch.validation.wa for epoch in fold.epochs if epoch.validation is not None]
    return report_content.Curve(
        seed=seed,
        fold=fold.number,
        epochs=tuple(epoch.number for epoch in fold.epochs),
        ce=tuple(epoch.ce for epoch in fold.epochs),
        ctc=tuple(ctc) or None,
        wa=tuple(epoch.held_out.wa for epoch in fold.epochs),
        ua=tuple(epoch.held_out.ua for epoch in fold.epochs),
        validation_wa=tuple(validation) or None,
        oracle_epoch=oracle[0] if oracle else None,
        validated_epoch=validated[0] if validated else None,
    )


def _spelling(system: SystemResults) -> report_content.Spelling | None:
    """Average WER and CER over folds and seeds; None without a CTC head or without references."""
    scores = [fold.evaluation.scores for run in system.runs for fold in run.folds]
    if not system.runs or not system.runs[0].record.settings.alpha:
        return None
    wer = [entry.wer for entry in scores if entry.wer is not None]
    cer = [entry.cer for entry in scores if entry.cer is not None]
    if not len(wer) == len(cer) == len(scores):
        return None
    return report_content.Spelling(float(np.mean(wer)), float(np.mean(cer)))


def _errors(
    held_out: HeldOut, labels: Sequence[str], facts: UtteranceFacts
) -> tuple[report_content.ConfidentError, ...]:
    """Return the errors with the highest confidence, each utterance once."""
    if held_out.probabilities is None:
        return ()
    wrong = np.flatnonzero(held_out.truth != held_out.predicted)
    confidence = held_out.probabilities[wrong, held_out.predicted[wrong]]
    order = wrong[np.argsort(-confidence, kind="stable")].tolist()  # equals keep the order of the runs
    first = {held_out.utterance_ids[row]: row for row in reversed(order)}
    rows = [row for row in order if first[held_out.utterance_ids[row]] == row][:MOST_CONFIDENT_ERRORS]
    return tuple(
        report_content.ConfidentError(
            utterance_id=held_out.utterance_ids[row],
            fold=held_out.folds[row],
            speaker=held_out.speakers[row],
            truth=labels[held_out.truth[row]],
            prediction=labels[held_out.predicted[row]],
            probabilities=dict(zip(labels, held_out.probabilities[row].tolist(), strict=True)),
            transcript=facts.transcripts.get(held_out.utterance_ids[row]),
        )
        for row in rows
    )


def _run(run: RunResults) -> TrainedRun:
    record = run.record
    return TrainedRun(
        run=run.name,
        seed=run.seed,
        settings={name: value for name, value in asdict(record.settings).items() if name not in OF_A_FOLD},
        inputs={name: value for name, value in record.inputs.items() if name not in OF_A_FOLD},
        folds=tuple(
            TrainedFold(
                fold=fold.number,
                held_out=fold.evaluation.held_out,
                utterances=fold.evaluation.utterances,
                facts=fold.record.facts,
                training_seconds=float(sum(epoch.seconds for epoch in fold.epochs)),
                utterances_per_second=float(np.median([epoch.utterances_per_second for epoch in fold.epochs])),
                gradient_norms=_gradient_norms(fold),
            )
            for fold in run.folds
        ),
        speech_encoder=run.folds[0].speech_encoder,
    )


def _gradient_norms(fold: FoldResult) -> tuple[GradientNorms, ...] | None:
    known = [epoch.gradient_norms for epoch in fold.epochs if epoch.gradient_norms is not None]
    return tuple(known) if len(known) == len(fold.epochs) else None
