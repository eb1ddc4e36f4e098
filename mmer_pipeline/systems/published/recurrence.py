"""Recurrent layers over padded batches, whose padding they do not read.

Shape letters: B batch, N positions, h hidden size of a direction. Masks: True is a real position.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence


def packed(layers: nn.RNNBase, values: Tensor, mask: Tensor) -> tuple[Tensor, Any]:
    """Run layers over the real positions of `[B, N, dim]`: their outputs, `[B, N, …]`, and their final states."""
    real = pack_padded_sequence(values, mask.sum(dim=1).cpu(), batch_first=True, enforce_sorted=False)
    outputs, states = layers(real)
    padded, _ = pad_packed_sequence(outputs, batch_first=True, total_length=values.shape[1])
    return padded, states


class BiLSTM(nn.Module):
    """A bidirectional LSTM; the backward direction begins at the last real position."""

    def __init__(self, dim: int, hidden: int, *, layers: int = 1, dropout: float = 0.0) -> None:
        super().__init__()
        self.lstm = nn.LSTM(dim, hidden, layers, batch_first=True, dropout=dropout, bidirectional=True)

    def forward(self, values: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Values `[B, N, dim]` and their mask → outputs `[B, N, 2h]`, and the last layer's final states `[B, 2h]`."""
        outputs, (states, _) = packed(self.lstm, values, mask)  # states: [2 · layers, B, h]
        return outputs, torch.cat([states[-2], states[-1]], dim=-1)
