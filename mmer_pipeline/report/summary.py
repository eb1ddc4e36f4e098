"""The report as one dict of plain values, from which Markdown, HTML, LaTeX and plots are drawn.

Three numbers that are never mixed up. final: the last epoch, no selection; the headline. validated: the epoch that
is best on the validation part. oracle: the epoch that is best on the held-out fold itself, as most published numbers
are; never used for anything else. "Best" is the highest WA, the earliest epoch of those.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mmer_pipeline import paths
from mmer_pipeline.corpora.folds import natural_order
from mmer_pipeline.errors import UserError
from mmer_pipeline.report import published_results
from mmer_pipeline.report.comparisons import compare_all
from mmer_pipeline.report.imported import classes_of, known_utterances, read_import, read_rows
from mmer_pipeline.report.notes import notes_of
from mmer_pipeline.report.results import (
    Failures,
    FoldResult,
    HeldOut,
    Hole,
    RunResults,
    SystemResults,
    check_same_truth,
    read_systems,
)
from mmer_pipeline.report.utterance_facts import Spoken, read_spoken
from mmer_pipeline.scoring import statistics
from mmer_pipeline.scoring.metrics import HEADLINE, calibration_error, rates_of_confusion, reliability
from mmer_pipeline.systems.registry import SYSTEMS, title

SELECTIONS = ("final", "validated", "oracle")
LENGTH_BINS = 6
MOST_CONFIDENT_ERRORS = 10
_OF_A_FOLD = ("fold", "held_out")  # settings and inputs that differ between the folds of a run
_ENCODERS = {"text": "text_encoder", "speech": "speech_encoder"}  # what a system reads → the setting that names it


def make_report(
    runs: Sequence[Path], imports: Sequence[tuple[str, Path]] = (), failures: Failures | None = None
) -> dict[str, Any]:
    """Read runs and imports (name, file) and say everything of them that the report says.

    `failures` are better reasons for what is missing than the disk shows: see `results.read_systems`.

    Raises:
        UserError: nothing to report, or what cannot be compared; a file to import that is not good.
    """
    systems, holes = read_systems(runs, failures)
    records = [run.record for system in systems for run in system.runs]
    labels = list(systems[0].runs[0].folds[0].evaluation.labels) if systems else []
    corpus = str(records[0].facts["corpus"]) if records else "unknown"
    known, notes = known_utterances(systems) if imports else {}, []
    taken = {system.name for system in systems} | {path.name for path in runs}
    for name, path in imports:
        if name in taken:
            raise UserError(f"The name {name} is taken by another system of this report. Give --name another one.")
        taken.add(name)
        rows = read_rows(path)
        labels = labels or classes_of(rows)
        system, said = read_import(name, path, rows, labels, known)
        systems.append(system)
        notes += said
    if not systems:
        raise UserError("There is nothing to report: name a run with --run, or a file of predictions with --import.")
    check_same_truth(systems, labels)
    spoken = read_spoken(records)
    return summarise(systems, labels, corpus, holes, spoken, notes)


def summarise(
    systems: Sequence[SystemResults],
    labels: list[str],
    corpus: str,
    holes: Sequence[Hole],
    spoken: Spoken,
    notes: Sequence[str] = (),
) -> dict[str, Any]:
    """Everything that the report says, as plain values for JSON; the same input gives the same values."""
    rows = _set_apart([_system(system, labels, spoken) for system in systems])
    pairs = compare_all(systems, len(labels))
    utterances = len({name for system in systems for name in system.held_out.utterance_ids})
    return {
        "corpus": corpus,
        "labels": labels,
        "systems": rows,
        "pairs": pairs,
        "table_1": {
            "rows": published_results.table_1(rows),
            "comparable": published_results.comparable(corpus, labels, utterances),
        },
        "holes": [asdict(hole) for hole in holes],
        "notes": [*spoken.notes, *notes, *notes_of(systems, pairs, labels)],
    }


def _set_apart(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The systems, with the name in the title too where two have the same one."""
    titles = [row["title"] for row in rows]
    return [
        {**row, "title": f"{row['title']} [{row['name']}]"} if titles.count(row["title"]) > 1 else row for row in rows
    ]


def _system(system: SystemResults, labels: list[str], spoken: Spoken) -> dict[str, Any]:
    held_out = system.held_out
    record = system.runs[0].record if system.runs else None
    settings = asdict(record.settings) if record else None
    selections = {name: _selection(system, name, labels) for name in SELECTIONS}
    confusion = _confusion(held_out, len(labels))
    probabilities = held_out.probabilities
    return {
        "name": system.name,
        "title": title(settings) if settings else system.name,
        "system": settings["system"] if settings else None,
        "imported": str(system.imported) if system.imported else None,
        "seeds": [run.seed for run in system.runs],
        "encoders": {
            part: paths.encoder_name(settings[setting])
            if settings and part in SYSTEMS[settings["system"]].reads
            else None
            for part, setting in _ENCODERS.items()
        },
        "folds_expected": len(record.facts["folds"]) if record else len(system.held_outs),
        "utterances": len(set(held_out.utterance_ids)),
        "selections": selections,
        "oracle_gap": _gap(selections["final"], selections["oracle"]),
        "per_class": rates_of_confusion(confusion, labels)["per_class"],
        "confusion": confusion.tolist(),
        "speakers": _speakers(held_out, labels),
        "reliability": None
        if probabilities is None
        else {
            "ece": calibration_error(probabilities, held_out.truth),
            "bins": [asdict(entry) for entry in reliability(probabilities, held_out.truth)],
        },
        "lengths": _lengths(held_out, spoken),
        "curves": [_curve(run.seed, fold) for run in system.runs for fold in run.folds],
        "spelling": _spelling(system),
        "errors": _errors(held_out, labels, spoken),
        "runs": [_run(run) for run in system.runs],
    }


def _picks(system: SystemResults, selection: str, classes: int) -> Iterator[tuple[dict[str, Any], Any] | None]:
    """What a selection takes of each job: seed, fold, held-out part and epoch, and the confusion matrix."""
    for run in system.runs:
        for fold in run.folds:
            chosen = fold.chosen(selection)
            if chosen is None:
                yield None
            else:
                epoch, confusion = chosen
                held_out = fold.evaluation.held_out
                yield {"seed": run.seed, "fold": fold.number, "held_out": held_out, "epoch": epoch}, confusion
    if not system.runs:
        folds = np.array(system.held_out.folds)
        for number, held_out in sorted(system.held_outs.items()):
            row = {"seed": None, "fold": number, "held_out": held_out, "epoch": None}
            yield (row, _confusion(system.held_out, classes, folds == number)) if selection == "final" else None


def _selection(system: SystemResults, selection: str, labels: list[str]) -> dict[str, Any] | None:
    """Per job, mean ± sample sd over them, pooled; None where a job had nothing to choose on."""
    jobs, confusions = [], []
    for pick in _picks(system, selection, len(labels)):
        if pick is None:
            return None
        row, confusion = pick
        scores = rates_of_confusion(confusion, labels)
        jobs.append({**row, "utterances": int(np.sum(confusion)), **{name: scores[name] for name in HEADLINE}})
        confusions.append(np.asarray(confusion))
    pooled = rates_of_confusion(np.sum(confusions, axis=0), labels)
    intervals = _intervals(system.held_out, len(labels)) if selection == "final" else None
    summary = {}
    for name in HEADLINE:
        values = np.array([job[name] for job in jobs])
        summary[name] = {
            "mean": float(values.mean()),
            "sd": float(values.std(ddof=1)) if len(values) > 1 else None,
            "pooled": pooled[name],
            "interval_95": list(intervals[name]) if intervals else None,
        }
    return {"folds": jobs, "summary": summary}


def _intervals(held_out: HeldOut, classes: int) -> Mapping[str, tuple[float, float]] | None:
    counts = statistics.cluster_counts(held_out.truth, held_out.predicted, held_out.clusters, classes)
    return statistics.bootstrap_intervals(counts)


def _gap(final: dict[str, Any] | None, oracle: dict[str, Any] | None) -> dict[str, float] | None:
    """What choosing the epoch on the test fold would have added."""
    if final is None or oracle is None:
        return None
    return {name: oracle["summary"][name]["mean"] - final["summary"][name]["mean"] for name in statistics.COMPARED}


def _confusion(held_out: HeldOut, classes: int, where: Any = slice(None)) -> npt.NDArray[np.int64]:
    counts = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(counts, (held_out.truth[where], held_out.predicted[where]), 1)
    return counts


def _speakers(held_out: HeldOut, labels: list[str]) -> list[dict[str, Any]]:
    counts = statistics.cluster_counts(held_out.truth, held_out.predicted, held_out.speakers, len(labels))
    scores = statistics.rates_of_confusions(counts)
    utterances = Counter(speaker for speaker, _ in set(zip(held_out.speakers, held_out.utterance_ids, strict=True)))
    rows = [
        {"speaker": speaker, "utterances": utterances[speaker], "wa": float(wa), "ua": float(ua)}
        for speaker, wa, ua in zip(sorted(utterances), scores["wa"], scores["ua"], strict=True)
        if speaker  # "": unknown
    ]
    return sorted(rows, key=lambda row: natural_order(row["speaker"]))


def _lengths(held_out: HeldOut, spoken: Spoken) -> list[dict[str, Any]] | None:
    """The error rate in bins of utterance length that hold about as many utterances each."""
    lengths = {name: spoken.seconds.get(name) for name in held_out.utterance_ids}
    if any(seconds is None for seconds in lengths.values()):
        return None
    # Rounded to a millisecond, or lengths that are the same but for a sample would make bins of their own.
    seconds = np.round([lengths[name] for name in held_out.utterance_ids], 3)  # [N], seeds repeat an utterance
    distinct = np.round(list(lengths.values()), 3)
    edges = np.unique(np.quantile(distinct, np.linspace(0, 1, LENGTH_BINS + 1), method="inverted_cdf"))
    inner = edges[1:-1]  # a bin is (from, to]; the first holds the shortest utterance too
    bins, of_distinct = np.searchsorted(inner, seconds), np.searchsorted(inner, distinct)
    wrong = held_out.truth != held_out.predicted
    return [
        {
            "from_seconds": float(edges[number]),
            "to_seconds": float(edges[min(number + 1, len(edges) - 1)]),
            "utterances": int((of_distinct == number).sum()),
            "error_rate": float(wrong[bins == number].mean()),
        }
        for number in np.unique(bins).tolist()
    ]


def _curve(seed: int, fold: FoldResult) -> dict[str, Any]:
    chosen = {name: fold.chosen(name) for name in ("oracle", "validated")}
    epochs = {name: pick[0] if pick else None for name, pick in chosen.items()}
    return {
        "seed": seed,
        "fold": fold.number,
        "epochs": [epoch.number for epoch in fold.epochs],
        "ce": [epoch.ce for epoch in fold.epochs],
        "ctc": None if fold.epochs[0].ctc is None else [epoch.ctc for epoch in fold.epochs],
        "wa": [epoch.held_out.wa for epoch in fold.epochs],
        "ua": [epoch.held_out.ua for epoch in fold.epochs],
        "validation_wa": [epoch.validation.wa for epoch in fold.epochs if epoch.validation] or None,
        "oracle_epoch": epochs["oracle"],
        "validated_epoch": epochs["validated"],
    }


def _spelling(system: SystemResults) -> dict[str, float] | None:
    """Mean WER and CER over the jobs; None where no CTC head was trained or nothing can be spelt."""
    scores = [fold.evaluation.scores for run in system.runs for fold in run.folds]
    if not system.runs or not system.runs[0].record.settings.alpha:
        return None
    wer = [entry.wer for entry in scores if entry.wer is not None]
    cer = [entry.cer for entry in scores if entry.cer is not None]
    return {"wer": float(np.mean(wer)), "cer": float(np.mean(cer))} if len(wer) == len(cer) == len(scores) else None


def _errors(held_out: HeldOut, labels: list[str], spoken: Spoken) -> list[dict[str, Any]]:
    """The errors that the system was surest of, each utterance once."""
    if held_out.probabilities is None:
        return []
    wrong = np.flatnonzero(held_out.truth != held_out.predicted)
    confidence = held_out.probabilities[wrong, held_out.predicted[wrong]]
    # Stable, so that equals keep the order of the runs.
    order = wrong[np.argsort(-confidence, kind="stable")].tolist()
    first = {held_out.utterance_ids[row]: row for row in reversed(order)}
    rows = [row for row in order if first[held_out.utterance_ids[row]] == row][:MOST_CONFIDENT_ERRORS]
    return [
        {
            "utterance_id": held_out.utterance_ids[row],
            "fold": held_out.folds[row],
            "speaker": held_out.speakers[row],
            "truth": labels[held_out.truth[row]],
            "prediction": labels[held_out.predicted[row]],
            "probabilities": dict(zip(labels, held_out.probabilities[row].tolist(), strict=True)),
            "transcript": spoken.transcripts.get(held_out.utterance_ids[row]),
        }
        for row in rows
    ]


def _run(run: RunResults) -> dict[str, Any]:
    record = run.record
    return {
        "run": run.name,
        "seed": run.seed,
        "settings": {name: value for name, value in asdict(record.settings).items() if name not in _OF_A_FOLD},
        "inputs": {name: value for name, value in record.inputs.items() if name not in _OF_A_FOLD},
        "folds": [
            {
                "fold": fold.number,
                "held_out": fold.evaluation.held_out,
                "utterances": fold.evaluation.utterances,
                "facts": fold.record.facts,
                "training_seconds": float(sum(epoch.seconds for epoch in fold.epochs)),
                "utterances_per_second": float(np.median([epoch.utterances_per_second for epoch in fold.epochs])),
            }
            for fold in run.folds
        ],
    }
