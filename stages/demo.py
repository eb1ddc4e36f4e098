"""demo: run the whole pipeline on synthetic speech and untrained encoders.

Writes below `--output`: a corpus in IEMOCAP's form, two tiny encoders, mmer.toml with the settings, the cache, one run
per system, and the report.
"""

import contextlib
import io
import sys
import time
from pathlib import Path

import click
from click.core import ParameterSource

from stages.setting_options import GroupedCommand
from stages.shared_options import DIRECTORY, PART_OF_DEMO, Common, common_options, say

SEED = 1
DISCLAIMER = (
    "The voices of this demo are synthetic (espeak-ng) and its encoders are untrained:\n"
    "its numbers show that the pipeline works; they say nothing about emotion recognition."
)
SETTINGS = """\
# The settings of the demo, one table per command. [cv] also uses those of [train].
cache-dir = '{output}/cache'
runs-dir = '{output}/runs'

[extract]
text-encoder = '{text}'
speech-encoder = '{speech}'

[train]
text-encoder = '{text}'
speech-encoder = '{speech}'
epochs = 12
learning-rate = 1e-3
schedule = "linear"
alpha = 0.01

[cv]
systems = "mmer,cai,wav2vec2,roberta,roberta:finetune-text"
jobs = 2
"""


@click.command(cls=GroupedCommand)
@click.option("--output", type=DIRECTORY, default=Path("demo"), show_default=True, help="Directory for all files.")
@common_options
def demo(common: Common, output: Path) -> None:
    """Run the whole pipeline on a small synthetic corpus.

    Writes a synthetic corpus, prepares it, extracts its features, cross-validates every system and writes the report.
    """
    _refuse_directories()
    say(common, DISCLAIMER)
    began = time.perf_counter()
    from mmer_pipeline import files, paths
    from mmer_pipeline.demo.corpus import write_demo_corpus
    from mmer_pipeline.demo.encoders import write_tiny_encoders
    from stages.progress import quiet_libraries

    quiet_libraries()
    say(common, f"\nWriting the corpus and two encoders to {output} …")
    root = write_demo_corpus(output / "corpus", seed=SEED)
    text, speech = write_tiny_encoders(output / "encoders", seed=SEED)
    config = output / paths.CONFIG_NAME
    files.write_text(config, SETTINGS.format(output=output, text=text, speech=speech))
    with contextlib.redirect_stdout(io.StringIO() if common.as_json else sys.stdout):
        _run(common, ["--config", str(config), "prepare", "iemocap", "--root", str(root)])
    _run(common, ["--config", str(config), *(["--json"] if common.as_json else []), "cv"])
    say(common, f"\nThe demo took {time.perf_counter() - began:.0f} s. {DISCLAIMER}")
    say(common, "\nWith real data and a GPU, the same commands run the paper's experiment:\n")
    say(common, "  mmer-pipe prepare iemocap --root /path/to/IEMOCAP_full_release")
    say(common, "  mmer-pipe cv --systems table-1")


def _refuse_directories() -> None:
    """Refuse the options for other directories and settings: the demo writes only below `--output`."""
    context: click.Context | None = click.get_current_context()
    while context is not None:
        for name in ("cache_dir", "runs_dir", "config"):
            if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
                raise click.UsageError(
                    f"demo takes no --{name.replace('_', '-')}: it writes everything below --output."
                )
        context = context.parent


def _run(common: Common, arguments: list[str]) -> None:
    """Print a command as one would type it, and run it."""
    group = click.get_current_context().find_root().command
    say(common, f"\n$ mmer-pipe {' '.join(arguments)}")
    flags = ["--device", common.device, *(["--quiet"] if common.quiet else [])]
    group.main([*flags, *arguments], prog_name="mmer-pipe", standalone_mode=False, obj=PART_OF_DEMO)
