"""Batches: padding utterances, choosing those of each optimiser step, and splitting a step into micro-batches.

Shape letters: B batch, J speech frames, M tokens. Masks: True is a real position.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from mmer_pipeline.features.feature_file import StoredRow


@dataclass(frozen=True)
class Batch:
    """Utterances padded with zeros to equal length."""

    positions: tuple[int, ...]  # in the manifest
    inputs: dict[str, Tensor]  # frames [B, J, front_dim], tokens [B, M, d_t] or ids [B, M]; frame_mask, token_mask
    labels: Tensor  # [B] class numbers
    frame_counts: tuple[int, ...]  # J of each utterance; empty if no speech is read
    symbols: Tensor  # [sum of symbol_counts] CTC targets, concatenated
    symbol_counts: tuple[int, ...]  # of each utterance; 0 if it has no target that fits into its frames

    def to(self, device: torch.device) -> "Batch":
        """Copy the batch to a device, with features in float32; from pinned memory the copy is asynchronous."""
        inputs = {name: _in_float32(tensor.to(device, non_blocking=True)) for name, tensor in self.inputs.items()}
        labels, symbols = (tensor.to(device, non_blocking=True) for tensor in (self.labels, self.symbols))
        return replace(self, inputs=inputs, labels=labels, symbols=symbols)


def _in_float32(values: Tensor) -> Tensor:
    return values.float() if values.dtype == torch.float16 else values


_TORCH_TYPES = {np.dtype(name): getattr(torch, name) for name in ("float16", "float32", "int64")}


def pad(rows: Sequence[np.ndarray | StoredRow], pin: bool) -> tuple[Tensor, Tensor]:
    """Rows of `[length, dim]` floats or `[length]` ids → padded values `[B, longest, …]` and mask `[B, longest]`."""
    lengths = [len(row) for row in rows]
    shape = (len(rows), max(lengths), *rows[0].shape[1:])
    values = torch.empty(shape, dtype=_TORCH_TYPES[rows[0].dtype], pin_memory=pin)
    for row, padded in zip(rows, values.numpy(), strict=True):
        if isinstance(row, StoredRow):
            row.read(padded[: len(row)])  # without a copy in between
        else:
            padded[: len(row)] = row
        padded[len(row) :] = 0
    mask = torch.arange(max(lengths))[None, :] < torch.tensor(lengths)[:, None]
    return values, mask.pin_memory() if pin else mask


def vector(numbers: Sequence[int], pin: bool) -> Tensor:
    """Convert integers to a tensor `[N]`."""
    return torch.tensor(numbers, dtype=torch.long, pin_memory=pin)


def epoch_batches(
    positions: Sequence[int], lengths: Sequence[float], *, batch_size: int, bucket_batches: int, seed: int
) -> list[list[int]]:
    """Divide an epoch into optimiser steps: every position appears once, in an order that depends only on `seed`.

    All steps have the same number of utterances, or one fewer where the number of utterances is not a multiple, so that
    every utterance weighs about the same. The utterances are shuffled and divided into buckets of `bucket_batches`
    batches. Each bucket is sorted by length before it is split, so that the utterances of a batch have similar lengths;
    then the batches are shuffled.

    Args:
        positions: the training utterances.
        lengths: seconds of each utterance of the corpus, by position.
        batch_size: most utterances per step.
        bucket_batches: batches per bucket; 1 disables sorting.
        seed: of this epoch.
    """
    generator = np.random.default_rng(seed)
    shuffled = [positions[i] for i in generator.permutation(len(positions))]
    steps = -(-len(shuffled) // batch_size)
    sizes = np.full(steps, len(shuffled) // max(1, steps))
    sizes[: len(shuffled) % max(1, steps)] += 1
    sizes = generator.permutation(sizes)  # or else the longest utterances of a bucket would be in the smaller batches
    batches, start = [], 0
    for first in range(0, steps, bucket_batches):
        ends = sizes[first : first + bucket_batches].cumsum().tolist()
        pool = shuffled[start : start + ends[-1]]
        start += ends[-1]
        if bucket_batches > 1:
            pool.sort(key=lambda position: lengths[position])
        batches += [pool[begin:end] for begin, end in itertools.pairwise([0, *ends])]
    return [batches[i] for i in generator.permutation(len(batches))]


def micro_batches(positions: Sequence[int], lengths: Sequence[float], max_length: float) -> list[list[int]]:
    """Split a batch into parts of at most `max_length`, padding included; a longer utterance forms its own part."""
    parts: list[list[int]] = []
    for position in sorted(positions, key=lambda position: -lengths[position]):
        # The first utterance of a part is its longest; the others are padded to its length.
        if not parts or lengths[parts[-1][0]] * (len(parts[-1]) + 1) > max_length:
            parts.append([])
        parts[-1].append(position)
    return parts
