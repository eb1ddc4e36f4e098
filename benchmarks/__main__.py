"""`python -m benchmarks [NAME …]`: measure, print a table, and write it with a description of the machine."""

import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from importlib import import_module
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from benchmarks.measure import Bench, Figure, machine
from mmer_pipeline.devices import resolve_device
from stages.progress import quiet_libraries

NAMES = (
    "start", "reading", "kernels", "training", "frozen_layers", "precision", "extraction", "folds", "growth", "predict",
    "report", "clipping", "significance", "few_dialogues", "frozen_systems",
)  # fmt: skip


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(NAMES))
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda …")
@click.option("--sizes", default="paper,small", show_default=True, help="Sizes of the encoders: paper, small, tiny.")
@click.option(
    "--rounds", default=5, show_default=True, type=click.IntRange(min=1), help="Rounds; the median is reported."
)
@click.option("--quick", is_flag=True, help="Use a few utterances, only to test that everything runs.")
@click.option("--output", type=click.Path(path_type=Path), default=Path("reports/bench"), show_default=True,
              help="Directory for the figures.")  # fmt: skip
def main(names: Sequence[str], device: str, sizes: str, rounds: int, quick: bool, output: Path) -> None:
    """Run all benchmarks, or those named. The machine should be otherwise idle."""
    quiet_libraries()
    output.mkdir(parents=True, exist_ok=True)
    chosen = resolve_device(device)
    facts = machine(chosen)
    done: dict[str, list[Figure]] = {}
    with tempfile.TemporaryDirectory() as directory:
        for name in names or NAMES:
            click.echo(f"{name} …", err=True)
            bench = Bench(chosen, tuple(sizes.split(",")), rounds, quick, Path(directory), output)
            done[name] = list(import_module(f"benchmarks.{name}").figures(bench))
            write(output / f"{name}.json", facts, done[name])
    show(facts, [figure for figures in done.values() for figure in figures])
    if any(figure.met is False for figures in done.values() for figure in figures) and not quick:
        sys.exit(1)


def write(path: Path, facts: dict[str, object], figures: Sequence[Figure]) -> None:
    """Write the figures with the description of the machine."""
    value = {"machine": facts, "figures": [asdict(figure) for figure in figures]}
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def show(facts: dict[str, object], figures: Sequence[Figure]) -> None:
    """Print the table."""
    table = Table(title=str(facts["hardware"]), title_justify="left")
    for heading in ("what", "size", "measured", "baseline", "ratio", "target", "note"):
        table.add_column(heading, justify="right" if heading in ("measured", "baseline", "ratio") else "left")
    for figure in figures:
        mark = {None: "", True: " ✓", False: " missed"}[figure.met]
        table.add_row(
            figure.what,
            figure.size,
            f"{_number(figure.value)} {figure.unit}",
            "" if figure.baseline is None else f"{_number(figure.baseline)} {figure.unit}",
            "" if figure.ratio is None else f"{figure.ratio:.2f} ×",
            figure.target + mark,
            figure.note,
        )
    Console(width=None if sys.stdout.isatty() else 200).print(table)


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


if __name__ == "__main__":
    main()
