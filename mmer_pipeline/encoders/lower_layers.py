"""The lower layers of a speech encoder, apart from the others: frozen, so that their output can be stored.

Shape letters: B batch, J frames, d hidden size. Masks: True is a real frame.
"""

import copy
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from mmer_pipeline.encoders import attention
from mmer_pipeline.errors import UserError


class LowerLayers(nn.Module):
    """The part of an encoder below its trained layers; it is always in evaluation mode."""

    def __init__(self, encoder: PreTrainedModel, count: int, *, is_moonshine: bool) -> None:
        """Take the first `count` layers out of `encoder`, with all that precedes them except the front end.

        Raises:
            UserError: the encoder has fewer layers.
        """
        super().__init__()
        model: Any = encoder
        layers = model.layers if is_moonshine else model.encoder.layers
        if count > len(layers):
            raise UserError(
                f"--frozen-layers {count}: the speech encoder has {len(layers)} layers. Use at most so many."
            )
        lower, upper = nn.ModuleList(layers[:count]), nn.ModuleList(layers[count:])
        self.rotary_emb: Any = model.rotary_emb if is_moonshine else None
        if is_moonshine:
            self.layers, model.layers = lower, upper
        else:
            self._take_from_wav2vec2(model, lower, upper)
        self.requires_grad_(False).eval()

    def _take_from_wav2vec2(self, model: Any, lower: nn.ModuleList, upper: nn.ModuleList) -> None:
        is_stable = getattr(model.config, "do_stable_layer_norm", False)  # its norm follows the last layer
        encoder = copy.copy(model.encoder)
        encoder._modules = {**model.encoder._modules, "layers": lower}
        if is_stable:
            encoder._modules["layer_norm"] = nn.Identity()
        self.feature_projection, self.encoder = model.feature_projection, encoder
        model.feature_projection = nn.Identity()
        model.encoder.layers, model.encoder.pos_conv_embed = upper, _NoPositions()
        model.encoder.dropout = nn.Dropout(0.0)  # between two layers there is none
        if not is_stable:
            model.encoder.layer_norm = nn.Identity()
        first: Any = lower[0]
        if upper and hasattr(first.attention, "rel_attn_embed"):  # WavLM: the first layer tells the others
            next_layer: Any = upper[0]
            next_layer.attention.rel_attn_embed = copy.deepcopy(first.attention.rel_attn_embed).requires_grad_(False)

    @torch.no_grad()
    def forward(self, frames: Tensor, mask: Tensor) -> Tensor:
        """Front-end frames `[B, J, front_dim]` and their mask `[B, J]` → the input of the next layer `[B, J, d]`."""
        if self.rotary_emb is not None:
            return moonshine_layers(self.layers, self.rotary_emb, frames, mask)
        projected = self.feature_projection(frames)
        return wav2vec2_layers(self.encoder, projected[0] if isinstance(projected, tuple) else projected, mask)

    def train(self, mode: bool = True) -> "LowerLayers":  # noqa: ARG002
        """Stay in evaluation mode."""
        return super().train(False)


class _NoPositions(nn.Module):
    """In the place of the convolution that encodes positions, which comes before the first layer."""

    def forward(self, hidden: Tensor) -> Tensor:
        """Zeros."""
        return torch.zeros_like(hidden)


def wav2vec2_layers(encoder: Any, hidden: Tensor, mask: Tensor) -> Tensor:
    """Run the transformer of a model of the wav2vec2 family: `[B, J, d]` → `[B, J, d]`."""
    with ExitStack() as hooks:
        # Padding is zero in front of the convolution that encodes positions, but what stands between it and that
        # convolution may change it, and it would leak into real frames: HuBERT's batch norm, if it has one, and
        # the convolutions with biases and norms that Data2VecAudio stacks.
        positions = encoder.pos_conv_embed
        between = [getattr(positions, "batch_norm", None), *getattr(positions, "layers", ())]
        for module in between:
            if module is not None:
                hooks.enter_context(module.register_forward_hook(lambda _module, _in, out: out * mask[:, None, :]))
        states: Tensor = encoder(hidden, attention_mask=mask).last_hidden_state
    return states


def moonshine_layers(layers: nn.ModuleList, rotary_emb: Any, hidden: Tensor, mask: Tensor) -> Tensor:
    """Run layers of Moonshine's encoder: `[B, J, d]` → `[B, J, d]`."""
    positions = torch.arange(hidden.shape[1], device=hidden.device).unsqueeze(0)  # [1, J]
    rotary = rotary_emb(hidden, position_ids=positions)
    attention_mask = attention.key_mask(attention.padding_mask(mask))  # [B, 1, 1, J], True is attended to
    for layer in layers:
        hidden = layer(hidden, attention_mask=attention_mask, position_ids=positions, position_embeddings=rotary)
    return hidden
