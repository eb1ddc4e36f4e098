"""Attention of published systems: a key-sparse case computed by hand, and the rest against torch's own."""

import math

import pytest
import torch
from helpers.plain_attention import plain_attention
from torch import Tensor

from mmer_pipeline.systems.published.attention import Attention, heads_for, kept_keys, sinusoids

ROWS = torch.tensor([[0.4, 0.2, 0.1, 0.2, 0.1], [0.1, 0.1, 0.5, 0.2, 0.1]])  # of two queries to five keys


@pytest.mark.parametrize(
    ("rows", "queries", "keys", "expected"),
    [
        (ROWS, [1, 1], [1, 1, 1, 1, 1], [1, 0, 1, 0, 0]),  # sums 0.5, 0.3, 0.6, 0.4, 0.2: the two largest of five
        (ROWS, [1, 0], [1, 1, 1, 1, 1], [1, 1, 0, 1, 0]),  # the first query alone: keys 1 and 3 have equal weights
        (ROWS, [1, 1], [1, 1, 1, 0, 0], [0, 0, 1, 0, 0]),  # one of three
        (ROWS, [1, 1], [0, 1, 0, 0, 0], [0, 1, 0, 0, 0]),  # the only key
    ],
)
def test_the_keys_with_the_largest_sums_of_weights_are_kept(
    rows: Tensor, queries: list[int], keys: list[int], expected: list[int]
) -> None:
    masks = (torch.tensor([values], dtype=torch.bool) for values in (queries, keys))
    assert kept_keys(rows[None, None], *masks)[0, 0].int().tolist() == expected


@torch.no_grad()
def test_weights_of_kept_keys_are_not_renormalised() -> None:
    """A query of 1 gives the key log p the weight p, and the value is the key: Σ p · log p over two keys of four."""
    model = Attention(1, 1, 0.0)
    for layer in (model.query, model.key, model.value, model.out):
        layer.weight.fill_(1.0)
        if layer.bias is not None:
            layer.bias.zero_()
    context, mask = torch.tensor([0.15, 0.5, 0.05, 0.3]).log()[None, :, None], torch.ones(1, 4).bool()
    found = model(torch.ones(1, 1, 1), context, mask, sparse=(torch.ones(1, 1).bool(), mask))
    assert found.item() == pytest.approx(0.5 * math.log(0.5) + 0.3 * math.log(0.3), rel=1e-5)


@pytest.mark.parametrize("context_dim", [12, 10])
@torch.no_grad()
def test_attention_that_is_not_sparse_is_torch_s(context_dim: int) -> None:
    torch.manual_seed(0)
    model = Attention(12, 3, 0.1, context_dim=context_dim).eval()
    query, keys, values = torch.randn(2, 5, 12), torch.randn(2, 7, context_dim), torch.randn(2, 7, context_dim)
    mask = torch.arange(7) < torch.tensor([7, 4])[:, None]
    expected, _ = plain_attention(model)(query, keys, values, key_padding_mask=~mask)
    torch.testing.assert_close(model(query, keys, mask, values), expected, atol=1e-5, rtol=1e-5)


def test_positions_are_sines_and_cosines() -> None:
    found = sinusoids(3, 4, torch.zeros(1))
    expected = [[math.sin(n), math.cos(n), math.sin(n / 100), math.cos(n / 100)] for n in range(3)]
    torch.testing.assert_close(found, torch.tensor(expected))


@pytest.mark.parametrize(("d", "heads"), [(768, 8), (288, 8), (12, 6), (7, 7), (22, 2)])
def test_heads_divide_the_size(d: int, heads: int) -> None:
    assert heads_for(d, 8) == heads
