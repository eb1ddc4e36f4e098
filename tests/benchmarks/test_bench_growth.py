"""The growth benchmark on a few utterances."""

import math

import pytest
import torch
from matplotlib.image import imread

from benchmarks import growth
from benchmarks.growth import Point, draw, exponent
from benchmarks.measure import Bench
from mmer_pipeline.pages.plotting import png

STAGES = ("prepare", "extract", "extract again", "epoch", "report")


@pytest.mark.slow
def test_every_stage_is_measured_and_drawn_and_its_files_removed(tmp_path):
    work, output = tmp_path / "work", tmp_path / "output"
    work.mkdir()
    output.mkdir()
    found = list(growth.figures(Bench(torch.device("cpu"), ("tiny",), 1, True, work, output)))
    assert tuple(growth.TITLES) == STAGES
    assert len(found) == 3 * len(STAGES)
    for time, memory, slope in zip(*(found[workspace::3] for workspace in range(3)), strict=True):
        assert time.value > 0
        assert 10 < memory.value < 2000
        assert math.isfinite(slope.value)
        assert {figure.size for figure in (time, memory, slope)} == {"100 utterances"}
    assert imread(output / growth.PICTURE).ndim == 3
    assert not list(work.iterdir())


def test_the_exponent_is_the_slope_between_the_two_largest_sizes():
    squares = {size: Point(seconds=size**2, peak_mib=1, start_mib=1) for size in (10, 100, 1000)}
    assert exponent(squares) == pytest.approx(2)
    assert exponent({**squares, 10_000: Point(10 * squares[1000].seconds, 1, 1)}) == pytest.approx(1)


def test_a_stage_without_additional_memory_can_be_drawn():
    points = {size: Point(seconds=size / 1e4, peak_mib=50, start_mib=50) for size in (50, 100)}
    assert png(draw(dict.fromkeys(STAGES, points)))
