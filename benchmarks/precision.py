"""Whether bf16 and TF32 learn like float32: loss curves over 200 steps, compared with the noise of another seed.

All curves use the same utterances in the same order and the same initial weights. They differ only in the number
format or, for comparison, in the seed of dropout.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from matplotlib.figure import Figure as Drawing

from benchmarks.measure import Bench, Figure
from benchmarks.shapes import SIZES
from benchmarks.training import Setup, make_setup
from mmer_pipeline.pages import plotting

LEARNING_RATE = 1e-4  # ten times the paper's, to learn much in few steps
WINDOW = 20  # steps in the moving average of a curve


def figures(bench: Bench) -> Iterator[Figure]:
    """The mean distance of each curve from that of float32, and the curves as a picture."""
    formats = ["bf16"] if bench.device.type == "cpu" else ["tf32", "bf16"]
    for name in bench.sizes:
        if name == "paper" and bench.device.type == "cpu":
            continue  # it would take hours
        with TemporaryDirectory(dir=bench.directory) as directory:
            setup = make_setup(SIZES[name], bench.count(320, 16), Path(directory))
            count = bench.count(200, 6)
            curves = {
                "fp32": losses(bench, setup, "fp32", 1, count),
                "fp32, other seed": losses(bench, setup, "fp32", 2, count),
                **{precision: losses(bench, setup, precision, 1, count) for precision in formats},
            }
        _draw(curves, bench.output / f"precision-{name}.png")
        (bench.output / f"precision-{name}.json").write_text(json.dumps(curves) + "\n", encoding="utf-8")
        smooth = {label: _smooth(curve) for label, curve in curves.items()}
        noise = _distance(smooth["fp32, other seed"], smooth["fp32"])
        for precision in formats:
            distance = _distance(smooth[precision], smooth["fp32"])
            yield Figure(
                f"loss curve of {precision}, distance from fp32 over {count} steps",
                name,
                distance,
                "",
                noise,
                noise / max(distance, 1e-12),
                "below that of another seed",
                distance < noise,
                f"loss {smooth['fp32'][0]:.0f} … {smooth['fp32'][-1]:.0f}; baseline: another seed of fp32",
            )


def losses(bench: Bench, setup: Setup, precision: str, seed: int, count: int) -> list[float]:
    """CE + α · CTC of each of `count` steps."""
    made = setup.optimiser(bench.device, precision, learning_rate=LEARNING_RATE)
    steps = setup.steps(bucket_batches=16)
    sums = []
    for number in range(count):
        positions = steps[number % len(steps)]
        result = made.step(positions, seed=1000 * seed + number, rate_factor=1.0)
        sums.append((result.losses, len(positions)))
    return [float((pair[0] + setup.settings.alpha * pair[1]) / size) for pair, size in sums]


def _smooth(curve: list[float]) -> np.ndarray:
    width = min(WINDOW, len(curve))
    return np.convolve(curve, np.ones(width) / width, mode="valid")


def _distance(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(one - other).mean())


@plotting.styled
def _draw(curves: dict[str, list[float]], path: Path) -> None:
    drawn = Drawing(figsize=(1.5 * plotting.WIDTH, 0.75 * plotting.WIDTH), layout="constrained")
    axes = drawn.add_subplot()
    colours = {"fp32": plotting.INK, "fp32, other seed": (plotting.INK, 0.35)}
    others = iter(plotting.HUES)
    for label, curve in curves.items():
        smooth = _smooth(curve)
        axes.plot(np.arange(len(smooth)) + WINDOW / 2, smooth, label=label, color=colours.get(label) or next(others))
    axes.set_xlabel("optimiser step")
    axes.set_ylabel(f"loss, mean of {WINDOW} steps")
    axes.legend()
    path.write_bytes(plotting.png(drawn))
