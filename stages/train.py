"""The train command: train a system, fold by fold.

Reads the manifest and the cached features. Writes settings.json, metrics.jsonl, model/, with --validation
model-validated/, and, until the fold is complete, state/ to `<runs>/<run>/fold-k/`.
"""

import shlex
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import Any

import click

from mmer_pipeline.paths import NO_FOLD, fold, fold_name
from mmer_pipeline.settings import OPTIONS
from mmer_pipeline.tracking import TRACKERS, Tracking, check_trackers
from stages.setting_options import Command, GroupedCommand, NumberRange, setting_options, system_defaults
from stages.shared_options import (
    RUN,
    Common,
    check_run_name,
    common_options,
    directory_name,
    manifest_option,
    say,
    suggest,
)


class FoldNumber(click.ParamType[int]):
    """The number of a fold, or none for a model that is trained on everything (0)."""

    name = "fold"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Convert to a number."""
        return 0 if value == NO_FOLD else click.IntRange(min=1).convert(value, param, ctx)


def progress_options(command: Command) -> Command:
    """Add the options, other than settings, that `train`, `cv` and `tune` share."""
    options: list[Callable[[Any], Any]] = [
        click.option("--save-minutes", default=5.0, show_default=True, type=NumberRange(min=0),
                     help="Minutes between saved states within an epoch."),
        click.option("--track", multiple=True, type=click.Choice(TRACKERS),
                     help="Tracker to send the numbers of training to; repeatable."),
    ]  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


def fold_options(command: Command) -> Command:
    """Add the options, other than settings, that `train` and `cv` share."""
    keep = click.option("--keep-state", is_flag=True, help="Keep state/ after a fold is complete.")
    return progress_options(keep(command))


@click.command(cls=GroupedCommand)
@click.option("--run", "run_name", metavar="NAME", callback=check_run_name,
              help="Name of the run's directory in --runs-dir.  [the system's name]")  # fmt: skip
@click.option("--resume/--restart", default=True, show_default=True,
              help="Resume an interrupted fold, or delete the fold and train it again.")  # fmt: skip
@click.option("--fold", "numbers", type=FoldNumber(), multiple=True, metavar="K|none",
              help="Fold to train; repeatable. none: train on everything and hold nothing out.  [all]")  # fmt: skip
@click.option("--show-held-out", is_flag=True,
              help="Show the held-out scores after every epoch, and not only after the last one.")  # fmt: skip
@fold_options
@manifest_option
@setting_options(["system", *OPTIONS])
@common_options
def train(
    common: Common, numbers: tuple[int, ...], run_name: str | None, resume: bool, save_minutes: float,
    keep_state: bool, track: tuple[str, ...], show_held_out: bool, manifest: Any, recipe: str, **options: Any,
) -> None:  # fmt: skip
    """Train a system, fold by fold.

    Folds that are already trained with the same settings are skipped.
    """
    say(common, "Loading libraries …")
    from mmer_pipeline.corpora.folds import fold_names
    from mmer_pipeline.corpora.manifest import read_manifest
    from mmer_pipeline.runs import refuse_fusion
    from mmer_pipeline.systems.registry import settings_for, short_name
    from mmer_pipeline.training.fold import train_fold
    from mmer_pipeline.training.fold_parts import check_words, fold_warnings
    from mmer_pipeline.training.several_processes import restart_warnings
    from stages.progress import quiet_libraries
    from stages.training_progress import TrainingProgress

    quiet_libraries()
    check_trackers(track)
    corpus = read_manifest(common.manifest(manifest))
    options |= system_defaults(options["system"], recipe)
    numbers = numbers or tuple(range(1, len(fold_names(corpus, options["folds"])) + 1))
    jobs = [settings_for(fold=number, **options) for number in numbers]
    check_words(corpus, jobs)
    for warning in (*restart_warnings(), *fold_warnings(corpus, jobs)):
        say(common, f"Warning: {warning}")
    run = common.runs / (run_name or directory_name(short_name(options["system"])))
    refuse_fusion(run)
    click.get_current_context().find_root().meta[RUN] = run.name
    results = []
    for settings in jobs:
        number = settings.fold
        with (
            TrainingProgress(common, settings, run.name, show_held_out=show_held_out) as progress,
            Tracking(
                track, settings, run, progress, show_held_out=show_held_out, warn=partial(say, common)
            ) as observer,
        ):
            trained = train_fold(
                settings, corpus, cache=common.cache, run=run, device=common.device, restart=not resume,
                keep_state=keep_state, save_seconds=60 * save_minutes, observer=observer,
            )  # fmt: skip
        if not trained:
            name = f"Fold {fold_name(number)} of {run}"
            say(common, f"{name} has already been trained with these settings; skipping it.")
        results.append({"fold": number or None, "trained": trained, "directory": str(fold(run, number).directory)})
    common.result({"run": str(run), "folds": results, "settings": {**asdict(settings), "fold": None}})
    if numbers == (0,):
        suggest(common, f"pack {shlex.quote(run.name)}")
    else:
        suggest(common, f"evaluate --run {shlex.quote(run.name)}")
