"""The cv command: compute missing features, train and evaluate missing folds, and write the report.

Reads the manifest and its recordings. Writes the feature files, one run per system and seed to `<runs>/<run>/fold-k/`
(as train and evaluate do), and the report to `<runs>/report/`. Every fold is a job for Dask's worker processes.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mmer_pipeline import paths
from mmer_pipeline.errors import UserError
from mmer_pipeline.settings import OPTIONAL_SETTINGS, OPTIONS, Settings
from mmer_pipeline.systems.catalogue import NAMED_LISTS
from mmer_pipeline.systems.registry import settings_for
from mmer_pipeline.tracking import check_trackers
from stages.cluster_options import cluster_options
from stages.extract import make_features
from stages.other_corpora import extract_other_corpora, read_other_corpora
from stages.report import WRITTEN, show_report
from stages.setting_options import Command, GroupedCommand, setting_options, system_defaults
from stages.shared_options import FILE, Common, common_options, manifest_option, say
from stages.system_list import Entry, parse_seeds, parse_systems
from stages.train import fold_options

if TYPE_CHECKING:
    from distributed import Client

    from mmer_pipeline.corpora.manifest import Manifest
    from mmer_pipeline.cross_validation import Job, Outcome

# The other optional settings are given after a system's name; most systems have α.
SETTINGS = tuple(name for name in OPTIONS if name != "seed" and (name == "alpha" or name not in OPTIONAL_SETTINGS))


def _resources(_context: click.Context, _parameter: click.Parameter, value: Sequence[str]) -> dict[str, float]:
    resources = {}
    for word in value:
        name, _, amount = word.partition("=")
        try:
            resources[name] = float(amount)
        except ValueError:
            raise click.BadParameter(f"{word!r}: expected NAME=AMOUNT, such as GPU=1.") from None
    return resources


def worker_options(command: Command) -> Command:
    """Add the options of the workers, which `cv` and `tune` share."""
    options: list[Callable[[Any], Any]] = [
        click.option("--jobs", "workers", type=click.IntRange(min=1), metavar="N",
                     help="Number of folds trained at the same time on this machine.  [1]"),
        click.option("--scheduler", metavar="ADDRESS",
                     help="Address of a Dask scheduler whose workers see the same files.  [local workers]"),
        click.option("--resource", "resources", multiple=True, metavar="NAME=AMOUNT", callback=_resources,
                     help="Resource of the scheduler's workers that a job needs, such as GPU=1; repeatable."),
    ]  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


def check_workers(command: str, workers: int | None, scheduler: str | None, resources: Mapping[str, float]) -> None:
    """Check that the options of the workers go together.

    Raises:
        click.UsageError: they do not, or the command was started by torchrun.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise click.UsageError(f"{command} starts its own workers: run it as one process, without torchrun.")
    if scheduler and workers:
        raise click.UsageError(
            "--jobs starts workers on this machine, --scheduler uses those of a scheduler: give only one of them."
        )
    if resources and not scheduler:
        raise click.UsageError("--resource applies only to the workers of a --scheduler.")


@click.command(cls=GroupedCommand)
@click.option("--systems", "entries", default="mmer,cai,wav2vec2,roberta", show_default=True, metavar="LIST",
              type=click.UNPROCESSED, callback=parse_systems,
              help="Comma-separated systems. Settings of one system follow it after colons: mmer:alpha=0.01:no-gate, "
                   f"roberta:finetune-text. Named lists: {', '.join(NAMED_LISTS)}.")  # fmt: skip
@click.option("--seeds", default="1", show_default=True, metavar="LIST", type=click.UNPROCESSED, callback=parse_seeds,
              help="Comma-separated seeds; every system is trained with each of them.")  # fmt: skip
@worker_options
@click.option("--restart", is_flag=True,
              help="Train folds again that were trained with other settings or inputs; keep the others.")  # fmt: skip
@click.option("--against", metavar="NAME",
              help="System of --systems that the report compares all others with, in place of all pairs.")  # fmt: skip
@click.option("--fold", "numbers", type=click.IntRange(min=1), multiple=True, metavar="K",
              help="Fold to train; repeatable.  [all]")  # fmt: skip
@click.option("--test-on", "others", multiple=True, type=FILE,
              help="Manifest of another corpus to score all models on; repeatable.")  # fmt: skip
@cluster_options
@fold_options
@manifest_option
@setting_options(SETTINGS)
@common_options
def cv(
    common: Common, entries: list[Entry], seeds: list[int], workers: int | None, scheduler: str | None,
    resources: dict[str, float], restart: bool, against: str | None, numbers: tuple[int, ...],
    others: tuple[Path, ...], manifest: Path | None, save_minutes: float, keep_state: bool, track: tuple[str, ...],
    recipe: str, **options: Any,
) -> None:  # fmt: skip
    """Cross-validate systems and write the report.

    Only missing features, folds and evaluations are computed, so that after an interruption the same command continues.
    If one job fails, the others still run.
    """
    check_workers("cv", workers, scheduler, resources)
    names = list(dict.fromkeys(entry.run for entry in entries))
    if against is not None and (against not in names or len(names) < 2):
        raise click.UsageError(
            f"--against {against}: expected one of at least two --systems, found {', '.join(names)}."
        )
    say(common, "Loading libraries …")
    from mmer_pipeline.corpora.manifest import read_manifest
    from mmer_pipeline.cross_validation import CrossValidation, Outcome, Workspace
    from mmer_pipeline.features.required_features import requests_of
    from mmer_pipeline.runs import refuse_fusion
    from mmer_pipeline.training.fold_parts import check_words, fold_warnings
    from stages.cv_progress import CrossValidationProgress
    from stages.progress import quiet_libraries

    quiet_libraries()
    check_trackers(track)
    corpus = read_manifest(common.manifest(manifest))
    entries = [
        replace(entry, options={**system_defaults(entry.system, entry.recipe or recipe), **entry.options})
        for entry in entries
    ]
    jobs = _jobs(entries, seeds, numbers, corpus, options)
    for job in jobs:
        refuse_fusion(common.runs / job.run)
    check_words(corpus, [job.settings for job in jobs])
    for warning in fold_warnings(corpus, [job.settings for job in jobs]):
        say(common, f"Warning: {warning}")
    others_read = read_other_corpora(others, corpus)
    workspace = Workspace.at(
        corpus.path, common.cache, common.runs, test_on=tuple(other.path for other in others_read),
        device=common.device, save_seconds=60 * save_minutes, keep_state=keep_state, restart=restart,
        track=track,
    )  # fmt: skip
    with dask_client(common, scheduler, workers or 1) as client:
        errors = extract_missing(common, corpus, jobs, client, resources)
        reasons = {job: [errors[r] for r in requests_of(job.settings) if r in errors] for job in jobs}
        settings = [job.settings for job in jobs if not reasons[job]]
        extract_other_corpora(common, others_read, corpus, settings, client, resources)
        outcomes = [Outcome(job, "failed", message=reasons[job][0]) for job in jobs if reasons[job]]
        with CrossValidationProgress(common, workspace.runs, jobs) as progress:
            for outcome in outcomes:
                progress.ended(outcome)
            validation = CrossValidation(client, workspace, progress, resources=resources)
            outcomes += validation.run([job for job in jobs if not reasons[job]])
    _finish(common, jobs, outcomes, against)


def _jobs(
    entries: Sequence[Entry], seeds: Sequence[int], numbers: Sequence[int], corpus: "Manifest", options: dict[str, Any]
) -> "list[Job]":
    """Every fold of every system with the first seed, then with the second, and so on.

    Raises:
        click.UsageError: two entries of `--systems` have the same settings.
        UserError: there is no such fold, or its parts share speakers.
    """
    from mmer_pipeline.corpora.folds import fold_names
    from mmer_pipeline.cross_validation import Job
    from mmer_pipeline.training.fold_parts import fold_of

    jobs = []
    seen: dict[Settings, Entry] = {}
    for seed in seeds:
        for entry in entries:
            settings = {**options, **entry.options}
            first = settings_for(entry.system, fold=1, seed=seed, **settings)
            if first in seen:
                raise click.UsageError(
                    f"--systems: {entry.text!r} and {seen[first].text!r} have the same settings. Leave one of them out."
                )
            seen[first] = entry
            for number in dict.fromkeys(numbers) or range(1, len(fold_names(corpus, first.folds)) + 1):
                job = Job(entry.run, settings_for(entry.system, fold=number, seed=seed, **settings))
                fold_of(job.settings, corpus)  # finds errors before anything is computed
                jobs.append(job)
    return jobs


@contextmanager
def dask_client(common: Common, scheduler: str | None, workers: int) -> "Iterator[Client]":
    """Start worker processes on this machine, or connect to those of a scheduler."""
    from mmer_pipeline.cluster.connect import connect, devices_to_share, local_workers

    if scheduler is None:
        with local_workers(workers, devices_to_share(common.device)) as client:
            yield client
    else:
        with connect(scheduler, partial(say, common)) as client:
            yield client


def extract_missing(
    common: Common, corpus: "Manifest", jobs: "Sequence[Job]", scheduler: "Client", resources: Mapping[str, float]
) -> dict[Any, str]:
    """Compute the missing features of the jobs; returns an error message for each request that failed.

    Raises:
        UserError: the files of two ASR models, or of two revisions of an encoder, would be the same.
    """
    from mmer_pipeline.features.required_features import requests_of
    from stages.progress import Stopped

    errors = {}
    wanted = list(dict.fromkeys(request for job in jobs for request in requests_of(job.settings)))
    requests: dict[Path, Any] = {}
    for request in wanted:
        path = request.path(common.cache, corpus.path)
        other = requests.setdefault(path, request)
        # Two encoders of one name get a file each; which is whose is known once one of them has been written.
        if other != request and (other.encoder == request.encoder or request.kind == "transcripts"):
            raise UserError(
                f"The results of {request.encoder} and {other.encoder} (or of two revisions) would be "
                f"stored in the same file, {path}. Rename one model's directory, or use another --cache-dir for it."
            )
    for request in wanted:
        try:
            make_features(common, request, corpus, scheduler, resources)
        except Stopped:
            raise
        except (UserError, OSError) as error:
            errors[request] = f"{request.title}: {error}"
    return errors


def _finish(common: Common, jobs: "Sequence[Job]", outcomes: "Sequence[Outcome]", against: str | None = None) -> None:
    """Write the report and print the result.

    Raises:
        UserError: jobs failed or were stopped, or the report could not be written.
    """
    outcomes = sorted(outcomes, key=lambda outcome: jobs.index(outcome.job))
    failed = [outcome for outcome in outcomes if outcome.state == "failed"]
    stopped = sum(outcome.state == "stopped" for outcome in outcomes)
    problems = [f"{len(failed)} of {len(jobs)} jobs failed:\n{_listed(failed)}"] if failed else []
    report: Path | None = None
    if stopped:
        problems.append(
            f"Stopped: {stopped} of {len(jobs)} jobs are not complete. The same command continues from there."
        )
    elif len(failed) == len(jobs):
        problems.append(f"No report was written; {common.runs / paths.REPORT_NAME} is unchanged.")
    else:
        try:
            report = _report(common, jobs, failed, against)
        except UserError as error:
            problems.append(f"No report was written: {error}")
    common.result({"jobs": [outcome.as_dict() for outcome in outcomes], "report": str(report) if report else None})
    if problems:
        raise UserError("\n".join(problems))


def _report(common: Common, jobs: "Sequence[Job]", failed: "Sequence[Outcome]", against: str | None = None) -> Path:
    """Write and show the report on the runs of these jobs; returns its directory."""
    from mmer_pipeline.report.build_report import make_report
    from mmer_pipeline.report.write_report import write_report

    failures: dict[str, dict[int | None, str]] = {}
    for outcome in failed:
        failures.setdefault(outcome.job.run, {})[outcome.job.settings.fold] = outcome.message
    planned = Counter(job.run for job in jobs)
    for name, reasons in failures.items():
        if len(reasons) == planned[name]:  # any other fold of this run belongs to another cross-validation
            reasons[None] = next(iter(reasons.values()))
    runs = [common.runs / name for name in planned]
    report, directory = make_report(runs, failures=failures, against=against), common.runs / paths.REPORT_NAME
    write_report(report, directory)
    show_report(common, report)
    say(common, WRITTEN.format(page=directory / paths.REPORT_HTML))
    return directory


def _listed(failed: "Sequence[Outcome]") -> str:
    """List each reason once, below the jobs that failed because of it."""
    reasons: dict[str, dict[str, list[int]]] = {}
    for outcome in failed:
        folds = reasons.setdefault(outcome.message, {}).setdefault(outcome.job.run, [])
        folds.append(outcome.job.settings.fold)
    lines = []
    for message, runs in reasons.items():
        for run, folds in runs.items():
            lines.append(f"  {run}, fold{'s' * (len(folds) > 1)} {', '.join(map(str, folds))}:")
        lines += [f"    {line}" for line in message.splitlines()]
    return "\n".join(lines)
