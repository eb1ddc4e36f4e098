"""MMER with a text encoder that is trained inside it."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers.pipeline import quick_settings, train

from mmer_pipeline import paths
from mmer_pipeline.encoders.encoder_files import resolve_encoder
from mmer_pipeline.encoders.text import TextEncoder, TextTokenizer
from mmer_pipeline.errors import UserError
from mmer_pipeline.runs import RunRecord
from mmer_pipeline.training.build_model import build_model, load_model
from mmer_pipeline.training.evaluation import evaluate_fold
from mmer_pipeline.training.fold_inputs import Encoders

TEXTS = ["She isn't coming home.", "Oh"]


@pytest.fixture
def settings(tiny_text, tiny_speech):
    return replace(quick_settings(tiny_text, tiny_speech), alpha=0.0)


def built(settings):
    torch.manual_seed(0)
    return build_model(settings, Encoders.of(settings), ["happy", "sad"], None).eval()


def inputs(settings):
    """The mask of frames, and the token ids of two texts and their mask, whose padding is rubbish."""
    ids = TextTokenizer(resolve_encoder(settings.text_encoder))(TEXTS)
    token_mask = torch.arange(max(map(len, ids))) < torch.tensor([[len(row)] for row in ids])
    tokens = torch.full(token_mask.shape, 7)
    tokens[token_mask] = torch.tensor([token for row in ids for token in row])
    frame_mask = torch.arange(30) < torch.tensor([[30], [11]])
    return frame_mask, tokens, token_mask


@torch.no_grad()
def test_before_training_it_gives_what_stored_features_of_the_same_words_give(settings):
    tuned, frozen = built(replace(settings, finetune_text=True)), built(settings)
    frozen.load_state_dict({n: v for n, v in tuned.state_dict().items() if not n.startswith("text.")})
    frame_mask, tokens, token_mask = inputs(settings)
    frames = torch.randn(2, 30, tuned.speech.front_dim) * frame_mask.unsqueeze(-1)
    encoder = TextEncoder(resolve_encoder(settings.text_encoder), torch.device("cpu"))
    stored = encoder.hidden_states([row[real].tolist() for row, real in zip(tokens, token_mask, strict=True)])
    expected, found = frozen(frames, frame_mask, stored, token_mask), tuned(frames, frame_mask, tokens, token_mask)
    torch.testing.assert_close(found.logits, expected.logits, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(found.gate, expected.gate, atol=1e-6, rtol=1e-5)
    views = (model.view(frames, frame_mask, words, token_mask) for model, words in ((tuned, tokens), (frozen, stored)))
    attention = [view.attention[token_mask] for view in views]
    torch.testing.assert_close(*attention, atol=1e-6, rtol=1e-5)


def test_every_layer_of_the_text_encoder_gets_a_gradient(settings):
    model = built(replace(settings, finetune_text=True)).train()
    frame_mask, tokens, token_mask = inputs(settings)
    frames = torch.randn(2, 30, model.speech.front_dim)
    model(frames, frame_mask, tokens, token_mask).logits[:, 0].sum().backward()
    without = [name for name, p in model.text.named_parameters() if p.grad is None or not p.grad.any()]
    assert all(name.startswith("embeddings.") or name.endswith("key.bias") for name in without)  # a softmax ignores it


def test_it_is_refused_where_no_head_reads_words(settings):
    with pytest.raises(UserError, match="--finetune-text trains nothing with --pooled speech"):
        built(replace(settings, finetune_text=True, pooled="speech"))


def test_a_model_saved_before_there_was_such_an_encoder_is_read(corpus, settings):
    train(replace(settings, epochs=1), corpus)
    fold = paths.fold(Path("runs/mmer"), 1)
    expected, _ = evaluate_fold(Path("runs/mmer"), 1, cache=Path("cache"), device="cpu")
    config = json.loads((fold.model / "config.json").read_text())
    assert config.pop("text") is None
    (fold.model / "config.json").write_text(json.dumps(config))
    replace(RunRecord.read(fold.settings, ""), files=None).write(fold.settings)  # without digests
    fold.evaluation.unlink()
    assert load_model(fold.model, "mmer").text is None
    assert evaluate_fold(Path("runs/mmer"), 1, cache=Path("cache"), device="cpu") == (expected, True)
