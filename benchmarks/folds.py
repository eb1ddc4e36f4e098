"""Several folds on one device: total utterances per second of `mmer-pipe cv` with `--jobs` 1, 2 and 4."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import soundfile

from benchmarks.measure import Bench, Figure, process
from benchmarks.shapes import SIZES, synthetic_manifest, utterance_seconds
from mmer_pipeline import paths
from mmer_pipeline.audio import SAMPLE_RATE
from mmer_pipeline.runs import read_metrics

JOBS = (1, 2, 4)
EPOCHS = 3  # the first warms up


def figures(bench: Bench) -> Iterator[Figure]:
    """The sum over simultaneous folds, from their metrics.jsonl."""
    for name in bench.sizes:
        if name == "paper" and bench.device.type == "cpu":
            continue  # one fold keeps two cores busy
        with TemporaryDirectory(dir=bench.directory) as directory:
            common = prepare(bench, name, Path(directory))
            rates = {n: throughput(bench, common, Path(directory), n) for n in JOBS[: 2 if bench.quick else None]}
        for jobs, rate in rates.items():
            yield Figure(
                f"cv --jobs {jobs}, all folds",
                name,
                rate,
                "utterances/s",
                rates[1] if jobs > 1 else None,
                rate / rates[1] if jobs > 1 else None,
                note="baseline: one fold at a time" if jobs > 1 else "",
            )


def prepare(bench: Bench, name: str, directory: Path) -> list[str]:
    """Write recordings of noise and their features; return the options that all further commands share."""
    size = SIZES[name]
    seconds = utterance_seconds(bench.count(400 if bench.device.type == "cuda" else 100, 20))
    manifest = synthetic_manifest(seconds, directory)
    generator = np.random.default_rng(0)
    for utterance, length in zip(manifest.utterances, seconds, strict=True):
        noise = generator.normal(scale=0.1, size=round(length * SAMPLE_RATE))
        soundfile.write(directory / utterance.audio, noise, SAMPLE_RATE, "PCM_16")
    encoders = ["--text-encoder", str(size.write_text_encoder(directory))]
    encoders += ["--speech-encoder", str(size.write_speech_encoder(directory))]
    common = ["--manifest", str(manifest.path), "--cache-dir", str(directory), "--device", str(bench.device)]
    process("-m", "stages.cli", "extract", *common, *encoders)
    return [*common, *encoders]


def throughput(bench: Bench, common: list[str], directory: Path, jobs: int) -> float:
    """Utterances per second with `jobs` folds at a time; each rate is a mean over the epochs but the first."""
    runs = directory / f"runs-{jobs}"
    folds = [word for fold in range(1, jobs + 1) for word in ("--fold", str(fold))]
    options = ["--systems", "mmer", "--jobs", str(jobs), "--epochs", str(bench.count(EPOCHS, 1)), *folds]
    process("-m", "stages.cli", "cv", *common, "--runs-dir", str(runs), *options)
    rates = [
        [line["speed"]["utterances_per_second"] for line in read_metrics(paths.fold(runs / "mmer", fold).metrics)[-2:]]
        for fold in range(1, jobs + 1)
    ]
    return float(sum(np.mean(rate) for rate in rates))
