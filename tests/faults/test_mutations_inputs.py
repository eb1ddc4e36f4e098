"""A sample of mutated inputs, of every kind; `make faults` runs many more."""

from pathlib import Path

import pytest

from faults.mutations_inputs import SUBJECTS, empty, run

SAMPLE = 20  # seeds of each kind


@pytest.mark.filterwarnings("ignore")  # of openpyxl and pyarrow about what they read
@pytest.mark.parametrize("kind", range(len(SUBJECTS)), ids=lambda kind: f"{SUBJECTS[kind].__name__}")
def test_a_mutated_input_is_refused_or_read_as_it_says(tmp_path: Path, kind: int) -> None:
    outcomes = {run(seed, empty(tmp_path / "input")) for seed in range(kind, SAMPLE * len(SUBJECTS), len(SUBJECTS))}
    assert outcomes == {"refused", "same"}
