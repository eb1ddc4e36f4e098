"""The tune command: search for settings of a system by Optuna.

Reads the manifest and its recordings. Writes missing features, and to `<runs>/<study>/` the study (study.db), settings
and metrics of each trial, the page (tune.html, tune.json), and the chosen settings (mmer.toml).
"""

import shlex
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mmer_pipeline import paths
from mmer_pipeline.errors import UserError
from mmer_pipeline.settings import DEFAULTS, OPTIONS
from mmer_pipeline.systems.registry import short_name
from mmer_pipeline.tracking import check_trackers
from mmer_pipeline.tuning.space import Dimension, corners, feature_choices
from stages.cluster_options import cluster_options
from stages.cv import check_workers, dask_client, extract_missing, worker_options
from stages.search_option import parse_search
from stages.setting_options import GroupedCommand, setting_options, system_defaults
from stages.shared_options import Common, check_run_name, common_options, manifest_option, say
from stages.train import progress_options

if TYPE_CHECKING:
    from mmer_pipeline.corpora.manifest import Manifest
    from mmer_pipeline.tuning.search import Plan


@click.command(cls=GroupedCommand)
@click.option("--search", "space", multiple=True, required=True, metavar="NAME=VALUES", type=click.UNPROCESSED,
              callback=parse_search,
              help="Setting to vary, with a range (learning-rate=1e-5:1e-3:log, dropout=0:0.5) or a list of values "
                   "(batch-size=4,8,16, gate=on,off); repeatable.")  # fmt: skip
@click.option("--trials", default=20, show_default=True, type=click.IntRange(min=1),
              help="Number of trials, those of earlier calls included.")  # fmt: skip
@click.option("--fold", "numbers", type=click.IntRange(min=1), multiple=True, default=(1,), show_default=True,
              metavar="K", help="Fold to train; repeatable: the mean is the score.")  # fmt: skip
@click.option("--prune", is_flag=True,
              help="End trials early whose validation UA is below the median of the earlier ones.")  # fmt: skip
@click.option("--study", "study_name", metavar="NAME", default="tune", show_default=True, callback=check_run_name,
              help="Name of the search's directory in --runs-dir.")  # fmt: skip
@worker_options
@cluster_options
@progress_options
@manifest_option
@setting_options(["system", *OPTIONS])
@common_options
def tune(
    common: Common, space: tuple[Dimension, ...], trials: int, numbers: tuple[int, ...], prune: bool, study_name: str,
    workers: int | None, scheduler: str | None, resources: dict[str, float], save_minutes: float,
    track: tuple[str, ...], manifest: Path | None, recipe: str, **options: Any,
) -> None:  # fmt: skip
    """Search for settings of a system, scored on validation parts.

    Held-out parts are not used. Killed, the same command continues; with a larger --trials, the search goes on.
    """
    check_workers("tune", workers, scheduler, resources)
    if options["validation"] == DEFAULTS["validation"]:
        raise click.UsageError(
            "tune scores on a validation part: add --validation speaker (or session, or a fraction such as 0.1)."
        )
    say(common, "Loading libraries …")
    from mmer_pipeline import files
    from mmer_pipeline.corpora.manifest import read_manifest
    from mmer_pipeline.cross_validation import Workspace
    from mmer_pipeline.tuning.results import results_of, write_results
    from mmer_pipeline.tuning.search import Plan, Search, open_study
    from stages.progress import quiet_libraries
    from stages.tune_progress import TuneProgress, summary

    quiet_libraries()
    check_trackers(track)
    corpus = read_manifest(common.manifest(manifest))
    system = options.pop("system")
    options |= system_defaults(system, recipe)
    plan = Plan(corpus.corpus, corpus.digest, system, options, space, tuple(dict.fromkeys(numbers)), prune)
    _check(common, plan, corpus)
    directory = common.runs / study_name
    with files.locked(paths.lock_of(directory)):
        study = open_study(directory, plan)
        workspace = Workspace.at(
            corpus.path, common.cache, directory, device=common.device, save_seconds=60 * save_minutes,
            keep_state=True, restart=True, track=track,
        )  # fmt: skip
        with dask_client(common, scheduler, workers or 1) as client:
            errors = extract_missing(common, corpus, _jobs(plan), client, resources)
            if errors:
                raise UserError(next(iter(errors.values())))
            with TuneProgress(common, plan, study) as progress:
                search = Search(
                    study, plan, client, workspace, resources=resources, ended=progress.trial_ended,
                    message=partial(say, common), stop_requested=progress.stop_requested,
                )  # fmt: skip
                search.run(trials)
        results = results_of(study, plan)
        write_results(results, plan, directory)
    common.result({**results, "directory": str(directory)})
    say(common, f"{summary(results)}\nPage written to {directory / paths.TUNE_HTML}")
    if results["best"]:
        chosen = directory / paths.CONFIG_NAME
        say(common, f"Chosen settings written to {chosen}, for `mmer-pipe cv --config {shlex.quote(str(chosen))}`")
    if progress.requested:
        raise UserError("Stopped. The same command continues from there.")


def _jobs(plan: "Plan") -> list[Any]:
    """Jobs that read all features that trials may read."""
    from mmer_pipeline.cross_validation import Job

    first = corners(plan.space)[0]
    return [Job("", plan.settings(plan.folds[0], {**first, **chosen})) for chosen in feature_choices(plan.space)]


def _check(common: Common, plan: "Plan", corpus: "Manifest") -> None:
    """Check the settings of the search before anything is computed.

    Raises:
        UserError: the system lacks a setting, values do not go together, or a fold does not exist or is not valid.
    """
    from mmer_pipeline.training.fold_parts import check_words, fold_of, fold_warnings

    settings = [plan.settings(fold, values) for fold in plan.folds for values in corners(plan.space)]
    for dimension in plan.space:
        if len({getattr(entry, dimension.name) for entry in settings}) == 1:
            name = short_name(plan.system)
            raise UserError(f"System {name} has no setting {dimension.option}. Leave it out of --search.")
    for entry in settings:
        fold_of(entry, corpus)
    check_words(corpus, settings)
    for warning in fold_warnings(corpus, [plan.settings(fold, corners(plan.space)[0]) for fold in plan.folds]):
        say(common, f"Warning: {warning}")
