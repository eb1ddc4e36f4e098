"""evaluate: load a trained fold's model afresh and score its held-out part.

Reads `<runs>/<run>/fold-k/{settings.json,model/}`, the manifest and the features. Writes evaluation.json and
predictions.csv beside them.
"""

from typing import Any

import click

from stages.options import Common, chain_run, common_options, run_option, say, suggest
from stages.setting_options import GroupedCommand


@click.command(cls=GroupedCommand)
@click.option("--fold", "numbers", type=int, multiple=True, metavar="K",
              help="A fold to evaluate, repeatable.  [all that are trained]")  # fmt: skip
@run_option
@common_options
def evaluate(common: Common, numbers: tuple[int, ...], run_name: str | None) -> None:
    """Score trained folds: every metric, the confusion matrix, one prediction a row."""
    from rich.console import Console

    from mmer_pipeline.runs import trained_folds
    from mmer_pipeline.training.evaluation import evaluate_fold
    from stages.progress import quiet_libraries
    from stages.tables import class_table, confusion_table, scores_line

    quiet_libraries()
    run = common.runs / (run_name or chain_run())
    console = Console(quiet=common.as_json)
    results: list[dict[str, Any]] = []
    for number in numbers or trained_folds(run):
        evaluation, computed = evaluate_fold(run, number, cache=common.cache, device=common.device)
        results.append(evaluation)
        if not computed:
            say(common, f"Fold {number} of {run} is evaluated already: nothing to do.")
        metrics, labels = evaluation["metrics"], evaluation["labels"]
        console.print(f"Fold {number}, held out {evaluation['held_out']}, {metrics['utterances']} utterances:")
        console.print(f"  {scores_line(metrics)}", highlight=False)
    if len(results) == 1:  # for several the report has them
        console.print(class_table(metrics["per_class"]))
        console.print(confusion_table(metrics["confusion"], labels))
    common.result({"run": str(run), "folds": results})
    suggest(common, "report", "run_name")
