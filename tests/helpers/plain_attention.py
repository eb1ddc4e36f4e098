"""Torch's own attention with the weights of ours."""

import torch
from torch import nn

from mmer_pipeline.systems.published.attention import Attention


@torch.no_grad()
def plain_attention(ours: Attention) -> nn.MultiheadAttention:
    """The same attention, not sparse, as torch has it; its keys have a bias, of zeros."""
    d, context_dim = ours.query.in_features, ours.key.in_features
    plain = nn.MultiheadAttention(d, ours.heads, kdim=context_dim, vdim=context_dim, batch_first=True)
    weights = [ours.query.weight, ours.key.weight, ours.value.weight]
    if context_dim == d:
        plain.in_proj_weight.copy_(torch.cat(weights))
    else:
        for name, weight in zip("qkv", weights, strict=True):
            getattr(plain, f"{name}_proj_weight").copy_(weight)
    plain.in_proj_bias.copy_(torch.cat([ours.query.bias, torch.zeros(d), ours.value.bias]))
    plain.out_proj.load_state_dict(ours.out.state_dict())
    return plain.eval()
