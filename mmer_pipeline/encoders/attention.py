"""Attention over padded batches: masks that keep the fused kernels and need no host–device synchronisation."""

from typing import Any

from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward

_IMPLEMENTATION = "sdpa_padding"  # the name registered with transformers


def padding_mask(mask: Tensor) -> Tensor | None:
    """The mask `[B, K]`, or None if it is on the CPU and nothing is padded.

    Without a mask, attention uses a faster kernel. The values of a mask on a GPU are not inspected, because the host
    would have to wait for all work queued there.
    """
    return None if mask.device.type == "cpu" and bool(mask.all()) else mask


def key_mask(mask: Tensor | None) -> Tensor | None:
    """Reshape a mask of real keys `[B, K]` for scaled-dot-product attention: `[B, 1, 1, K]`."""
    return None if mask is None else mask[:, None, None, :]


def use_padding_masks(model: PreTrainedModel) -> PreTrainedModel:
    """Make a model use these masks if its attention is scaled-dot-product attention (WavLM has its own); return it."""
    if model.config._attn_implementation == "sdpa":
        model.set_attn_implementation(_IMPLEMENTATION)
    return model


def _transformers_mask(*, attention_mask: Tensor | None = None, **_: Any) -> Tensor | None:
    """Replaces transformers' mask for `sdpa`, which synchronises with the device to see whether anything is padded."""
    return None if attention_mask is None else key_mask(padding_mask(attention_mask.bool()))


AttentionInterface.register(_IMPLEMENTATION, sdpa_attention_forward)
AttentionMaskInterface.register(_IMPLEMENTATION, _transformers_mask)
