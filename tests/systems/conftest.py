"""Published systems at a size that tests can train."""

import pytest


@pytest.fixture(autouse=True)
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the widest layers of published systems narrow; their numbers of parameters are tested at their own size."""
    monkeypatch.setattr("mmer_pipeline.systems.published.makiuchi.WIDTH", 16)
