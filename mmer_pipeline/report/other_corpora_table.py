"""The table of scores on other corpora."""

from collections.abc import Callable

from mmer_pipeline.report.comparisons import FEWEST_CLUSTERS
from mmer_pipeline.report.other_corpora import EVERYTHING, ScoresOnOther
from mmer_pipeline.report.report_content import Report
from mmer_pipeline.report.table_rendering import Cell, Column, Filled, Table, grouped_table_of
from mmer_pipeline.report.wording import METRIC_NAMES, NOTHING, interval, percent
from mmer_pipeline.scoring.statistics import COMPARED

TITLE = "On other corpora"


def other_corpora(report: Report) -> Table:
    """The scores of every system on every other corpus."""

    def system(row: ScoresOnOther) -> Cell:
        return Cell(report.system(row.system).title, system=row.system)

    def models(row: ScoresOnOther) -> str:
        if row.trained_on == EVERYTHING:
            return f"{row.models}, on everything"
        there = len(report.system(row.system).selections.final.folds)
        return str(row.models) if row.models == there else f"{row.models} of {there}"

    def mean(metric: str) -> Callable[[ScoresOnOther], Cell]:
        def cell(row: ScoresOnOther) -> Cell:
            found = row.summary[metric]
            return Cell(percent(found.mean), "" if found.sd is None else f"± {percent(found.sd)}")

        return cell

    def reach(metric: str) -> Callable[[ScoresOnOther], str]:
        def cell(row: ScoresOnOther) -> str:
            found = row.summary[metric].interval_95
            return interval(found) if found and row.clusters >= FEWEST_CLUSTERS else NOTHING

        return cell

    def recalls(row: ScoresOnOther) -> str:
        return ", ".join(f"{label} {percent(value)}" for label, value in row.recall.items())

    def predicted(row: ScoresOnOther) -> str:
        counts = [sum(column) for column in zip(*row.confusion, strict=True)]
        shares = zip(report.labels, counts, strict=True)
        return ", ".join(f"{label} {percent(count / sum(counts))}" for label, count in shares)

    columns: list[Filled[ScoresOnOther]] = [
        (Column("system", "text"), system),
        (Column("models", priority=1), models),
        *(
            column
            for metric in COMPARED
            for column in (
                (Column(METRIC_NAMES[metric]), mean(metric)),
                (Column(f"{METRIC_NAMES[metric]} 95\u00a0%"), reach(metric)),
            )
        ),
        (Column("recall", "text", priority=2), recalls),
        (Column("predicted", "text", priority=3), predicted),
    ]
    corpora = list(dict.fromkeys(row.corpus for row in report.other_corpora))
    groups = [[row for row in report.other_corpora if row.corpus == corpus] for corpus in corpora]
    return grouped_table_of(
        f"Trained on {report.corpus}, tested on other corpora. Percent: mean ± sample standard deviation over models "
        "(each fold and seed is one), and the 95 % interval of the mean, which resamples the other corpus's dialogues "
        "(speakers, if it names none) and the models. No row is part of any number above.",
        [(_heading(rows[0]), rows) for rows in groups],
        columns,
        _notes(report, [rows[0] for rows in groups]),
    )


def _heading(row: ScoresOnOther) -> str:
    count = f"{len(row.classes)} class{'es' if len(row.classes) > 1 else ''}"
    return f"{row.corpus}: {row.utterances} utterances, {_clusters(row)}, {count}"


def _clusters(row: ScoresOnOther) -> str:
    return f"{row.clusters} {'speaker' if row.clusters_are_speakers else 'dialogue'}{'s' if row.clusters > 1 else ''}"


def _notes(report: Report, corpora: list[ScoresOnOther]) -> list[str]:
    notes = ["UA is the mean of the recalls of the classes that the other corpus has."]
    for row in corpora:
        missing = [label for label in report.labels if label not in row.classes]
        if missing:
            notes.append(
                f"{row.corpus} has only {', '.join(row.classes)}; the models also know {', '.join(missing)}, and "
                "predicting one of them is an error."
            )
        else:
            notes.append(f"Guessing gives a UA of {percent(1 / len(row.classes))} on {row.corpus}.")
        if 1 < row.clusters < FEWEST_CLUSTERS:
            notes.append(f"{row.corpus}: {_clusters(row)} are too few for an interval.")
        if row.shared_speakers:
            notes.append(
                f"{row.corpus}: {row.shared_speakers} speakers have a name that also occurs in training; if they are "
                "the same people, this is not a test on other speakers."
            )
        if row.shared_speakers is None:
            notes.append(
                f"{row.corpus}: its overlap with the training corpus was not checked because that corpus was missing."
            )
    return notes
