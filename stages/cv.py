"""cv: a whole cross-validation of one or more systems: what is missing of extract, train and evaluate, then the report.

Reads the manifest and its recordings. Writes the feature files, `<runs>/<run>/fold-k/` as train and evaluate do, one
run a system and seed, and the report to `<runs>/report/`. Every fold is a job for Dask's worker processes.
"""

import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from mmer_pipeline import paths
from mmer_pipeline.errors import UserError
from mmer_pipeline.settings import Settings
from mmer_pipeline.systems.registry import NAMED_LISTS, SYSTEMS
from stages.extract import make_features
from stages.options import Common, common_options, encoder_options, manifest_option, say
from stages.report import show_report
from stages.train import train, training_options

if TYPE_CHECKING:
    from distributed import Client

    from mmer_pipeline.corpora.manifest import Manifest
    from mmer_pipeline.crossval import Job, Outcome


@dataclass(frozen=True)
class Entry:
    """One entry of `--systems`: a system, with settings of its own behind colons."""

    text: str  # as it was typed: "mmer:alpha=0.01"
    system: str
    options: Mapping[str, Any]  # its own settings

    @property
    def run(self) -> str:
        """A directory's name: "mmer-alpha-0.01"."""
        return re.sub(r"[^A-Za-z0-9._-]+", "-", self.text)

    @staticmethod
    def parse(text: str) -> "Entry":
        """Read an entry; what stands behind the colons are options of `train`, and click reads them as such.

        Raises:
            click.BadParameter: no such system, no such setting, no such value.
        """
        system, *words = text.split(":")
        if system not in SYSTEMS:
            known = f"Systems: {', '.join(SYSTEMS)}; lists: {', '.join(NAMED_LISTS)}."
            raise click.BadParameter(f"{text!r}: there is no system {system!r}. {known}")
        if "" in words:
            raise click.BadParameter(f"{text!r}: nothing stands behind a colon.")
        names = {field.name for field in fields(Settings)} - {"system", "seed", "fold"}
        own = click.Command(text, params=[p for p in train.params if p.name in names], add_help_option=False)
        try:
            context = own.make_context(text, [f"--{word}" for word in words])
            typed = (
                name for name in context.params if context.get_parameter_source(name) is ParameterSource.COMMANDLINE
            )
            options = {name: context.params[name] for name in typed}
            if "alpha" in options and "alpha" not in SYSTEMS[system].options:
                raise UserError(f"System {system} has no CTC head, and so no alpha.")
            Settings.of(system, fold=1, **options)
        except click.UsageError as error:
            raise click.BadParameter(f"{text!r}: {error.format_message()}") from None
        except UserError as error:
            raise click.BadParameter(f"{text!r}: {error}") from None
        return Entry(text, system, options)


def _words(value: Any) -> list[str]:
    """A comma-separated list, or an array of mmer.toml; nothing in it twice."""
    words = [str(word).strip() for word in (value.split(",") if isinstance(value, str) else value)]
    for word in words:
        if not word:
            raise click.BadParameter("nothing stands between two commas.")
        if words.count(word) > 1:
            raise click.BadParameter(f"{word!r} stands there twice.")
    return words


def _entries(_context: click.Context, _parameter: click.Parameter, value: Any) -> list[Entry]:
    """The entries of `--systems`, those of a named list in its place."""
    words = [word for name in _words(value) for word in NAMED_LISTS.get(name, name).split(",")]
    entries: dict[str, Entry] = {}
    for word in dict.fromkeys(words):  # two named lists may share an entry
        entry = Entry.parse(word)
        if entry.run in entries:
            raise click.BadParameter(f"{word!r} and {entries[entry.run].text!r} would be the same run, {entry.run}.")
        entries[entry.run] = entry
    return list(entries.values())


def _seeds(_context: click.Context, _parameter: click.Parameter, value: Any) -> list[int]:
    words = _words([value] if isinstance(value, int) else value)
    if not all(word.isdecimal() for word in words):
        raise click.BadParameter(f"{value!r}: expected numbers from 0, such as 1,2,3.")
    seeds = [int(word) for word in words]
    if len(set(seeds)) < len(seeds):
        raise click.BadParameter(f"{value!r}: a seed stands there twice.")
    return seeds


def _resources(_context: click.Context, _parameter: click.Parameter, value: Sequence[str]) -> dict[str, float]:
    resources = {}
    for word in value:
        name, _, amount = word.partition("=")
        try:
            resources[name] = float(amount)
        except ValueError:
            raise click.BadParameter(f"{word!r}: expected NAME=AMOUNT, such as GPU=1.") from None
    return resources


@click.command()
@click.option("--systems", "entries", default="mmer,cai,wav2vec2,roberta", show_default=True, metavar="LIST",
              type=click.UNPROCESSED, callback=_entries,
              help="Comma-separated. Behind a system, colons and settings of its own: mmer:alpha=0.01:no-gate, "
                   f"roberta:finetune-text. Named lists: {', '.join(NAMED_LISTS)}.")  # fmt: skip
@click.option("--seeds", default="1", show_default=True, metavar="LIST", type=click.UNPROCESSED, callback=_seeds,
              help="One run a system and seed: 1,2,3.")  # fmt: skip
@click.option("--jobs", "workers", type=click.IntRange(min=1), metavar="N",
              help="Folds at once on this machine, each with a GPU or a share of the cores.  [1]")  # fmt: skip
@click.option("--scheduler", metavar="ADDRESS",
              help="A Dask scheduler whose workers see these same files.  [workers of its own]")  # fmt: skip
@click.option("--resource", "resources", multiple=True, metavar="NAME=AMOUNT", callback=_resources,
              help="What a job takes of such a worker, repeatable: GPU=1.")  # fmt: skip
@click.option("--restart", is_flag=True,
              help="Begin folds again that were trained with other settings or features; the others stay.")  # fmt: skip
@training_options
@manifest_option
@encoder_options
@common_options
def cv(
    common: Common, entries: list[Entry], seeds: list[int], workers: int | None, scheduler: str | None,
    resources: dict[str, float], restart: bool, numbers: tuple[int, ...], manifest: Path | None, save_minutes: float,
    keep_state: bool, **options: Any,
) -> None:  # fmt: skip
    """Cross-validate systems: what is missing of extract, train and evaluate, then the report.

    Stopped or killed, the same command goes on from there. A job that fails leaves the others alone.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise click.UsageError("cv starts its own workers: run it as one process, without torchrun.")
    if scheduler and workers:
        raise click.UsageError(
            "--jobs starts workers on this machine, --scheduler uses those of a scheduler: give one."
        )
    if resources and not scheduler:
        raise click.UsageError("--resource is for the workers of a --scheduler; those on this machine have none.")
    say(common, "Loading …")
    from mmer_pipeline.corpora.manifest import read_manifest
    from mmer_pipeline.crossval import CrossValidation, Outcome, Place
    from mmer_pipeline.features.extraction import requests_of
    from stages.console import CrossValidationConsole, quiet_libraries

    quiet_libraries()
    corpus = read_manifest(common.manifest(manifest))
    jobs = _jobs(entries, seeds, numbers, corpus, options)
    place = Place.at(
        corpus.path, common.cache, common.runs,
        device=common.device, save_seconds=60 * save_minutes, keep_state=keep_state, restart=restart,
    )  # fmt: skip
    with _client(common, scheduler, workers or 1, resources) as client:
        broken = _extract(common, corpus, jobs, client.scheduler.address, resources)
        reasons = {job: [broken[r] for r in requests_of(job.settings) if r in broken] for job in jobs}
        outcomes = [Outcome(job, "failed", message=reasons[job][0]) for job in jobs if reasons[job]]
        with CrossValidationConsole(common, place.runs, jobs) as console:
            for outcome in outcomes:
                console.ended(outcome)
            todo = [job for job in jobs if not reasons[job]]
            validation = CrossValidation(client, place, console, resources=resources)
            outcomes += validation.run(todo)
    _finish(common, jobs, outcomes)


def _jobs(
    entries: Sequence[Entry], seeds: Sequence[int], numbers: Sequence[int], corpus: "Manifest", options: dict[str, Any]
) -> "list[Job]":
    """Every fold of every system with the first seed, then with the second …"""
    from mmer_pipeline.corpora.folds import fold_names, make_fold
    from mmer_pipeline.crossval import Job

    jobs = []
    same: dict[Settings, Entry] = {}
    for seed in seeds:
        for entry in entries:
            settings = {**options, **entry.options}
            first = Settings.of(entry.system, fold=1, seed=seed, **settings)
            if first in same:
                raise click.UsageError(f"--systems: {entry.text!r} and {same[first].text!r} have the same settings.")
            same[first] = entry
            for number in dict.fromkeys(numbers) or range(1, len(fold_names(corpus, first.folds)) + 1):
                make_fold(
                    corpus, number, column=first.folds, validation=first.validation, seed=seed,
                    text_disjoint=first.text_disjoint,
                )  # fmt: skip  # refuses before anything is computed
                jobs.append(Job(entry.run, Settings.of(entry.system, fold=number, seed=seed, **settings)))
    return jobs


@contextmanager
def _client(common: Common, scheduler: str | None, workers: int, resources: Mapping[str, float]) -> "Iterator[Client]":
    """Worker processes on this machine, or those of a scheduler."""
    from mmer_pipeline.cluster import connect, devices_to_share, local_workers

    if scheduler is None:
        with local_workers(workers, devices_to_share(common.device)) as client:
            yield client
        return
    with connect(scheduler) as client:
        offers = [worker["resources"] for worker in client.scheduler_info(n_workers=-1)["workers"].values()]
        if not any(all(offer.get(name, 0) >= resources[name] for name in resources) for offer in offers):
            wanted = "".join(f" with {name}={amount:g}" for name, amount in resources.items())
            say(common, f"The scheduler at {scheduler} has no worker{wanted} yet: the jobs wait for one.")
        yield client


def _extract(
    common: Common, corpus: "Manifest", jobs: "Sequence[Job]", scheduler: str, resources: Mapping[str, float]
) -> dict[Any, str]:
    """Make the features that the jobs read; returns those that cannot be made, and why.

    Raises:
        UserError: two encoders whose features would lie in the same file.
    """
    from mmer_pipeline.features.extraction import requests_of
    from stages.console import Stopped

    broken = {}
    wanted = list(dict.fromkeys(request for job in jobs for request in requests_of(job.settings)))
    places: dict[Path, Any] = {}
    for request in wanted:
        path = request.path(common.cache, corpus.path)
        if places.setdefault(path, request) != request:
            raise UserError(
                f"The features of {request.encoder} and {places[path].encoder} (or of two revisions) would lie in the "
                f"same file, {path}. Give one encoder's directory another name, or use another --cache-dir for it."
            )
    for request in wanted:
        try:
            make_features(common, request, corpus, scheduler, resources)
        except Stopped:
            raise
        except (UserError, OSError) as error:
            broken[request] = f"{request.kind.capitalize()} features: {error}"
    return broken


def _finish(common: Common, jobs: "Sequence[Job]", outcomes: "Sequence[Outcome]") -> None:
    """Write the report, and say what went wrong.

    Raises:
        UserError: not every job is done.
    """
    outcomes = sorted(outcomes, key=lambda outcome: jobs.index(outcome.job))
    failed = [outcome for outcome in outcomes if outcome.state == "failed"]
    stopped = sum(outcome.state == "stopped" for outcome in outcomes)
    problems = [f"{len(failed)} of {len(jobs)} jobs failed:\n{_listed(failed)}"] if failed else []
    report: Path | None = None
    if stopped:
        problems.append(f"Stopped: {stopped} of {len(jobs)} jobs are not done. The same command goes on from there.")
    elif len(failed) == len(jobs):
        problems.append(f"No report is written: {common.runs / paths.REPORT_NAME} is as it was.")
    else:
        try:
            report = _report(common, jobs, failed)
        except UserError as error:
            problems.append(f"There is no report: {error}")
    common.result({"jobs": [outcome.as_dict() for outcome in outcomes], "report": str(report) if report else None})
    if problems:
        raise UserError("\n".join(problems))


def _report(common: Common, jobs: "Sequence[Job]", failed: "Sequence[Outcome]") -> Path:
    """Write and show the report of all these runs; returns its directory."""
    from mmer_pipeline.report.summary import make_report
    from mmer_pipeline.report.writing import write_report

    failures: dict[str, dict[int | None, str]] = {}
    for outcome in failed:
        failures.setdefault(outcome.job.run, {})[outcome.job.settings.fold] = outcome.message
    planned = Counter(job.run for job in jobs)
    for name, reasons in failures.items():
        if len(reasons) == planned[name]:  # whatever else lies there is of another cross-validation
            reasons[None] = next(iter(reasons.values()))
    runs = [common.runs / name for name in planned]
    report, directory = make_report(runs, failures=failures), common.runs / paths.REPORT_NAME
    write_report(report, directory)
    show_report(common, report)
    say(common, f"Written: the report in {directory}")
    return directory


def _listed(failed: "Sequence[Outcome]") -> str:
    """Each reason once, below the jobs that it stopped."""
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
