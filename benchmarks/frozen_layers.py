"""A training step in which the lower half of the speech encoder is frozen and its output stored (`--frozen-layers`).

Compared with a step that computes that half from the stored output of the front end each time, and with a step that
trains all layers.
"""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from benchmarks.measure import Bench, Figure, in_turn
from benchmarks.shapes import SIZES
from benchmarks.training import OurStep, Setup, make_setup, take
from mmer_pipeline.systems.mmer import MMER


def figures(bench: Bench) -> Iterator[Figure]:
    """Steps of each size, over the same utterances in the same order."""
    for name in bench.sizes:
        with TemporaryDirectory(dir=bench.directory) as directory:
            count = bench.count(32 if bench.device.type == "cpu" else 320, 8)
            whole = make_setup(SIZES[name], count, Path(directory) / "whole")
            layers = _model(OurStep(whole, bench.device, "fp32")).speech.layers
            half = make_setup(SIZES[name], count, Path(directory) / "half", frozen_layers=len(layers) // 2)
            yield from _compare(bench, name, whole, half)


def _compare(bench: Bench, name: str, whole: Setup, half: Setup) -> Iterator[Figure]:
    stored, trained = OurStep(half, bench.device, "fp32"), OurStep(whole, bench.device, "fp32")
    steps = half.steps(bucket_batches=16)
    ours = partial(take, stored, steps)

    def computed() -> None:
        """Each step computes the frozen half of its utterances first."""
        lower = _model(stored).speech.lower
        assert lower is not None
        for positions in steps:
            batch = whole.examples.batch(positions).to(bench.device)
            with torch.inference_mode():
                lower(batch.inputs["frames"], batch.inputs["frame_mask"])
            stored(positions)

    texts: dict[str, Callable[[], None]] = {
        "its output computed in each step": computed,
        "all layers trained": partial(take, trained, steps),
    }
    for text, baseline in texts.items():
        pair = in_turn(ours, baseline, bench)
        yield Figure(
            f"training step, lower half frozen and stored; baseline: {text}", name, len(half.seconds) / pair.ours,
            "utterances/s", len(half.seconds) / pair.baseline, pair.ratio,
            note=f"{len(_model(stored).speech.layers)} layers trained, fp32",
        )  # fmt: skip


def _model(step: OurStep) -> MMER:
    model = step.optimiser.model
    assert isinstance(model, MMER)
    return model
