"""How the numbers were made: facts of a system; tables of settings, inputs, environment and jobs."""

from collections import Counter
from collections.abc import Callable

import numpy as np

from mmer_pipeline.report.report_content import Report, System
from mmer_pipeline.report.table_rendering import Column, Filled, Table, table_of
from mmer_pipeline.report.trained_runs import GradientNorms, TrainedFold, TrainedRun
from mmer_pipeline.report.wording import (
    NOTHING,
    duration,
    folds_line,
    percent,
    plain,
)
from mmer_pipeline.settings import DEFAULTS

_PER_RUN = ("seed",)  # settings that differ between the runs of a system


def system_facts(report: Report, system: System) -> list[tuple[str, str]]:
    """List what is known about a system: (name, value) each."""
    first = system.runs[0].folds[0].job_facts if system.runs else None
    seeds = ", ".join(map(str, system.seeds))
    spelling = system.spelling
    facts = [
        ("run", f"{system.name}, {'seed' if len(system.seeds) == 1 else 'seeds'} {seeds}" if system.runs else ""),
        ("fused", f"{', '.join(system.fused.members)}; {system.fused.described}" if system.fused else ""),
        ("imported", f"as “{system.name}” from {system.imported}" if system.imported else ""),
        *((f"{kind} encoder", name) for kind, name in system.encoders.used.items()),
        ("held out", f"{system.utterances} utterances of {report.corpus}, {folds_line(system)}"),
        (
            "spelling",
            f"WER {percent(spelling.wer)} %, CER {percent(spelling.cer)} % (greedy CTC transcripts, "
            "mean over folds and seeds)"
            if spelling
            else "",
        ),
    ]
    if first is not None:
        trained = first.trained_parameters
        unspelt = first.without_ctc_target if system.runs[0].settings["alpha"] else None  # 0: there is no CTC head
        facts += [
            ("trained", f"{trained:,} parameters" if trained is not None else ""),
            ("without CTC target", f"{unspelt} training utterances (first fold)" if unspelt is not None else ""),
            ("revisions", ", ".join(f"{part} {revision}" for part, revision in first.revisions.items())),
        ]
    return [(name, value) for name, value in facts if value]


def settings(report: Report, *, changed_only: bool = False) -> Table:
    """Settings of each trained system beside the defaults; all, or only those that differ from the default."""
    trained = _trained(report)
    names = dict.fromkeys(name for system in trained for name in system.runs[0].settings if name not in _PER_RUN)
    if changed_only:
        names = {
            name: None
            for name in names
            if any(system.runs[0].settings.get(name) != DEFAULTS.get(name) for system in trained)
        }
        names.pop("precision", None)  # the default, auto, is recorded as what it became

    def value(system: System) -> Callable[[str], str]:
        return lambda name: plain(system.runs[0].settings.get(name))

    columns: list[Filled[str]] = [
        (Column("setting", "text"), lambda name: name),
        (Column("default", "text"), lambda name: plain(DEFAULTS.get(name))),
        *((Column(system.title, "text"), value(system)) for system in trained),
    ]
    caption = "Settings that differ from the default in a system." if changed_only else "All settings but the seed."
    return table_of(caption, names, columns)


def inputs(report: Report) -> Table:
    """Inputs of each trained system."""
    trained = _trained(report)

    def value(system: System) -> Callable[[str], str]:
        return lambda name: plain(system.runs[0].inputs.get(name))

    columns: list[Filled[str]] = [
        (Column("input", "text"), lambda name: name),
        *((Column(system.title, "text"), value(system)) for system in trained),
    ]
    names = dict.fromkeys(name for system in trained for name in system.runs[0].inputs)
    return table_of("Digests of manifest and features, class order, CTC alphabet.", names, columns)


def environment(report: Report) -> Table:
    """Hardware and versions of all jobs; if values differ, the number of jobs with each."""
    seen: dict[str, Counter[str]] = {}
    for _, fold in _jobs(report):
        facts = fold.job_facts
        named = {"device": facts.device, "hardware": facts.hardware, "platform": facts.platform,
                 "python": facts.python, "git commit": facts.git_commit, **facts.versions}  # fmt: skip
        for name, value in named.items():
            seen.setdefault(name, Counter())[plain(value)] += 1

    def values(row: tuple[str, Counter[str]]) -> str:
        return next(iter(row[1])) if len(row[1]) == 1 else "; ".join(f"{v} ({n} jobs)" for v, n in row[1].items())

    columns: list[Filled[tuple[str, Counter[str]]]] = [
        (Column("item", "text"), lambda row: row[0]),
        (Column("value", "text"), values),
    ]
    return table_of(f"All {len(_jobs(report))} jobs.", seen.items(), columns)


def jobs(report: Report) -> Table:
    """Training of each fold."""
    columns: list[Filled[tuple[TrainedRun, TrainedFold]]] = [
        (Column("run", "text"), lambda job: job[0].run),
        (Column("seed"), lambda job: str(job[0].seed)),
        (Column("fold"), lambda job: str(job[1].fold)),
        (Column("training time"), lambda job: duration(job[1].training_seconds)),
        (Column("utterances/s"), lambda job: f"{job[1].utterances_per_second:.1f}"),
        (Column("held out", "word"), lambda job: job[1].held_out),
        (Column("utterances"), lambda job: str(job[1].utterances)),
        (Column("device", "text"), lambda job: job[1].job_facts.device),
    ]
    return table_of("Training time and speed of each fold; utterances/s: median over epochs.", _jobs(report), columns)


def gradients(report: Report) -> Table:
    """Gradient norms of each trained system in the first and the last epoch, means over folds and seeds."""

    def norm(epoch: int, name: str) -> Callable[[System], str]:
        def cell(system: System) -> str:
            values = [getattr(norms[epoch], name) for norms in _norms(system)]
            known = [value for value in values if value is not None]
            return f"{np.mean(known):.3g}" if known else NOTHING

        return cell

    def clipped(system: System) -> str:
        return percent(float(np.mean([epoch.clipped for norms in _norms(system) for epoch in norms])), 0)

    columns: list[Filled[System]] = [(Column("system", "text"), lambda system: system.title)]
    for epoch, group in ((0, "first epoch"), (-1, "last epoch")):
        columns += [
            (Column("whole", group=group), norm(epoch, "mean")),
            (Column("emotion", group=group), norm(epoch, "emotion")),
            (Column("CTC", group=group), norm(epoch, "ctc")),
        ]
    columns.append((Column("clipped steps (%)"), clipped))
    return table_of(
        "Mean norm of a step's gradient before clipping: of the whole loss, and of its parts CE and α · CTC.",
        [system for system in _trained(report) if _norms(system)],
        columns,
    )


def _norms(system: System) -> list[tuple[GradientNorms, ...]]:
    """The norms of each fold and seed, by epoch; without those of folds trained by version 0.1.0."""
    return [fold.gradient_norms for run in system.runs for fold in run.folds if fold.gradient_norms]


def _trained(report: Report) -> list[System]:
    return [system for system in report.systems if system.runs]


def _jobs(report: Report) -> list[tuple[TrainedRun, TrainedFold]]:
    return [(run, fold) for system in report.systems for run in system.runs for fold in run.folds]
