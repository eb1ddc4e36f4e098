"""report: all evaluated folds of one or more runs in one table.

Reads `<runs>/<run>/fold-*/{settings.json,metrics.jsonl,evaluation.json,predictions.csv}`. Writes report.md
and report.json.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from stages.options import DIRECTORY, Common, chain_run, check_run_name, common_options, say

if TYPE_CHECKING:
    from rich.table import Table


@click.command()
@click.option("--run", "names", multiple=True, metavar="NAME", callback=check_run_name,
              help="A run to report, repeatable.  [the one trained in this chain, or mmer]")  # fmt: skip
@click.option("--output", type=DIRECTORY, help="Where report.md and report.json go.  [the first run's directory]")
@common_options
def report(common: Common, names: tuple[str, ...], output: Path | None) -> None:
    """Put all folds into one table: final, validated and oracle apart; mean ± sd over folds, and pooled."""
    from rich.console import Console

    from mmer_pipeline import files
    from mmer_pipeline.report import read_run, summarise
    from mmer_pipeline.report_text import MEANING, folds_line, markdown
    from stages.tables import class_table, confusion_table

    runs = [summarise(read_run(common.runs / name)) for name in names or (chain_run(),)]
    directory = output or common.runs / runs[0]["run"]
    files.write_text(directory / "report.md", markdown(runs))
    files.write_json(directory / "report.json", {"runs": runs})
    console = Console(quiet=common.as_json)
    for run in runs:
        console.print(
            f"\n{run['run']}: {run['settings']['system']} on {run['corpus']}, {folds_line(run)}", markup=False
        )
        console.print(_fold_table(run))
        console.print(_summary_table(run))
        for name, meaning in MEANING.items():
            console.print(f"  {name}: {meaning}", highlight=False)
        console.print("\nClasses: final, all folds pooled")
        console.print(class_table(run["per_class"]))
        console.print(confusion_table(run["confusion"], run["labels"]))
    common.result({"runs": runs})
    say(common, f"Written: {directory / 'report.md'}, {directory / 'report.json'}")


def _summary_table(run: dict[str, Any]) -> "Table":
    """The three numbers, each as mean ± sd over folds and pooled over all utterances, in percent."""
    from rich.table import Table

    from mmer_pipeline.metrics import HEADLINE
    from mmer_pipeline.report import SELECTIONS
    from mmer_pipeline.report_text import METRIC_NAMES, interval, mean_and_sd, percent

    table = Table("mean ± sd, %")
    for metric in HEADLINE:
        table.add_column(METRIC_NAMES[metric], justify="right")
    for name in SELECTIONS:
        selection = run["selections"][name]
        if selection is None:
            table.add_row(name, *["–"] * len(HEADLINE), end_section=True)
            continue
        summaries = [selection["summary"][metric] for metric in HEADLINE]
        table.add_row(name, *map(mean_and_sd, summaries))
        table.add_row("  pooled", *(percent(summary["pooled"]) for summary in summaries), end_section=name != "final")
        if name == "final":
            table.add_row("  95 %", *map(interval, summaries), end_section=True)
    return table


def _fold_table(run: dict[str, Any]) -> "Table":
    """WA and UA of every fold under each selection, in percent."""
    from rich.table import Table
    from rich.text import Text

    from mmer_pipeline.report import SELECTIONS
    from mmer_pipeline.report_text import percent

    table = Table("fold", "held\nout", "utt.")
    chosen = [name for name in SELECTIONS if run["selections"][name] is not None]
    for name in chosen:
        table.add_column(f"{name}\n  WA    UA", justify="right")
        if name != "final":  # which is always the last epoch
            table.add_column("at\nepoch", justify="right")
    for index, fold in enumerate(run["selections"]["final"]["folds"]):
        cells: list[str | Text] = [str(fold["fold"]), Text(fold["held_out"]), str(fold["utterances"])]
        for name in chosen:
            entry = run["selections"][name]["folds"][index]
            cells.append(f"{percent(entry['wa'])} {percent(entry['ua'])}")
            if name != "final":
                cells.append(str(entry["epoch"]))
        table.add_row(*cells)
    return table
