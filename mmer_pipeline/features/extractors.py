"""The computation of each feature's rows, in two steps: on the host, then on the encoder's device.

Shape letters: B batch, S samples, N rows. An extractor is loaded once in each worker process.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from mmer_pipeline import audio
from mmer_pipeline.devices import resolve_device
from mmer_pipeline.encoders.encoder_files import EncoderFiles
from mmer_pipeline.encoders.frozen_speech import FrozenSpeechEncoder, load_frozen_speech
from mmer_pipeline.encoders.speech import SpeechEncoder, load_speech_encoder
from mmer_pipeline.encoders.statistics import mean_and_deviation
from mmer_pipeline.encoders.text import TextEncoder
from mmer_pipeline.errors import UserError
from mmer_pipeline.features.speech_features import SpeechItem
from mmer_pipeline.features.text_features import TextItem
from mmer_pipeline.layers import layer_numbers
from mmer_pipeline.waveform_versions import Version


@dataclass(frozen=True)
class Group:
    """The rows of several utterances, padded to equal length, on the device."""

    values: Tensor  # [B, N, dim]
    lengths: Sequence[int]  # real rows of each utterance

    def rows(self) -> Iterator[np.ndarray]:
        """The rows `[length, dim]` of each utterance, on the host."""
        values = self.values.float().cpu().numpy()  # one copy for the whole group
        for value, length in zip(values, self.lengths, strict=True):
            yield value[:length]


class Extractor(Protocol):
    """Computes the rows of a batch of utterances."""

    def load(self, items: Sequence[Any]) -> Any:
        """Read the inputs of a batch; several threads do so at once.

        Raises:
            UserError: a recording cannot be read, or its length differs from that in its header.
        """

    def compute(self, loaded: Any) -> list[Group]:
        """Compute the rows of what `load` returned, in the items' order; one thread does so."""


class SpeechExtractor:
    """The base of the extractors of recordings: `compute` gets waveforms `[B, S]`, one tensor for each length.

    Recordings of exactly the same length share a tensor, so that nothing is padded in front of a front end.
    """

    device = torch.device("cpu")

    def load(self, items: Sequence[SpeechItem]) -> list[Tensor]:
        """See `Extractor`; recordings of equal length must be side by side."""
        groups = [list(equal) for _, equal in groupby(items, key=lambda item: item.samples)]
        return [self.stack([read_waveform(item) for item in group]) for group in groups]

    def stack(self, waveforms: Sequence[np.ndarray]) -> Tensor:
        """Waveforms of equal length `[S]` → `[B, S]`, normalised, in memory that is pinned for a GPU."""
        shape = (len(waveforms), len(waveforms[0]))
        stacked = torch.empty(shape, pin_memory=self.device.type == "cuda")
        for waveform, row in zip(waveforms, stacked.numpy(), strict=True):
            row[:] = self.normalise(waveform)
        return stacked

    def normalise(self, waveform: np.ndarray) -> np.ndarray:
        """Scale a waveform `[S]` as the encoder expects it."""
        return waveform

    def compute(self, loaded: Sequence[Tensor]) -> list[Group]:
        """See `Extractor`."""
        raise NotImplementedError

    def of_waveform(self, waveform: np.ndarray) -> Tensor:
        """The rows `[length, dim]` of one waveform `[S]` at 16 kHz."""
        (group,) = self.compute([self.stack([waveform])])
        return group.values[0].float()


def read_waveform(item: SpeechItem) -> np.ndarray:
    """Decode a recording.

    Raises:
        UserError: it cannot be read, or its length differs from that in its header.
    """
    waveform = audio.load(item.path, item.start_seconds, item.end_seconds)
    if len(waveform) != item.samples:
        raise UserError(
            f"{item.path}: expected {item.samples} samples according to its header, found {len(waveform)}. The file is "
            "truncated or damaged: replace it, or run `mmer-pipe prepare` again to leave it out."
        )
    return waveform


class FrameExtractor(SpeechExtractor):
    """Runs the frozen front end, and the layers above it that are frozen, too, on a version of each recording."""

    def __init__(
        self, files: EncoderFiles, device: str, frozen_layers: int = 0, version: Version | None = None
    ) -> None:
        self.device, self.version = resolve_device(device), version
        encoder = load_speech_encoder(files, frozen_layers=frozen_layers)
        self.encoder: SpeechEncoder = encoder.to(self.device).eval()

    def stack(self, waveforms: Sequence[np.ndarray]) -> Tensor:
        """See `SpeechExtractor`."""
        return super().stack([self.version.of(waveform) for waveform in waveforms] if self.version else waveforms)

    def normalise(self, waveform: np.ndarray) -> np.ndarray:
        """See `SpeechExtractor`."""
        return self.encoder.normalise(waveform)

    def compute(self, loaded: Sequence[Tensor]) -> list[Group]:
        """See `Extractor`; asynchronous on a GPU."""
        groups = []
        for waveforms in loaded:
            frames = self.encoder.rows(waveforms.to(self.device, non_blocking=True))  # [B, J, row_dim]
            groups.append(Group(frames, [frames.shape[1]] * len(frames)))
        return groups


class HiddenStateExtractor(SpeechExtractor):
    """Runs a frozen speech encoder; `rows` makes a feature's rows of its hidden states."""

    def __init__(self, files: EncoderFiles, device: str) -> None:
        self.device = resolve_device(device)
        self.encoder: FrozenSpeechEncoder = load_frozen_speech(files, self.device)

    def normalise(self, waveform: np.ndarray) -> np.ndarray:
        """See `SpeechExtractor`."""
        return self.encoder.normalise(waveform)

    def compute(self, loaded: Sequence[Tensor]) -> list[Group]:
        """See `Extractor`."""
        states, mask = self.encoder.hidden_states(loaded)
        return [self.rows(states, mask)]

    def rows(self, states: Sequence[Tensor], mask: Tensor) -> Group:
        """Hidden states `[B, J, d]` of each layer, and the mask of real frames `[B, J]` → rows."""
        raise NotImplementedError


class SpeechLayerExtractor(HiddenStateExtractor):
    """Means and standard deviations over frames of every hidden state."""

    def rows(self, states: Sequence[Tensor], mask: Tensor) -> Group:
        """See `HiddenStateExtractor`."""
        values = torch.stack([mean_and_deviation(state, mask) for state in states], dim=1)  # [B, L, 2d]
        return Group(values, [len(states)] * len(mask))


class SpeechStateExtractor(HiddenStateExtractor):
    """The frames of some hidden states, side by side."""

    def __init__(self, files: EncoderFiles, device: str, layers: str) -> None:
        super().__init__(files, device)
        self.numbers = layer_numbers(layers, self.encoder.layers)

    def rows(self, states: Sequence[Tensor], mask: Tensor) -> Group:
        """See `HiddenStateExtractor`."""
        values = torch.cat([states[number] for number in self.numbers], dim=-1)  # [B, J, layers · d]
        return Group(values, mask.sum(dim=1).tolist())


class TokenExtractor:
    """Runs a frozen text encoder and keeps its last hidden state."""

    def __init__(self, files: EncoderFiles, device: str) -> None:
        self.encoder = TextEncoder(files, resolve_device(device))

    def load(self, items: Sequence[TextItem]) -> list[tuple[int, ...]]:
        """See `Extractor`."""
        return [item.token_ids for item in items]

    def compute(self, loaded: Sequence[Sequence[int]]) -> list[Group]:
        """See `Extractor`; asynchronous on a GPU."""
        return [Group(self.encoder.hidden_states(loaded), list(map(len, loaded)))]

    def of_tokens(self, ids: Sequence[int]) -> Tensor:
        """The rows `[length, dim]` of one text."""
        (group,) = self.compute([ids])
        return group.values[0].float()


class TextLayerExtractor(TokenExtractor):
    """Means and standard deviations over tokens, and the first token, of every hidden state."""

    def compute(self, loaded: Sequence[Sequence[int]]) -> list[Group]:
        """See `Extractor`."""
        states, mask = self.encoder.all_hidden_states(loaded)
        rows = [torch.cat([mean_and_deviation(state, mask), state[:, 0]], dim=-1) for state in states]  # [B, 3d]
        return [Group(torch.stack(rows, dim=1), [len(states)] * len(loaded))]
