"""MMER's attention, compared with torch's and with a hand-computed case, and a view that agrees with `forward`."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mmer_pipeline.encoders.encoder_files import resolve_encoder
from mmer_pipeline.encoders.speech import SpeechEncoder, speech_config
from mmer_pipeline.systems.mmer import MMER, CrossModalEncoder


def mask_of(*lengths: int) -> Tensor:
    return torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]


def mmer(directory: Path, **options: Any) -> MMER:
    """An untrained model whose speech encoder has a checkpoint's shape; the same weights each time."""
    torch.manual_seed(0)
    config = speech_config(resolve_encoder(str(directory)))
    speech = SpeechEncoder.from_dict({"config": config, "zero_mean_unit_variance": True})
    return MMER(speech, text_dim=64, labels=["happy", "sad"], alphabet=[], **options).eval()


@torch.no_grad()
def test_the_attention_is_that_of_torch_s_attention_and_none_goes_to_padding() -> None:
    d, heads = 32, 4
    ours = CrossModalEncoder(d, heads, dropout=0.5).eval()
    theirs = nn.MultiheadAttention(d, heads, batch_first=True).eval()
    projections = (ours.query, ours.key, ours.value)
    theirs.in_proj_weight.copy_(torch.cat([layer.weight for layer in projections]))
    theirs.in_proj_bias.copy_(torch.cat([layer.bias for layer in projections]))
    query, context, mask = torch.randn(3, 7, d), torch.randn(3, 9, d), mask_of(9, 4, 1)
    _, expected = theirs(query, context, context, key_padding_mask=~mask)  # [3, 7, 9], mean over heads
    weights = ours.attention(query, context, mask)
    torch.testing.assert_close(weights, expected)
    torch.testing.assert_close(weights.sum(dim=-1), torch.ones(3, 7))
    assert not weights.masked_select(~mask[:, None]).any()
    torch.testing.assert_close(ours.attention(query, context, None), theirs(query, context, context)[1])


@torch.no_grad()
def test_the_attention_of_one_head_by_hand() -> None:
    encoder = CrossModalEncoder(4, heads=1, dropout=0.0).eval()
    for layer in (encoder.query, encoder.key):
        layer.weight.copy_(torch.eye(4))
        layer.bias.zero_()
    query, context = torch.tensor([[[2.0, 0, 0, 0]]]), torch.tensor([[[1.0, 0, 0, 0], [0, 1, 0, 0], [3, 0, 0, 0]]])
    scores = np.array([1.0, 0.0, 3.0])  # 2 · (1, 0, 3) / √4
    expected = np.exp(scores) / np.exp(scores).sum()
    np.testing.assert_allclose(encoder.attention(query, context, None)[0, 0].numpy(), expected, rtol=1e-6)
    masked = encoder.attention(query, context, torch.tensor([[True, True, False]]))[0, 0]
    np.testing.assert_allclose(masked.numpy(), [*np.exp([1.0, 0.0]) / np.exp([1.0, 0.0]).sum(), 0.0], rtol=1e-6)


def padded_inputs(model: MMER) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Two utterances of different lengths, padded with zeros."""
    frame_mask, token_mask = mask_of(21, 40), mask_of(9, 4)
    frames = torch.randn(2, 40, model.speech.front_dim) * frame_mask.unsqueeze(-1)
    return frames, frame_mask, torch.randn(2, 9, 64) * token_mask.unsqueeze(-1), token_mask


@torch.no_grad()
def test_the_view_shows_what_forward_computes(tiny_speech: Path) -> None:
    model = mmer(tiny_speech)
    _, frame_mask, _, token_mask = inputs = padded_inputs(model)
    view, output = model.view(*inputs), model(*inputs)
    assert view.gate.shape == (2, 9)
    assert view.attention.shape == (2, 9, 40)
    for row in range(2):  # the gate of the output is the mean over real tokens
        torch.testing.assert_close(view.gate[row, token_mask[row]].mean(), output.gate[row])
    assert not view.attention.masked_select(~frame_mask[:, None]).any()
    torch.testing.assert_close(view.attention.sum(dim=-1), torch.ones(2, 9))

    seen = {}
    model.mmi.cme_d.register_forward_hook(lambda _, given, made: seen.update(given=given, made=made))
    model(*inputs)
    query, context, mask = seen["given"]  # what the Q branch was asked in `forward`
    cme = model.mmi.cme_d
    torch.testing.assert_close(view.attention, cme.attention(query, context, mask))
    value = cme._per_head(cme.value(context))  # [B, h, J, d/h]
    scores = cme._per_head(cme.query(query)) @ cme._per_head(cme.key(context)).transpose(-1, -2) / 16**0.5
    weights = scores.masked_fill(~frame_mask[:, None, None], float("-inf")).softmax(dim=-1)
    torch.testing.assert_close(view.attention, weights.mean(dim=1))
    attended = cme.out((weights @ value).transpose(1, 2).reshape(2, 9, 64))
    hidden = cme.attention_norm(query + attended)
    torch.testing.assert_close(seen["made"], cme.feed_forward_norm(hidden + cme.feed_forward(hidden)))


@torch.no_grad()
def test_the_view_of_an_utterance_alone_is_that_in_a_padded_batch(tiny_speech: Path) -> None:
    model = mmer(tiny_speech)
    frames, frame_mask, tokens, token_mask = inputs = padded_inputs(model)
    together = model.view(*inputs)
    for row in range(2):
        j, m = frame_mask[row], token_mask[row]
        alone = model.view(frames[row, j][None], j[j][None], tokens[row, m][None], m[m][None])
        torch.testing.assert_close(together.gate[row, m], alone.gate[0], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(together.attention[row][m][:, j], alone.attention[0], atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_without_its_parts_a_view_shows_less(tiny_speech: Path) -> None:
    for options, has_gate in (({"gate": False}, False), ({"q_branch": False}, False), ({"r_branch": False}, True)):
        model = mmer(tiny_speech, **options)
        inputs = padded_inputs(model)
        view = model.view(*inputs)
        assert (view.gate is not None) == (model(*inputs).gate is not None) == has_gate
        torch.testing.assert_close(view.attention.sum(dim=-1), torch.ones(2, 9))
        assert not view.attention.masked_select(~inputs[1][:, None]).any()
    for pooled in ("speech", "text"):  # nothing combines words and speech
        model = mmer(tiny_speech, pooled=pooled)
        assert model.view(*padded_inputs(model)) is None
        assert model(*padded_inputs(model)).gate is None


def test_the_gate_is_an_output_only_in_evaluation(tiny_speech: Path) -> None:
    model = mmer(tiny_speech)
    inputs = padded_inputs(model)
    gate = model(*inputs).gate
    assert gate.shape == (2,)
    assert ((gate > 0) & (gate < 1)).all()
    assert model.train()(*inputs).gate is None
