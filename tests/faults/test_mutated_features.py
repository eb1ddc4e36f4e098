"""A sample of the mutations of feature files and encoders; `make faults` runs many more."""

from pathlib import Path

import pytest

from faults.mutations_features import REFUSED, SAME, run

SEEDS = 200


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mutations")


def test_a_mutated_feature_file_or_encoder_is_refused_or_gives_the_same(directory: Path) -> None:
    said = [run(seed, directory) for seed in range(SEEDS)]
    assert set(said) == {REFUSED, SAME}
