"""Response times: `--help`, and an `extract` that finds everything up to date."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks.measure import Bench, Figure, median_process
from benchmarks.shapes import SIZES, Size, synthetic_manifest, utterance_seconds
from mmer_pipeline.corpora.manifest import Manifest
from mmer_pipeline.features.feature import Feature
from mmer_pipeline.features.feature_file import Row
from mmer_pipeline.features.feature_writer import FeatureWriter
from mmer_pipeline.features.required_features import feature_of
from mmer_pipeline.systems.registry import settings_for

COMMAND = ("-m", "stages.cli")
LEAST_ROUNDS = 5
HELP_TARGET_SECONDS = 0.4
RERUN_TARGET_SECONDS = 2.0
UTTERANCES = 10_000


def figures(bench: Bench) -> Iterator[Figure]:
    """Time of starting up, and of a rerun with nothing to do."""
    rounds = bench.count(max(LEAST_ROUNDS, bench.rounds), 1)
    start = median_process((*COMMAND, "--help"), rounds).seconds
    target = f"under {HELP_TARGET_SECONDS} s"
    yield Figure("mmer-pipe --help", "", start, "s", target=target, met=start < HELP_TARGET_SECONDS)
    for name in bench.sizes:
        yield nothing_to_do(bench, SIZES[name], rounds)


def nothing_to_do(bench: Bench, size: Size, rounds: int) -> Figure:
    """`extract` with every row up to date, less `extract --help`: weights are hashed, recordings looked up."""
    count = bench.count(UTTERANCES, 20)
    with TemporaryDirectory(dir=bench.directory) as directory:
        command = write_finished(size, count, Path(directory))
        start = median_process((*COMMAND, "extract", "--help"), rounds).seconds
        whole = median_process(command, rounds).seconds
    return Figure(
        "extract with nothing to do, without start-up", f"{size.name}, {count:,} utterances", whole - start, "s",
        target=f"under {RERUN_TARGET_SECONDS:g} s", met=whole - start < RERUN_TARGET_SECONDS,
        note=f"{whole:.2f} s including start-up",
    )  # fmt: skip


def write_finished(size: Size, count: int, directory: Path) -> tuple[str, ...]:
    """Write a corpus, encoders, and features of constant rows that are up to date; return the `extract` command."""
    manifest = synthetic_manifest(utterance_seconds(count), directory)
    for utterance in manifest.utterances:
        manifest.audio_path(utterance).write_bytes(utterance.utterance_id.encode())
    encoders = {"text": size.write_text_encoder(directory), "speech": size.write_speech_encoder(directory)}
    for kind, encoder in encoders.items():
        settings = settings_for("mmer", fold=1, **{f"{kind}_encoder": str(encoder)})
        write_features(feature_of(kind, settings), manifest, directory)
    options = [f"--{kind}-encoder={encoder}" for kind, encoder in encoders.items()]
    return (*COMMAND, "extract", f"--manifest={manifest.path}", f"--cache-dir={directory}", *options)


def write_features(feature: Feature, manifest: Manifest, cache: Path) -> None:
    """Write a complete feature file of constant rows."""
    encoder, inputs = feature.find(), feature.inputs(manifest)
    plan = [Row(key, digest, 1, inputs.stamps.get(key, "")) for key, digest in inputs.digests.items()]
    dim = feature.shape(encoder).dim
    with FeatureWriter(feature.path(cache, manifest.path), feature.identity(encoder), dim, plan) as writer:
        writer.write((number, np.ones((1, dim))) for number in range(len(plan)))
        writer.finish()
