"""Batches: how utterances are padded, which of them share an optimiser step, how a step is cut into micro-batches.

Shape letters: B batch, J speech frames, M tokens. Masks: True is a real position.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """Utterances side by side, padded with zeros."""

    positions: tuple[int, ...]  # in the manifest
    inputs: dict[str, Tensor]  # frames [B, J, front_dim], tokens [B, M, d_t] or ids [B, M]; frame_mask, token_mask
    labels: Tensor  # [B] class numbers
    frame_counts: tuple[int, ...]  # J of each utterance; none where no speech is read
    symbols: Tensor  # [sum of symbol_counts] CTC targets, one behind the other
    symbol_counts: tuple[int, ...]  # of each utterance; 0 where it has no target that fits

    def to(self, device: torch.device) -> "Batch":
        """The batch on a device, its features in float32; the host does not wait for pinned memory to be copied."""
        inputs = {name: _single(tensor.to(device, non_blocking=True)) for name, tensor in self.inputs.items()}
        labels, symbols = (tensor.to(device, non_blocking=True) for tensor in (self.labels, self.symbols))
        return replace(self, inputs=inputs, labels=labels, symbols=symbols)


def _single(values: Tensor) -> Tensor:
    return values.float() if values.dtype == torch.float16 else values


_TORCH_TYPES = {np.dtype(name): getattr(torch, name) for name in ("float16", "float32", "int64")}


def pad(rows: Sequence[np.ndarray], pin: bool) -> tuple[Tensor, Tensor]:
    """Ragged `[length, dim]` floats or `[length]` ids → values `[B, longest, …]` and mask `[B, longest]`."""
    lengths = [len(row) for row in rows]
    shape = (len(rows), max(lengths), *rows[0].shape[1:])
    values = torch.empty(shape, dtype=_TORCH_TYPES[rows[0].dtype], pin_memory=pin)
    for row, place in zip(rows, values.numpy(), strict=True):
        place[: len(row)] = row
        place[len(row) :] = 0
    mask = torch.arange(max(lengths))[None, :] < torch.tensor(lengths)[:, None]
    return values, mask.pin_memory() if pin else mask


def vector(numbers: Sequence[int], pin: bool) -> Tensor:
    """Whole numbers as a tensor `[N]`."""
    return torch.tensor(numbers, dtype=torch.long, pin_memory=pin)


def epoch_batches(
    positions: Sequence[int], lengths: Sequence[float], *, batch_size: int, bucket_batches: int, seed: int
) -> list[list[int]]:
    """The optimiser steps of an epoch: every position once, in an order that `seed` alone decides.

    Utterances are shuffled; then each run of `bucket_batches` batches is sorted by length before it is cut,
    so that utterances of a batch are about equally long, and the batches are shuffled. With 1 nothing is sorted.

    Args:
        positions: the training utterances.
        lengths: of each utterance of the corpus in seconds, by position.
    """
    generator = np.random.default_rng(seed)
    shuffled = [positions[i] for i in generator.permutation(len(positions))]
    bucket = batch_size * bucket_batches
    batches = []
    for start in range(0, len(shuffled), bucket):
        pool = shuffled[start : start + bucket]
        if bucket_batches > 1:
            pool.sort(key=lambda position: lengths[position])
        batches += [pool[i : i + batch_size] for i in range(0, len(pool), batch_size)]
    return [batches[i] for i in generator.permutation(len(batches))]


def micro_batches(positions: Sequence[int], lengths: Sequence[float], max_length: float) -> list[list[int]]:
    """Cut a batch so that no part is longer than `max_length`, padding included; one utterance always fits."""
    parts: list[list[int]] = []
    for position in sorted(positions, key=lambda position: -lengths[position]):
        # The first of a part is its longest: all others are padded to it.
        if not parts or lengths[parts[-1][0]] * (len(parts[-1]) + 1) > max_length:
            parts.append([])
        parts[-1].append(position)
    return parts
