"""A sample of mutated runs, saved states and packed models; `make faults` takes many more."""

import pytest

from faults.mutations_runs import run, run_unproven


@pytest.mark.parametrize("first", range(0, 120, 20))
def test_a_mutated_file_is_refused_or_gives_the_same(tmp_path, first):
    assert {run(seed, tmp_path) for seed in range(first, first + 20)} <= {"refused", "same"}


@pytest.mark.parametrize("first", range(0, 80, 20))
def test_a_mutated_file_without_a_digest_ends_without_a_traceback(tmp_path, first):
    assert {run_unproven(seed, tmp_path) for seed in range(first, first + 20)} <= {"refused", "read"}
