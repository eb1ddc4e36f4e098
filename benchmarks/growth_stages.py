"""One stage at one number of utterances, in a process of its own, since a process has one peak of memory.

`python -m benchmarks.growth_stages WHAT UTTERANCES DIRECTORY` makes what is measured on ("corpus" before all stages,
"runs" before "report") or does a stage and prints its seconds. A stage imports what it needs before its clock starts,
and no more, so that its memory is that of the command.
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

from benchmarks.growth_place import DIM, Place

if TYPE_CHECKING:
    from mmer_pipeline.encoders.encoder_files import EncoderFiles
    from mmer_pipeline.features.extraction import Extraction
    from mmer_pipeline.features.workers import Rows, SpeechItem, TextItem

DTYPE = "float16"
MAX_BATCH_SECONDS = 30.0  # so that a step's eight utterances are cut into two or three parts
FRAME_RATE = 50.0  # frames a second of wav2vec2-base

Work = Callable[[], Any]


def prepare(place: Place) -> Work:
    """Read the corpus, check every utterance, write the manifest."""
    from mmer_pipeline.corpora import manifest, preparation
    from mmer_pipeline.corpora.readers import read_corpus

    place.manifest.unlink(missing_ok=True)

    def work() -> None:
        reading = read_corpus("csv", place.corpus)
        label_map = preparation.choose_label_map(reading)
        prepared = preparation.prepare(reading, label_map)
        assert not prepared.excluded
        utterances = prepared.utterances
        manifest.write_manifest(place.manifest, utterances, root=reading.root, corpus="csv", label_map=label_map)
        prepared.as_dict()

    return work


def extract(place: Place) -> Work:
    """Plan both feature files, lay them out and write every row; the jobs compute nothing."""
    from mmer_pipeline.corpora import manifest  # noqa: F401
    from mmer_pipeline.encoders import text  # noqa: F401
    from mmer_pipeline.features import workers

    for path in place.features.values():
        path.unlink(missing_ok=True)

    def work() -> None:
        with patch.object(workers, "TextJob", EmptyTextJob), patch.object(workers, "SpeechJob", EmptySpeechJob):
            done = _extract(place)
        assert all(kind.computed == kind.utterances for kind in done)

    return work


def extract_again(place: Place) -> Work:
    """Find that there is nothing to do."""
    from mmer_pipeline.corpora import manifest  # noqa: F401
    from mmer_pipeline.features import extraction  # noqa: F401

    def work() -> None:
        done = _extract(place)
        assert not any(kind.computed for kind in done)

    return work


def _extract(place: Place) -> list["Extraction"]:
    from mmer_pipeline.corpora.manifest import read_manifest
    from mmer_pipeline.encoders.encoder_files import resolve_encoder
    from mmer_pipeline.features.extraction import extract_speech, extract_text

    manifest = read_manifest(place.manifest)
    text, speech = (resolve_encoder(str(directory)) for directory in place.encoders.values())
    how: dict[str, Any] = {"dtype": DTYPE, "device": "cpu", "scheduler": "threads", "progress": lambda *_: None}
    return [
        extract_text(manifest, text, place.features["text"], annotations="strip", **how),
        extract_speech(manifest, speech, place.features["speech"], **how),
    ]


class EmptyTextJob:
    """Stands for `compute.TextJob`: zeros for every text."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __call__(self, items: Sequence["TextItem"]) -> "Rows":
        """Rows of each text."""
        return [(item.number, np.zeros((len(item.token_ids), DIM), DTYPE)) for item in items]


class EmptySpeechJob:
    """Stands for `compute.SpeechJob`: zeros for every recording, which is not read."""

    def __init__(self, encoder: "EncoderFiles", *_: Any, **__: Any) -> None:
        from mmer_pipeline.encoders.speech import speech_outline

        self.kernels_and_strides = speech_outline(encoder).kernels_and_strides

    def __call__(self, items: Sequence["SpeechItem"]) -> "Rows":
        """Rows of each recording."""
        return [(item.number, np.zeros((self._frames(item.samples), DIM), DTYPE)) for item in items]

    def _frames(self, samples: int) -> int:
        for kernel, stride in self.kernels_and_strides:
            samples = (samples - kernel) // stride + 1
        return samples


def batch_epoch(place: Place) -> Work:
    """Open corpus and features, and say which utterances make the steps of an epoch, and how they are cut."""
    from mmer_pipeline.corpora.manifest import read_manifest
    from mmer_pipeline.corpora.transcripts import WAV2VEC2_ALPHABET, Alphabet
    from mmer_pipeline.features.feature_file import FeatureFile
    from mmer_pipeline.training.batches import epoch_batches, micro_batches
    from mmer_pipeline.training.examples import Examples, StoredRows

    def work() -> None:
        manifest = read_manifest(place.manifest)
        text, speech = (FeatureFile(path) for path in place.features.values())
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


def report(place: Place) -> Work:
    """Compare the two runs, write tables, page and plots."""
    from mmer_pipeline.report import report_page, report_plots  # noqa: F401
    from mmer_pipeline.report.build import make_report
    from mmer_pipeline.report.writing import write_report

    def work() -> None:
        write_report(make_report(sorted(place.runs.iterdir())), place.directory / "report")

    return work


STAGES: dict[str, Callable[[Place], Work]] = {
    "prepare": prepare,
    "extract": extract,
    "extract again": extract_again,
    "epoch": batch_epoch,
    "report": report,
}


def main(what: str, count: str, directory: str) -> None:
    """Make what is measured on, or do one stage and print its seconds and the memory before them."""
    place = Place(Path(directory))
    if what not in STAGES:
        from benchmarks import growth_data

        {"corpus": growth_data.write_corpus, "runs": growth_data.write_runs}[what](place, int(count))
        return
    work = STAGES[what](place)
    start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    began = time.perf_counter()
    work()
    print(json.dumps({"seconds": time.perf_counter() - began, "start_bytes": start}))


if __name__ == "__main__":
    main(*sys.argv[1:])
