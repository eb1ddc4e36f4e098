"""report: evaluated runs, and predictions from elsewhere, compared in one report.

Reads `<runs>/<run>/fold-*/{settings.json,metrics.jsonl,evaluation.json,predictions.csv}`, the manifest that they
name, and the files given with `--import`. Writes report.md, report.html, report.json, table.tex and plots/.
"""

import glob
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from mmer_pipeline import paths
from stages.options import DIRECTORY, FILE, RUN, Common, check_run_name, common_options, say
from stages.setting_options import GroupedCommand


@click.command(cls=GroupedCommand)
@click.option("--run", "names", multiple=True, metavar="NAME", callback=check_run_name,
              help="A run with its other seeds, repeatable.  [the one trained in this chain, or all]")  # fmt: skip
@click.option("--import", "imported", multiple=True, type=FILE,
              help="Another system's predictions.csv, repeatable.")  # fmt: skip
@click.option("--name", "titles", multiple=True, metavar="NAME", help="What an imported system is called.")
@click.option("--output", type=DIRECTORY,
              help="Where the report goes.  [the run's directory; for several <runs>/report]")  # fmt: skip
@common_options
def report(
    common: Common, names: tuple[str, ...], imported: tuple[Path, ...], titles: tuple[str, ...], output: Path | None
) -> None:
    """Say which system is better, by how much, and whether the difference is real.

    Runs that differ in their seed alone are one system. Final, validated and oracle numbers stand apart.
    """
    if len(imported) != len(titles):
        raise click.UsageError(
            f"--import FILE and --name NAME go in pairs: {len(imported)} files, {len(titles)} names."
        )
    from mmer_pipeline.report.summary import make_report
    from mmer_pipeline.report.writing import write_report

    chosen = _with_seeds(common, names) or _runs_to_report(common, needed=not imported)
    value = make_report([common.runs / name for name in chosen], list(zip(titles, imported, strict=True)))
    directory = output or common.runs / (chosen[0] if len(chosen) == 1 and not imported else paths.REPORT_NAME)
    written = write_report(value, directory)
    show_report(common, value)
    common.result(value)
    plots = sum(path.suffix == ".png" for path in written)
    say(common, f"Written: {', '.join(path.name for path in written if path.parent == directory)} and {plots} plots "
                f"in {directory}")  # fmt: skip


def _with_seeds(common: Common, names: Sequence[str]) -> list[str]:
    """The runs that were named, each with those of its other seeds.

    Raises:
        UserError: there is no such run.
    """
    from mmer_pipeline.corpora.folds import natural_order
    from mmer_pipeline.errors import UserError

    found: list[str] = []
    for name in names:
        if not (common.runs / name).is_dir():
            there = sorted(path.parent.name for path in common.runs.glob("*/fold-1"))
            raise UserError(f"There is no run {name} in {common.runs}. Runs: {', '.join(there) or 'none'}.")
        seeds = sorted((path.name for path in common.runs.glob(f"{glob.escape(name)}-seed[0-9]*")), key=natural_order)
        found += [name, *seeds]
    return list(dict.fromkeys(found))


def _runs_to_report(common: Common, *, needed: bool) -> list[str]:
    """The run that was trained in this chain, else every run that has an evaluated fold."""
    from mmer_pipeline.errors import UserError
    from mmer_pipeline.report.results import evaluated_runs

    trained = click.get_current_context().find_root().meta.get(RUN)
    if trained is not None:
        return [str(trained)]
    try:
        return evaluated_runs(common.runs)
    except UserError:
        if needed:
            raise
        return []


def show_report(common: Common, value: dict[str, Any]) -> None:
    """Print a report's tables: of one system in full, of several the comparison."""
    from rich.console import Console

    from mmer_pipeline.report.formats import MEANING, PAIRS_NOTE, counted, folds_line, hole_lines, row_names
    from stages import tables

    console = Console(quiet=common.as_json)

    def line(text: str) -> None:
        console.print(text, markup=False, highlight=False)

    systems, names = value["systems"], row_names(value)
    line("")
    for system in systems:
        line(f"{system['name']}: {names[system['name']]} on {value['corpus']}, {folds_line(system)}")
    for text in value["notes"]:
        line(f"Note: {text}")
    if value["holes"]:
        line("Missing:")
        for text in hole_lines(value):
            line(f"  {text}")
    if len(systems) > 1:
        console.print(tables.comparison_table(value))
        console.print(tables.pair_table(value))
        line(PAIRS_NOTE)
        return
    system = systems[0]
    console.print(tables.fold_table(system))
    console.print(tables.summary_table(system))
    for name, meaning in MEANING.items():
        line(f"  {name}: {meaning}")
    line("\nClasses: final, all folds pooled")
    console.print(tables.class_table(system["per_class"], counted(system)))
    console.print(tables.confusion_table(system["confusion"], value["labels"]))
