"""audit: what a careful reviewer would ask of a corpus and its folds, each with its count.

Reads the manifest and every recording. Writes audit.html and audit.json, beside the manifest if nowhere else.
"""

import time
from pathlib import Path
from typing import Any

import click

from stages.options import DIRECTORY, Common, common_options, manifest_option, say
from stages.setting_options import GroupedCommand

STYLES = {"wrong": "bold red", "weigh": "yellow", "know": "cyan", "fine": "green"}
SHOWN = ("wrong", "weigh")  # whose meaning and examples stand in the terminal too


@click.command(cls=GroupedCommand)
@manifest_option
@click.option("--folds", default="session", show_default=True, metavar="session|speaker|split|COLUMN",
              help="What the folds are made by; split is the corpus's own train, dev and test.")  # fmt: skip
@click.option("--audio/--no-audio", default=True, show_default=True,
              help="Decode every recording once, or leave them alone.")  # fmt: skip
@click.option("--output", type=DIRECTORY, help="Where audit.html and audit.json go.  [the manifest's directory]")
@common_options
def audit(common: Common, manifest: Path | None, folds: str, audio: bool, output: Path | None) -> None:
    """Ask of a corpus what a careful reviewer would ask.

    Leaks, annotations, recurring texts, faults of recordings, baselines that should be poor. Exit code 1 where the
    protocol is broken: a speaker or a recording in two folds, or a recording that cannot be read.
    """
    from mmer_pipeline.audit.audit_page import write_audit
    from mmer_pipeline.audit.review import make_audit
    from mmer_pipeline.corpora.manifest import read_manifest
    from stages.progress import Work

    began = time.monotonic()
    corpus = read_manifest(common.manifest(manifest))
    with Work(common, "Decoding", unit="recordings") as work:
        value = make_audit(corpus, column=folds, audio=audio, progress=work.show)
    written = write_audit(value, output or corpus.path.parent)
    common.result(value)
    if not common.as_json:
        _print_findings(value)
    say(common, f"Written: {', '.join(map(str, written))} in {time.monotonic() - began:.0f} s")
    if value["severities"]["wrong"]:
        click.get_current_context().exit(1)


def _print_findings(value: dict[str, Any]) -> None:
    """A row a finding, the gravest first; what leaves the numbers as they are in one line."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    counts, held_out = value["counts"]["all"], len(value["held_out"])
    folds = f"{held_out} fold" + ("s" if held_out > 1 else "")
    title = f"{value['corpus']}: {counts['utterances']:,} utterances, {folds} by "
    table = Table(title=title + value["folds"], title_justify="left", show_lines=True)
    table.add_column("")
    table.add_column("finding", ratio=1)
    table.add_column("count", max_width=22)
    for finding in value["findings"]:
        severity = finding["severity"]
        if severity == "fine":
            continue
        text = Text(finding["title"], style="bold")
        if severity in SHOWN:
            text.append(f"\n{finding['meaning']}", style="not bold")
            for example in finding["examples"]:
                text.append(f"\n  {example}", style="not bold dim")
        table.add_row(Text(severity, style=STYLES[severity]), text, Text(finding["figure"]))
    console = Console()
    console.print(table)
    severities = ", ".join(f"{number} {name}" for name, number in value["severities"].items())
    console.print(f"{severities}; fingerprint {value['fingerprint']}", highlight=False)
