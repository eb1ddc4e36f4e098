"""Speech encoders that are only read: the hidden states of waveforms, without padding.

Shape letters: B batch, S samples, J frames, d hidden size. Masks: True is a real position.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from mmer_pipeline.encoders.encoder_files import EncoderFiles
from mmer_pipeline.encoders.frozen_families import filter_bank_outline, load_filter_bank_encoder
from mmer_pipeline.encoders.speech import SpeechEncoder, load_speech_encoder, speech_outline
from mmer_pipeline.encoders.statistics import mask_of


class FrozenSpeechEncoder(Protocol):
    """The interface of a speech encoder for features."""

    @property
    def layers(self) -> int:
        """Number of layers; there is one more hidden state, the input of the first."""

    @property
    def hidden_size(self) -> int:
        """d, the size of a hidden state."""

    @property
    def fewest_samples(self) -> int:
        """Samples of the shortest waveform that has a frame."""

    def frame_count(self, samples: int) -> int:
        """Number of frames of a waveform of `samples` samples at 16 kHz."""

    def normalise(self, waveform: np.ndarray) -> np.ndarray:
        """Scale a waveform `[S]` as the encoder expects it."""

    def hidden_states(self, waveforms: Sequence[Tensor]) -> tuple[list[Tensor], Tensor]:
        """Normalised waveforms, one tensor `[B, S]` for each length → hidden states `[all, J, d]` and mask `[all, J]`.

        The utterances are those of the first tensor, then those of the second, and so on.
        """


class WaveformEncoder:
    """An encoder of waveforms, which can be trained, too: of the wav2vec2 family, or Moonshine."""

    def __init__(self, encoder: SpeechEncoder) -> None:
        self.encoder = encoder
        self.layers, self.hidden_size = len(encoder.layers), encoder.hidden_size
        self.fewest_samples = encoder.receptive_field_samples
        self.frame_count, self.normalise = encoder.frame_count, encoder.normalise

    @torch.inference_mode()
    def hidden_states(self, waveforms: Sequence[Tensor]) -> tuple[list[Tensor], Tensor]:
        """See `FrozenSpeechEncoder`."""
        device = next(self.encoder.parameters()).device
        frames = [row for part in waveforms for row in self.encoder.frontend(part.to(device, non_blocking=True))]
        padded = pad_sequence(frames, batch_first=True)  # [all, J, front_dim]
        mask = mask_of(list(map(len, frames)), device)
        return self.encoder.hidden_states(padded, mask), mask


def load_frozen_speech(files: EncoderFiles, device: torch.device) -> FrozenSpeechEncoder:
    """Load an encoder with its pretrained weights.

    Raises:
        UserError: its type is not supported, or its weights do not fit.
    """
    if files.reads_filter_banks:
        return load_filter_bank_encoder(files, device)
    return WaveformEncoder(load_speech_encoder(files).to(device).eval())


def frozen_outline(files: EncoderFiles) -> FrozenSpeechEncoder:
    """Create the encoder without weights, to get frame counts and sizes.

    Raises:
        UserError: its type is not supported.
    """
    if files.reads_filter_banks:
        return filter_bank_outline(files)
    return WaveformEncoder(speech_outline(files))
