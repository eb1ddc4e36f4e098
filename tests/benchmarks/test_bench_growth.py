"""The growth benchmark on a few utterances."""

import contextlib
import io
import json
import math

import pytest
import torch
from matplotlib.image import imread

from benchmarks import growth, growth_stages
from benchmarks.growth import Point, draw, exponent
from benchmarks.measure import Bench, Process, process
from mmer_pipeline.pages.plotting import png

STAGES = ("prepare", "extract", "extract again", "epoch", "report")
IN_A_PROCESS = ("extract", "50")  # the others would each take seconds to import what is there already


@pytest.fixture
def in_processes(monkeypatch):
    """Let all stages but one run in this process, with a made-up peak memory; return what ran in a process."""
    there = []

    def run(*command):
        flag, module, *arguments = command
        assert (flag, module) == ("-m", growth_stages.__name__)
        if tuple(arguments[:2]) == IN_A_PROCESS:
            there.append(process(*command))
            return there[-1]
        with contextlib.redirect_stdout(io.StringIO()) as said:
            growth_stages.main(*arguments)
        return Process(1.0, 300 << 20, said.getvalue())

    monkeypatch.setattr(growth, "process", run)
    return there


def test_every_stage_is_measured_and_drawn_and_its_files_removed(tmp_path, in_processes):
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
    (measured,) = in_processes
    assert 10 < measured.peak_bytes / growth.MIB < 2000
    assert 0 < json.loads(measured.output)["seconds"] < measured.seconds


def test_the_exponent_is_the_slope_between_the_two_largest_sizes():
    squares = {size: Point(seconds=size**2, peak_mib=1, start_mib=1) for size in (10, 100, 1000)}
    assert exponent(squares) == pytest.approx(2)
    assert exponent({**squares, 10_000: Point(10 * squares[1000].seconds, 1, 1)}) == pytest.approx(1)


def test_a_stage_without_additional_memory_can_be_drawn():
    points = {size: Point(seconds=size / 1e4, peak_mib=50, start_mib=50) for size in (50, 100)}
    assert png(draw(dict.fromkeys(STAGES, points)))
