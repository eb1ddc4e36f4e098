"""The content of a made-up cross-validation report with everything in it that a page can stumble over.

Four trained systems of five folds and two seeds, one of them with validated numbers, one with a hole; one imported
system without probabilities; names and transcripts that are markup, very long, or both. The same on every call.
"""

from collections.abc import Callable, Collection
from dataclasses import asdict, replace
from functools import cache
from typing import Any

import numpy as np

from mmer_pipeline.report.build_report import class_scores
from mmer_pipeline.report.published_figures import TABLE_1, Published
from mmer_pipeline.report.published_results import with_ours
from mmer_pipeline.report.report_content import (
    ConfidentError,
    Curve,
    Encoders,
    FoldScores,
    Hole,
    LengthBin,
    MetricDifference,
    MetricSummary,
    OracleGap,
    PairComparison,
    Reliability,
    Report,
    Selection,
    Selections,
    SpeakerScores,
    Spelling,
    System,
    TrainedAgain,
)
from mmer_pipeline.report.table_1_content import Table1, Table1Row
from mmer_pipeline.report.trained_runs import TrainedFold, TrainedRun
from mmer_pipeline.scoring.metrics import HEADLINE, ReliabilityBin, calibration_error, rates
from mmer_pipeline.settings import Settings

LABELS = ("happy", "angry", "neutral", "sad")
FOLDS, SEEDS, EPOCHS = 5, (1, 2), 8
UTTERANCES = 672
SPEECH = "moonshine-tiny-encoder"
TEXT = "a-very-long-organisation-name/an_even_longer_text_encoder_name_without_any_place_to_break_it-v2"
TRANSCRIPTS = [
    "Kids are talking by the door",
    "<b>Not bold</b> & not | a column; <script>alert('no')</script>",
    "Well, " + "I do not know what I should say about that any more, " * 9 + "so I had better stop.",
    "Pneumonoultramicroscopicsilicovolcanoconiosis" * 3,
    None,
]
FACTS = {
    "device": "NVIDIA H200",
    "python": "3.11.7",
    "platform": "Linux-6.1.0-x86_64-with-glibc2.36",
    "versions": {"mmer-pipeline": "0.1.0", "torch": "2.13.0+cpu", "transformers": "5.23.0", "numpy": "2.4.6"},
    "git_commit": "a76e691d8c90343cbb7822322c0f0274b03ba6cb-dirty",
    "without_ctc_target": 0,
    "trained_parameters": 9_436_356,
}


@cache
def report_example() -> Report:
    """The report."""
    rng = np.random.default_rng(7)
    systems = (
        _system(rng, "mmer", "MMER (α = 0.1)", 1.9, ctc=True, validated=True, validation="speaker"),
        _system(rng, "cai", "Cai et al. (α = 0.1)", 1.6, ctc=True),
        _system(rng, "wav2vec2", "wav2vec2", 1.5, learning_rate=1e-4),
        _system(rng, "roberta", "RoBERTa (frozen)", 0.02, holes={(2, 3)}),
        _system(rng, "theirs <b>&|", "theirs <b>&| of a very long name that goes on and on", 1.2, imported=True),
    )
    why = "the loss of epoch 2 is NaN: `mmer-pipe train --run roberta-seed2 --fold 3 --restart`"
    return Report(
        corpus="ravdess",
        labels=LABELS,
        systems=systems,
        pairs=_pairs(systems),
        table_1=_table_1(systems),
        holes=(
            Hole("roberta-seed2", 3, why),
            Hole("wav2vec2-<seed3>", None, "no fold is evaluated: `mmer-pipe cv`"),
        ),
        notes=("Intervals from 12 dialogues are too narrow to be trusted; see `--folds`.",),
    )


def with_system(report: Report, number: int, change: Callable[[System], System]) -> Report:
    """The report with one of its systems changed."""
    systems = list(report.systems)
    systems[number] = change(systems[number])
    return replace(report, systems=tuple(systems))


def with_comparable(report: Report) -> Report:
    """The report as if its corpus were that of the published figures."""
    rows = tuple(
        row if row.ours is None else with_ours(row, report.system(row.ours), comparable=True)
        for row in report.table_1.rows
    )
    return replace(report, table_1=Table1(rows, comparable=True))


def published_with_folds(number: int) -> tuple[Published, ...]:
    """The published figures as if they were from cross-validations of that many folds."""
    return tuple(replace(row, folds=number) for row in TABLE_1)


def without_last_fold(system: System) -> System:
    """The system with a fold missing."""
    final = system.selections.final
    final = replace(final, folds=final.folds[:-1])
    return replace(system, selections=replace(system.selections, final=final))


def _system(
    rng: np.random.Generator,
    name: str,
    title: str,
    skill: float,
    *,
    ctc: bool = False,
    validated: bool = False,
    imported: bool = False,
    holes: Collection[tuple[int, int]] = (),
    **settings: Any,
) -> System:
    jobs = [(seed, fold) for seed in ((1,) if imported else SEEDS) for fold in range(1, FOLDS + 1)]
    jobs = [job for job in jobs if job not in holes]
    truth = np.repeat(np.arange(4), UTTERANCES // FOLDS // 4 + 1)[: UTTERANCES // FOLDS]
    folds, curves, parts = _train(rng, jobs, truth, skill, ctc=ctc, validated=validated, imported=imported)
    probabilities, truths = np.concatenate(parts), np.tile(truth, len(jobs))
    predicted = probabilities.argmax(axis=1)
    final, validated_scores, oracle = (
        _selection(folds[name], name == "final") for name in ("final", "validated", "oracle")
    )
    return System(
        name=name,
        title=title,
        system=None if imported else name,
        imported="outputs/their <i>predictions</i>.csv" if imported else None,
        seeds=() if imported else SEEDS,
        encoders=Encoders(
            text=TEXT if name in ("mmer", "roberta") else None,
            speech=None if imported or name == "roberta" else SPEECH,
        ),
        folds_expected=FOLDS,
        utterances=UTTERANCES,
        selections=Selections(final, validated_scores if validated else None, None if imported else oracle),
        oracle_gap=None
        if imported
        else OracleGap(*(oracle.summary[metric].mean - final.summary[metric].mean for metric in ("wa", "ua"))),
        per_class=class_scores(rates(truths, predicted, LABELS)["per_class"]),
        confusion=tuple(tuple(int(((truths == i) & (predicted == j)).sum()) for j in range(4)) for i in range(4)),
        speakers=tuple(
            SpeakerScores(f"Actor_{number:02}", 28, wa=rng.uniform(0.4, 0.9), ua=rng.uniform(0.4, 0.9))
            for number in range(1, 25)
        ),
        reliability=None if imported else _reliability(probabilities, truths),
        lengths=tuple(
            LengthBin(low, high, 134, rng.uniform(0.15, 0.4))
            for low, high in ((2.9, 3.4), (3.4, 3.6), (3.6, 3.8), (3.8, 4.1), (4.1, 5.3))
        ),
        curves=() if imported else tuple(curves),
        spelling=Spelling(0.4321, 0.1987) if ctc else None,
        errors=() if imported else _errors(probabilities, truths),
        runs=() if imported else tuple(_run(rng, name, seed, jobs, settings, ctc) for seed in SEEDS),
    )


def _train(
    rng: np.random.Generator,
    jobs: list[tuple[int, int]],
    truth: np.ndarray,
    skill: float,
    *,
    ctc: bool,
    validated: bool,
    imported: bool,
) -> tuple[dict[str, list[FoldScores]], list[Curve], list[np.ndarray]]:
    """The scores by selection, the curves, and the last epoch's probabilities [N, 4] of made-up folds."""
    folds: dict[str, list[FoldScores]] = {name: [] for name in ("final", "validated", "oracle")}
    curves, parts = [], []
    for seed, fold in jobs:
        by_epoch = [_predict(rng, truth, skill * (1 - 0.8**epoch) / 0.8) for epoch in range(1, EPOCHS + 1)]
        scores = [rates(truth, probabilities.argmax(axis=1), LABELS) for probabilities in by_epoch]
        wa = [entry["wa"] for entry in scores]
        chosen = {"final": EPOCHS - 1, "oracle": int(np.argmax(wa)), "validated": int(np.argmax(wa[:-1]))}
        for selection, epoch in chosen.items():
            values = {metric: scores[epoch][metric] for metric in HEADLINE}
            at = None if imported else epoch + 1
            folds[selection].append(FoldScores(seed, fold, str(fold), at, len(truth), **values))
        decay = 0.75 ** np.arange(EPOCHS)
        curves.append(
            Curve(
                seed=seed,
                fold=fold,
                epochs=tuple(range(1, EPOCHS + 1)),
                ce=tuple((1.386 * decay + rng.uniform(0, 0.05, EPOCHS)).tolist()),
                ctc=tuple((230 * decay + 60 + rng.uniform(0, 4, EPOCHS)).tolist()) if ctc else None,
                wa=tuple(wa),
                ua=tuple(entry["ua"] for entry in scores),
                validation_wa=tuple(wa) if validated else None,
                oracle_epoch=chosen["oracle"] + 1,
                validated_epoch=chosen["validated"] + 1 if validated else None,
            )
        )
        parts.append(by_epoch[-1])
    return folds, curves, parts


def _predict(rng: np.random.Generator, truth: np.ndarray, skill: float) -> np.ndarray:
    """[N, 4] probabilities; the last two classes are mistaken for each other most."""
    scores = rng.normal(size=(len(truth), 4)) + skill * np.eye(4)[truth] + 0.5 * skill * (truth > 1)[:, None] * (
        np.arange(4) > 1
    )  # fmt: skip
    return np.exp(scores * 1.5) / np.exp(scores * 1.5).sum(axis=1, keepdims=True)


def _selection(rows: list[FoldScores], with_interval: bool) -> Selection:
    summary = {}
    for metric in HEADLINE:
        values = np.array([getattr(row, metric) for row in rows])
        mean = float(values.mean())
        interval = (mean - 0.037, mean + 0.031) if with_interval else None
        again = None
        if with_interval:
            is_known = len(rows) == FOLDS * len(SEEDS)
            again = (
                TrainedAgain(mean, (mean - 0.061, mean + 0.061), 4.0, units=FOLDS, seeds=(len(SEEDS),))
                if is_known
                else (TrainedAgain(why_not="some folds are missing"))
            )
        summary[metric] = MetricSummary(mean, float(values.std(ddof=1)), mean + 0.001, interval, again)
    return Selection(tuple(rows), summary)


def _reliability(probabilities: np.ndarray, truth: np.ndarray) -> Reliability:
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == truth
    bins = []
    for number in range(15):
        there = (confidence > number / 15) & (confidence <= (number + 1) / 15)
        if there.any():
            bins.append(
                ReliabilityBin(number / 15, (number + 1) / 15, int(there.sum()),
                               float(confidence[there].mean()), float(right[there].mean()))
            )  # fmt: skip
    return Reliability(calibration_error(probabilities, truth), tuple(bins))


def _errors(probabilities: np.ndarray, truth: np.ndarray) -> tuple[ConfidentError, ...]:
    predicted = probabilities.argmax(axis=1)
    wrong = np.flatnonzero(predicted != truth)
    worst = wrong[np.argsort(-probabilities[wrong].max(axis=1))][:10]
    return tuple(
        ConfidentError(
            utterance_id=f"03-01-0{1 + truth[row]}-01-02-01-{row % 24 + 1:02}",
            fold=int(row % 5 + 1),
            speaker=f"Actor_{row % 24 + 1:02}",
            truth=LABELS[truth[row]],
            prediction=LABELS[predicted[row]],
            probabilities=dict(zip(LABELS, probabilities[row].tolist(), strict=True)),
            transcript=TRANSCRIPTS[number % len(TRANSCRIPTS)],
        )
        for number, row in enumerate(worst)
    )


def _run(
    rng: np.random.Generator, name: str, seed: int, jobs: list[tuple[int, int]], settings: dict[str, Any], ctc: bool
) -> TrainedRun:
    used = asdict(Settings(fold=1, system=name, text_encoder=TEXT, speech_encoder=SPEECH, alpha=0.1 if ctc else 0.0,
                           epochs=EPOCHS, seed=seed, **settings))  # fmt: skip
    return TrainedRun(
        run=f"{name}-seed{seed}",
        seed=seed,
        settings={key: value for key, value in used.items() if key != "fold"},
        inputs={
            "manifest": "f3c4c06e150aa2d8",
            "text_features": "2229c7d418d1dfd5",
            "speech_features": "b577d7cf23ef862c",
            "labels": list(LABELS),
            "alphabet": list("<>|ETAONIHSRDLUMWCFGYPBVK'XJQZ"),
        },
        folds=tuple(
            TrainedFold(
                fold=fold,
                held_out=str(fold),
                utterances=UTTERANCES // FOLDS,
                facts=FACTS if fold < FOLDS else {**FACTS, "device": "cpu"},
                training_seconds=rng.uniform(200, 4000),
                utterances_per_second=rng.uniform(16, 400),
            )
            for other, fold in jobs
            if other == seed
        ),
    )


def _pairs(systems: tuple[System, ...]) -> tuple[PairComparison, ...]:
    pairs = []
    for number, first in enumerate(systems):
        for second in systems[number + 1 :]:
            metrics = {}
            for metric in ("wa", "ua"):
                one, other = (system.selections.final.summary[metric].pooled for system in (first, second))
                p = float(np.exp(-abs(one - other) * 60))
                interval = (one - other - 0.03, one - other + 0.03)
                again = TrainedAgain(why_not="imported")
                if second.runs and second.name != "roberta":
                    wide = (one - other - 0.11, one - other + 0.11)
                    again = TrainedAgain(one - other, wide, 4.4, min(1.0, 3 * p), min(1.0, 9 * p), "fold", FOLDS,
                                         (2, 2), 12, 7)  # fmt: skip
                metrics[metric] = MetricDifference(one - other, interval, p, min(1.0, 4 * p), again)
            pairs.append(PairComparison(first.name, second.name, UTTERANCES, 24, metrics))
    return tuple(pairs)


def _table_1(systems: tuple[System, ...]) -> Table1:
    """Some rows of the paper and all systems; `mmer` is in the row of α = 0.1, though its α is half of that."""
    published = {row.method: row for row in TABLE_1}
    wanted = (
        ("Wang et al. [35]", None),
        ("Morais et al. [30]", None),
        ("RoBERTa (base)", "roberta"),
        ("wav2vec 2.0", "wav2vec2"),
        ("Cai et al. [28], run by the paper's authors", "cai"),
        ("theirs", "theirs <b>&|"),
        ("MMER (α = 0)", None),
        ("MMER (α = 0.1)", "mmer"),
    )
    ours = {system.name: system for system in systems}
    rows = []
    for method, name in wanted:
        row = Table1Row("Baselines", method, FOLDS, "a,t", None, None)
        if method in published:
            of = published[method]
            row = Table1Row(of.group, of.method, of.folds, of.modality, of.figure, of.kind, of.remark)
        rows.append(row if name is None else with_ours(row, ours[name], comparable=False))
    return Table1(tuple(rows), comparable=False)
