"""Systems on frozen features on a corpus of IEMOCAP's size: seconds a fold, and the size of the features on disk.

The features are random numbers of the real shape, so the scores mean nothing; fitting numbers that say nothing takes
rather longer than fitting those that do.
"""

import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks.measure import Bench, Figure
from benchmarks.shapes import IEMOCAP_UTTERANCES, SIZES, synthetic_manifest, utterance_seconds
from mmer_pipeline.corpora.manifest import Manifest
from mmer_pipeline.features.feature import Feature
from mmer_pipeline.features.feature_file import Row
from mmer_pipeline.features.feature_writer import FeatureWriter
from mmer_pipeline.features.required_features import features_of
from mmer_pipeline.features.verification import note_intact
from mmer_pipeline.systems.registry import settings_for
from mmer_pipeline.training.fold import train_fold

EPOCHS = 3  # of systems that are trained in epochs
SYSTEMS: dict[str, dict[str, object]] = {
    "probe, best layer": {},
    "probe, one layer": {"layer": "last"},
    "svm, one layer": {"layer": "last", "inputs": "speech-layers"},
    "probe, words": {"inputs": "text-layers", "layer": "last", "statistics": "mean"},
    "superb": {"epochs": EPOCHS},
}


class Silent:
    """An observer that says nothing."""

    def step(self, *_: object) -> None:
        """See `training.job.Observer`."""

    def epoch(self, *_: object) -> None:
        """See `training.job.Observer`."""

    def ran_out_of_memory(self, *_: object) -> None:
        """See `training.job.Observer`."""

    def stop_requested(self) -> bool:
        """See `training.job.Observer`."""
        return False


def figures(bench: Bench) -> Iterator[Figure]:
    """Each system on one fold."""
    for name in bench.sizes:
        with TemporaryDirectory(dir=bench.directory) as folder:
            directory = Path(folder)
            manifest = synthetic_manifest(utterance_seconds(bench.count(IEMOCAP_UTTERANCES, 40)), directory)
            for utterance in manifest.utterances:
                manifest.audio_path(utterance).write_bytes(utterance.utterance_id.encode())
            size = SIZES[name]
            encoders = {"speech_encoder": str(size.write_speech_encoder(directory)),
                        "text_encoder": str(size.write_text_encoder(directory))}  # fmt: skip
            for title, changes in SYSTEMS.items():
                yield _figure(bench, name, title, dict(changes), encoders, manifest, directory)


def _figure(
    bench: Bench, size: str, title: str, changes: dict[str, object], encoders: dict[str, str], manifest: Manifest,
    directory: Path,
) -> Figure:  # fmt: skip
    settings = settings_for(title.partition(",")[0], fold=1, **{**encoders, **changes})
    on_disk = 0
    for feature in features_of(settings):
        path = feature.path(directory, manifest.path)
        if not path.is_file():
            _write(feature, manifest, path)
        on_disk += path.stat().st_size
    began = time.perf_counter()
    train_fold(
        settings, manifest, cache=directory, run=directory / "runs" / title.replace(", ", "-").replace(" ", "-"),
        device=str(bench.device), restart=False, keep_state=False, save_seconds=1e9, observer=Silent(),
    )  # fmt: skip
    seconds = time.perf_counter() - began
    epochs = f"; {EPOCHS} epochs" if "epochs" in changes else ""
    return Figure(
        f"{title}, one fold", size, seconds, "s",
        note=f"{len(manifest.utterances):,} utterances, {on_disk / 1e9:.2f} GB on disk{epochs}",
    )  # fmt: skip


def _write(feature: Feature, manifest: Manifest, path: Path) -> None:
    """Write random rows of a feature whose rows are layers."""
    encoder, inputs = feature.find(), feature.inputs(manifest)
    shape, generator = feature.shape(encoder), np.random.default_rng(0)
    plan = [Row(key, digest, shape.layers, inputs.stamps.get(key, "")) for key, digest in inputs.digests.items()]
    with FeatureWriter(path, feature.identity(encoder), shape.dim, plan) as writer:
        size = (shape.layers, shape.dim)
        writer.write((number, generator.standard_normal(size, np.float32)) for number in range(len(plan)))
        writer.finish()
    note_intact(path)
