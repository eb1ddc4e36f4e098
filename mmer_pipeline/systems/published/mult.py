"""MulT, the multimodal transformer (Tsai et al., ACL 2019), with two modalities, on frozen encoders.

docs/published/mult.md says how near this is to the publication and its code.

Shape letters: B batch, J speech frames, M tokens, N positions. Masks: True is a real position.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mmer_pipeline.systems.base import Output
from mmer_pipeline.systems.published.attention import Attention, sinusoids
from mmer_pipeline.systems.published.speech_and_text import SpeechAndText

DIM, HEADS, LAYERS = 40, 10, 5
KERNEL = 3
EMBEDDING_DROPOUT = 0.2


class CrossmodalLayer(nn.Module):
    """Attention and feed-forward part, each with a layer norm before and a residual."""

    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.attention = Attention(DIM, HEADS, dropout)
        self.attention_norm, self.feed_forward_norm = nn.LayerNorm(DIM), nn.LayerNorm(DIM)
        self.feed_forward = nn.Sequential(
            nn.Linear(DIM, 4 * DIM), nn.ReLU(), nn.Dropout(dropout), nn.Linear(4 * DIM, DIM)
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, values: Tensor, context: Tensor, context_mask: Tensor) -> Tensor:
        """Values `[B, N, 40]` that attend to a context `[B, K, 40]` with its mask → `[B, N, 40]`."""
        attended = self.attention(self.attention_norm(values), self.attention_norm(context), context_mask)
        hidden = values + self.dropout(attended)
        result: Tensor = hidden + self.dropout(self.feed_forward(self.feed_forward_norm(hidden)))
        return result


class CrossmodalTransformer(nn.Module):
    """Five layers that attend to another modality, which all read as it enters; without one, to themselves."""

    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.layers = nn.ModuleList(CrossmodalLayer(dropout) for _ in range(LAYERS))
        self.norm = nn.LayerNorm(DIM)
        self.dropout = nn.Dropout(EMBEDDING_DROPOUT)

    def forward(self, values: Tensor, context: Tensor | None, mask: Tensor) -> Tensor:
        """Values `[B, N, 40]` and a context `[B, K, 40]`, None: themselves, with its mask → `[B, N, 40]`."""
        hidden = self._placed(values)
        fixed = None if context is None else self._placed(context)
        for layer in self.layers:
            hidden = layer(hidden, hidden if fixed is None else fixed, mask)
        normed: Tensor = self.norm(hidden)
        return normed

    def _placed(self, values: Tensor) -> Tensor:
        placed: Tensor = self.dropout(values * DIM**0.5 + sinusoids(values.shape[1], DIM, values))
        return placed


class Branch(nn.Module):
    """One modality: a convolution over time, attention to the other modality, self-attention, the last position."""

    def __init__(self, dim: int, dropout: float) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(dim, DIM, KERNEL, padding=KERNEL // 2, bias=False)
        self.crossmodal, self.memory = CrossmodalTransformer(dropout), CrossmodalTransformer(dropout)

    def begin(self, values: Tensor, mask: Tensor) -> Tensor:
        """Values `[B, N, dim]` and their mask → `[B, N, 40]`."""
        convolved: Tensor = self.convolution((values * mask.unsqueeze(-1)).transpose(1, 2))
        return convolved.transpose(1, 2)

    def forward(self, values: Tensor, mask: Tensor, context: Tensor, context_mask: Tensor) -> Tensor:
        """Both modalities `[B, N or K, 40]` with their masks → the last real position `[B, 40]`."""
        hidden = self.memory(self.crossmodal(values, context, context_mask), None, mask)  # [B, N, 40]
        last: Tensor = hidden[torch.arange(len(hidden), device=hidden.device), mask.sum(dim=1) - 1]
        return last


class MulT(SpeechAndText):
    """Crossmodal transformers between frames and tokens, both ways; a residual block and a linear layer."""

    def __init__(
        self,
        *,
        labels: list[str],
        alphabet: Sequence[str] = (),
        inputs: list[dict[str, Any]],
        text_dim: int,
        dropout: float = 0.1,
    ) -> None:
        super().__init__(labels=labels, alphabet=alphabet, inputs=inputs, text_dim=text_dim)
        self.speech_branch, self.text_branch = Branch(self.speech_dim, dropout), Branch(text_dim, dropout)
        self.token_dropout = nn.Dropout(EMBEDDING_DROPOUT)
        self.block = nn.Sequential(nn.Linear(2 * DIM, 2 * DIM), nn.ReLU(), nn.Linear(2 * DIM, 2 * DIM))
        self.emotion_head = nn.Linear(2 * DIM, len(labels))

    def forward(self, speech_states: Tensor, speech_states_mask: Tensor, tokens: Tensor, token_mask: Tensor) -> Output:
        """See `SpeechAndText`."""
        A = self.speech_branch.begin(speech_states, speech_states_mask)  # [B, J, 40]
        T = self.text_branch.begin(self.token_dropout(tokens), token_mask)  # [B, M, 40]
        speech = self.speech_branch(A, speech_states_mask, T, token_mask)  # [B, 40]
        text = self.text_branch(T, token_mask, A, speech_states_mask)  # [B, 40]
        both = torch.cat([text, speech], dim=-1)  # [B, 80]
        return Output(self.emotion_head(both + self.block(both)), None)
