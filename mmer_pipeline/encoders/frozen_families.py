"""Speech encoders of filter banks, which are only read: Whisper's, w2v-BERT 2.0 and Parakeet's FastConformer.

The filter banks are those of the checkpoint's own feature extractor. Each class here is a `FrozenSpeechEncoder`.

Shape letters: B batch, S samples, J frames, d hidden size. Masks: True is a real position.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoFeatureExtractor, AutoModel, PreTrainedModel
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from mmer_pipeline.audio import SAMPLE_RATE
from mmer_pipeline.encoders.encoder_files import PARAKEET, PREPROCESSOR, EncoderFiles
from mmer_pipeline.encoders.pretrained import load_pretrained, read_config, refusing
from mmer_pipeline.encoders.statistics import mask_of
from mmer_pipeline.errors import UserError

WINDOWS_TOGETHER = 4  # of Whisper; the hidden states of one, of the large model, take 250 MB


class FilterBankEncoder(ABC):
    """The base of the encoders of filter banks.

    Raises:
        UserError: the feature extractor is not the encoder's.
    """

    extractor_name: ClassVar[str]
    fewest_samples: ClassVar[int]
    model_class: ClassVar[Any] = AutoModel  # of transformers; it has the encoder's weights, and maybe others
    key_mapping: ClassVar[dict[str, str] | None] = None  # from the checkpoint's names of weights to those of the class

    def __init__(self, files: EncoderFiles, encoder: PreTrainedModel, extractor: Any) -> None:
        self.encoder: Any = encoder
        self.extractor = extractor
        self.layers, self.hidden_size = int(encoder.config.num_hidden_layers), int(encoder.config.hidden_size)
        fits = type(extractor).__name__ == self.extractor_name and extractor.sampling_rate == SAMPLE_RATE
        if not (fits and self.fits()):
            raise UserError(
                f"{files.name}: the feature extractor in {files.directory / PREPROCESSOR} is not that of the encoder "
                f"there. Expected a {self.extractor_name} for {SAMPLE_RATE} Hz with the sizes of the encoder. Download "
                "the model again."
            )

    @abstractmethod
    def fits(self) -> bool:
        """Whether the feature extractor's sizes are those of the encoder."""

    @abstractmethod
    def frame_count(self, samples: int) -> int:
        """Number of frames of a waveform of `samples` samples at 16 kHz."""

    def normalise(self, waveform: np.ndarray) -> np.ndarray:
        """The waveform `[S]` as it is: the feature extractor scales the filter banks."""
        return waveform

    @torch.inference_mode()
    def hidden_states(self, waveforms: Sequence[Tensor]) -> tuple[list[Tensor], Tensor]:
        """See `FrozenSpeechEncoder`; padding is masked."""
        rows = [row for part in waveforms for row in part]
        inputs = _filter_banks(self.extractor, rows, self.encoder)
        lengths = [self.frame_count(len(row)) for row in rows]
        states = self.encoder(**inputs, output_hidden_states=True).hidden_states
        return [state[:, : max(lengths)] for state in states], mask_of(lengths, states[0].device)


class WhisperFrames(FilterBankEncoder):
    """Whisper's encoder, which reads windows of 30 seconds and knows no padding: a recording is followed by silence.

    Frames after the end of the recording are left out. What is longer is cut into windows, whose frames are joined.
    """

    extractor_name = "WhisperFeatureExtractor"
    fewest_samples = 1
    model_class = WhisperEncoder
    key_mapping: ClassVar = {r"^(model\.)?encoder\.": ""}  # the checkpoint also contains a decoder

    def fits(self) -> bool:
        """See `FilterBankEncoder`."""
        config = self.encoder.config
        whole = self.extractor.n_samples == config.max_source_positions * self._samples_per_frame
        return bool(whole and self.extractor.feature_size == config.num_mel_bins)

    @property
    def _samples_per_frame(self) -> int:
        return 2 * int(self.extractor.hop_length)  # the second convolution has a stride of 2

    def frame_count(self, samples: int) -> int:
        """Number of frames that begin before the end of the recording, 50 a second."""
        return -(-samples // self._samples_per_frame)

    @torch.inference_mode()
    def hidden_states(self, waveforms: Sequence[Tensor]) -> tuple[list[Tensor], Tensor]:
        """See `FrozenSpeechEncoder`."""
        whole = int(self.extractor.n_samples)
        windows = [list(row.split(whole)) for part in waveforms for row in part]
        parts = [window for row in windows for window in row]
        found: list[list[Tensor]] = [[] for _ in range(self.layers + 1)]  # of each layer: the frames of each window
        for first in range(0, len(parts), WINDOWS_TOGETHER):
            together = parts[first : first + WINDOWS_TOGETHER]
            inputs = _filter_banks(self.extractor, together, self.encoder)
            states = self.encoder(**inputs, output_hidden_states=True).hidden_states
            for frames, state in zip(found, states, strict=True):
                frames += [row[: self.frame_count(len(w))].clone() for row, w in zip(state, together, strict=True)]
        counts = list(map(len, windows))
        layers = [pad_sequence(list(map(torch.cat, _split(frames, counts))), batch_first=True) for frames in found]
        lengths = [self.frame_count(sum(map(len, row))) for row in windows]
        return layers, mask_of(lengths, layers[0].device)


class ConformerFrames(FilterBankEncoder):
    """w2v-BERT 2.0: a frame for every two filter banks of 25 ms, every 10 ms (50 frames a second)."""

    extractor_name = "SeamlessM4TFeatureExtractor"
    fewest_samples = 400 + 160  # two filter banks, which also have a standard deviation

    def fits(self) -> bool:
        """See `FilterBankEncoder`."""
        extractor, size = self.extractor, self.encoder.config.feature_projection_input_dim
        return bool(extractor.stride == 2 and 2 * extractor.num_mel_bins == 2 * extractor.feature_size == size)

    def frame_count(self, samples: int) -> int:
        """See `FilterBankEncoder`; half a frame at the end is padding."""
        return max(0, (samples - 400) // 160 + 1) // 2


class FastConformerFrames(FilterBankEncoder):
    """Parakeet's encoder, whose convolutions halve the number of filter banks three times (12.5 frames a second)."""

    extractor_name = "ParakeetFeatureExtractor"

    @property
    def fewest_samples(self) -> int:  # type: ignore[override]
        """Samples of two filter banks: one has no standard deviation."""
        return 2 * int(self.extractor.hop_length)

    def fits(self) -> bool:
        """See `FilterBankEncoder`."""
        return bool(self.extractor.feature_size == self.encoder.config.num_mel_bins)

    def frame_count(self, samples: int) -> int:
        """See `FilterBankEncoder`."""
        if samples < self.fewest_samples:
            return 0
        config, frames = self.encoder.config, samples // int(self.extractor.hop_length)
        kernel, stride = config.subsampling_conv_kernel_size, config.subsampling_conv_stride
        for _ in range(int(math.log2(config.subsampling_factor))):
            frames = (frames + 2 * ((kernel - 1) // 2) - kernel) // stride + 1
        return frames


def _filter_banks(extractor: Any, waveforms: Sequence[Tensor], encoder: Any) -> Any:
    """The encoder's inputs, on its device."""
    arrays = [waveform.numpy() for waveform in waveforms]
    inputs = extractor(arrays, sampling_rate=SAMPLE_RATE, return_tensors="pt")
    return inputs.to(encoder.device)


def _split(values: Sequence[Tensor], counts: Iterable[int]) -> list[list[Tensor]]:
    rest = iter(values)
    return [[next(rest) for _ in range(count)] for count in counts]


_FAMILIES: dict[str, type[FilterBankEncoder]] = {
    "whisper": WhisperFrames,
    "wav2vec2-bert": ConformerFrames,
    **dict.fromkeys(PARAKEET, FastConformerFrames),
}


def load_filter_bank_encoder(files: EncoderFiles, device: torch.device) -> FilterBankEncoder:
    """Load an encoder of filter banks with its pretrained weights.

    Raises:
        UserError: its weights do not fit, or the checkpoint has no feature extractor for it.
    """
    family = _family(files)
    model: Any = load_pretrained(family.model_class, files, key_mapping=family.key_mapping, padding_masks=False)
    return _with_extractor(family, files, model.to(device).eval())


def filter_bank_outline(files: EncoderFiles) -> FilterBankEncoder:
    """Create the encoder without weights (on the meta device), to get frame counts and sizes.

    Raises:
        UserError: as `load_filter_bank_encoder`.
    """
    family = _family(files)
    build = getattr(family.model_class, "from_config", None) or family.model_class._from_config
    with refusing(files, "the configuration"), torch.device("meta"):
        model = build(read_config(files))
    return _with_extractor(family, files, model)


def _family(files: EncoderFiles) -> type[FilterBankEncoder]:
    config = read_config(files)
    if getattr(config, "add_adapter", False):
        raise UserError(
            f"{files.name}: encoders with a convolutional adapter (add_adapter) are not supported. Use another encoder."
        )
    return _FAMILIES[config.model_type]


def _with_extractor(family: type[FilterBankEncoder], files: EncoderFiles, model: Any) -> FilterBankEncoder:
    with refusing(files, "the feature extractor"):
        extractor = AutoFeatureExtractor.from_pretrained(files.directory, trust_remote_code=False)
        return family(files, model.encoder if hasattr(model.config, "encoder_config") else model, extractor)
