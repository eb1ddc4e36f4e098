"""Encoders: a hub id or a local directory → frozen text encoder, and speech encoder in two parts.

The speech encoder's `frontend` (convolutions, frozen, cacheable) and `context` (transformer, trained) are
cut where the paper cuts (section 3.2.1: the convolutions stay frozen).

Shape letters: B batch, S samples, J frames, M tokens, d hidden size. Masks: True is a real position.
"""

import math
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, AutoTokenizer, PreTrainedModel
from transformers.utils import logging as transformers_logging

from mmer_pipeline.audio import SAMPLE_RATE
from mmer_pipeline.encoder_files import EncoderFiles
from mmer_pipeline.errors import UserError

WAV2VEC2_FAMILY = ("wav2vec2", "hubert", "wavlm", "unispeech-sat", "data2vec-audio")
MOONSHINE = "moonshine"
# An ASR checkpoint may lack the SpecAugment vector; it is drawn anew then, as transformers does.
_MAY_BE_MISSING = {"masked_spec_embed"}
_NORMALISE_EPSILON = 1e-7  # of transformers' Wav2Vec2FeatureExtractor


class SpeechEncoder(nn.Module):
    """A wav2vec2-like or Moonshine encoder as `frontend` and `context`.

    Built from a plain configuration (`transformers` config as a dict), so that a saved model can be rebuilt
    without the checkpoint that it was trained from.

    Raises:
        UserError: a model type that is neither of the wav2vec2 family nor Moonshine.
    """

    def __init__(self, config: Mapping[str, Any], *, zero_mean_unit_variance: bool) -> None:
        super().__init__()
        self.encoder = _empty_speech_model(config)
        self.zero_mean_unit_variance = zero_mean_unit_variance
        self.is_moonshine = config["model_type"] == MOONSHINE
        self.frontend_modules().requires_grad_(False)

    def frontend_modules(self) -> nn.ModuleList:
        """The frozen modules, for counting and freezing."""
        if self.is_moonshine:
            model = self.encoder
            return nn.ModuleList([model.conv1, model.groupnorm, model.conv2, model.conv3])
        return nn.ModuleList([self.encoder.feature_extractor])

    @property
    def kernels_and_strides(self) -> list[tuple[int, int]]:
        """Kernel and stride, in samples of each layer's input, of every convolution of the front end."""
        convolutions = [module for module in self.frontend_modules().modules() if isinstance(module, nn.Conv1d)]
        return [(int(conv.kernel_size[0]), int(conv.stride[0])) for conv in convolutions]

    @property
    def samples_per_frame(self) -> int:
        """Samples between two frames (320 for wav2vec2-base, 384 for Moonshine)."""
        return math.prod(stride for _, stride in self.kernels_and_strides)

    @property
    def frame_rate(self) -> float:
        """Frames a second (50 for wav2vec2-base)."""
        return SAMPLE_RATE / self.samples_per_frame

    @property
    def receptive_field_samples(self) -> int:
        """Samples that the first frame sees: the shortest waveform that gives a frame."""
        field = 1
        for kernel, stride in reversed(self.kernels_and_strides):
            field = (field - 1) * stride + kernel
        return field

    @property
    def front_dim(self) -> int:
        """Size of a front-end frame (512 for wav2vec2-base)."""
        if self.is_moonshine:
            return int(self.encoder.conv3.out_channels)
        return int(self.encoder.config.conv_dim[-1])

    @property
    def hidden_size(self) -> int:
        """d, size of a context frame."""
        return int(self.encoder.config.hidden_size)

    @property
    def attention_heads(self) -> int:
        """Attention heads of the transformer (12 for d = 768)."""
        config = self.encoder.config
        return int(config.encoder_num_attention_heads if self.is_moonshine else config.num_attention_heads)

    def frames_of(self, samples: int) -> int:
        """J for a waveform of `samples` samples."""
        for kernel, stride in self.kernels_and_strides:
            samples = max(0, (samples - kernel) // stride + 1)
        return samples

    def normalise(self, waveform: np.ndarray) -> np.ndarray:
        """The waveform `[S]` as the front end expects it: zero mean and unit variance where it was trained so."""
        if not self.zero_mean_unit_variance:
            return waveform
        centred = waveform - waveform.mean()
        return np.asarray(centred / np.sqrt(centred.var() + _NORMALISE_EPSILON), dtype=np.float32)

    def frontend(self, waveforms: Tensor) -> Tensor:
        """Waveforms of one length `[B, S]` → frames `[B, J, front_dim]`.

        Only utterances of exactly one length share a batch: the first convolution of wav2vec2-base is
        normalised over time, so that padding would change every value.
        """
        model: Any = self.encoder
        hidden: Tensor
        if self.is_moonshine:
            hidden = model.groupnorm(torch.tanh(model.conv1(waveforms.unsqueeze(1))))  # [B, d, S / 64]
            hidden = nn.functional.gelu(model.conv2(hidden))  # [B, 2d, S / 192]
            hidden = nn.functional.gelu(model.conv3(hidden))  # [B, d, J]
        else:
            hidden = model.feature_extractor(waveforms)  # [B, front_dim, J]
        return hidden.transpose(1, 2)  # [B, J, front_dim]

    @torch.inference_mode()
    def frontend_arrays(self, waveforms: np.ndarray) -> np.ndarray:
        """As `frontend` for normalised waveforms `[B, S]`, from array to array, on the encoder's device."""
        device = next(self.parameters()).device
        return np.asarray(self.frontend(torch.from_numpy(waveforms).to(device)).float().cpu().numpy())

    def context(self, frames: Tensor, mask: Tensor) -> Tensor:
        """Front-end frames `[B, J, front_dim]` and their mask `[B, J]` → hidden states `[B, J, d]`."""
        model: Any = self.encoder
        if self.is_moonshine:
            return self._moonshine_context(frames, mask)
        projected = model.feature_projection(frames)
        hidden = projected[0] if isinstance(projected, tuple) else projected  # [B, J, d]
        if hidden.shape[1] > model.config.mask_time_length:  # SpecAugment needs more frames than its span
            hidden = model._mask_hidden_states(hidden, attention_mask=mask)
        with ExitStack() as hooks:
            # Data2VecAudio stacks convolutions with biases and norms for its positions: what one layer makes
            # of the padding would leak into the real frames of the next. (The others have one convolution.)
            for layer in getattr(model.encoder.pos_conv_embed, "layers", ()):
                hooks.enter_context(layer.register_forward_hook(lambda _layer, _inputs, out: out * mask[:, None, :]))
            hidden_states: Tensor = model.encoder(hidden, attention_mask=mask).last_hidden_state
        return hidden_states  # [B, J, d]

    def _moonshine_context(self, frames: Tensor, mask: Tensor) -> Tensor:
        model = self.encoder
        positions = torch.arange(frames.shape[1], device=frames.device).unsqueeze(0)  # [1, J]
        rotary = model.rotary_emb(frames, position_ids=positions)
        attention_mask = mask[:, None, None, :]  # [B, 1, 1, J], True is attended to
        hidden = frames
        for layer in model.layers:
            hidden = layer(hidden, attention_mask=attention_mask, position_ids=positions, position_embeddings=rotary)
        normed: Tensor = model.layer_norm(hidden)
        return normed  # [B, J, d]


def _empty_speech_model(config: Mapping[str, Any]) -> PreTrainedModel:
    _check_supported(config, "This")
    if config["model_type"] == MOONSHINE:
        from transformers.models.moonshine.modeling_moonshine import MoonshineEncoder

        return MoonshineEncoder._from_config(AutoConfig.for_model(**config))
    return AutoModel.from_config(AutoConfig.for_model(**config))


def _check_supported(config: Mapping[str, Any], name: str) -> None:
    if config.get("model_type") not in (*WAV2VEC2_FAMILY, MOONSHINE):
        raise UserError(
            f"{name} is a model of type {config.get('model_type')!r}, which is no speech encoder that is supported. "
            f"Supported: {', '.join((*WAV2VEC2_FAMILY, MOONSHINE))}."
        )
    if config.get("add_adapter"):
        raise UserError(f"{name} has a convolutional adapter behind its encoder (add_adapter): it is not supported.")


def load_speech_encoder(files: EncoderFiles) -> SpeechEncoder:
    """Load a speech encoder in float32 with its checkpoint's weights.

    Raises:
        UserError: an unsupported type, or weights that do not fit it.
    """
    from transformers.models.moonshine.modeling_moonshine import MoonshineEncoder

    config = speech_config(files)
    encoder = SpeechEncoder(config, zero_mean_unit_variance=files.normalises)
    is_moonshine = config["model_type"] == MOONSHINE
    loader = MoonshineEncoder if is_moonshine else AutoModel
    # A Moonshine checkpoint holds encoder and decoder; the encoder alone has no prefix.
    mapping = {r"^(model\.)?encoder\.": ""} if is_moonshine else None
    encoder.encoder = _load(loader, files, key_mapping=mapping)
    encoder.frontend_modules().requires_grad_(False)
    return encoder


def speech_outline(files: EncoderFiles) -> SpeechEncoder:
    """The encoder's shape without its weights: for frame counts and sizes."""
    with torch.device("meta"):
        return SpeechEncoder(speech_config(files), zero_mean_unit_variance=files.normalises)


def speech_config(files: EncoderFiles) -> dict[str, Any]:
    """The checkpoint's `transformers` configuration as plain values, enough for `SpeechEncoder`.

    Raises:
        UserError: a configuration that cannot be read, or of an unsupported type.
    """
    config: dict[str, Any] = _config(files).to_diff_dict()
    _check_supported(config, files.name)
    for key in ("architectures", "transformers_version", "_name_or_path", "dtype", "torch_dtype"):
        config.pop(key, None)
    return config


class TextTokenizer:
    """The text encoder's tokenizer and what it takes, without its weights.

    Raises:
        UserError: the checkpoint has no fast tokenizer, or is a speech encoder's.
    """

    def __init__(self, files: EncoderFiles) -> None:
        config = _config(files)
        if config.model_type in (*WAV2VEC2_FAMILY, MOONSHINE):
            raise UserError(f"{files.name} is a speech encoder ({config.model_type}) and has no tokenizer for text.")
        if config.is_encoder_decoder:
            raise UserError(f"{files.name} ({config.model_type}) is encoder and decoder; an encoder alone is needed.")
        try:
            self.tokenizer = AutoTokenizer.from_pretrained(files.directory, trust_remote_code=False)
        except (OSError, ValueError) as error:
            raise UserError(f"{files.name}: no tokenizer can be loaded from {files.directory}: {error}") from None
        if not self.tokenizer.is_fast:
            raise UserError(f"{files.name}: its tokenizer is not a fast one (tokenizer.json is missing).")
        vocabularies = sorted(set(self.tokenizer.vocab_files_names.values()))
        if not any((files.directory / name).is_file() for name in vocabularies):
            # transformers makes a tokenizer without a vocabulary of it, and every word an unknown one.
            raise UserError(
                f"{files.name}: {files.directory} has no tokenizer: expected {' or '.join(vocabularies)} in it."
            )
        self.dim = int(config.hidden_size)
        self.max_tokens = _max_tokens(config, self.tokenizer)

    def __call__(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text with the special tokens, cut at what the encoder takes."""
        if not texts:
            return []
        ids: list[list[int]] = self.tokenizer(list(texts), truncation=True, max_length=self.max_tokens)["input_ids"]
        return ids


def _max_tokens(config: Any, tokenizer: Any) -> int:
    """Tokens that the model has positions for (RoBERTa's positions start behind the padding index)."""
    positions = int(getattr(config, "max_position_embeddings", 512))
    if config.model_type in ("roberta", "xlm-roberta", "camembert"):
        positions -= int(config.pad_token_id) + 1
    return min(positions, int(tokenizer.model_max_length))


class TextEncoder:
    """A frozen text encoder: token ids → last hidden state (paper, section 3.2.2)."""

    def __init__(self, files: EncoderFiles, device: torch.device) -> None:
        self.model = _load(AutoModel, files, allow_missing=("pooler.",)).to(device).eval()
        self.device = device

    @torch.inference_mode()
    def encode(self, token_ids: Sequence[Sequence[int]]) -> list[np.ndarray]:
        """Last hidden states, one float32 array `[M, d_t]` a text; the batch is padded and masked."""
        longest = max(len(ids) for ids in token_ids)
        padding = self.model.config.pad_token_id or 0
        ids = torch.full((len(token_ids), longest), padding, dtype=torch.long)
        mask = torch.zeros(len(token_ids), longest, dtype=torch.long)
        for row, tokens in enumerate(token_ids):
            ids[row, : len(tokens)] = torch.tensor(tokens)
            mask[row, : len(tokens)] = 1
        hidden = self.model(input_ids=ids.to(self.device), attention_mask=mask.to(self.device)).last_hidden_state
        values = hidden.float().cpu().numpy()  # [B, M, d_t]
        return [values[row, : len(tokens)] for row, tokens in enumerate(token_ids)]


def _config(files: EncoderFiles) -> Any:
    try:
        return AutoConfig.from_pretrained(files.directory, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise UserError(f"{files.name}: the configuration in {files.directory} cannot be used: {error}") from None


def _load(
    loader: Any,
    files: EncoderFiles,
    *,
    allow_missing: tuple[str, ...] = (),
    key_mapping: dict[str, str] | None = None,
) -> PreTrainedModel:
    transformers_logging.disable_progress_bar()  # of its weights: here, and in the workers of an extraction
    try:
        model, info = loader.from_pretrained(
            files.directory,
            dtype=torch.float32,
            local_files_only=True,
            output_loading_info=True,
            key_mapping=key_mapping,
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(f"{files.name}: the weights in {files.directory} cannot be loaded: {error}") from None
    except (SafetensorError, UnpicklingError, EOFError) as error:
        raise UserError(
            f"{files.name}: a weight file in {files.directory} cannot be loaded, it is damaged or cut "
            f"({type(error).__name__}). Copy or download it again."
        ) from None
    missing = sorted(
        key
        for key in info["missing_keys"]
        if key not in _MAY_BE_MISSING and not key.startswith(allow_missing or ("\0",))
    )
    if missing:
        raise UserError(
            f"{files.name}: {files.directory} lacks weights of {type(model).__name__}: {', '.join(missing[:5])}"
            f"{f' and {len(missing) - 5} more' if len(missing) > 5 else ''}. "
            "It is a checkpoint of another kind, or incomplete."
        )
    return model
