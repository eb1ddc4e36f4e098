"""extract: run the frozen text encoder and the frozen convolutional front end once over the corpus.

Reads the manifest and its recordings. Writes `<cache>/features/<manifest>/text-….h5` and `speech-….h5`.
"""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mmer_pipeline.settings import FEATURE_SETTINGS
from mmer_pipeline.systems.registry import SYSTEMS
from stages.options import Common, common_options, encoder_options, manifest_option, say, suggest

if TYPE_CHECKING:
    from mmer_pipeline.corpora.manifest import Manifest
    from mmer_pipeline.features.extraction import Extraction, Request


@click.command()
@click.option("--system", default="mmer", show_default=True, type=click.Choice(list(SYSTEMS)),
              help="Only the features that this system reads; mmer reads both.")  # fmt: skip
@click.option("--scheduler", default="threads", show_default=True, metavar="WHERE",
              help="threads, processes, or the address of a Dask scheduler.")  # fmt: skip
@manifest_option
@encoder_options
@common_options
def extract(common: Common, system: str, scheduler: str, manifest: Path | None, **options: Any) -> None:
    """Compute the features that are missing or whose input has changed; the others stay."""
    from mmer_pipeline.corpora.manifest import read_manifest
    from mmer_pipeline.features.extraction import requests_of
    from mmer_pipeline.settings import Settings
    from stages.console import quiet_libraries

    quiet_libraries()
    began = time.perf_counter()
    corpus = read_manifest(common.manifest(manifest))
    requests = requests_of(Settings.of(system, fold=1, **options))
    done = {request.kind: make_features(common, request, corpus, scheduler) for request in requests}
    say(common, f"Done in {time.perf_counter() - began:.1f} s.")
    suggest(common, "train", "manifest", "system", *FEATURE_SETTINGS)
    common.result(
        {kind: {"path": str(e.path), "computed": e.computed, "utterances": e.utterances} for kind, e in done.items()}
    )


def make_features(
    common: Common,
    request: "Request",
    corpus: "Manifest",
    scheduler: str,
    resources: Mapping[str, float] | None = None,
) -> "Extraction":
    """Make one feature file, or what is missing of it, and say so; where another process makes it, wait for that.

    Raises:
        UserError: as `extraction.extract`; `console.Stopped` after Ctrl-C.
    """
    from mmer_pipeline import files, paths
    from mmer_pipeline.errors import Busy
    from mmer_pipeline.features.extraction import extract as extract_features
    from stages.console import ExtractionConsole

    name, path = f"{request.kind.capitalize()} features", request.path(common.cache, corpus.path)
    while True:
        try:
            with ExtractionConsole(common, name) as console:
                done = extract_features(
                    request, corpus, common.cache, device=common.device, scheduler=scheduler,
                    progress=console.progress, resources=resources,
                )  # fmt: skip
            break
        except Busy:
            say(common, f"{name}: another process is making {path}; waiting for it …")
            with files.locked(paths.lock_of(path), wait=True):
                pass
    what = f"{done.computed} of {done.utterances} utterances computed"
    if not done.computed:
        what = f"all {done.utterances} utterances are up to date, nothing to do"
    say(common, f"{name}: {what}. {path} ({path.stat().st_size / 1e6:.1f} MB)")
    return done
