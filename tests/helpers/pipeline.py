"""Extraction and training of a tiny corpus by the library's own functions, in the working directory."""

from pathlib import Path

from mmer_pipeline import paths, runs
from mmer_pipeline.features import extraction
from mmer_pipeline.features.feature import Feature
from mmer_pipeline.features.required_features import requests_of
from mmer_pipeline.features.speech_features import Frames
from mmer_pipeline.features.text_features import Tokens
from mmer_pipeline.settings import Settings
from mmer_pipeline.training.fold import train_fold


def quick_settings(tiny_text, tiny_speech):
    """Settings of two short epochs on fold 1 with the tiny encoders."""
    return Settings(
        fold=1,
        text_encoder=str(tiny_text),
        speech_encoder=str(tiny_speech),
        epochs=2,
        learning_rate=1e-3,
        alpha=0.01,
        batch_size=4,
    )


class Silent:
    """An observer that says nothing."""

    def step(self, progress, steps, epochs):
        pass

    def epoch(self, record, epochs):
        pass

    def ran_out_of_memory(self, max_seconds):
        pass

    def stop_requested(self):
        return False


def extract(manifest, tiny_text, tiny_speech, dtype="float16"):
    """Features of both kinds."""
    execution = extraction.Execution("cpu", "threads", progress=lambda *_: None)
    for feature in (Tokens("text", str(tiny_text), None, dtype), Frames("speech", str(tiny_speech), None, dtype)):
        extraction.extract(feature, manifest, Path("cache"), execution)


def extract_for(settings, manifest):
    """The features that a run with these settings reads; its automatic transcripts must be there."""
    execution = extraction.Execution("cpu", "threads", progress=lambda *_: None)
    for request in requests_of(settings):
        if isinstance(request, Feature):
            extraction.extract(request, manifest, Path("cache"), execution)


def train(settings, manifest, **options):
    """As `train_fold`, into runs/mmer where nothing else is said."""
    default = {
        "cache": Path("cache"),
        "run": Path("runs/mmer"),
        "device": "cpu",
        "restart": False,
        "keep_state": False,
        "save_seconds": 1e9,
        "observer": Silent(),
    }
    return train_fold(settings, manifest, **{**default, **options})


def metrics(run="runs/mmer", fold=1):
    """The epochs of a fold without their times."""
    lines = runs.read_metrics(paths.fold(Path(run), fold).metrics)
    return [{name: value for name, value in line.items() if name != "speed"} for line in lines]
