"""Attention of published systems, over padded batches.

Shape letters: B batch, N queries, K keys, h heads, d size of a position. Masks: True is a real position.
"""

import torch
from torch import Tensor, nn


def heads_for(d: int, most: int) -> int:
    """The largest number of heads, at most `most`, that divides d."""
    return next(heads for heads in range(most, 0, -1) if d % heads == 0)


def sinusoids(length: int, d: int, like: Tensor) -> Tensor:
    """The positions of Vaswani et al. (2017): sines in even columns, cosines in odd ones, `[length, d]`."""
    columns = torch.arange(d, device=like.device)
    rates = 10000.0 ** (-(columns - columns % 2) / d)  # [d]
    angles = torch.arange(length, device=like.device)[:, None] * rates  # [length, d]
    return torch.where(columns % 2 == 0, angles.sin(), angles.cos()).to(like.dtype)


def kept_keys(weights: Tensor, query_mask: Tensor, key_mask: Tensor) -> Tensor:
    """The keys that key-sparse attention keeps: those with the ⌊K/2⌋ largest sums of weights over the queries.

    Of an utterance with one key, that key is kept; keys with the same sum are kept together.

    Args:
        weights: attention after the softmax, `[B, h, N, K]`.
        query_mask: `[B, N]`; other queries count in no sum.
        key_mask: `[B, K]`; other keys are not among the K.

    Returns:
        `[B, h, K]`, True for a key that is kept.
    """
    sums = (weights * query_mask[:, None, :, None]).sum(dim=2)  # [B, h, K]
    sums = sums.masked_fill(~key_mask[:, None], -1.0)
    count = (key_mask.sum(dim=1) // 2).clamp(min=1)  # [B]
    last = (count - 1)[:, None, None].expand(-1, sums.shape[1], 1)  # [B, h, 1]
    smallest = sums.sort(dim=2, descending=True).values.gather(2, last)  # [B, h, 1]
    return (sums >= smallest) & key_mask[:, None]


class Attention(nn.Module):
    """Multi-head attention; if it is key-sparse, keys of small weight get none afterwards, without renormalisation.

    The map of the keys has no bias: it would add the same number to all scores of a query.
    """

    def __init__(self, d: int, heads: int, dropout: float, *, context_dim: int | None = None) -> None:
        super().__init__()
        context_dim = context_dim or d
        self.heads = heads
        self.query, self.key = nn.Linear(d, d), nn.Linear(context_dim, d, bias=False)
        self.value, self.out = nn.Linear(context_dim, d), nn.Linear(d, d)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        query: Tensor,
        keys: Tensor,
        mask: Tensor,
        values: Tensor | None = None,
        *,
        sparse: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        """Queries `[B, N, d]` attend to the keys `[B, K, context_dim]` that are real, mask `[B, K]`: `[B, N, d]`.

        Args:
            query: `[B, N, d]`.
            keys: `[B, K, context_dim]`.
            mask: of the keys.
            values: `[B, K, context_dim]`; None: the keys.
            sparse: for key-sparse attention, the masks of the queries and of the keys that count in `kept_keys`.
        """
        B, N, d = query.shape
        q, k, v = (
            part.view(B, -1, self.heads, d // self.heads).transpose(1, 2)  # [B, h, N or K, d/h]
            for part in (self.query(query), self.key(keys), self.value(keys if values is None else values))
        )
        scores = q @ k.transpose(-1, -2) / (d // self.heads) ** 0.5  # [B, h, N, K]
        weights = scores.masked_fill(~mask[:, None, None], float("-inf")).softmax(dim=-1)
        if sparse:
            weights = weights * kept_keys(weights.detach(), *sparse)[:, :, None]
        attended: Tensor = self.out((self.dropout(weights) @ v).transpose(1, 2).reshape(B, N, d))
        return attended
