"""demo: run the whole pipeline on synthetic speech, from a corpus to the emotion of a recording.

Writes below `--output`: a corpus in IEMOCAP's form, mmer.toml with the settings, the cache, one run per system, the
report, and a packed model.
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
    "The voices of this demo are synthetic (espeak-ng), and their emotions are settings of loudness, speed and pitch:\n"
    "its numbers show that the pipeline works; they say nothing about emotion recognition."
)
SETTINGS = """\
# The settings of the demo, one table per command. [train] is also for extract and cv.
cache-dir = '{output}/cache'
runs-dir = '{output}/runs'

[train]
{encoders}epochs = {epochs}
learning-rate = {learning_rate}
schedule = "linear"
alpha = 0.01
precision = "fp32"  # the same numbers, nearly, on every machine

[cv]
systems = "mmer,wav2vec2,roberta"
jobs = 2
"""
PRETRAINED = {"epochs": 3, "learning_rate": 2e-4}
UNTRAINED = {"epochs": 12, "learning_rate": 1e-3}
RECORDING = "Session5/dialog/wav/Ses05M_script01_1.wav"  # a dialogue of about half a minute


@click.command(cls=GroupedCommand)
@click.option("--output", type=DIRECTORY, default=Path("demo"), show_default=True, help="Directory for all files.")
@common_options
def demo(common: Common, output: Path) -> None:
    """Run the whole pipeline on a small synthetic corpus.

    Writes a synthetic corpus, prepares it, extracts its features, cross-validates three systems, writes the report, and
    packs a model for `predict`.
    """
    _refuse_directories()
    say(common, DISCLAIMER)
    began = time.perf_counter()
    from mmer_pipeline import files, paths
    from mmer_pipeline.demo.corpus import write_demo_corpus
    from stages.progress import quiet_libraries

    quiet_libraries()
    say(common, f"\nWriting the corpus to {output} …")
    root = write_demo_corpus(output / "corpus", seed=SEED)
    encoders, hyperparameters = _encoders(common, output)
    config = output / paths.CONFIG_NAME
    files.write_text(config, SETTINGS.format(output=output, encoders=encoders, **hyperparameters))
    with contextlib.redirect_stdout(io.StringIO() if common.as_json else sys.stdout):
        _run(common, ["--config", str(config), "prepare", "iemocap", "--root", str(root)])
    _run(common, ["--config", str(config), *(["--json"] if common.as_json else []), "cv"])
    with contextlib.redirect_stdout(io.StringIO() if common.as_json else sys.stdout):
        _run(common, ["--config", str(config), "train", "--fold", "none"])
        _run(common, ["--config", str(config), "pack", "mmer", "--output", str(output / "model")])
    say(common, f"\nThe demo took {time.perf_counter() - began:.0f} s. {DISCLAIMER}")
    say(common, "\nThe emotions in a recording, with the model that the demo has trained:\n")
    say(common, f"  mmer-pipe predict {root / RECORDING} --model {output / 'model'}")
    say(common, "\nWith real data and a GPU, the same commands run the paper's experiment:\n")
    say(common, "  mmer-pipe prepare iemocap --root /path/to/IEMOCAP_full_release")
    say(common, "  mmer-pipe cv --systems table-1")


def _encoders(common: Common, output: Path) -> tuple[str, dict[str, float]]:
    """The lines of mmer.toml that name the encoders, and the hyperparameters that suit them.

    Where the embedded models are not installed, two tiny encoders with random weights take their place.
    """
    from mmer_pipeline.demo.encoders import write_tiny_encoders
    from mmer_pipeline.encoders.encoder_files import resolve_encoder
    from mmer_pipeline.errors import UserError
    from mmer_pipeline.presets import PRESETS

    names = [PRESETS["small"][kind] for kind in ("text_encoder", "speech_encoder")]
    hyperparameters: dict[str, float] = PRETRAINED
    try:
        for name in names:
            resolve_encoder(name)
    except UserError as error:
        say(common, f"{error}\nThe demo uses two untrained encoders instead.")
        names = [str(path) for path in write_tiny_encoders(output / "encoders", seed=SEED)]
        hyperparameters = UNTRAINED
    return f"text-encoder = '{names[0]}'\nspeech-encoder = '{names[1]}'\n", hyperparameters


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
