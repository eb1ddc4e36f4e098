"""Tests that need an embedded model."""

from importlib.metadata import PackageNotFoundError, distribution

import pytest

from mmer_pipeline.encoders.embedded import MODELS


def needs(name: str) -> None:
    """Skip the test if the model's package is not installed."""
    try:
        distribution(MODELS[name].wheel)
    except PackageNotFoundError:
        pytest.skip(f"{MODELS[name].requirement} is not installed: run `make setup`")
