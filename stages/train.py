"""train: train a system, fold by fold.

Reads the manifest and the cached features. Writes `<runs>/<run>/fold-k/`: settings.json, metrics.jsonl,
model/, and state/ until the fold is done.
"""

from dataclasses import asdict
from typing import Any

import click

from mmer_pipeline.settings import CTC_ALPHABETS, PRECISIONS, SCHEDULES
from mmer_pipeline.systems.registry import POOLED, SYSTEMS
from stages.options import (
    RUN,
    Command,
    Common,
    check_run_name,
    common_options,
    encoder_options,
    manifest_option,
    say,
    suggest,
)


def _seconds(_context: click.Context, parameter: click.Parameter, value: Any) -> float | None:
    if value in (None, "auto"):
        return None
    seconds: float = click.FloatRange(min=0, min_open=True).convert(value, parameter, _context)
    return seconds


def training_options(command: Command) -> Command:
    """Add the settings of a training that every system has, and what else `train` and `cv` share."""
    options = [
        click.option("--fold", "numbers", type=int, multiple=True, metavar="K",
                     help="A fold to train, repeatable.  [all]"),
        click.option("--folds", default="session", show_default=True, metavar="COLUMN",
                     help="What a fold holds out: a value of session, speaker or any column of the manifest; split: "
                          "the corpus's own test part."),
        click.option("--text-disjoint/--no-text-disjoint", default=False, show_default=True,
                     help="Leave out training utterances whose words stand in the held-out part."),
        click.option("--alpha", default=0.1, show_default=True, type=click.FloatRange(min=0),
                     help="Weight of the CTC loss, in systems with a CTC head (mmer, cai); 0: no such head."),
        click.option("--epochs", default=100, show_default=True, type=click.IntRange(min=1),
                     help="Passes over the data."),
        click.option("--learning-rate", default=1e-5, show_default=True, type=click.FloatRange(min=0, min_open=True),
                     help="Of AdamW; the highest of the schedule."),
        click.option("--schedule", default="constant", show_default=True, type=click.Choice(SCHEDULES),
                     help="constant, or up over the first tenth of the steps and down to nothing."),
        click.option("--weight-decay", default=0.01, show_default=True, type=click.FloatRange(min=0), help="Of AdamW."),
        click.option("--clip-norm", default=1.0, show_default=True, type=click.FloatRange(min=0),
                     help="Largest norm of a step's gradient; 0: no limit."),
        click.option("--dropout", default=0.1, show_default=True, type=click.FloatRange(0, 1, max_open=True),
                     help="In the MMI and before the emotion head."),
        click.option("--batch-size", default=8, show_default=True, type=click.IntRange(min=1),
                     help="Utterances an optimiser step."),
        click.option("--bucket-batches", default=16, show_default=True, type=click.IntRange(min=1),
                     help="Batches sorted by length together; 1: none."),
        click.option("--max-batch-seconds", default="auto", show_default=True, metavar="SECONDS|auto",
                     callback=_seconds,
                     help="Audio of a micro-batch, padding included; auto: what fits into the GPU, or is fastest on "
                          "the CPU. The gradient does not depend on it."),
        click.option("--ctc-alphabet", default="wav2vec2", show_default=True, type=click.Choice(CTC_ALPHABETS),
                     help="The 32 symbols of wav2vec2-base-960h, or the corpus's own letters."),
        click.option("--validation", default="none", show_default=True, metavar="WHAT",
                     help="A part of the training sessions that chooses an epoch: none, session, speaker, or a "
                          "fraction such as 0.1."),
        click.option("--precision", default="auto", show_default=True, type=click.Choice(PRECISIONS),
                     help="auto: bf16 on a GPU that has it, else fp32."),
        click.option("--compile/--no-compile", default=False, show_default=True,
                     help="Compile the transformer layers (torch.compile): a minute at first, faster steps then."),
        click.option("--save-minutes", default=5.0, show_default=True, type=click.FloatRange(min=0),
                     help="Time between two saved states within an epoch."),
        click.option("--keep-state", is_flag=True, help="Keep state/ when a fold is done."),
    ]  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


def _system_options(command: Command) -> Command:
    """Add the settings that not every system has; `cv` takes them behind a system's name."""
    options = [
        click.option("--gate/--no-gate", default=True, show_default=True, help="mmer alone: its acoustic gate."),
        click.option("--r-branch/--no-r-branch", default=True, show_default=True,
                     help="mmer alone: speech-aware words."),
        click.option("--q-branch/--no-q-branch", default=True, show_default=True,
                     help="mmer alone: word-aware speech."),
        click.option("--pooled", default="both", show_default=True, type=click.Choice(POOLED),
                     help="mmer alone: what its emotion head reads; speech (mean A), fused (mean M), both of these, "
                          "or text (mean T)."),
        click.option("--finetune-text/--no-finetune-text", default=False, show_default=True,
                     help="roberta alone: train its text encoder too, or read the cached features."),
    ]  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


@click.command()
@click.option("--system", default="mmer", show_default=True, type=click.Choice(list(SYSTEMS)),
              help="What is trained: the paper's system or a baseline.")  # fmt: skip
@click.option("--run", "run_name", metavar="NAME", callback=check_run_name,
              help="The run's directory below the runs.  [the system's name]")  # fmt: skip
@training_options
@_system_options
@click.option("--seed", default=1, show_default=True, type=click.IntRange(min=0), help="Of everything random.")
@click.option("--resume/--restart", default=True, show_default=True, help="Go on with a stopped fold, or begin again.")
@manifest_option
@encoder_options
@common_options
def train(
    common: Common, numbers: tuple[int, ...], run_name: str | None, resume: bool, save_minutes: float,
    keep_state: bool, manifest: Any, **options: Any,
) -> None:  # fmt: skip
    """Train the folds of a corpus; one that is finished with the same settings is left alone."""
    say(common, "Loading …")
    from mmer_pipeline.corpora.folds import fold_names
    from mmer_pipeline.corpora.manifest import read_manifest
    from mmer_pipeline.settings import Settings
    from mmer_pipeline.training.fold import train_fold
    from stages.console import TrainingConsole, quiet_libraries

    quiet_libraries()
    corpus = read_manifest(common.manifest(manifest))
    run = common.runs / (run_name or options["system"])
    click.get_current_context().find_root().meta[RUN] = run.name
    results = []
    for number in numbers or range(1, len(fold_names(corpus, options["folds"])) + 1):
        settings = Settings.of(fold=number, **options)
        with TrainingConsole(common, number) as console:
            trained = train_fold(
                settings, corpus, cache=common.cache, run=run, device=common.device, restart=not resume,
                keep_state=keep_state, save_seconds=60 * save_minutes, observer=console,
            )  # fmt: skip
        if not trained:
            say(common, f"Fold {number} of {run} is trained already with these settings: nothing to do.")
        results.append({"fold": number, "trained": trained, "directory": str(run / f"fold-{number}")})
    common.result({"run": str(run), "folds": results, "settings": {**asdict(settings), "fold": None}})
    suggest(common, "evaluate", "run_name")
