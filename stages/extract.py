"""The extract command: run the frozen text encoder and the frozen speech front end once over the corpus.

Reads the manifest and its recordings. Writes `<cache>/features/<manifest>/text-….h5` and `speech-….h5`.
"""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mmer_pipeline.corpora.transcripts import GOLD
from mmer_pipeline.settings import FEATURE_SETTINGS
from mmer_pipeline.systems.registry import settings_for
from stages.cluster_options import LOCAL, cluster_options
from stages.setting_options import GroupedCommand, SystemName, setting_options, system_defaults
from stages.shared_options import Common, common_options, manifest_option, say, suggest
from stages.transcribe import make_transcripts

if TYPE_CHECKING:
    from distributed import Client

    from mmer_pipeline.corpora.manifest import Manifest
    from mmer_pipeline.features.extraction import Extraction
    from mmer_pipeline.features.required_features import Request
    from mmer_pipeline.transcription import Transcription


@click.command(cls=GroupedCommand)
@click.option("--system", default="mmer", show_default=True, type=SystemName(),
              help="Compute only the features that this system reads; mmer reads both.")  # fmt: skip
@click.option("--scheduler", default="threads", show_default=True, metavar="WHERE",
              help="Where to compute: threads, processes, or the address of a Dask scheduler.")  # fmt: skip
@cluster_options
@manifest_option
@setting_options(FEATURE_SETTINGS)
@common_options
def extract(common: Common, system: str, scheduler: str, manifest: Path | None, recipe: str, **options: Any) -> None:
    """Compute frozen features that are missing or out of date."""
    from mmer_pipeline.corpora.manifest import read_manifest
    from mmer_pipeline.features.required_features import requests_of
    from stages.progress import quiet_libraries

    quiet_libraries()
    began = time.perf_counter()
    if scheduler not in LOCAL:
        from mmer_pipeline.cluster.remote_scheduler import check_address

        check_address(scheduler)  # also where nothing has to be computed
    corpus = read_manifest(common.manifest(manifest))
    options |= system_defaults(system, recipe)
    requests = requests_of(settings_for(system, fold=1, **options))
    done = {_key(request): make_features(common, request, corpus, scheduler) for request in requests}
    say(common, f"Done in {time.perf_counter() - began:.1f} s.")
    suggest(common, "train", "manifest", "system", "preset", "recipe", *FEATURE_SETTINGS)
    common.result(
        {kind: {"path": str(e.path), "computed": e.computed, "utterances": e.utterances} for kind, e in done.items()}
    )


def _key(request: "Request") -> str:
    """The name of a file in the command's result: speech, text, text_asr, transcripts …"""
    source = getattr(request, "transcripts", GOLD)
    return request.kind if source == GOLD else f"{request.kind}_{source}"


def make_features(
    common: Common,
    request: "Request",
    corpus: "Manifest",
    scheduler: "str | Client",
    resources: Mapping[str, float] | None = None,
) -> "Extraction | Transcription":
    """Compute the missing rows of one feature file, or the missing automatic transcripts.

    If another process is writing the file, wait for that process.

    Raises:
        Stopped: the user pressed Ctrl-C.
        UserError: as `extraction.extract`.
    """
    from mmer_pipeline.features.extraction import Execution
    from mmer_pipeline.features.extraction import extract as extract_features
    from mmer_pipeline.features.feature import AsrTranscripts
    from stages.progress import ExtractionProgress, when_free

    if isinstance(request, AsrTranscripts):
        return make_transcripts(common, corpus, request.encoder, request.revision)
    name, path = request.title, request.path(common.cache, corpus.path)

    def work() -> "Extraction":
        with ExtractionProgress(common, name) as progress:
            execution = Execution(common.device, scheduler, progress.progress, resources, progress.report)
            return extract_features(request, corpus, common.cache, execution)

    done = when_free(common, path, work)
    result = f"computed {done.computed} of {done.utterances} utterances"
    if not done.computed:
        result = f"all {done.utterances} utterances are up to date"
    say(common, f"{name}: {result}. {path} ({path.stat().st_size / 1e6:.1f} MB)")
    return done
