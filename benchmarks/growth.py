"""Growth of the cost: time and memory besides the encoders and the model, by number of utterances.

A corpus is prepared, its features are extracted with encoders that compute nothing, then again with nothing to do, an
epoch is divided into batches, and two evaluated systems are reported. See `growth_stages` and `growth_data`.
"""

import json
import shutil
import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import ceil, floor, log, log10
from pathlib import Path

from matplotlib.figure import Figure as Drawing
from matplotlib.ticker import FuncFormatter, NullLocator

from benchmarks.growth_stages import STAGES
from benchmarks.measure import Bench, Figure, Process, process
from mmer_pipeline.pages.plotting import HUES, INK, WIDTH, png, styled

SIZES, QUICK_SIZES = (1_000, 5_000, 20_000, 100_000), (50, 100)
MIB = 2**20
ROUNDS, ROUNDS_UP_TO = 3, 5_000  # larger sizes are measured once
TARGET_SECONDS = 60.0
LINEAR = 1.15  # the largest exponent that counts as linear, with an allowance for noise
LEAST_MIB = 0.5  # smaller amounts cannot be measured
PICTURE = "growth.png"
TITLES = {
    "prepare": "prepare",
    "extract": "extract, without the encoders",
    "extract again": "extract, nothing to do",
    "epoch": "an epoch's batches",
    "report": "report on two systems",
}


@dataclass(frozen=True)
class Point:
    """One stage at one number of utterances."""

    seconds: float  # without starting Python and importing
    peak_mib: float  # of resident memory
    start_mib: float  # before the work: Python and the libraries


def figures(bench: Bench) -> Iterator[Figure]:
    """Every stage at the largest size, and the growth of its time; draws `growth.png`."""
    sizes = QUICK_SIZES if bench.quick else SIZES
    points: dict[str, dict[int, Point]] = {name: {} for name in STAGES}
    for size in sizes:
        directory = bench.directory / f"growth-{size}"
        try:
            for name, point in _points(size, directory, 1 if size > ROUNDS_UP_TO else min(ROUNDS, bench.rounds)):
                points[name][size] = point
        finally:
            shutil.rmtree(directory, ignore_errors=True)
    (bench.output / PICTURE).write_bytes(png(draw(points)))
    for name in STAGES:
        yield from _figures(f"growth: {TITLES[name]}", points[name])


def _points(size: int, directory: Path, rounds: int) -> Iterator[tuple[str, Point]]:
    """Measure the stages one after another; each reads what the earlier ones wrote."""

    def child(what: str) -> Process:
        return process("-m", "benchmarks.growth_stages", what, str(size), str(directory))

    child("corpus")
    for name in STAGES:
        if name == "report":
            child("runs")
        runs = [child(name) for _ in range(rounds)]
        printed = [json.loads(run.output) for run in runs]
        yield (
            name,
            Point(
                seconds=statistics.median(values["seconds"] for values in printed),
                peak_mib=statistics.median(run.peak_bytes for run in runs) / MIB,
                start_mib=statistics.median(values["start_bytes"] for values in printed) / MIB,
            ),
        )


def _figures(what: str, points: Mapping[int, Point]) -> Iterator[Figure]:
    before, largest = sorted(points)[-2:]
    point, slope = points[largest], exponent(points)
    size = f"{largest:,} utterances"
    yield Figure(
        what, size, point.seconds, "s",
        target=f"under {TARGET_SECONDS:.0f} s", met=point.seconds < TARGET_SECONDS,
    )  # fmt: skip
    yield Figure(
        f"{what}, peak memory", size, point.peak_mib, "MiB",
        note=f"including {point.start_mib:.0f} MiB for Python and the libraries",
    )  # fmt: skip
    yield Figure(
        f"{what}, exponent", size, slope, "",
        target="no worse than linear", met=slope <= LINEAR,
        note=f"slope of log seconds from {before:,} utterances; up to {LINEAR} counts as linear",
    )  # fmt: skip


def exponent(points: Mapping[int, Point]) -> float:
    """The slope of log seconds against log utterances between the two largest sizes: 1 is linear growth."""
    (before, first), (largest, last) = sorted(points.items())[-2:]
    return log(last.seconds / first.seconds) / log(largest / before)


@styled
def draw(points: Mapping[str, Mapping[int, Point]]) -> Drawing:
    """Time and memory of each stage by number of utterances, on logarithmic axes; the dashed line is linear growth."""
    figure = Drawing(figsize=(2 * WIDTH, 3.9), layout="constrained")
    time, memory = figure.subplots(1, 2)
    sizes = sorted({size for of_size in points.values() for size in of_size})
    for (name, of_size), colour in zip(points.items(), HUES, strict=False):
        seconds = [of_size[size].seconds for size in sizes]
        grown = [max(of_size[size].peak_mib - of_size[size].start_mib, LEAST_MIB) for size in sizes]
        for axes, values in ((time, seconds), (memory, grown)):
            axes.plot(sizes, values, "o-", color=colour, markersize=4, linewidth=1.8, label=TITLES[name])
    time.set_title("seconds, without imports")
    memory.set_title("peak memory in MiB, without Python and libraries")
    for axes in (time, memory):
        axes.set(xscale="log", yscale="log", xlabel="utterances")
        axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_minor_locator(NullLocator())
        low, high = (10.0 ** whole(log10(end)) for whole, end in zip((floor, ceil), axes.get_ylim(), strict=True))
        line = [low * size / sizes[0] for size in sizes]
        axes.plot(sizes, line, color=INK, linewidth=0.9, linestyle=(0, (3, 2)), label="linear")
        axes.set_ylim(low, high)
    figure.legend(*time.get_legend_handles_labels(), loc="outside lower left", ncols=3, handlelength=1.8)
    return figure
