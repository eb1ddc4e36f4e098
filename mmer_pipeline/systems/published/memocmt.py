"""MemoCMT's cross-modal transformer (Khan et al., Scientific Reports 2025), on frozen encoders.

docs/published/memocmt.md says how near this is to the publication and its code.

Shape letters: B batch, J speech frames, M tokens, D the larger of the encoders' sizes. Masks: True is a real position.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mmer_pipeline.systems.base import Output
from mmer_pipeline.systems.published.attention import Attention, heads_for
from mmer_pipeline.systems.published.speech_and_text import SpeechAndText

HEADS = 8
HEAD_HIDDEN = 128


class AttendedMap(nn.Module):
    """Attention, a linear map and a layer norm."""

    def __init__(self, dim: int, context_dim: int, fused_dim: int, dropout: float) -> None:
        super().__init__()
        self.attention = Attention(dim, heads_for(dim, HEADS), dropout, context_dim=context_dim)
        self.map = nn.Sequential(nn.Linear(dim, fused_dim), nn.LayerNorm(fused_dim))

    def forward(self, values: Tensor, context: Tensor, context_mask: Tensor) -> Tensor:
        """Values `[B, N, dim]` that attend to a context `[B, K, context_dim]` with its mask → `[B, N, fused_dim]`."""
        mapped: Tensor = self.map(self.attention(values, context, context_mask))
        return mapped


class CrossModalTransformer(SpeechAndText):
    """Tokens attend to frames, frames to tokens; self-attention over both, their minimum, two linear layers."""

    def __init__(
        self,
        *,
        labels: list[str],
        alphabet: Sequence[str] = (),
        inputs: list[dict[str, Any]],
        text_dim: int,
        dropout: float = 0.5,
    ) -> None:
        super().__init__(labels=labels, alphabet=alphabet, inputs=inputs, text_dim=text_dim)
        fused = max(self.speech_dim, text_dim)  # D
        self.text_to_speech = AttendedMap(text_dim, self.speech_dim, fused, dropout)
        self.speech_to_text = AttendedMap(self.speech_dim, text_dim, fused, dropout)
        self.fusion = AttendedMap(fused, fused, fused, dropout)
        self.emotion_head = nn.Sequential(
            nn.Dropout(dropout), nn.Linear(fused, HEAD_HIDDEN), nn.LeakyReLU(), nn.Linear(HEAD_HIDDEN, len(labels))
        )

    def forward(self, speech_states: Tensor, speech_states_mask: Tensor, tokens: Tensor, token_mask: Tensor) -> Output:
        """See `SpeechAndText`."""
        text = self.text_to_speech(tokens, speech_states, speech_states_mask)  # [B, M, D]
        speech = self.speech_to_text(speech_states, tokens, token_mask)  # [B, J, D]
        both, mask = torch.cat([text, speech], dim=1), torch.cat([token_mask, speech_states_mask], dim=1)
        fused = self.fusion(both, both, mask)  # [B, M + J, D]
        smallest = fused.masked_fill(~mask.unsqueeze(-1), float("inf")).amin(dim=1)  # [B, D]
        return Output(self.emotion_head(smallest), None)
