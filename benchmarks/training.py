"""A training step compared with a straightforward one, and with the device's rate of matrix multiplication.

The baseline follows the paper's section 4.3: batches of two in random order, padded, four of them accumulated, audio
through the whole speech encoder, in float32. Both use dropout, LayerDrop and SpecAugment.
"""

import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.measure import Bench, Figure, timed
from benchmarks.shapes import IEMOCAP_UTTERANCES, SIZES, Size, synthetic_features, synthetic_manifest, token_counts
from benchmarks.shapes import utterance_seconds as draw_seconds
from mmer_pipeline.audio import SAMPLE_RATE
from mmer_pipeline.corpora.manifest import Manifest
from mmer_pipeline.corpora.transcripts import WAV2VEC2_ALPHABET, Alphabet
from mmer_pipeline.settings import Settings
from mmer_pipeline.systems.base import ctc_losses
from mmer_pipeline.systems.mmer import MMER
from mmer_pipeline.training.batches import epoch_batches
from mmer_pipeline.training.build_model import build_model
from mmer_pipeline.training.examples import Examples, StoredRows
from mmer_pipeline.training.fold_inputs import Encoders
from mmer_pipeline.training.mixed_precision import make_accelerator
from mmer_pipeline.training.step import Optimiser

FOLDS, EPOCHS = 5, 100  # of the paper
LETTERS = Alphabet(WAV2VEC2_ALPHABET)


@dataclass(frozen=True)
class Setup:
    """A corpus with its features, and what a step needs."""

    settings: Settings
    manifest: Manifest
    seconds: np.ndarray
    examples: Examples
    encoders: Encoders

    def optimiser(self, device: torch.device, precision: str, **changes: Any) -> Optimiser:
        """A new model with its optimiser."""
        settings = replace(self.settings, precision=precision, **changes)
        torch.manual_seed(1)
        model = build_model(settings, self.encoders, self.manifest.labels, LETTERS if settings.alpha else None).train()
        accelerator, _ = make_accelerator(str(device), precision)
        made = Optimiser(settings, model, self.examples, accelerator)
        made.find_max_seconds(range(len(self.seconds)))
        return made

    def steps(self, *, bucket_batches: int) -> list[list[int]]:
        """The optimiser steps of an epoch."""
        return epoch_batches(
            range(len(self.seconds)),
            self.examples.seconds,
            batch_size=self.settings.batch_size,
            bucket_batches=bucket_batches,
            seed=1,
        )


def make_setup(size: Size, count: int, directory: Path, **changes: Any) -> Setup:
    """Write the encoders and the features of `count` utterances; `changes` are settings."""
    speech, text = size.write_speech_encoder(directory), size.write_text_encoder(directory)
    settings = Settings(fold=1, speech_encoder=str(speech), text_encoder=str(text), **changes)
    encoders = Encoders.of(settings)
    seconds = draw_seconds(count)
    manifest = synthetic_manifest(seconds, directory)
    model = build_model(settings, encoders, manifest.labels, LETTERS)
    assert isinstance(model, MMER)
    frames = [max(1, model.speech.frame_count(round(length * SAMPLE_RATE))) for length in seconds]
    text_dim = int(size.text.get("hidden_size", 64))
    examples = Examples(
        manifest,
        speech=StoredRows(
            manifest, synthetic_features(directory / "speech.h5", "speech", manifest, frames, model.speech.row_dim)
        ),
        frame_rate=model.speech.frame_rate,
        text=StoredRows(
            manifest, synthetic_features(directory / "text.h5", "text", manifest, list(token_counts(seconds)), text_dim)
        ),
        alphabet=LETTERS,
    )
    return Setup(settings, manifest, seconds, examples, encoders)


class BaselineStep:
    """The paper's step, with the recordings already in memory, which favours the baseline."""

    def __init__(self, setup: Setup, device: torch.device) -> None:
        torch.manual_seed(1)
        self.setup, self.device = setup, device
        model = build_model(setup.settings, setup.encoders, setup.manifest.labels, LETTERS)
        assert isinstance(model, MMER)
        model.speech.encoder.set_attn_implementation("sdpa")  # with the masks of transformers
        self.model = model.to(device).train()
        self.trained = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        self.optimiser = torch.optim.AdamW(self.trained, lr=setup.settings.learning_rate)
        generator = np.random.default_rng(0)
        self.waveforms = [
            generator.standard_normal(round(length * SAMPLE_RATE), np.float32) for length in setup.seconds
        ]

    def __call__(self, positions: Sequence[int]) -> None:
        """Take a step."""
        self.optimiser.zero_grad()
        for start in range(0, len(positions), 2):
            loss = self._loss(positions[start : start + 2]) / len(positions)
            loss.backward()  # type: ignore[no-untyped-call]
            loss.item()  # as most loops do, to display it
        nn.utils.clip_grad_norm_(self.trained, 1.0)
        self.optimiser.step()

    def _loss(self, pair: Sequence[int]) -> Tensor:
        batch = self.setup.examples.batch(pair).to(self.device)
        waveforms = nn.utils.rnn.pad_sequence(
            [torch.from_numpy(self.waveforms[position]) for position in pair], batch_first=True
        )
        with torch.no_grad():  # the front end is frozen
            frames = self.model.speech.frontend(waveforms.to(self.device))  # [2, J, front_dim]
        J = batch.inputs["frame_mask"].shape[1]
        output = self.model(**{**batch.inputs, "frames": frames[:, :J]})
        ce = nn.functional.cross_entropy(output.logits, batch.labels, reduction="sum")
        ctc = ctc_losses(
            output.ctc_logits, batch.symbols, frame_counts=batch.frame_counts, symbol_counts=batch.symbol_counts
        )
        return ce + self.setup.settings.alpha * ctc.sum()


class OurStep:
    """The step that `mmer-pipe train` takes."""

    def __init__(self, setup: Setup, device: torch.device, precision: str, **changes: Any) -> None:
        self.optimiser = setup.optimiser(device, precision, **changes)

    def __call__(self, positions: Sequence[int]) -> None:
        """Take a step."""
        self.optimiser.step(positions, seed=1, rate_factor=1.0)


def take(step: Callable[[Sequence[int]], None], steps: Sequence[Sequence[int]]) -> None:
    """Take some steps."""
    for positions in steps:
        step(positions)


def figures(bench: Bench) -> Iterator[Figure]:
    """A step of each size and precision compared with the baseline, over the same utterances."""
    precisions = ["fp32", "bf16"] if bench.device.type == "cpu" else ["fp32", "tf32", "bf16"]
    for name in bench.sizes:
        with TemporaryDirectory(dir=bench.directory) as directory:
            # On a CPU, one bucket of `--bucket-batches` with a fifth of its steps per round.
            count = bench.count(128 if bench.device.type == "cpu" else 640, 8)
            setup = make_setup(SIZES[name], count, Path(directory))
            ways = {(precision, False): OurStep(setup, bench.device, precision) for precision in precisions}
            if bench.device.type == "cuda":
                ways[precisions[-1], True] = OurStep(setup, bench.device, precisions[-1], compile=True)
            yield from _compare(bench, setup, name, ways)
            yield from _share_of_the_rate(bench, setup, name, ways)


def _compare(bench: Bench, setup: Setup, name: str, ways: dict[tuple[str, bool], OurStep]) -> Iterator[Figure]:
    """Time each way once per round, from short to long steps, per second of audio; the first round warms up."""
    baseline, device = BaselineStep(setup, bench.device), bench.device
    work: dict[Any, Callable[[Sequence[int]], None]] = {"baseline": baseline, **ways}
    epochs = {way: setup.steps(bucket_batches=1 if way == "baseline" else 16) for way in work}
    for steps in epochs.values():
        steps.sort(key=lambda positions: setup.seconds[list(positions)].max())
    parts = 1 if device.type == "cuda" else bench.count(5, 1)
    took: dict[Any, list[float]] = {way: [] for way in work}
    for number in range(bench.rounds + 1):
        for way, step in work.items():
            steps = epochs[way][number % parts :: parts] if number else epochs[way][:1]
            seconds = timed(partial(take, step, steps), device)
            if number:
                audio = float(sum(setup.seconds[list(positions)].sum() for positions in steps))
                took[way].append(seconds / audio * float(setup.seconds.mean()))
    for (precision, compiled), _ in ways.items():
        mine = took[precision, compiled]
        ratio = statistics.median(b / a for a, b in zip(mine, took["baseline"], strict=True))
        target = _target(name, device.type, precision)
        best = statistics.median(mine)
        yield Figure(
            f"training step, {precision}{', compiled' if compiled else ''}",
            name,
            1 / best,
            "utterances/s",
            1 / statistics.median(took["baseline"]),
            ratio,
            f"{target:g} ×" if target else "",
            ratio >= target if target else None,
            f"micro-batches of at most {ways[precision, compiled].optimiser.max_seconds:.0f} s",
        )
    if device.type == "cuda" and name == "paper":
        fastest = min(statistics.median(took[way]) for way in ways)
        minutes = FOLDS * EPOCHS * IEMOCAP_UTTERANCES * (FOLDS - 1) / FOLDS * fastest / 60
        yield Figure(
            "five folds × 100 epochs of IEMOCAP, one after another",
            name,
            minutes,
            "min",
            target="under 60 min",
            met=minutes < 60,
            note=f"from {bench.rounds * len(epochs['baseline'])} steps; without scoring the held-out part",
        )


def _target(size: str, device: str, precision: str) -> float | None:
    if size != "paper":
        return None
    if device == "cpu":
        return 1.7 if precision == "fp32" else None
    return 8.0 if precision == "bf16" else None


def _share_of_the_rate(
    bench: Bench, setup: Setup, name: str, ways: dict[tuple[str, bool], OurStep]
) -> Iterator[Figure]:
    """Floating-point operations per second of a step, compared with those of one large matrix product."""
    steps = setup.steps(bucket_batches=16)[:8]
    audio = float(sum(setup.seconds[list(positions)].sum() for positions in steps))
    for (precision, compiled), step in ways.items():
        if compiled:
            continue
        with FlopCounterMode(display=False) as counter:
            take(step, steps)
        seconds = timed(partial(take, step, steps), bench.device)
        rate, most = counter.get_total_flops() / seconds / 1e9, matrix_rate(bench, precision)
        yield Figure(
            f"arithmetic of a training step, {precision}",
            name,
            rate,
            "GFLOP/s",
            note=f"{rate / most:.0%} of a matrix product's {most:,.0f}; "
            f"{counter.get_total_flops() / audio / 1e9:.0f} GFLOP per second of audio",
        )


def matrix_rate(bench: Bench, precision: str) -> float:
    """GFLOP/s of the device in a large matrix product."""
    n = bench.count(8192 if bench.device.type == "cuda" else 2048, 256)
    a = torch.randn(n, n, device=bench.device, dtype=torch.bfloat16 if precision == "bf16" else torch.float32)
    make_accelerator(str(bench.device), precision)  # switches TF32
    a @ a
    seconds = statistics.median(timed(lambda: a @ a, bench.device) for _ in range(9))
    return 2 * n**3 / seconds / 1e9
