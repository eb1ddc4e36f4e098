"""Tables of one system; see `comparison_tables.py`."""

from collections.abc import Callable, Mapping, Sequence

from mmer_pipeline.report.comparison_tables import mean_and_sd, pooled_cell, trained_again_cell
from mmer_pipeline.report.gate_content import ClassGates, GatedUtterance
from mmer_pipeline.report.report_content import (
    ClassScores,
    ConfidentError,
    FoldScores,
    MetricSummary,
    Report,
    System,
)
from mmer_pipeline.report.table_rendering import Cell, Column, Filled, Table, grouped_table_of, table_of
from mmer_pipeline.report.wording import (
    AGAIN,
    GATE_COMPARISON,
    GATE_EXTREMES,
    GATE_MEANING,
    HIGHEST_GATES,
    LOWEST_GATES,
    METRIC_NAMES,
    NOTHING,
    gate,
    interval,
    percent,
    pooled_interval,
    signed_gate,
)
from mmer_pipeline.scoring.metrics import HEADLINE
from mmer_pipeline.scoring.statistics import COMPARED


def scores(report: Report, system: System) -> Table:
    """Every metric under each selection, mean and pooled."""

    def summary(name: str, of: Callable[[MetricSummary], Cell]) -> Callable[[str], Cell]:
        return lambda metric: of(system.selections.known[name].summary[metric])

    columns: list[Filled[str]] = [(Column("metric", "word"), METRIC_NAMES.__getitem__)]
    for name in system.selections.known:
        columns += [
            (Column("mean ± sd", group=name), summary(name, mean_and_sd)),
            (Column("pooled" if name == "oracle" else "pooled (95\u00a0%)", group=name), summary(name, pooled_cell)),
        ]
    final = system.selections.final.summary
    has_again = any(trained_again_cell(entry) != NOTHING for entry in final.values())
    if has_again:
        columns.insert(
            2, (Column(f"{AGAIN} 95\u00a0%", group="final"), lambda metric: trained_again_cell(final[metric]))
        )
    return table_of(
        "Percent: mean ± sample standard deviation over folds and seeds, and pooled."
        + (" Trained again: interval of the mean for other seeds and speakers." if has_again else ""),
        HEADLINE,
        columns,
        [f"The pooled value: {pooled_interval(report)}."],
    )


def folds(system: System) -> Table:
    """Scores of each fold and seed."""
    at = {
        name: {(row.seed, row.fold): row for row in selection.folds}
        for name, selection in system.selections.known.items()
    }

    def score(name: str, metric: str) -> Callable[[FoldScores], str]:
        return lambda row: percent(getattr(at[name][row.seed, row.fold], metric))

    def epoch(name: str) -> Callable[[FoldScores], str]:
        return lambda row: str(at[name][row.seed, row.fold].epoch)

    columns: list[Filled[FoldScores]] = [
        (Column("fold", "word"), lambda row: str(row.fold)),
        *([(Column("seed", "word"), lambda row: str(row.seed))] if len(system.seeds) > 1 else []),
        (Column("held out", "word"), lambda row: row.held_out),
        (Column("utterances", priority=1), lambda row: str(row.utterances)),
    ]
    for name in at:
        # The final epoch is the last, of which the number is known, unless patience ended the training of some folds.
        if name != "final" or len({row.epoch for row in system.selections.final.folds}) > 1:
            columns.append((Column("epoch", group=name), epoch(name)))
        if name == "final":
            metrics = [(metric, 0 if metric in COMPARED else 2) for metric in HEADLINE]
        else:
            metrics = [(metric, 0) for metric in COMPARED]
        columns += [
            (Column(METRIC_NAMES[metric], group=name, priority=rank), score(name, metric)) for metric, rank in metrics
        ]
    return table_of("Percent, by fold and seed.", system.selections.final.folds, columns)


def classes(per_class: Mapping[str, ClassScores], counted: str) -> Table:
    """Precision, recall and F1 of each class; `counted` names what the last column counts."""
    columns: list[Filled[tuple[str, ClassScores]]] = [
        (Column("class", "text"), lambda row: row[0]),
        (Column("precision"), lambda row: percent(row[1].precision)),
        (Column("recall"), lambda row: percent(row[1].recall)),
        (Column("F1"), lambda row: percent(row[1].f1)),
        (Column(counted), lambda row: str(row[1].support)),
    ]
    return table_of("Percent, final, pooled.", per_class.items(), columns)


def confusion(counts: Sequence[Sequence[int]], labels: Sequence[str]) -> Table:
    """Confusion matrix; rows are the truth."""

    def share(place: int) -> Callable[[tuple[str, Sequence[int]]], Cell]:
        return lambda row: Cell(str(row[1][place]), f"({percent(row[1][place] / max(1, sum(row[1])), 1)})")

    columns: list[Filled[tuple[str, Sequence[int]]]] = [
        (Column("truth ╲ predicted", "text"), lambda row: row[0]),
        *((Column(label), share(place)) for place, label in enumerate(labels)),
    ]
    return table_of("Final, pooled. In brackets: percent of the row.", zip(labels, counts, strict=True), columns)


def speakers(system: System) -> Table:
    """Scores of each speaker."""
    return table_of(
        "Percent, final; each speaker in the fold that holds it out.",
        system.speakers,
        [
            (Column("speaker", "text"), lambda row: row.speaker),
            (Column("utterances"), lambda row: str(row.utterances)),
            (Column("WA"), lambda row: percent(row.wa)),
            (Column("UA"), lambda row: percent(row.ua)),
        ],
    )


def lengths(system: System) -> Table:
    """Error rate by utterance length."""
    return table_of(
        "Error rate by utterance length, percent, final, pooled.",
        system.lengths or (),
        [
            (Column("seconds", "word"), lambda row: f"{row.from_seconds:.2f}–{row.to_seconds:.2f}"),
            (Column("utterances"), lambda row: str(row.utterances)),
            (Column("errors"), lambda row: percent(row.error_rate)),
        ],
    )


def reliability(system: System) -> Table:
    """Accuracy by confidence."""
    found = system.reliability
    return table_of(
        "Percent, final, pooled.",
        found.bins if found else (),
        [
            (Column("confidence", "word"), lambda row: interval((row.lower, row.upper))),
            (Column(system.counted), lambda row: str(row.utterances)),
            (Column("mean confidence"), lambda row: percent(row.confidence)),
            (Column("accuracy"), lambda row: percent(row.accuracy)),
        ],
        [f"Expected calibration error: {percent(found.ece)}."] if found else (),
    )


def errors(system: System, labels: Sequence[str]) -> Table:
    """Wrong predictions with the highest confidence."""

    def probability(label: str) -> Callable[[ConfidentError], str]:
        return lambda row: percent(row.probabilities[label], 1)

    columns: list[Filled[ConfidentError]] = [
        (Column("utterance", "text"), lambda row: row.utterance_id),
        (Column("speaker", "text"), lambda row: row.speaker or NOTHING),
        (Column("truth", "word"), lambda row: row.truth),
        (Column("predicted", "word"), lambda row: row.prediction),
        (Column("transcript", "text"), lambda row: row.transcript or NOTHING),
        *((Column(label), probability(label)) for label in labels),
    ]
    return table_of("Probability of each class, percent.", system.errors, columns)


def gates(system: System) -> Table:
    """Mean and percentiles of the acoustic gate by true class."""
    columns: list[Filled[tuple[str, ClassGates]]] = [
        (Column("class", "text"), lambda row: row[0]),
        (Column("utterances"), lambda row: str(row[1].utterances)),
        (Column("mean"), lambda row: gate(row[1].mean)),
        (Column("10\u00a0%"), lambda row: gate(row[1].percentile_10)),
        (Column("median"), lambda row: gate(row[1].median)),
        (Column("90\u00a0%"), lambda row: gate(row[1].percentile_90)),
    ]
    return table_of(
        "Acoustic gate by true class, from 0 to 1, final, pooled: mean, median, 10th and 90th percentile."
        + (" Each utterance counts once, with its mean over seeds." if len(system.seeds) > 1 else ""),
        system.gates.per_class.items() if system.gates else (),
        columns,
        [GATE_MEANING, GATE_COMPARISON],
    )


def gate_extremes(system: System) -> Table:
    """Utterances with the highest and the lowest gates among those of their fold."""
    columns: list[Filled[GatedUtterance]] = [
        (Column("utterance", "text"), lambda row: row.utterance_id),
        (Column("gate"), lambda row: gate(row.gate)),
        (Column("− fold mean"), lambda row: signed_gate(row.above_fold)),
        (Column("truth", "word"), lambda row: row.truth),
        (Column("predicted", "word"), lambda row: row.prediction),
        (Column("fold", "word"), lambda row: str(row.fold)),
        (Column("speaker", "text"), lambda row: row.speaker or NOTHING),
        (Column("transcript", "text"), lambda row: row.transcript or NOTHING),
    ]
    found = system.gates
    groups = [(HIGHEST_GATES, found.highest), (LOWEST_GATES, found.lowest)] if found else []
    return grouped_table_of(
        "Highest and lowest gates, final, by their distance from the mean of the fold."
        + (" Gates and probabilities are averaged over seeds." if len(system.seeds) > 1 else ""),
        groups,
        columns,
        [GATE_EXTREMES],
    )
