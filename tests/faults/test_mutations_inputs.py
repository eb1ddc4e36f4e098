"""A sample of mutated inputs, of every kind; `make faults` runs many more."""

from pathlib import Path

import pytest

from faults.mutations_inputs import run

SEEDS, SHARE = 200, 50


@pytest.mark.filterwarnings("ignore")  # of openpyxl and pyarrow about what they read
@pytest.mark.parametrize("first", range(0, SEEDS, SHARE))
def test_a_mutated_input_is_refused_or_read_as_it_says(tmp_path: Path, first: int) -> None:
    assert {run(seed, tmp_path) for seed in range(first, first + SHARE)} == {"refused", "same"}
