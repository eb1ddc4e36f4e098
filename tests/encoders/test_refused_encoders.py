"""Encoders that cannot be used are refused, with what was found."""

from pathlib import Path

import pytest
import torch
from transformers import AutoModel

from mmer_pipeline.demo.encoders import tiny_speech_encoder
from mmer_pipeline.encoders.encoder_files import resolve_encoder
from mmer_pipeline.encoders.speech import SpeechEncoder, load_speech_encoder, speech_config, speech_outline
from mmer_pipeline.encoders.text import TextTokenizer
from mmer_pipeline.errors import UserError


@pytest.mark.parametrize("model_type", ["vits", "bert", None])
def test_another_type_of_speech_encoder_is_refused_and_the_supported_ones_are_named(model_type: str | None) -> None:
    with pytest.raises(
        UserError, match=rf"model type {model_type} .*Supported: wav2vec2, hubert.*moonshine; .*also whisper"
    ):
        SpeechEncoder.from_dict({"config": {"model_type": model_type}, "zero_mean_unit_variance": True})


def test_a_speech_encoder_with_an_adapter_is_refused(tiny_speech: Path) -> None:
    config = speech_config(resolve_encoder(str(tiny_speech)))
    with pytest.raises(UserError, match="add_adapter"):
        SpeechEncoder.from_dict({"config": {**config, "add_adapter": True}, "zero_mean_unit_variance": True})


def test_weights_of_another_model_are_refused_and_the_missing_ones_named(
    tiny_speech: Path, tiny_text: Path, tmp_path: Path
) -> None:
    mixed = tmp_path / "mixed"
    mixed.mkdir()
    (mixed / "config.json").write_bytes((tiny_speech / "config.json").read_bytes())
    (mixed / "model.safetensors").write_bytes((tiny_text / "model.safetensors").read_bytes())
    with pytest.raises(UserError) as caught:
        load_speech_encoder(resolve_encoder(str(mixed)))
    for word in (str(mixed), "lacks weights of Wav2Vec2Model: encoder.layer", "and 45 more"):
        assert word in str(caught.value)


def test_weights_of_another_size_are_refused(tmp_path: Path) -> None:
    small = tiny_speech_encoder(tmp_path / "small")
    large = tiny_speech_encoder(tmp_path / "large", intermediate_size=96)
    (small / "model.safetensors").write_bytes((large / "model.safetensors").read_bytes())
    with pytest.raises(UserError) as caught:
        load_speech_encoder(resolve_encoder(str(small)))
    assert str(small) in str(caught.value)


@pytest.mark.parametrize("size", [0, 1000, 100_000])
@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_weights_that_are_cut_are_refused(name: str, size: int, tmp_path: Path) -> None:
    directory = tiny_speech_encoder(tmp_path / "cut")
    weights = directory / "model.safetensors"
    if name != weights.name:
        state = AutoModel.from_pretrained(directory).state_dict()
        weights.unlink()
        weights = directory / name
        torch.save(state, weights)
        load_speech_encoder(resolve_encoder(str(directory)))
    weights.write_bytes(weights.read_bytes()[:size])
    with pytest.raises(UserError, match="the weights") as caught:
        load_speech_encoder(resolve_encoder(str(directory)))
    assert str(directory) in str(caught.value)


@pytest.mark.parametrize("text", ["not JSON", '{"model_type": "no-such-model"}', "{}"])
def test_a_configuration_that_cannot_be_used_is_refused(text: str, tiny_speech: Path, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes((tiny_speech / "model.safetensors").read_bytes())
    (tmp_path / "config.json").write_text(text)
    for use in (load_speech_encoder, speech_outline, TextTokenizer):
        with pytest.raises(UserError) as caught:
            use(resolve_encoder(str(tmp_path)))
        assert str(tmp_path) in str(caught.value)


def test_a_broken_preprocessor_configuration_is_refused(tmp_path: Path) -> None:
    directory = tiny_speech_encoder(tmp_path)
    (directory / "preprocessor_config.json").write_text("{")
    with pytest.raises(UserError, match=r"preprocessor_config\.json"):
        load_speech_encoder(resolve_encoder(str(directory)))


def test_text_and_speech_encoder_exchanged_are_refused(tiny_text: Path, tiny_speech: Path) -> None:
    with pytest.raises(UserError, match="model type roberta") as caught:
        load_speech_encoder(resolve_encoder(str(tiny_text)))
    assert str(tiny_text) in str(caught.value)
    with pytest.raises(UserError, match="tokenizer") as caught:
        TextTokenizer(resolve_encoder(str(tiny_speech)))
    assert str(tiny_speech) in str(caught.value)


def test_a_text_encoder_without_a_tokenizer_is_refused(tiny_text: Path, tmp_path: Path) -> None:
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((tiny_text / name).read_bytes())
    with pytest.raises(UserError, match="tokenizer") as caught:
        TextTokenizer(resolve_encoder(str(tmp_path)))
    assert str(tmp_path) in str(caught.value)
