"""demo: the whole pipeline on synthetic speech and untrained encoders, to see it work.

Writes below `--output`: an IEMOCAP-shaped corpus, two tiny encoders, the cache and the run with its report.
"""

import time
from pathlib import Path

import click

from stages.options import DIRECTORY, Common, common_options, say

EPOCHS = 12
LEARNING_RATE = 1e-3
SEED = 1


@click.command()
@click.option("--output", type=DIRECTORY, default=Path("demo"), show_default=True, help="Where everything goes.")
@common_options
def demo(common: Common, output: Path) -> None:
    """Make a small synthetic corpus and run prepare, extract, train, evaluate and report on it."""
    say(
        common,
        "The voices of this demo are synthetic (espeak-ng) and its encoders are untrained: the numbers show",
    )
    say(common, "that the pipeline works, and nothing about emotion recognition.")
    began = time.perf_counter()
    from mmer_pipeline.demo.corpus import write_demo_corpus
    from mmer_pipeline.demo.encoders import write_tiny_encoders

    say(common, f"\nWriting the corpus and two encoders to {output} …")
    root = write_demo_corpus(output / "corpus", seed=SEED)
    text, speech = write_tiny_encoders(output / "encoders", seed=SEED)
    encoders = ["--text-encoder", str(text), "--speech-encoder", str(speech)]
    training = ["--epochs", str(EPOCHS), "--learning-rate", str(LEARNING_RATE), "--seed", str(SEED)]
    for arguments in (
        ["prepare", "iemocap", "--root", str(root)],
        ["extract", *encoders],
        ["train", *encoders, *training],
        ["evaluate", "--quiet"],
        ["report"],
    ):
        _run(common, output, arguments)
    say(
        common,
        f"\nThat took {time.perf_counter() - began:.0f} s. The voices were synthetic, the encoders untrained.",
    )
    say(common, "On real data the same commands, on a GPU, are the paper's experiment:")
    say(common, "  mmer-pipe prepare iemocap --root /path/to/IEMOCAP_full_release")
    say(common, "  mmer-pipe extract train evaluate report")


def _run(common: Common, output: Path, arguments: list[str]) -> None:
    """Run one command as a person would type it, and show it."""
    from stages.cli import main

    say(common, f"\n$ mmer-pipe {' '.join(arguments)}")
    places = [
        "--cache-dir",
        str(output / "cache"),
        "--runs-dir",
        str(output / "runs"),
        "--device",
        common.device,
    ]
    flags = ["--quiet"] if common.quiet else []
    main.main([*places, *flags, *arguments], standalone_mode=False)
