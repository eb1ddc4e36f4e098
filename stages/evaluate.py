"""The evaluate command: load the models of a trained fold and score the held-out part.

Reads `<runs>/<run>/fold-k/{settings.json,metrics.jsonl,model/,model-validated/}`, the manifest and the features. Writes
evaluation.json, predictions.csv and predictions-validated.csv to the same directory, or those of another corpus to
`on-<corpus>/` in it.
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import click

from mmer_pipeline import paths
from mmer_pipeline.settings import DEFAULTS
from mmer_pipeline.tracking import track_evaluation
from stages.other_corpora import evaluate_on_other
from stages.setting_options import GroupedCommand
from stages.shared_options import FILE, Common, chain_run, common_options, run_option, run_title, say, suggest
from stages.train import FoldNumber


@click.command(cls=GroupedCommand)
@click.option("--fold", "numbers", type=FoldNumber(), multiple=True, metavar="K|none",
              help="Fold to evaluate; repeatable. none, with --manifest: the model that holds nothing out.  "
                   "[all that are trained]")  # fmt: skip
@click.option("--manifest", "other", type=FILE,
              help="Manifest of another corpus to score the models on.  [the held-out parts]")  # fmt: skip
@run_option
@common_options
def evaluate(common: Common, numbers: tuple[int, ...], other: Path | None, run_name: str | None) -> None:
    """Score trained folds on their held-out parts, or on another corpus.

    Writes all metrics with the confusion matrix to evaluation.json, and one prediction per utterance to
    predictions.csv. Folds that were trained with --validation have a second model, that of the validated epoch.
    """
    from rich.console import Console

    from mmer_pipeline.report import single_system_tables
    from mmer_pipeline.report.build_report import class_scores
    from mmer_pipeline.report.table_rendering import as_rich
    from mmer_pipeline.runs import RunRecord, trained_folds
    from mmer_pipeline.suggested_commands import train_command
    from mmer_pipeline.training.evaluation import evaluate_fold
    from stages.progress import quiet_libraries

    quiet_libraries()
    run = common.runs / (run_name or chain_run())
    if other is not None:
        results = evaluate_on_other(common, run, numbers, other)
        common.result({"run": str(run), "manifest": str(other), "models": results})
        suggest(common, "report", "run_name")
        return
    if 0 in numbers:
        raise click.UsageError("--fold none: this model holds nothing out. Give the --manifest of another corpus.")
    console = Console(quiet=not common.tables)
    results = []
    for number in numbers or trained_folds(run):
        evaluation, computed = evaluate_fold(run, number, cache=common.cache, device=common.device)
        results.append(evaluation)
        if computed:
            track_evaluation(run, number, evaluation, partial(say, common))
        else:
            say(common, f"Fold {number} of {run} has already been evaluated; skipping it.")
        metrics, labels = evaluation["metrics"], evaluation["labels"]
        record = RunRecord.read(paths.fold(run, number).settings, "mmer-pipe train")
        console.print(
            f"{run_title(run.name, record.settings.system)}, fold {number}, held out {evaluation['held_out']}, "
            f"{metrics['utterances']} utterances, in percent:"
        )
        console.print(f"  {_scores_line(metrics)}", highlight=False)
        if validated := evaluation.get("validated"):
            console.print(f"  {_validated_line(validated)}", highlight=False)
        elif record.settings.validation != DEFAULTS["validation"]:
            say(
                common,
                f"Fold {number} of {run} has no model of the validated epoch: it was trained with an earlier version, "
                f"or {paths.fold(run, number).validated_model.name} was deleted. To make it, train the fold again:\n  "
                f"{train_command(record.settings, run.name, number)} --restart",
            )
    if len(results) == 1:  # for several folds, these tables are in the report
        for table in (
            single_system_tables.classes(class_scores(metrics["per_class"]), "utterances"),
            single_system_tables.confusion(metrics["confusion"], labels),
        ):
            console.print(as_rich(table, console.width))
    common.result({"run": str(run), "folds": results})
    suggest(common, "report", "run_name")


def _validated_line(validated: Mapping[str, Any]) -> str:
    """The scores of the validated model, and of which epoch it is, or of which ones the mean."""
    averaged = ", ".join(map(str, sorted(validated.get("averaged", []))))
    of = f"mean of epochs {averaged}" if averaged else f"epoch {validated['epoch']}"
    return f"validated, {of}: {_scores_line(validated['metrics'])}"


def _scores_line(metrics: Mapping[str, Any]) -> str:
    """Format the metrics of one fold as one line."""
    names = {"WA": "wa", "UA": "ua", "WF1": "wf1", "macro-F1": "macro_f1", "ECE": "ece", "WER": "wer", "CER": "cer"}
    found = {name: metrics[key] for name, key in names.items() if metrics[key] is not None}
    return "  ".join(f"{name} {100 * value:.2f}" for name, value in found.items())
