"""Extraction: batches of texts and recordings compared with one at a time, padding, and peak memory.

Peak memory is measured in a separate process: `python -m benchmarks.extraction DEVICE DIRECTORY` extracts both kinds of
features from a corpus written by `write_corpus`.
"""

import math
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import soundfile
import torch
from scipy.signal import lfilter

from benchmarks.measure import GIB, Bench, Figure, Pair, in_turn, process
from benchmarks.shapes import (
    IEMOCAP_UTTERANCES,
    LONGEST_SECONDS,
    MEDIAN_SECONDS,
    SIGMA,
    SIZES,
    Size,
    synthetic_manifest,
    token_counts,
    utterance_seconds,
)
from mmer_pipeline import audio, paths
from mmer_pipeline.corpora.manifest import read_manifest, write_manifest
from mmer_pipeline.encoders.encoder_files import resolve_encoder
from mmer_pipeline.encoders.speech import load_speech_encoder
from mmer_pipeline.encoders.text import TextEncoder
from mmer_pipeline.features import extraction, workers
from mmer_pipeline.features.feature import Feature
from mmer_pipeline.features.required_features import feature_of
from mmer_pipeline.features.speech_features import SpeechItem
from mmer_pipeline.features.text_features import TextItem
from mmer_pipeline.systems.registry import settings_for

TEXT_TARGET = 2.0  # times faster than one text at a time
WASTE_TARGET = 0.05
PEAK_TARGET_GIB = 3.0
# The largest growth of the peak with four times the audio that counts as none: the plan takes about 4 kB per utterance,
# and oneDNN's bounded cache of shapes fills up.
FLAT = 1.25
FLAC_RATE = 44_100  # Hz; decoded and resampled
HOURS, QUICK_HOURS = (3.0, 12.0), (0.005, 0.02)
MEMORY_SIZE = "small"  # its front end takes minutes for 12 hours; wav2vec2-base's takes half an hour on two cores
PAPER_HOURS = 0.1  # the longest utterance, which is included, determines the peak
RECORDINGS, RECORDING_SECONDS = 10, 60.0  # reused for all segments, so that 12 hours take little disk space
MEAN_SECONDS = MEDIAN_SECONDS * math.exp(SIGMA**2 / 2)  # of an utterance, approximately: the longest are shortened
TEXT, SPEECH = "text", "speech"


@dataclass(frozen=True)
class Peak:
    """An extraction in a separate process."""

    utterances: int
    seconds: float  # from the start of the process
    gib: float  # peak of resident memory


def figures(bench: Bench) -> Iterator[Figure]:
    """Padding, text, recordings and memory; on a GPU also number formats."""
    yield padding(bench.count(IEMOCAP_UTTERANCES, 200))
    for name in bench.sizes:
        with TemporaryDirectory(dir=bench.directory) as directory:
            yield from text(bench, name, Path(directory))
            yield from recordings(bench, name, Path(directory))
    yield from memory(bench)


def _feature(name: str, encoder: str) -> Feature:
    """A feature of an encoder in a directory."""
    return feature_of(name, settings_for("mmer", fold=1, **{f"{name}_encoder": encoder}))


def text_items(count: int) -> list[TextItem]:
    """Texts with the lengths of IEMOCAP's, from tokens that every encoder has."""
    generator = np.random.default_rng(0)
    counts = token_counts(utterance_seconds(count))
    return [TextItem(i, tuple(generator.integers(5, 256, length).tolist())) for i, length in enumerate(counts)]


def padding(count: int) -> Figure:
    """Share of padding in all text batches, compared with batches in the corpus's order."""
    items = text_items(count)
    batches = workers.text_batches(items)
    size = -(-count // len(batches))
    baseline = waste([items[first : first + size] for first in range(0, count, size)])
    ours = waste(batches)
    return Figure(
        "padding of text batches", f"{count:,} utterances", 100 * ours, "%", 100 * baseline, baseline / max(ours, 1e-9),
        "under 5 %", ours < WASTE_TARGET,
        f"{len(batches)} batches; baseline: as many in the corpus's order. Recordings are never padded",
    )  # fmt: skip


def waste(batches: Sequence[Sequence[TextItem]]) -> float:
    """Share of padding in batches that are padded to their longest item."""
    positions = sum(len(batch) * max(len(item.token_ids) for item in batch) for batch in batches)
    return 1 - sum(len(item.token_ids) for batch in batches for item in batch) / positions


def text(bench: Bench, name: str, directory: Path) -> Iterator[Figure]:
    """Batches of all lengths, compared with the same texts one at a time in the corpus's order."""
    encoder = resolve_encoder(str(SIZES[name].write_text_encoder(directory)))
    on_gpu = bench.device.type == "cuda"
    batches = workers.text_batches(text_items(bench.count(IEMOCAP_UTTERANCES, 40)))
    parts = bench.count(12 if on_gpu else 3, 1)
    batches = [batches[(2 * part + 1) * len(batches) // (2 * parts)] for part in range(parts)]
    items = sorted((item for batch in batches for item in batch), key=lambda item: item.number)
    job = workers.Job(_feature("text", encoder.name), encoder, encoder.digest(), str(bench.device))
    model = TextEncoder(encoder, bench.device)

    def ours() -> None:
        for batch in batches:
            job(batch)

    def baseline() -> None:
        for item in items:
            model.encode([item.token_ids])[0].astype(np.float16)

    pair = in_turn(ours, baseline, bench)
    wanted = name == "paper" and not bench.quick and not on_gpu
    yield Figure(
        "text extraction; baseline: one text at a time", name, len(items) / pair.ours, "texts/s",
        len(items) / pair.baseline, pair.ratio, "2 ×" if wanted else "", pair.ratio >= TEXT_TARGET if wanted else None,
        f"{len(batches)} batches of {workers.TOKENS_PER_BATCH} tokens",
    )  # fmt: skip
    if on_gpu:
        yield from number_formats(
            "text", name, bench, lambda: [model.hidden_states([i.token_ids for i in batch]) for batch in batches]
        )


def recordings(bench: Bench, name: str, directory: Path) -> Iterator[Figure]:
    """Decoding and the front end, compared with one file after another."""
    encoder = resolve_encoder(str(SIZES[name].write_speech_encoder(directory)))
    on_gpu = bench.device.type == "cuda"
    rounds = bench.count(60 if on_gpu else {"paper": 1, "small": 10}.get(name, 20), 1)
    items = write_flac(directory, bench.count(32, 4), rounds)
    job = workers.Job(_feature("speech", encoder.name), encoder, encoder.digest(), str(bench.device))
    model = load_speech_encoder(encoder).to(bench.device).eval()

    def ours() -> None:
        for _ in workers.run(job, workers.speech_batches(items), "threads"):
            pass

    def baseline() -> None:
        for item in items:
            waveform = model.normalise(audio.load(item.path, item.start_seconds, item.end_seconds))
            model.row_arrays(waveform[None]).astype(np.float16)

    seconds = sum(item.samples for item in items) / audio.SAMPLE_RATE
    pair = in_turn(ours, baseline, bench)
    yield Figure(
        "front end; baseline: one file after another", name, seconds / pair.ours, "s of audio/s",
        seconds / pair.baseline, pair.ratio, note="FLAC, 44.1 kHz stereo, decoded and resampled",
    )  # fmt: skip
    if on_gpu:
        waveforms = torch.randn(7, round(30 / 7 * audio.SAMPLE_RATE), device=bench.device)
        yield from number_formats("front end", name, bench, lambda: [model.frontend(waveforms) for _ in range(20)])


def number_formats(what: str, size: str, bench: Bench, forward: Callable[[], Any]) -> Iterator[Figure]:
    """The gain of autocast on a GPU. (Extraction always uses float32, since features are computed only once.)"""

    def cast(dtype: torch.dtype) -> None:
        with torch.inference_mode(), torch.autocast(bench.device.type, dtype):
            forward()

    def exact() -> None:
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
        with torch.inference_mode():
            forward()

    for dtype in (torch.bfloat16, torch.float16):
        pair: Pair = in_turn(partial(cast, dtype), exact, bench)
        yield Figure(f"{what} in {dtype}; baseline: float32", size, pair.ours, "s", pair.baseline, pair.ratio)


def write_flac(directory: Path, files: int, rounds: int) -> list[SpeechItem]:
    """Items of stereo recordings at 44.1 kHz, each once per round and slightly shorter each time.

    No two have the same length, as few do in a real corpus.
    """
    items: list[SpeechItem] = []
    for number, length in enumerate(utterance_seconds(files)):
        path = directory / f"{number}.flac"
        soundfile.write(path, noise(length, FLAC_RATE, 2, seed=number), FLAC_RATE, subtype="PCM_16")
        for turn in range(rounds):
            end = float(length) - 0.001 * turn
            samples = audio.sample_count(path, None, end)
            items.append(SpeechItem(len(items), path, None, end, samples))
    return items


def noise(seconds: float, rate: int, channels: int, seed: int) -> np.ndarray:
    """Noise with most of its power at low frequencies, like speech: `[samples, channels]` in -1 … 1."""
    white = np.random.default_rng(seed).standard_normal((round(seconds * rate), channels))
    samples = lfilter([0.1], [1, -0.9], white, axis=0)
    return np.asarray(0.5 * samples / np.abs(samples).max(), dtype=np.float32)


def memory(bench: Bench) -> Iterator[Figure]:
    """Peak memory with 3 and 12 hours of audio, and with the paper's encoders."""
    size, (fewer, most) = (MEMORY_SIZE, HOURS) if not bench.quick else ("tiny", QUICK_HOURS)
    low, high = (peak_of(hours, size, bench) for hours in (fewer, most))
    note = f"{high.utterances:,} utterances in {high.seconds:.0f} s"
    yield peak_figure(f"peak memory of extracting {most:g} h", size, high, note)
    growth = high.gib / low.gib
    yield Figure(
        f"peak memory of {most:g} h relative to {fewer:g} h", size, growth, "×", target="flat", met=growth <= FLAT,
        note=f"{low.gib:.2f} GiB for {fewer:g} h; up to {FLAT:g} × counts as flat",
    )  # fmt: skip
    if "paper" in bench.sizes:
        hours = fewer if bench.quick else PAPER_HOURS
        note = f"determined by the longest utterance, {LONGEST_SECONDS:g} s"
        yield peak_figure(f"peak memory of extracting {hours:g} h", "paper", peak_of(hours, "paper", bench), note)


def peak_figure(what: str, size: str, peak: Peak, note: str) -> Figure:
    """A peak, and whether it meets the target."""
    target = f"under {PEAK_TARGET_GIB:g} GiB"
    return Figure(what, size, peak.gib, "GiB", target=target, met=peak.gib < PEAK_TARGET_GIB, note=note)


def peak_of(hours: float, size: str, bench: Bench) -> Peak:
    """Extract `hours` of audio in a separate process."""
    with TemporaryDirectory(dir=bench.directory) as directory:
        utterances = write_corpus(hours, SIZES[size], Path(directory))
        ran = process("-m", "benchmarks.extraction", str(bench.device), directory)
        return Peak(utterances, ran.seconds, ran.peak_bytes / GIB)


def write_corpus(hours: float, size: Size, directory: Path) -> int:
    """Write encoders and a corpus of segments from a few recordings of noise; return the number of utterances."""
    seconds = utterance_seconds(round(hours * 3600 / MEAN_SECONDS))
    seconds[0] = LONGEST_SECONDS
    synthetic = synthetic_manifest(seconds, directory)
    generator = np.random.default_rng(0)
    names = [f"recording-{number}.wav" for number in range(RECORDINGS)]
    for number, name in enumerate(names):
        samples = noise(RECORDING_SECONDS, audio.SAMPLE_RATE, 1, seed=number)
        soundfile.write(directory / name, samples, audio.SAMPLE_RATE, subtype="PCM_16")
    utterances = []
    for number, (utterance, length) in enumerate(zip(synthetic.utterances, seconds, strict=True)):
        start = float(generator.uniform(0, RECORDING_SECONDS - length))
        end = start + float(length)
        utterances.append(replace(utterance, audio=names[number % RECORDINGS], start_seconds=start, end_seconds=end))
    write_manifest(synthetic.path, utterances, root=directory, corpus="csv", label_map=synthetic.label_map)
    size.write_text_encoder(directory / TEXT)
    size.write_speech_encoder(directory / SPEECH)
    return len(utterances)


def extract(device: str, directory: str) -> None:
    """Extract the features of a corpus written by `write_corpus`."""
    root = Path(directory)
    manifest = read_manifest(root / paths.MANIFEST_NAME)
    for kind in (TEXT, SPEECH):
        (encoder,) = (root / kind).iterdir()
        execution = extraction.Execution(device, "threads", progress=lambda *_: None)
        extraction.extract(_feature(kind, str(encoder)), manifest, root / "cache", execution)


if __name__ == "__main__":
    extract(*sys.argv[1:])
