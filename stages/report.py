"""report: compare evaluated runs, and predictions from elsewhere, in one report.

Reads `<runs>/<run>/fold-*/{settings.json,metrics.jsonl,evaluation.json,predictions.csv}`, the manifest that they
name, and the files given with `--import`. Writes report.md, report.html, report.json, table.tex, table-column.tex,
references.bib, methods.md, methods.tex and plots/.
"""

import glob
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mmer_pipeline import paths
from stages.setting_options import GroupedCommand
from stages.shared_options import DIRECTORY, FILE, RUN, Common, check_run_name, check_title, common_options, say

if TYPE_CHECKING:
    from mmer_pipeline.report.report_content import Report

WRITTEN = "Report: {page}, and in its folder as Markdown, JSON and LaTeX, with plots, methods and references."


@click.command(cls=GroupedCommand)
@click.option("--run", "names", multiple=True, metavar="NAME", callback=check_run_name,
              help="Run to report, with its other seeds unless they are named too; repeatable.  "
                   "[the run of this chain, or all]")  # fmt: skip
@click.option("--import", "imported", multiple=True, type=FILE,
              help="Predictions of another system: a table, JSON or JSON lines; repeatable.")  # fmt: skip
@click.option("--name", "titles", multiple=True, metavar="NAME", callback=check_title,
              help="Name of the first --import; repeatable for the next ones.  [the name of the file]")  # fmt: skip
@click.option("--import-column", "columns", multiple=True, metavar="ROLE=COLUMN",
              help="Column of imported files, such as truth=label; repeatable.  [found by its name]")  # fmt: skip
@click.option("--against", metavar="NAME",
              help="System that all others are compared with, in place of all pairs.")  # fmt: skip
@click.option("--output", type=DIRECTORY,
              help="Output directory.  [the run's directory; for several <runs>/report, with --import "
                   "<runs>/report-with-imports]")  # fmt: skip
@common_options
def report(
    common: Common, names: tuple[str, ...], imported: tuple[Path, ...], titles: tuple[str, ...],
    columns: tuple[str, ...], against: str | None, output: Path | None,
) -> None:  # fmt: skip
    """Compare systems: scores, intervals, p-values.

    Runs that differ only in their seed are one system. Final, validated and oracle numbers are kept apart.
    """
    if len(titles) > len(imported) or (columns and not imported):
        raise click.UsageError(
            f"--name and --import-column are about files of --import: found {len(imported)} files and {len(titles)} "
            "names. The names are those of the first files, in order; a file without one is named after itself."
        )
    from mmer_pipeline.corpora.columns import parse_assignments
    from mmer_pipeline.report.build_report import make_report
    from mmer_pipeline.report.imported_results import Import
    from mmer_pipeline.report.write_report import write_report

    chosen = _with_seeds(common, names) or _runs_to_report(common, needed=not imported)
    given = parse_assignments("--import-column", columns, "ROLE=COLUMN, such as truth=label")
    imports = [Import(path, title, given) for path, title in zip_longest(imported, titles)]
    value = make_report([common.runs / name for name in chosen], imports, against=against)
    of_several = paths.IMPORTS_REPORT_NAME if imported else paths.REPORT_NAME
    directory = output or common.runs / (chosen[0] if len(chosen) == 1 and not imported else of_several)
    write_report(value, directory)
    show_report(common, value)
    common.result(value.as_json())
    say(common, WRITTEN.format(page=directory / paths.REPORT_HTML))


def _with_seeds(common: Common, names: Sequence[str]) -> list[str]:
    """Return the named runs, each with the runs of its other seeds; without them if one of those is named too.

    Raises:
        UserError: a run does not exist.
    """
    from mmer_pipeline.corpora.folds import natural_order
    from mmer_pipeline.errors import UserError

    found: list[str] = []
    for name in names:
        if not (common.runs / name).is_dir():
            there = sorted(path.parent.name for path in common.runs.glob("*/fold-1"))
            raise UserError(f"There is no run {name} in {common.runs}. Runs: {', '.join(there) or 'none'}.")
        seeds = sorted((path.name for path in common.runs.glob(f"{glob.escape(name)}-seed[0-9]*")), key=natural_order)
        found += [name, *([] if set(seeds) & set(names) else seeds)]
    return list(dict.fromkeys(found))


def _runs_to_report(common: Common, *, needed: bool) -> list[str]:
    """Return the run trained in this chain, or else every run with an evaluated fold."""
    from mmer_pipeline.errors import UserError
    from mmer_pipeline.report.run_results import evaluated_runs

    trained = click.get_current_context().find_root().meta.get(RUN)
    if trained is not None:
        return [str(trained)]
    try:
        return evaluated_runs(common.runs)
    except UserError:
        if needed:
            raise
        return []


def show_report(common: Common, value: "Report") -> None:
    """Print the answer, the head, the systems, their differences and the notes; the rest is in the report's files."""
    from rich.console import Console

    from mmer_pipeline.report import comparison_tables, pair_table, paper_table, single_system_tables
    from mmer_pipeline.report.head import head
    from mmer_pipeline.report.other_corpora_table import other_corpora
    from mmer_pipeline.report.shortcut_table import shared_speakers, shortcuts
    from mmer_pipeline.report.table_rendering import Table, as_rich
    from mmer_pipeline.report.wording import folds_line, has_published_figures, hole_lines

    console = Console(quiet=not common.tables)

    def line(text: str, style: str | None = None) -> None:
        console.print(text, markup=False, highlight=False, style=style)

    def show(table: Table) -> None:
        line(f"\n{table.caption}")
        console.print(as_rich(table, console.width))
        for note in table.notes:
            line(note)

    line(f"\n{value.answer}\n", "bold")
    if shared := shared_speakers(value):
        line(shared, "bold red")
    for system in value.systems:
        if not system.is_complete:
            line(f"{system.title}: {folds_line(system)}")
    if value.holes:
        line("Missing:")
        for text in hole_lines(value):
            line(f"  {text}")
    for text in head(value).values():
        line(text)
    show(comparison_tables.overview(value))
    if value.pairs:
        show(pair_table.differences(value))
    if value.other_corpora:
        show(other_corpora(value))
    if table := shortcuts(value):
        show(table)
    if len(value.systems) == 1:
        show(single_system_tables.confusion(value.systems[0].confusion, value.labels))
    if has_published_figures(value) and value.table_1.comparable:
        show(paper_table.table_1(value))
    for text in value.notes:
        line(f"Note: {text}")
