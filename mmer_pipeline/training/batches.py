"""From features to batches: what an utterance brings, which utterances meet, how a step is cut.

Shape letters: B batch, J speech frames, M tokens. Masks: True is a real position.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from mmer_pipeline import audio
from mmer_pipeline.corpora.manifest import Manifest
from mmer_pipeline.corpora.transcripts import Alphabet, encoder_text, frames_needed
from mmer_pipeline.encoders.speech import SpeechEncoder
from mmer_pipeline.encoders.text import TextTokenizer
from mmer_pipeline.features.extraction import count_frames
from mmer_pipeline.features.feature_file import FeatureFile

TOKENS_PER_SECOND = 3.2  # of speech in IEMOCAP: how long an utterance counts whose speech is not read


class FrameSource(Protocol):
    """Front-end frames of an utterance, from the store or computed on the fly."""

    def frames(self, position: int) -> np.ndarray:
        """`[J, front_dim]` of the utterance at this position of the manifest."""

    def frame_count(self, position: int) -> int:
        """J, without computing the frames."""


class TokenSource(Protocol):
    """Tokens of an utterance: stored features, or ids for an encoder that is trained."""

    def tokens(self, position: int) -> np.ndarray:
        """`[M, d_t]` features, or `[M]` ids, of the utterance at this position of the manifest."""

    def token_count(self, position: int) -> int:
        """M, without reading the tokens."""


class StoredTokens:
    """Text features mapped from the feature store."""

    def __init__(self, manifest: Manifest, features: FeatureFile) -> None:
        self.features = features
        self.rows = [features.index[utterance.utterance_id] for utterance in manifest.utterances]

    def tokens(self, position: int) -> np.ndarray:
        """As `TokenSource`."""
        return self.features.at(self.rows[position])

    def token_count(self, position: int) -> int:
        """As `TokenSource`."""
        return self.features.length(self.rows[position])


class TokenIds:
    """Token ids of the transcripts (`--finetune-text`)."""

    def __init__(self, manifest: Manifest, tokenizer: TextTokenizer, annotations: str) -> None:
        texts = [encoder_text(utterance.transcript, annotations) for utterance in manifest.utterances]
        self.ids = [np.array(ids, dtype=np.int64) for ids in tokenizer(texts)]

    def tokens(self, position: int) -> np.ndarray:
        """As `TokenSource`."""
        return self.ids[position]

    def token_count(self, position: int) -> int:
        """As `TokenSource`."""
        return len(self.ids[position])


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


class Examples:
    """Everything a system needs of each utterance of a corpus, by its position in the manifest."""

    def __init__(
        self,
        manifest: Manifest,
        *,
        speech: FrameSource | None,  # None: the system reads no speech
        frame_rate: float | None,  # frames a second of `speech`
        text: TokenSource | None,  # None: the system reads no text
        alphabet: Alphabet | None,  # None: it has no CTC head
    ) -> None:
        self.manifest, self.speech, self.text, self.alphabet = manifest, speech, text, alphabet
        classes = {label: number for number, label in enumerate(manifest.labels)}
        self.labels = [classes[str(manifest.label_map.class_of(u.emotion))] for u in manifest.utterances]
        positions = range(len(self.labels))
        self.seconds = [0.0] * len(positions)  # how long each utterance is, for sorting and cutting batches
        if speech and frame_rate:
            self.seconds = [speech.frame_count(position) / frame_rate for position in positions]
        elif text:
            self.seconds = [text.token_count(position) / TOKENS_PER_SECOND for position in positions]
        self.targets = [self._target(position) for position in positions]
        # Utterances that add nothing to the CTC loss.
        self.without_target = sum(not target for target in self.targets) if alphabet else 0

    def _target(self, position: int) -> tuple[int, ...]:
        if not self.alphabet or not self.speech:
            return ()
        target = self.alphabet.encode(self.manifest.utterances[position].transcript)
        return tuple(target) if frames_needed(target) <= self.speech.frame_count(position) else ()

    def reference(self, position: int) -> str:
        """What CTC should spell of an utterance; nothing without a CTC head."""
        return self.alphabet.words(self.manifest.utterances[position].transcript) if self.alphabet else ""

    def batch(self, positions: Sequence[int], *, pin: bool = False) -> Batch:
        """Pad the utterances at these positions into one batch, features as they are stored.

        `pin` puts it into memory that a GPU copies from by itself.
        """
        inputs = {}
        frame_counts: tuple[int, ...] = ()
        if self.speech:
            frames = [self.speech.frames(position) for position in positions]
            inputs["frames"], inputs["frame_mask"] = _pad(frames, pin)
            frame_counts = tuple(map(len, frames))
        if self.text:
            inputs["tokens"], inputs["token_mask"] = _pad([self.text.tokens(position) for position in positions], pin)
        targets = [self.targets[position] for position in positions]
        return Batch(
            positions=tuple(positions),
            inputs=inputs,
            labels=_vector([self.labels[position] for position in positions], pin),
            frame_counts=frame_counts,
            symbols=_vector([symbol for target in targets for symbol in target], pin),
            symbol_counts=tuple(map(len, targets)),
        )


_TORCH_TYPES = {np.dtype(name): getattr(torch, name) for name in ("float16", "float32", "int64")}


def _pad(rows: Sequence[np.ndarray], pin: bool) -> tuple[Tensor, Tensor]:
    """Ragged `[length, dim]` floats or `[length]` ids → values `[B, longest, …]` and mask `[B, longest]`."""
    lengths = [len(row) for row in rows]
    shape = (len(rows), max(lengths), *rows[0].shape[1:])
    values = torch.empty(shape, dtype=_TORCH_TYPES[rows[0].dtype], pin_memory=pin)
    for row, place in zip(rows, values.numpy(), strict=True):
        place[: len(row)] = row
        place[len(row) :] = 0
    mask = torch.arange(max(lengths))[None, :] < torch.tensor(lengths)[:, None]
    return values, mask.pin_memory() if pin else mask


def _vector(numbers: Sequence[int], pin: bool) -> Tensor:
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
