"""The key-sparse transformer with cascaded cross-attention blocks (Chen et al., arXiv 2106.11532; the paper's [38]).

Sizes and rates are those of the authors' code; frames and tokens are of the encoders that settings name, in place of
wav2vec (512 numbers every 10 ms) and RoBERTa-large. docs/published/chen.md says how near this is.

Shape letters: B batch, J speech frames, M tokens, N positions, d size of a position. Masks: True is a real position.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from mmer_pipeline.settings import Settings
from mmer_pipeline.systems.base import Output, masked_mean
from mmer_pipeline.systems.published.attention import Attention, heads_for, sinusoids
from mmer_pipeline.systems.published.speech_and_text import SpeechAndText

FRAMES, TOKENS = 460, 20  # that are read of an utterance; what follows is cut
HEADS = 8
SPEECH_HIDDEN, TEXT_HIDDEN = 256, 512  # of the feed-forward parts
LAYERS, BLOCKS, LAST_LAYERS = 5, 3, 2
HEAD_DROPOUT = 0.5


class Masks(NamedTuple):
    """The positions of a modality, `[B, N]`; both masks are the same, unless padding counts."""

    real: Tensor
    counted: Tensor  # those among the K of key-sparse attention, in its sums, in self-attention after it, and in means


class Layer(nn.Module):
    """Attention, residual, layer norm; feed-forward part, residual, layer norm (Vaswani et al. 2017).

    Sinusoidal positions are added to queries and keys, and to the values of self-attention, but not to the residual.
    """

    def __init__(self, d: int, hidden: int, dropout: float, *, sparse: bool, context_dim: int | None) -> None:
        super().__init__()
        self.sparse = sparse
        self.attention = Attention(d, heads_for(d, HEADS), dropout, context_dim=context_dim)
        self.attention_norm, self.feed_forward_norm = nn.LayerNorm(d), nn.LayerNorm(d)
        self.feed_forward = nn.Sequential(nn.Linear(d, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, d))
        self.dropout = nn.Dropout(dropout)

    def forward(self, values: Tensor, masks: Masks, context: Tensor | None, context_masks: Masks) -> Tensor:
        """Values `[B, N, d]` attend to a context `[B, K, context_dim]`, or without one to themselves: `[B, N, d]`."""
        query = _placed(values)
        keys, real = (query, masks.counted if self.sparse else masks.real)
        if context is not None:
            keys, real = _placed(context), context_masks.real
        sparse = (masks.counted, context_masks.counted) if self.sparse else None
        attended = self.attention(query, keys, real, context, sparse=sparse)
        hidden = self.attention_norm(values + self.dropout(attended))
        normed: Tensor = self.feed_forward_norm(hidden + self.dropout(self.feed_forward(hidden)))
        return normed


def _placed(values: Tensor) -> Tensor:
    return values + sinusoids(values.shape[1], values.shape[2], values)


class Stack(nn.Module):
    """A layer norm of each input, then layers; with `context_dim`, they attend to the other modality."""

    def __init__(
        self,
        d: int,
        hidden: int,
        dropout: float,
        *,
        layers: int = 1,
        sparse: bool = True,
        context_dim: int | None = None,
    ) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(d)
        self.context_norm = nn.LayerNorm(context_dim) if context_dim else None
        self.layers = nn.ModuleList(
            Layer(d, hidden, dropout, sparse=sparse, context_dim=context_dim) for _ in range(layers)
        )
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)

    def forward(self, values: Tensor, masks: Masks, context: Tensor | None = None, keys: Masks | None = None) -> Tensor:
        """Values `[B, N, d]`, and a context `[B, K, context_dim]` with its masks, `keys`, if they attend to one."""
        hidden: Tensor = self.norm(values)
        if self.context_norm is not None:
            context = self.context_norm(context)
        for layer in self.layers:
            hidden = layer(hidden, masks, context, keys or masks)
        return hidden


class Branch(nn.Module):
    """The layers of one modality: transformer layers, cascaded blocks, key-sparse layers.

    A block is key-sparse attention to the other modality, then to itself. All blocks attend to the other modality as
    its transformer layers leave it. Their output is added to their input, and both to the input again.
    """

    def __init__(self, d: int, context_dim: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.first = Stack(d, hidden, dropout, layers=LAYERS, sparse=False)
        self.cross = nn.ModuleList(Stack(d, hidden, dropout, context_dim=context_dim) for _ in range(BLOCKS))
        self.own = nn.ModuleList(Stack(d, hidden, dropout) for _ in range(BLOCKS))
        self.last = Stack(d, hidden, dropout, layers=LAST_LAYERS)

    def forward(self, values: Tensor, masks: Masks, context: Tensor, context_masks: Masks) -> Tensor:
        """Both modalities after their first layers, `[B, N, d]` and `[B, K, context_dim]` → the mean `[B, d]`."""
        hidden = values
        for cross, own in zip(self.cross, self.own, strict=True):
            hidden = own(cross(hidden, masks, context, context_masks), masks)
        return masked_mean(self.last(2 * values + hidden, masks), masks.counted)


class KeySparseTransformer(SpeechAndText):
    """Five transformer layers a modality, three cascaded blocks, two key-sparse layers, means, three linear layers.

    With `padding` "reference", every utterance has 460 frames and 20 tokens, as in the authors' code: what is missing
    is zeros, which are no keys in the first layers and in attention to the other modality, but count among the K, in
    the sums of weights, in self-attention from the blocks on, and in the means.
    """

    def __init__(
        self,
        *,
        labels: list[str],
        alphabet: Sequence[str] = (),
        inputs: list[dict[str, Any]],
        text_dim: int,
        dropout: float = 0.1,
        padding: str = "masked",
    ) -> None:
        super().__init__(labels=labels, alphabet=alphabet, inputs=inputs, text_dim=text_dim)
        self.counts_padding = padding == "reference"
        self.speech_branch = Branch(self.speech_dim, text_dim, SPEECH_HIDDEN, dropout)
        self.text_branch = Branch(text_dim, self.speech_dim, TEXT_HIDDEN, dropout)
        d = self.speech_dim + text_dim
        self.emotion_head = nn.Sequential(
            nn.Linear(d, d // 2), nn.ReLU(), nn.Dropout(HEAD_DROPOUT),
            nn.Linear(d // 2, d // 4), nn.ReLU(), nn.Dropout(HEAD_DROPOUT),
            nn.Linear(d // 4, len(labels)),
        )  # fmt: skip

    @classmethod
    def options(cls, settings: Settings) -> dict[str, Any]:
        """See `SpeechAndText`."""
        return {"dropout": settings.dropout, "padding": settings.padding}

    def forward(self, speech_states: Tensor, speech_states_mask: Tensor, tokens: Tensor, token_mask: Tensor) -> Output:
        """See `SpeechAndText`."""
        A, A_masks = self._cut(speech_states, speech_states_mask, FRAMES)  # [B, J, d_a]
        T, T_masks = self._cut(tokens, token_mask, TOKENS)  # [B, M, d_t]
        A, T = self.speech_branch.first(A, A_masks), self.text_branch.first(T, T_masks)
        means = [self.speech_branch(A, A_masks, T, T_masks), self.text_branch(T, T_masks, A, A_masks)]
        return Output(self.emotion_head(torch.cat(means, dim=-1)), None)

    def _cut(self, values: Tensor, mask: Tensor, longest: int) -> tuple[Tensor, Masks]:
        """The first positions of values `[B, N, d]`, with their masks; or exactly so many, if padding counts."""
        values, mask = values[:, :longest], mask[:, :longest]
        if not self.counts_padding:
            return values, Masks(mask, mask)
        missing = longest - values.shape[1]
        padded = functional.pad(values * mask.unsqueeze(-1), (0, 0, 0, missing))
        real = functional.pad(mask, (0, missing))
        return padded, Masks(real, torch.ones_like(real))
