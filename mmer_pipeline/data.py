"""From features to batches: what an utterance brings, which utterances meet, how a step is cut.

Shape letters: B batch, J speech frames, M tokens. Masks: True is a real position.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from mmer_pipeline import audio
from mmer_pipeline.encoders import SpeechEncoder
from mmer_pipeline.extraction import count_frames
from mmer_pipeline.manifest import Manifest
from mmer_pipeline.store import FeatureFile
from mmer_pipeline.text import Alphabet, frames_needed


class FrameSource(Protocol):
    """Front-end frames of an utterance, from the store or computed on the fly."""

    def frames(self, position: int) -> np.ndarray:
        """`[J, front_dim]` of the utterance at this position of the manifest."""

    def frame_count(self, position: int) -> int:
        """J, without computing the frames."""


class StoredFrames:
    """Frames mapped from the feature store."""

    def __init__(self, manifest: Manifest, features: FeatureFile) -> None:
        self.features = features
        self.rows = [features.index[utterance.utterance_id] for utterance in manifest.utterances]

    def frames(self, position: int) -> np.ndarray:
        """As `FrameSource`."""
        return self.features.at(self.rows[position])

    def frame_count(self, position: int) -> int:
        """As `FrameSource`."""
        return self.features.length(self.rows[position])


class ComputedFrames:
    """Frames computed from the recording each time they are asked for (`--no-speech-features`)."""

    def __init__(self, manifest: Manifest, encoder: SpeechEncoder) -> None:
        self.manifest, self.encoder = manifest, encoder
        self.counts = [count_frames(manifest, utterance, encoder)[1] for utterance in manifest.utterances]

    def frames(self, position: int) -> np.ndarray:
        """As `FrameSource`."""
        utterance = self.manifest.utterances[position]
        path = self.manifest.audio_path(utterance)
        waveform = audio.load(path, utterance.start_seconds, utterance.end_seconds)
        frames: np.ndarray = self.encoder.frontend_arrays(self.encoder.normalise(waveform)[None])[0]
        return frames

    def frame_count(self, position: int) -> int:
        """As `FrameSource`."""
        return self.counts[position]


@dataclass(frozen=True)
class Batch:
    """Utterances side by side, padded with zeros."""

    positions: tuple[int, ...]  # in the manifest
    frames: Tensor  # [B, J, front_dim] float32
    frame_mask: Tensor  # [B, J]
    tokens: Tensor  # [B, M, d_t] float32
    token_mask: Tensor  # [B, M]
    labels: Tensor  # [B] class numbers
    targets: tuple[tuple[int, ...], ...]  # CTC targets; empty where the utterance has none that fits

    def to(self, device: torch.device) -> "Batch":
        """The batch on another device."""
        tensors = {
            field.name: getattr(self, field.name).to(device, non_blocking=True)
            for field in fields(self)
            if field.name not in ("positions", "targets")
        }
        return replace(self, **tensors)


class Examples:
    """Everything the model needs of each utterance of a corpus, by its position in the manifest."""

    def __init__(self, manifest: Manifest, text: FeatureFile, speech: FrameSource, alphabet: Alphabet) -> None:
        self.manifest, self.text, self.speech, self.alphabet = manifest, text, speech, alphabet
        self.text_rows = [text.index[utterance.utterance_id] for utterance in manifest.utterances]
        classes = {label: number for number, label in enumerate(manifest.labels)}
        self.labels = [classes[str(manifest.label_map.class_of(u.emotion))] for u in manifest.utterances]
        self.targets: list[tuple[int, ...]] = []
        self.without_target = 0  # utterances that add nothing to the CTC loss
        for position, utterance in enumerate(manifest.utterances):
            target = alphabet.encode(utterance.transcript)
            if not target or frames_needed(target) > speech.frame_count(position):
                target = []
                self.without_target += 1
            self.targets.append(tuple(target))

    def reference(self, position: int) -> str:
        """What CTC should spell of an utterance."""
        return self.alphabet.words(self.manifest.utterances[position].transcript)

    def batch(self, positions: Sequence[int]) -> Batch:
        """Pad the utterances at these positions into one batch."""
        frames, frame_mask = _pad([self.speech.frames(position) for position in positions])
        tokens, token_mask = _pad([self.text.at(self.text_rows[position]) for position in positions])
        return Batch(
            positions=tuple(positions),
            frames=frames,
            frame_mask=frame_mask,
            tokens=tokens,
            token_mask=token_mask,
            labels=torch.tensor([self.labels[position] for position in positions]),
            targets=tuple(self.targets[position] for position in positions),
        )


def _pad(rows: Sequence[np.ndarray]) -> tuple[Tensor, Tensor]:
    """Ragged `[length, dim]` → values `[B, longest, dim]` float32 and mask `[B, longest]`."""
    lengths = [len(row) for row in rows]
    values = np.zeros((len(rows), max(lengths), rows[0].shape[1]), dtype=np.float32)
    for number, row in enumerate(rows):
        values[number, : len(row)] = row
    mask = torch.arange(max(lengths))[None, :] < torch.tensor(lengths)[:, None]
    return torch.from_numpy(values), mask


def epoch_batches(
    positions: Sequence[int], lengths: Sequence[int], *, batch_size: int, bucket_batches: int, seed: int
) -> list[list[int]]:
    """The optimiser steps of an epoch: every position once, in an order that `seed` alone decides.

    Utterances are shuffled; then each run of `bucket_batches` batches is sorted by length before it is cut,
    so that utterances of a batch are about equally long, and the batches are shuffled. With 1 nothing is sorted.

    Args:
        positions: the training utterances.
        lengths: frames of each utterance of the corpus, by position.
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


def micro_batches(positions: Sequence[int], lengths: Sequence[int], max_frames: float) -> list[list[int]]:
    """Cut a batch so that no part has more than `max_frames` frames, padding included; one utterance always fits."""
    parts: list[list[int]] = []
    for position in sorted(positions, key=lambda position: -lengths[position]):
        # The first of a part is its longest: all others are padded to it.
        if not parts or lengths[parts[-1][0]] * (len(parts[-1]) + 1) > max_frames:
            parts.append([])
        parts[-1].append(position)
    return parts
