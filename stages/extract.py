"""extract: run the frozen text encoder and the frozen convolutional front end once over the corpus.

Reads the manifest and its recordings. Writes `<cache>/features/<manifest>/text-….h5` and `speech-….h5`.
"""

import time
from pathlib import Path
from typing import Any

import click

from mmer_pipeline.settings import FEATURE_SETTINGS
from stages.options import Common, common_options, encoder_options, manifest_option, say, suggest


@click.command()
@click.option("--scheduler", default="threads", show_default=True, metavar="WHERE",
              help="threads, processes, or the address of a Dask scheduler.")  # fmt: skip
@manifest_option
@encoder_options
@common_options
def extract(common: Common, scheduler: str, manifest: Path | None, **options: Any) -> None:
    """Compute the features that are missing or whose input has changed; the others stay."""
    from mmer_pipeline import paths
    from mmer_pipeline.encoder_files import resolve_encoder
    from mmer_pipeline.extraction import Extraction, extract_speech, extract_text
    from mmer_pipeline.manifest import read_manifest
    from stages.console import ExtractionConsole, quiet_libraries

    quiet_libraries()
    began = time.perf_counter()
    corpus = read_manifest(common.manifest(manifest))
    work: dict[str, Any] = {"device": common.device, "scheduler": scheduler, "dtype": options["dtype"]}
    done: dict[str, Extraction] = {}

    name, policy = options["text_encoder"], options["annotations"]
    path = paths.text_features(common.cache, corpus.path, name, policy, options["dtype"])
    text_encoder = resolve_encoder(name, options["text_revision"])
    with ExtractionConsole(common, "Text features") as console:
        done["text"] = extract_text(corpus, text_encoder, path, annotations=policy, progress=console.progress, **work)
    if options["speech_features"]:
        name = options["speech_encoder"]
        path = paths.speech_features(common.cache, corpus.path, name, options["dtype"])
        speech_encoder = resolve_encoder(name, options["speech_revision"])
        with ExtractionConsole(common, "Speech features") as console:
            done["speech"] = extract_speech(corpus, speech_encoder, path, progress=console.progress, **work)
    for kind, extraction in done.items():
        what = f"{extraction.computed} of {extraction.utterances} utterances computed"
        if not extraction.computed:
            what = f"all {extraction.utterances} utterances are up to date, nothing to do"
        size = extraction.path.stat().st_size / 1e6
        say(common, f"{kind.capitalize()} features: {what}. {extraction.path} ({size:.1f} MB)")
    say(common, f"Done in {time.perf_counter() - began:.1f} s.")
    suggest(common, "train", "manifest", *FEATURE_SETTINGS)
    common.result(
        {kind: {"path": str(e.path), "computed": e.computed, "utterances": e.utterances} for kind, e in done.items()}
    )
