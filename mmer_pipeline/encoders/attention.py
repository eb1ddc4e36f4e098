"""Attention over padded batches: masks that leave the fused kernels in place and never wait for the device."""

from typing import Any

from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward

_IMPLEMENTATION = "sdpa_padding"  # its name in transformers


def padding(mask: Tensor) -> Tensor | None:
    """The mask `[B, K]` where something may be padded, None where the host sees that nothing is.

    Without a mask the attention takes a faster kernel. A mask on a GPU is not looked into: the host would wait for
    everything that is queued there.
    """
    return None if mask.device.type == "cpu" and bool(mask.all()) else mask


def key_mask(mask: Tensor | None) -> Tensor | None:
    """Which keys `[B, K]` are real, as scaled-dot-product attention takes it: `[B, 1, 1, K]`, for all queries."""
    return None if mask is None else mask[:, None, None, :]


def never_waiting(model: PreTrainedModel) -> PreTrainedModel:
    """The model, told to use these masks where its attention is scaled-dot-product attention (WavLM's is its own)."""
    if model.config._attn_implementation == "sdpa":
        model.set_attn_implementation(_IMPLEMENTATION)
    return model


def _transformers_mask(*, attention_mask: Tensor | None = None, **_: Any) -> Tensor | None:
    """As transformers' own mask for `sdpa`, which asks the device whether anything is padded."""
    return None if attention_mask is None else key_mask(padding(attention_mask.bool()))


AttentionInterface.register(_IMPLEMENTATION, sdpa_attention_forward)
AttentionMaskInterface.register(_IMPLEMENTATION, _transformers_mask)
