"""The transcribe command: automatic transcripts of a corpus, and their word error rate.

Reads the manifest and its recordings. Writes `manifest.asr-MODEL.csv` and, with the model's name and word error rates,
`manifest.asr-MODEL.json` beside the manifest.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from stages.setting_options import GroupedCommand, setting_options
from stages.shared_options import Common, common_options, manifest_option, say, suggest

if TYPE_CHECKING:
    from mmer_pipeline.corpora.asr_transcripts import ErrorRate
    from mmer_pipeline.corpora.manifest import Manifest
    from mmer_pipeline.transcription import Transcription


@click.command(cls=GroupedCommand)
@manifest_option
@setting_options(["asr_model", "asr_revision"])
@common_options
def transcribe(common: Common, manifest: Path | None, asr_model: str, asr_revision: str | None) -> None:
    """Transcribe a corpus automatically.

    Only utterances without an automatic transcript, or whose recording changed, are transcribed. Where the manifest has
    gold transcripts, the word error rate is computed. `--transcripts asr` of extract, train and cv reads the result.
    """
    from mmer_pipeline.corpora.manifest import read_manifest
    from stages.progress import quiet_libraries

    quiet_libraries()
    corpus = read_manifest(common.manifest(manifest))
    done = make_transcripts(common, corpus, asr_model, asr_revision)
    common.result(
        {
            "path": str(done.path),
            "computed": done.computed,
            "utterances": done.utterances,
            "word_errors": {name: rate.as_dict() for name, rate in done.error_rates.items()},
        }
    )
    if common.tables:
        _print_error_rates(done.error_rates, asr_model)
    suggest(common, "extract --transcripts asr", "manifest", "asr_model", "asr_revision")


def make_transcripts(common: Common, corpus: "Manifest", asr_model: str, revision: str | None) -> "Transcription":
    """Transcribe what is missing; if another process is doing it, wait for that process.

    Raises:
        Stopped: the user pressed Ctrl-C.
        UserError: as `transcription.transcribe`.
    """
    from mmer_pipeline import paths
    from mmer_pipeline.transcription import transcribe as transcribe_corpus
    from stages.progress import ExtractionProgress, when_free

    path = paths.asr_transcripts(corpus.path, asr_model)

    def work() -> "Transcription":
        with ExtractionProgress(common, "Transcripts") as progress:
            return transcribe_corpus(corpus, asr_model, revision, device=common.device, progress=progress.progress)

    done = when_free(common, path, work)
    result = f"transcribed {done.computed} of {done.utterances} utterances"
    if not done.computed:
        result = f"all {done.utterances} utterances have up-to-date transcripts"
    say(common, f"Transcripts: {result}. {path}")
    return done


def _print_error_rates(rates: "Mapping[str, ErrorRate]", asr_model: str) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    if not rates:
        console.print("The manifest has no gold transcripts, so there is no word error rate.")
        return
    table = Table(title=f"Word error rate of {asr_model} in percent", title_justify="left")
    table.add_column("class")
    for name in ("WER", "utterances", "words"):
        table.add_column(name, justify="right")
    for name, rate in rates.items():
        table.add_row(name, f"{100 * rate.rate:.2f}", f"{rate.utterances:,}", f"{rate.words:,}")
    console.print(table)
