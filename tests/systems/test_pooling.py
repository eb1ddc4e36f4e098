"""Pooling with trained weights, against plain formulas and with padding."""

import numpy as np
import pytest
import torch

from mmer_pipeline.systems.pooling import AttentiveStatistics, LayerSum

MASK = torch.arange(7) < torch.tensor([7, 4, 1])[:, None]


def test_a_layer_sum_is_the_mean_at_first_and_then_as_its_softmax_says():
    layers = [torch.randn(2, 5, 3) for _ in range(4)]
    layer_sum = LayerSum(4)
    torch.testing.assert_close(layer_sum(layers), torch.stack(layers).mean(dim=0))
    with torch.no_grad():
        layer_sum.scores.copy_(torch.log(torch.tensor([1.0, 2.0, 3.0, 4.0])))
    expected = sum(share * layer for share, layer in zip((0.1, 0.2, 0.3, 0.4), layers, strict=True))
    torch.testing.assert_close(layer_sum(layers), expected)
    torch.testing.assert_close(layer_sum(torch.stack(layers, dim=-2)), expected)  # [B, N, L, d]
    torch.testing.assert_close(layer_sum(torch.stack(layers, dim=-2)[:, 0]), expected[:, 0])  # [B, L, d]


def test_a_layer_sum_refuses_another_number_of_layers():
    with pytest.raises(ValueError, match="shorter"):
        LayerSum(3)([torch.randn(1, 2, 3)] * 2)


@torch.no_grad()
def test_attentive_statistics_are_the_weighted_mean_and_deviation_of_numpy():
    pool, values = AttentiveStatistics(6, hidden=5), torch.randn(3, 7, 6)
    found = pool(values, MASK)
    inner, outer = pool.score[0], pool.score[2]
    for row, real in enumerate(MASK):
        x = values[row, real].numpy()
        scores = np.tanh(x @ inner.weight.numpy().T + inner.bias.numpy()) @ outer.weight.numpy()[0]
        weights = np.exp(scores) / np.exp(scores).sum()
        mean = np.average(x, axis=0, weights=weights)
        deviation = np.sqrt(np.maximum(np.average((x - mean) ** 2, axis=0, weights=weights), 1e-5))
        np.testing.assert_allclose(found[row], np.concatenate([mean, deviation]), atol=1e-5)


def test_padding_changes_neither_attentive_statistics_nor_their_gradient():
    pool, values = AttentiveStatistics(6), torch.randn(3, 7, 6)
    rubbish = torch.where(MASK[..., None], values, 1e3 * torch.randn(3, 7, 6)).requires_grad_()
    found = pool(rubbish, MASK)
    found.sum().backward()
    assert not rubbish.grad[~MASK].any()
    assert rubbish.grad.isfinite().all()  # of the single position, too
    for row, real in enumerate(MASK):
        torch.testing.assert_close(pool(values[row, real][None], MASK[row, real][None])[0], found[row])


def test_without_a_real_position_the_statistics_are_the_smallest():
    found = AttentiveStatistics(2)(torch.randn(1, 3, 2), torch.zeros(1, 3, dtype=torch.bool))
    torch.testing.assert_close(found, torch.tensor([[0.0, 0.0, 1e-5**0.5, 1e-5**0.5]]))
