"""SpecAugment (Park et al. 2019) as wav2vec2 applies it in training: spans of frames and of channels are masked.

The distribution is that of transformers' `_compute_mask_indices`. Random numbers are drawn on the frames' device, so
that no host–device synchronisation is needed.

Shape letters: B batch, J frames, d hidden size. Masks: True is a real position.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional


def spec_augment(hidden: Tensor, mask: Tensor, config: Any, embedding: Tensor | None) -> Tensor:
    """Replace spans of frames by `embedding` `[d]`, and spans of channels by zeros.

    Args:
        hidden: `[B, J, d]`.
        mask: `[B, J]`; only real frames are masked.
        config: the encoder's configuration (`mask_time_prob`, `mask_time_length`, … of transformers).
        embedding: None if the encoder has none; then no frames are masked.
    """
    if not getattr(config, "apply_spec_augment", True):
        return hidden
    if config.mask_time_prob > 0 and embedding is not None:
        hide = spans(mask, config.mask_time_prob, config.mask_time_length, config.mask_time_min_masks)  # [B, J]
        hidden = torch.where(hide[..., None], embedding.to(hidden.dtype), hidden)
    if config.mask_feature_prob > 0:
        channels = mask.new_ones(hidden.shape[0], hidden.shape[2])
        hide = spans(channels, config.mask_feature_prob, config.mask_feature_length, config.mask_feature_min_masks)
        hidden = hidden.masked_fill(hide[:, None, :], 0.0)  # [B, 1, d]
    return hidden


def spans(mask: Tensor, probability: float, length: int, min_spans: int) -> Tensor:
    """Draw random spans of `length` positions, True inside: `[B, J]` like `mask`, within its real positions.

    Each row gets `probability · positions / length` spans, rounded up or down at random (the same way for all rows),
    and at least `min_spans` if they fit. Starts are drawn without replacement, so spans may overlap.
    """
    J = mask.shape[1]
    real = mask.sum(dim=1)  # [B]
    starts = (real - length + 1).clamp(min=0)  # [B] number of positions where a span can begin
    wanted = (probability * real / length + torch.rand((), device=mask.device)).long()  # [B]
    wanted = wanted.clamp(min=min_spans).clamp(max=J // length).minimum(starts)
    order = torch.rand(mask.shape, device=mask.device)
    order = order.masked_fill(torch.arange(J, device=mask.device) >= starts[:, None], -1.0)  # never drawn
    rank = order.argsort(dim=1, descending=True).argsort(dim=1)  # [B, J]
    begins = functional.pad((rank < wanted[:, None]).float(), (length - 1, 0))  # [B, length - 1 + J]
    return functional.max_pool1d(begins[:, None], length, stride=1)[:, 0] > 0  # starts at most length - 1 earlier
