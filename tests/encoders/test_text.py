"""The text encoder against transformers' own modules, and against real checkpoints."""

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from mmer_pipeline.demo.encoders import tiny_text_encoder
from mmer_pipeline.encoders.encoder_files import resolve_encoder
from mmer_pipeline.encoders.text import TextEncoder, TextTokenizer

CPU = torch.device("cpu")


def test_a_text_batch_gives_each_text_what_transformers_gives_it_alone(tiny_text: Path) -> None:
    files = resolve_encoder(str(tiny_text))
    texts = ["She isn't coming home.", "Oh!", "", "I think it is on the table, don't you?"]
    model, tokenizer = AutoModel.from_pretrained(tiny_text).eval(), AutoTokenizer.from_pretrained(tiny_text)
    values = TextEncoder(files, CPU).encode(TextTokenizer(files)(texts))
    for text, value in zip(texts, values, strict=True):
        with torch.no_grad():
            expected = model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0].numpy()
        assert value.dtype == np.float32
        np.testing.assert_allclose(value, expected, atol=1e-5)


def test_an_empty_text_is_its_two_special_tokens(tiny_text: Path) -> None:
    tokenizer = TextTokenizer(resolve_encoder(str(tiny_text)))
    assert tokenizer([""]) == [[tokenizer.tokenizer.bos_token_id, tokenizer.tokenizer.eos_token_id]]
    assert tokenizer([]) == []


def test_a_long_text_is_cut_at_the_encoder_s_positions(tmp_path: Path) -> None:
    files = resolve_encoder(str(tiny_text_encoder(tmp_path, ["a b c"], max_position_embeddings=34)))
    tokenizer = TextTokenizer(files)
    tokens = tokenizer(["a b c " * 50])[0]
    assert len(tokens) == tokenizer.max_tokens == 32  # RoBERTa's positions begin behind the padding index
    assert tokens[-1] == tokenizer.tokenizer.eos_token_id
    assert TextEncoder(files, CPU).encode([tokens])[0].shape == (32, tokenizer.dim)


@pytest.mark.real
def test_minilm_gives_transformers_values(shared: Path) -> None:
    directory = shared / "models" / "minilm-l6"
    files = resolve_encoder(str(directory))
    tokenizer = TextTokenizer(files)
    texts = ["Kids are talking by the door", "Dogs are sitting by the door, aren't they?"]
    values = TextEncoder(files, CPU).encode(tokenizer(texts))
    model = AutoModel.from_pretrained(directory, dtype=torch.float32).eval()
    theirs = AutoTokenizer.from_pretrained(directory)
    assert tokenizer.dim == 384
    for text, value in zip(texts, values, strict=True):
        with torch.no_grad():
            expected = model(**theirs(text, return_tensors="pt")).last_hidden_state[0].numpy()
        np.testing.assert_allclose(value, expected, atol=1e-5)


@pytest.mark.real
def test_roberta_base_s_tokenizer_gives_the_published_ids(shared: Path, tmp_path: Path) -> None:
    for source in ("configs/roberta-base", "roberta-base-tokenizer"):
        for path in (shared / "models" / source).glob("*.json"):
            (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "model.safetensors").touch()
    tokenizer = TextTokenizer(resolve_encoder(str(tmp_path)))
    assert tokenizer(["Hello world"]) == [[0, 31414, 232, 2]]
    assert (tokenizer.dim, tokenizer.max_tokens) == (768, 512)
