"""Extraction with the usual settings; each file of tests makes fixtures of the functions that it needs."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mmer_pipeline.corpora.manifest import Manifest
from mmer_pipeline.encoders.encoder_files import EncoderFiles, resolve_encoder
from mmer_pipeline.features import workers
from mmer_pipeline.features.extraction import Execution, Extraction, extract_to
from mmer_pipeline.features.speech_features import Frames
from mmer_pipeline.features.text_features import Tokens

Work = Callable[..., Extraction]


def quiet(done: int, total: int) -> None:
    pass


USUAL = Execution("cpu", "threads", quiet)


def text_extraction(tiny_text: Path) -> Work:
    """Extract text features to text.h5 with the usual settings."""

    def extract(
        manifest: Manifest, encoder: EncoderFiles | None = None, *, annotations: str = "strip", dtype: str = "float16",
        **changes: Any,
    ) -> Extraction:  # fmt: skip
        used = encoder or resolve_encoder(str(tiny_text))
        execution = replace(USUAL, **changes)
        feature = Tokens("text", used.name, used.revision, dtype, annotations)
        return extract_to(feature, manifest, Path("text.h5"), used, execution)

    return extract


def speech_extraction(tiny_speech: Path) -> Work:
    """Extract speech features to speech.h5 with the usual settings."""

    def extract(
        manifest: Manifest, encoder: EncoderFiles | None = None, *, dtype: str = "float16", **changes: Any
    ) -> Extraction:
        used = encoder or resolve_encoder(str(tiny_speech))
        feature = Frames("speech", used.name, used.revision, dtype)
        return extract_to(feature, manifest, Path("speech.h5"), used, replace(USUAL, **changes))

    return extract


def refusing_models(monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on nothing may be loaded or run."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a model was loaded, or work was handed out")

    monkeypatch.setattr(workers, "_load_extractor", refuse)
    monkeypatch.setattr(workers, "run", refuse)
    monkeypatch.setattr("mmer_pipeline.encoders.text.TextTokenizer", refuse)
    monkeypatch.setattr(Frames, "plan", refuse)


def batches_of_a_few(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few utterances a batch, so that there are batches to be stopped between."""
    monkeypatch.setattr(workers, "TOKENS_PER_BATCH", 64)
    monkeypatch.setattr(workers, "SECONDS_PER_BATCH", 2.0)


def with_transcript(manifest: Manifest, position: int, transcript: str) -> Manifest:
    utterances = list(manifest.utterances)
    utterances[position] = replace(utterances[position], transcript=transcript)
    return replace(manifest, utterances=tuple(utterances))
