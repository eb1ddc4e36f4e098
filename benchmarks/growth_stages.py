"""One stage with one number of utterances, in a separate process, since peak memory is measured per process.

`python -m benchmarks.growth_stages WHAT UTTERANCES DIRECTORY` writes the data ("corpus" before all stages, "runs"
before "report"), or runs a stage and prints its seconds. A stage imports what it needs before its clock starts, and
nothing more, so that its memory is that of the command.
"""

import json
import resource
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import numpy as np

from benchmarks.growth_workspace import DIM, Workspace

if TYPE_CHECKING:
    from mmer_pipeline.encoders.encoder_files import EncoderFiles
    from mmer_pipeline.features.extraction import Extraction
    from mmer_pipeline.features.feature import Feature
    from mmer_pipeline.features.workers import Rows

DTYPE = "float16"
MAX_BATCH_SECONDS = 30.0  # divides the eight utterances of a step into two or three micro-batches
FRAME_RATE = 50.0  # frames per second of wav2vec2-base

Work = Callable[[], Any]


def prepare(workspace: Workspace) -> Work:
    """Read the corpus, check every utterance, write the manifest."""
    from mmer_pipeline.corpora import manifest, preparation
    from mmer_pipeline.corpora.readers import read_corpus

    workspace.manifest.unlink(missing_ok=True)

    def work() -> None:
        reading = read_corpus("csv", workspace.corpus)
        label_map = preparation.choose_label_map(reading)
        prepared = preparation.prepare(reading, label_map)
        assert not prepared.excluded
        utterances = prepared.utterances
        manifest.write_manifest(workspace.manifest, utterances, root=reading.root, corpus="csv", label_map=label_map)
        prepared.as_dict()

    return work


def extract(workspace: Workspace) -> Work:
    """Plan both feature files and write every row; the jobs compute nothing."""
    from mmer_pipeline.corpora import manifest  # noqa: F401
    from mmer_pipeline.encoders import text  # noqa: F401
    from mmer_pipeline.features import workers

    for path in workspace.features.values():
        path.unlink(missing_ok=True)

    def work() -> None:
        with patch.object(workers, "Job", EmptyJob):
            done = _extract(workspace)
        assert all(kind.computed == kind.utterances for kind in done)

    return work


def extract_again(workspace: Workspace) -> Work:
    """Find that both feature files are up to date."""
    from mmer_pipeline.corpora import manifest  # noqa: F401
    from mmer_pipeline.features import extraction  # noqa: F401

    def work() -> None:
        done = _extract(workspace)
        assert not any(kind.computed for kind in done)

    return work


def _extract(workspace: Workspace) -> list["Extraction"]:
    from mmer_pipeline.corpora.manifest import read_manifest
    from mmer_pipeline.features.extraction import Execution, extract_to
    from mmer_pipeline.features.required_features import feature_of
    from mmer_pipeline.systems.registry import settings_for

    manifest = read_manifest(workspace.manifest)
    settings = settings_for(
        "mmer", fold=1, dtype=DTYPE, **{f"{kind}_encoder": str(at) for kind, at in workspace.encoders.items()}
    )
    execution = Execution("cpu", "threads", progress=lambda *_: None)
    features = {kind: feature_of(kind, settings) for kind in workspace.encoders}
    return [
        extract_to(feature, manifest, workspace.features[kind], feature.find(), execution)
        for kind, feature in features.items()
    ]


class EmptyJob:
    """Replaces `workers.Job`: zeros for every text and for every recording, which is not read."""

    def __init__(self, feature: "Feature", encoder: "EncoderFiles", *_: Any) -> None:
        from mmer_pipeline.encoders.speech import speech_outline

        # Plain numbers, as the job is sent to workers.
        self.kernels_and_strides = speech_outline(encoder).kernels_and_strides if feature.modality == "speech" else None

    def __call__(self, items: Sequence[Any]) -> "Rows":
        """Rows of each utterance."""
        return [(item.number, np.zeros((self._length(item), DIM), DTYPE)) for item in items]

    def _length(self, item: Any) -> int:
        if self.kernels_and_strides is None:
            return len(item.token_ids)
        samples: int = item.samples
        for kernel, stride in self.kernels_and_strides:
            samples = (samples - kernel) // stride + 1
        return samples


def batch_epoch(workspace: Workspace) -> Work:
    """Open corpus and features, and divide the utterances into the steps and micro-batches of an epoch."""
    from mmer_pipeline.corpora.manifest import read_manifest
    from mmer_pipeline.corpora.transcripts import WAV2VEC2_ALPHABET, Alphabet
    from mmer_pipeline.features.feature_file import FeatureFile
    from mmer_pipeline.training.batches import epoch_batches, micro_batches
    from mmer_pipeline.training.examples import Examples, StoredRows

    def work() -> None:
        manifest = read_manifest(workspace.manifest)
        text, speech = (FeatureFile(path) for path in workspace.features.values())
        examples = Examples(
            manifest,
            speech=StoredRows(manifest, speech),
            frame_rate=FRAME_RATE,
            text=StoredRows(manifest, text),
            alphabet=Alphabet(WAV2VEC2_ALPHABET),
        )
        positions = range(len(manifest.utterances))
        steps = epoch_batches(positions, examples.seconds, batch_size=8, bucket_batches=16, seed=0)
        parts = [part for step in steps for part in micro_batches(step, examples.seconds, MAX_BATCH_SECONDS)]
        assert sum(map(len, parts)) == len(positions)

    return work


def report(workspace: Workspace) -> Work:
    """Compare the two runs; write tables, page and plots."""
    from mmer_pipeline.report import report_page, report_plots  # noqa: F401
    from mmer_pipeline.report.build_report import make_report
    from mmer_pipeline.report.write_report import write_report

    def work() -> None:
        write_report(make_report(sorted(workspace.runs.iterdir())), workspace.directory / "report")

    return work


STAGES: dict[str, Callable[[Workspace], Work]] = {
    "prepare": prepare,
    "extract": extract,
    "extract again": extract_again,
    "epoch": batch_epoch,
    "report": report,
}


def main(what: str, count: str, directory: str) -> None:
    """Write the data, or run one stage and print its seconds and the memory before it."""
    workspace = Workspace(Path(directory))
    if what not in STAGES:
        from benchmarks import growth_data

        {"corpus": growth_data.write_corpus, "runs": growth_data.write_runs}[what](workspace, int(count))
        return
    work = STAGES[what](workspace)
    start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    began = time.perf_counter()
    work()
    print(json.dumps({"seconds": time.perf_counter() - began, "start_bytes": start}))


if __name__ == "__main__":
    main(*sys.argv[1:])
