"""audit: check a corpus and its folds for leaks, duplicates and label problems.

Reads the manifest and every recording. Writes audit.html and audit.json, by default beside the manifest.
"""

import time
from pathlib import Path
from typing import Any

import click

from stages.setting_options import GroupedCommand, setting_options
from stages.shared_options import DIRECTORY, Common, common_options, last_written, manifest_option, say, suggest

STYLES = {"error": "bold red", "warning": "yellow", "note": "cyan", "ok": "green"}
DETAILED = ("error", "warning")  # severities shown with meaning and examples in the terminal


@click.command(cls=GroupedCommand)
@manifest_option
@click.option("--folds", default="session", show_default=True, metavar="COLUMN|N|split|random",
              help="Folds to audit: a column of the manifest, such as session or speaker; a number of groups of "
                   "speakers, such as 5; split, the official train, dev and test; or random parts, which share "
                   "speakers with training.")  # fmt: skip
@click.option("--audio/--no-audio", default=True, show_default=True,
              help="Decode and check every recording.")  # fmt: skip
@click.option("--output", type=DIRECTORY, help="Directory for audit.html and audit.json.  [that of the manifest]")
@setting_options(["text_encoder", "speech_encoder"])
@common_options
def audit(
    common: Common,
    manifest: Path | None,
    folds: str,
    audio: bool,
    output: Path | None,
    text_encoder: str,
    speech_encoder: str,
) -> None:
    """Check a corpus for leaks, duplicates and label problems.

    Also checks for annotations and repeated texts that reveal the label, for faults of the recordings, and tries
    baselines that should be poor. The encoders are not loaded: their names, configurations and cards say whether they
    were trained on emotion or on this corpus. The exit code is 1 if the protocol is broken: a speaker or a recording is
    in two folds, an encoder knows the corpus, or a recording cannot be read. Only --folds random on the command line
    accepts that speakers are in two folds.
    """
    from mmer_pipeline.audit.audit_page import write_audit
    from mmer_pipeline.audit.run_audit import make_audit
    from mmer_pipeline.corpora.manifest import read_manifest
    from stages.progress import Work

    began = time.monotonic()
    corpus = read_manifest(common.manifest(manifest))
    encoders = {"text encoder": text_encoder, "speech encoder": speech_encoder}
    with Work(common, "Decoding", unit="recordings") as work:
        value = make_audit(corpus, column=folds, audio=audio, progress=work.show, encoders=encoders)
    written = write_audit(value, output or corpus.path.parent)
    common.result(value)
    if common.tables:
        _print_findings(value)
    say(common, f"wrote {', '.join(map(str, written))} in {time.monotonic() - began:.0f} s")
    if _is_broken(value):
        click.get_current_context().exit(1)
    is_untranscribed = not all(utterance.transcript for utterance in corpus.utterances)
    suggest(common, "cv --transcripts asr" if is_untranscribed else "cv", "manifest", "folds")


def _is_broken(value: dict[str, Any]) -> bool:
    """Whether an error was found, except for shared speakers if random folds were asked for on the command line."""
    from click.core import ParameterSource

    from mmer_pipeline.audit.leaks import SHARED
    from mmer_pipeline.corpora.random_folds import RANDOM

    by_name = click.get_current_context().get_parameter_source("folds") is ParameterSource.COMMANDLINE
    accepted = SHARED if by_name and value["folds"] == RANDOM else ()
    return any(found["severity"] == "error" and found["key"] not in accepted for found in value["findings"])


def _print_findings(value: dict[str, Any]) -> None:
    """Print one row per finding, the most severe first; those that are ok are only counted."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from mmer_pipeline.audit.finding import plural
    from mmer_pipeline.corpora.speaker_folds import fold_unit

    counts, held_out = value["counts"]["all"], len(value["held_out"])
    folds = f"{held_out} fold" + ("s" if held_out > 1 else "")
    title = f"{value['corpus']}: {counts['utterances']:,} utterances, {folds} by "
    title += f"{fold_unit(value['folds'])}\n{value['manifest']}, written {last_written(Path(value['manifest']))}"
    table = Table(title=Text(title, style="table.title"), title_justify="left", show_lines=True)
    table.add_column("")
    table.add_column("finding", ratio=1)
    table.add_column("count", max_width=22)
    for finding in value["findings"]:
        severity = finding["severity"]
        if severity == "ok":
            continue
        text = Text(finding["title"], style="bold")
        if severity in DETAILED:
            text.append(f"\n{finding['meaning']}", style="not bold")
            for example in finding["examples"]:
                text.append(f"\n  {example}", style="not bold dim")
        table.add_row(Text(severity, style=STYLES[severity]), text, Text(finding["figure"].replace(" %", "\u00a0%")))
    console = Console()
    console.print(table)
    severities = ", ".join(f"{count} {plural(name, count)}" for name, count in value["severities"].items())
    console.print(f"{severities}; digest {value['digest']}", highlight=False)
