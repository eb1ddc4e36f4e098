"""The package Resemblyzer with random weights, as pip would install it."""

import importlib
import sys
from importlib import metadata
from pathlib import Path

import pytest
import torch

from mmer_pipeline.digests import digest_of_result
from mmer_pipeline.encoders.speaker_network import SpeakerNetwork


def install_speaker_weights(monkeypatch: pytest.MonkeyPatch, directory: Path) -> SpeakerNetwork:
    """Install a package with the weights of the network that is returned."""
    torch.manual_seed(0)
    network = SpeakerNetwork().eval()
    facts = directory / "Resemblyzer-0.1.4.dist-info"
    for folder in (facts, directory / "resemblyzer"):
        folder.mkdir(parents=True, exist_ok=True)
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: Resemblyzer\nVersion: 0.1.4\n")
    # Their network also has two numbers of its loss.
    state = {"similarity_weight": torch.ones(1), "similarity_bias": torch.ones(1), **network.state_dict()}
    path = directory / "resemblyzer/pretrained.pt"
    torch.save({"step": 1, "model_state": state}, path)
    monkeypatch.setattr("mmer_pipeline.encoders.resemblyzer.DIGEST", digest_of_result(path))
    monkeypatch.setattr(sys, "path", [str(directory), *sys.path])
    importlib.invalidate_caches()
    return network


def remove_speaker_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have no package of this name, even if it is installed."""

    def missing(name: str) -> metadata.Distribution:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr("mmer_pipeline.encoders.resemblyzer.distribution", missing)
