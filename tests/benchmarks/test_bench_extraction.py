"""The benchmarks of extraction and start-up run from end to end; on a few utterances their figures mean nothing."""

import math
from pathlib import Path

import pytest
import torch
from helpers.command_line import succeed

from benchmarks import extraction, start
from benchmarks.measure import Bench, Figure
from benchmarks.shapes import SIZES


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(torch.device("cpu"), ("tiny",), 1, True, tmp_path, tmp_path)


def check(figures: list[Figure], count: int) -> None:
    assert len(figures) == count
    for figure in figures:
        assert math.isfinite(figure.value)
        assert figure.value > 0
        assert (figure.baseline is None) == (figure.ratio is None)
        assert bool(figure.target) == (figure.met is not None)


@pytest.mark.slow
def test_extraction_is_measured(bench: Bench) -> None:
    check(list(extraction.figures(bench)), 5)
    assert not list(bench.directory.iterdir())


@pytest.mark.slow
def test_start_up_is_measured(bench: Bench) -> None:
    figures = list(start.figures(bench))
    check(figures, 2)
    assert not list(bench.directory.iterdir())


def test_extract_finds_the_written_features_up_to_date(bench: Bench) -> None:
    """Else the benchmark of a rerun with nothing to do would measure something else."""
    _, _, *arguments = start.write_finished(SIZES["tiny"], 5, bench.directory)
    result = succeed(*arguments)
    assert result.stderr.count("all 5 utterances are up to date") == 2


def test_the_padding_of_a_corpus_like_iemocap_is_under_five_percent() -> None:
    figure = extraction.padding(5531)
    assert figure.met
    assert figure.baseline is not None
    assert figure.baseline > 40


def test_no_two_measured_recordings_have_the_same_length(tmp_path: Path) -> None:
    items = extraction.write_flac(tmp_path, 3, 4)
    assert len({item.samples for item in items}) == 12
