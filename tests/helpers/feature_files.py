"""A small feature file with known values, for the tests of reading and of writing."""

from pathlib import Path

import numpy as np

from mmer_pipeline.digests import digest_of
from mmer_pipeline.features.feature_file import FeatureFile, FeatureIdentity, Row
from mmer_pipeline.features.feature_writer import FeatureWriter

DIM = 3
LENGTHS = (4, 1, 7, 2, 5)
PLAN = [
    Row(f"utterance {number} ü", digest_of(bytes([number])), length, digest_of(b"stamp", bytes([number])))
    for number, length in enumerate(LENGTHS)
]
INPUTS = {row.utterance_id: row.input_digest for row in PLAN}
IDENTITY = FeatureIdentity("text", "some/encoder", "abc", "0123456789abcdef", "last_hidden_state", "strip", "float16")


def values_of(number: int, dtype: str = "float16") -> np.ndarray:
    generator = np.random.default_rng(number)
    return generator.normal(size=(PLAN[number].length, DIM)).astype(np.float32).astype(dtype)


def rows(*numbers: int, dtype: str = "float16") -> list[tuple[int, np.ndarray]]:
    return [(number, values_of(number, dtype)) for number in numbers]


def write(path: Path, identity: FeatureIdentity = IDENTITY) -> None:
    with FeatureWriter(path, identity, DIM, PLAN) as writer:
        writer.write(rows(*writer.missing, dtype=identity.dtype))
        writer.finish()


def missing(path: Path, plan: list[Row] = PLAN, identity: FeatureIdentity = IDENTITY) -> list[int]:
    """The rows that a writer that starts now would compute."""
    with FeatureWriter(path, identity, DIM, plan) as writer:
        return writer.missing


def assert_whole(path: Path, dtype: str = "float16") -> None:
    file = FeatureFile(path)
    assert file.complete
    for number, row in enumerate(PLAN):
        np.testing.assert_array_equal(file.rows(row.utterance_id), values_of(number, dtype))


def partial_of(path: Path) -> Path:
    return path.with_suffix(".partial.h5")
