"""The tiny encoders: checkpoints of every family that load, the same for the same seed."""

from pathlib import Path

import pytest
import torch
from transformers import AutoFeatureExtractor, AutoModel, AutoTokenizer, logging

from mmer_pipeline.demo.encoders import SPEECH_FAMILIES, tiny_speech_encoder, tiny_text_encoder, write_tiny_encoders
from mmer_pipeline.encoders.encoder_files import resolve_encoder

LINES = ["I got the job at the office!", "You never listen to a word I say."]
SECOND = torch.linspace(-0.1, 0.1, 16_000)[None]  # [1, samples]


@pytest.fixture(autouse=True)
def _quiet() -> None:
    logging.disable_progress_bar()


def test_the_text_encoder_loads_with_a_fast_roberta_tokenizer(tmp_path: Path) -> None:
    directory = tiny_text_encoder(tmp_path / "text", LINES * 10)
    tokenizer, model = AutoTokenizer.from_pretrained(directory), AutoModel.from_pretrained(directory)
    assert tokenizer.is_fast
    assert type(tokenizer).__name__.startswith("Roberta")
    ids = tokenizer(LINES[0])["input_ids"]
    assert (ids[0], ids[-1]) == (tokenizer.bos_token_id, tokenizer.eos_token_id) == (0, 2)
    assert tokenizer("")["input_ids"] == [0, 2]
    assert tokenizer.decode(ids, skip_special_tokens=True) == LINES[0]
    assert tokenizer.unk_token_id not in tokenizer("Zoë 🙂 日本")["input_ids"]  # bytes have no unknown
    longest = tokenizer("a b c " * 200, truncation=True, return_tensors="pt")
    assert longest["input_ids"].shape == (1, 128)
    assert model(**longest).last_hidden_state.shape == (1, 128, 64)
    assert model.config.model_type == "roberta"


def test_the_demo_tokenizer_has_the_words_of_the_demo(tmp_path: Path) -> None:
    text, _ = write_tiny_encoders(tmp_path)
    assert AutoTokenizer.from_pretrained(text).tokenize("I hate the way you treat Emma.") == [
        *("I", "Ġhate", "Ġthe", "Ġway", "Ġyou", "Ġtreat", "ĠEmma", "."),
    ]


@pytest.mark.parametrize("family", SPEECH_FAMILIES)
def test_a_speech_encoder_of_each_family_loads_with_its_frame_rate(tmp_path: Path, family: str) -> None:
    directory = tiny_speech_encoder(tmp_path / family, family)
    model = AutoModel.from_pretrained(directory).eval()
    extractor = AutoFeatureExtractor.from_pretrained(directory)
    assert model.config.model_type == family
    assert extractor.sampling_rate == 16_000
    assert extractor.do_normalize is (family != "moonshine")
    with torch.inference_mode():
        encoder = model.encoder if family == "moonshine" else model
        hidden = encoder(SECOND).last_hidden_state
    assert hidden.shape == (1, 40 if family == "moonshine" else 49, 64)
    assert hidden.isfinite().all()


def test_sizes_replace_fields_of_the_configuration(tmp_path: Path) -> None:
    directory = tiny_speech_encoder(tmp_path / "speech", "hubert", hidden_size=32, intermediate_size=64)
    assert AutoModel.from_pretrained(directory)(SECOND).last_hidden_state.shape == (1, 49, 32)
    assert not (directory / "pytorch_model.bin").exists()
    assert (directory / "model.safetensors").is_file()


def test_the_demo_speech_encoder_preserves_loudness(tmp_path: Path) -> None:
    _, directory = write_tiny_encoders(tmp_path)
    assert not resolve_encoder(str(directory)).normalises
    frontend = AutoModel.from_pretrained(directory).feature_extractor.eval()
    with torch.inference_mode():
        assert (frontend(SECOND) - frontend(0.3 * SECOND)).abs().max() > 0.05


def test_the_seed_determines_the_weights_and_the_random_state_is_unchanged(tmp_path: Path) -> None:
    state = torch.get_rng_state()
    first = [resolve_encoder(str(path)).digest() for path in write_tiny_encoders(tmp_path / "a", LINES, 1)]
    torch.manual_seed(99)
    again = [resolve_encoder(str(path)).digest() for path in write_tiny_encoders(tmp_path / "b", LINES, 1)]
    other = [resolve_encoder(str(path)).digest() for path in write_tiny_encoders(tmp_path / "c", LINES, 2)]
    assert first == again
    assert not set(first) & set(other)
    torch.manual_seed(99)
    after = torch.get_rng_state()
    tiny_speech_encoder(tmp_path / "d")
    assert torch.equal(torch.get_rng_state(), after)
    torch.set_rng_state(state)
