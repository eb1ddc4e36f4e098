"""Speech encoders in two parts, a frozen front end and a trained context network.

`frontend` (convolutions, frozen, cacheable) and `context` (transformer, trained) are split where the paper splits them
(section 3.2.1: the convolutions stay frozen).

Shape letters: B batch, S samples, J frames, d hidden size. Masks: True is a real position.
"""

import math
from collections.abc import Mapping
from contextlib import ExitStack
from functools import cached_property
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AutoModel, PreTrainedModel

from mmer_pipeline.audio import SAMPLE_RATE
from mmer_pipeline.encoders import attention
from mmer_pipeline.encoders.encoder_files import FILTER_BANK_TYPES, EncoderFiles
from mmer_pipeline.encoders.lower_layers import LowerLayers, moonshine_layers, wav2vec2_layers
from mmer_pipeline.encoders.pretrained import config_of, load_pretrained, plain_config, read_config, refusing
from mmer_pipeline.encoders.spec_augment import spec_augment
from mmer_pipeline.errors import UserError
from mmer_pipeline.settings import SPEECH_CONFIG

WAV2VEC2_FAMILY = ("wav2vec2", "hubert", "wavlm", "unispeech-sat", "data2vec-audio")
MOONSHINE = "moonshine"
_NORMALISE_EPSILON = 1e-7  # as in transformers' Wav2Vec2FeatureExtractor


class SpeechEncoder(nn.Module):
    """A wav2vec2-like or Moonshine encoder, split into `frontend` and `context`.

    `load_speech_encoder` creates it from a checkpoint, `from_dict` from a plain configuration.
    """

    def __init__(
        self,
        encoder: PreTrainedModel,
        config: Mapping[str, Any],
        *,
        zero_mean_unit_variance: bool,
        frozen_layers: int = 0,
    ) -> None:
        """`config` is the transformers configuration of `encoder` as plain values.

        Raises:
            UserError: it has fewer than `frozen_layers` layers.
        """
        super().__init__()
        self.encoder, self.config = encoder, dict(config)
        self.zero_mean_unit_variance = zero_mean_unit_variance
        self.is_moonshine = config["model_type"] == MOONSHINE
        self.frontend_modules().requires_grad_(False)
        self.frozen_layers = frozen_layers
        self.lower: LowerLayers | None = None
        if frozen_layers:
            self.lower = LowerLayers(encoder, frozen_layers, is_moonshine=self.is_moonshine)

    @staticmethod
    def from_dict(facts: Mapping[str, Any]) -> "SpeechEncoder":
        """Create an encoder with random weights from `as_dict`'s values, so that a saved model needs no checkpoint.

        Raises:
            UserError: the model type is neither in the wav2vec2 family nor Moonshine.
            ValueError: as `pretrained.config_of`.
        """
        normalises = bool(facts["zero_mean_unit_variance"])
        encoder, frozen_layers = _untrained_speech_model(facts["config"]), facts.get("frozen_layers", 0)
        return SpeechEncoder(encoder, facts["config"], zero_mean_unit_variance=normalises, frozen_layers=frozen_layers)

    def as_dict(self) -> dict[str, Any]:
        """Plain values from which `from_dict` creates the encoder."""
        frozen = {"frozen_layers": self.frozen_layers} if self.frozen_layers else {}
        return {"config": self.config, "zero_mean_unit_variance": self.zero_mean_unit_variance, **frozen}

    def train(self, mode: bool = True) -> Self:
        """Switch to training; batch norms (HuBERT's `conv_pos_batch_norm`) keep their pretrained statistics.

        Those of a batch would count its padding, and depend on how a step is split into micro-batches.
        """
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm1d):
                module.eval()
        return self

    def frontend_modules(self) -> nn.ModuleList:
        """The modules of the front end, which are frozen."""
        model: Any = self.encoder
        if self.is_moonshine:
            return nn.ModuleList([model.conv1, model.groupnorm, model.conv2, model.conv3])
        return nn.ModuleList([model.feature_extractor])

    @property
    def layers(self) -> nn.ModuleList:
        """The layers of the transformer that can be trained."""
        model: Any = self.encoder
        found: nn.ModuleList = model.layers if self.is_moonshine else model.encoder.layers
        return found

    @cached_property
    def kernels_and_strides(self) -> list[tuple[int, int]]:
        """Kernel size and stride of every convolution of the front end, in samples of that layer's input."""
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
        """Samples that one frame depends on, and so the length of the shortest waveform that yields a frame."""
        field = 1
        for kernel, stride in reversed(self.kernels_and_strides):
            field = (field - 1) * stride + kernel
        return field

    @property
    def front_dim(self) -> int:
        """Size of a front-end frame (512 for wav2vec2-base)."""
        model: Any = self.encoder
        return int(model.conv3.out_channels if self.is_moonshine else model.config.conv_dim[-1])

    @property
    def row_dim(self) -> int:
        """Size of a row that `context` reads: a front-end frame, or a state between frozen and trained layers."""
        return self.hidden_size if self.frozen_layers else self.front_dim

    @property
    def hidden_size(self) -> int:
        """d, the size of a context frame."""
        return int(self.encoder.config.hidden_size)

    @property
    def attention_heads(self) -> int:
        """Attention heads of the transformer (12 for d = 768)."""
        config = self.encoder.config
        return int(config.encoder_num_attention_heads if self.is_moonshine else config.num_attention_heads)

    def frame_count(self, samples: int) -> int:
        """J, the number of frames, for a waveform of `samples` samples."""
        for kernel, stride in self.kernels_and_strides:
            samples = max(0, (samples - kernel) // stride + 1)
        return samples

    def normalise(self, waveform: np.ndarray) -> np.ndarray:
        """Scale a waveform `[S]` to zero mean and unit variance if the encoder was trained that way."""
        if not self.zero_mean_unit_variance:
            return waveform
        centred = waveform - waveform.mean()
        return np.asarray(centred / np.sqrt(centred.var() + _NORMALISE_EPSILON), dtype=np.float32)

    def frontend(self, waveforms: Tensor) -> Tensor:
        """Waveforms of equal length `[B, S]` → frames `[B, J, front_dim]`.

        Only utterances of exactly the same length can share a batch: the first convolution of wav2vec2-base is
        normalised over time, so padding would change every value.
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

    def rows(self, waveforms: Tensor) -> Tensor:
        """Waveforms of equal length `[B, S]` → what `context` reads, `[B, J, row_dim]`: of the front end, or, with
        `frozen_layers`, of the last of these.
        """
        frames = self.frontend(waveforms)
        if self.lower is None:
            return frames
        states: Tensor = self.lower(frames, torch.ones(frames.shape[:2], dtype=torch.bool, device=frames.device))
        return states

    @torch.inference_mode()
    def row_arrays(self, waveforms: np.ndarray) -> np.ndarray:
        """Run `rows` on an array of normalised waveforms `[B, S]`; returns an array `[B, J, row_dim]`."""
        device = next(self.parameters()).device
        return np.asarray(self.rows(torch.from_numpy(waveforms).to(device)).float().cpu().numpy())

    def context(self, frames: Tensor, mask: Tensor) -> Tensor:
        """The output of `rows`, `[B, J, row_dim]`, and the mask of real frames `[B, J]` → hidden states `[B, J, d]`."""
        model: Any = self.encoder
        if self.is_moonshine:
            return self._moonshine_context(frames, mask)
        projected = model.feature_projection(frames)
        hidden = projected[0] if isinstance(projected, tuple) else projected  # [B, J, d]
        if self.training:
            hidden = spec_augment(hidden, mask, model.config, getattr(model, "masked_spec_embed", None))
        return wav2vec2_layers(model.encoder, hidden, mask)

    def hidden_states(self, frames: Tensor, mask: Tensor) -> list[Tensor]:
        """The input of the first layer and the output of each: as `context`, number of layers + 1 of `[B, J, d]`.

        These are the `hidden_states` of transformers, except that the last is always the output of `context`:
        transformers 5 leaves out the last norm of wav2vec2's large form (`do_stable_layer_norm`). A layer that
        LayerDrop leaves out outputs its input.
        """
        states: dict[int, Tensor] = {0: frames}

        def keep(number: int) -> Any:
            def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
                states[number] = output[0] if isinstance(output, tuple) else output

            return hook

        with ExitStack() as hooks:
            if not self.is_moonshine:  # dropout is the last step before the layers
                model: Any = self.encoder
                hooks.enter_context(model.encoder.dropout.register_forward_hook(keep(0)))
            for number, layer in enumerate(self.layers, 1):
                hooks.enter_context(layer.register_forward_hook(keep(number)))
            last = self.context(frames, mask)
        for number in range(1, len(self.layers)):
            states.setdefault(number, states[number - 1])
        states[len(self.layers)] = last
        return [states[number] for number in range(len(self.layers) + 1)]

    def _moonshine_context(self, frames: Tensor, mask: Tensor) -> Tensor:
        model: Any = self.encoder
        hidden = moonshine_layers(model.layers, model.rotary_emb, frames, mask)
        normed: Tensor = model.layer_norm(hidden)
        return normed  # [B, J, d]


def _untrained_speech_model(config: Mapping[str, Any]) -> PreTrainedModel:
    _check_supported(config, "This encoder")
    if config["model_type"] == MOONSHINE:
        from transformers.models.moonshine.modeling_moonshine import MoonshineEncoder

        moonshine: PreTrainedModel = MoonshineEncoder._from_config(config_of(config))
        return moonshine
    return attention.use_padding_masks(AutoModel.from_config(config_of(config)))


def _check_supported(config: Mapping[str, Any], name: str) -> None:
    model_type, trained = config.get("model_type"), ", ".join((*WAV2VEC2_FAMILY, MOONSHINE))
    if model_type in FILTER_BANK_TYPES:
        raise UserError(
            f"{name}: an encoder of model type {model_type} can be read frozen, but not trained. Use a system on its "
            f"hidden states (`--system superb` or `--system probe`), or an encoder of one of these types: {trained}."
        )
    if model_type not in (*WAV2VEC2_FAMILY, MOONSHINE):
        raise UserError(
            f"{name}: model type {model_type} is not a supported speech encoder. Supported: {trained}; frozen, in "
            f"`--system superb` or `--system probe`, also {', '.join(FILTER_BANK_TYPES)}."
        )
    if config.get("add_adapter"):
        raise UserError(
            f"{name}: encoders with a convolutional adapter (add_adapter) are not supported. Use another encoder."
        )


def load_speech_encoder(
    files: EncoderFiles,
    *,
    spec_augment: bool = True,
    frozen_layers: int = 0,
    changes: Mapping[str, float] | None = None,
) -> SpeechEncoder:
    """Load a speech encoder in float32 with its pretrained weights.

    Without `spec_augment`, SpecAugment is turned off, whatever the checkpoint's configuration says; `changes` are
    settings (`SPEECH_CONFIG`) to use in place of that configuration's. The first `frozen_layers` layers are not
    trained.

    Raises:
        UserError: its type is not supported or lacks what is changed, its weights do not fit, or it has fewer layers.
    """
    from transformers.models.moonshine.modeling_moonshine import MoonshineEncoder

    config = speech_config(files)
    is_moonshine = config["model_type"] == MOONSHINE
    loader = MoonshineEncoder if is_moonshine else AutoModel
    # A Moonshine checkpoint contains an encoder and a decoder; the encoder class expects names without a prefix.
    mapping = {r"^(model\.)?encoder\.": ""} if is_moonshine else None
    changed = _changed_config(files, changes or {})
    config |= changed
    encoder = load_pretrained(loader, files, key_mapping=mapping, changes=changed)
    if not (spec_augment or is_moonshine):  # Moonshine has none
        config["apply_spec_augment"] = encoder.config.apply_spec_augment = False
    return SpeechEncoder(encoder, config, zero_mean_unit_variance=files.normalises, frozen_layers=frozen_layers)


def _changed_config(files: EncoderFiles, changes: Mapping[str, float]) -> dict[str, Any]:
    """The values of a checkpoint's configuration that these settings change.

    Raises:
        UserError: an encoder of this type has none of the values that a setting changes.
    """
    config, changed = read_config(files), dict[str, Any]()
    for setting, value in changes.items():
        names = [name for name in SPEECH_CONFIG[setting] if hasattr(config, name)]
        if not names:
            option = f"--{setting.replace('_', '-')}"
            raise UserError(
                f"{files.name}: encoders of type {config.model_type} have no setting for {option}. Leave it out, or "
                "use another speech encoder."
            )
        changed |= dict.fromkeys(names, value)
    if changes.keys() & {"mask_time_prob", "mask_feature_prob"}:
        changed["apply_spec_augment"] = True
    return changed


def speech_outline(files: EncoderFiles) -> SpeechEncoder:
    """Create the encoder without weights (on the meta device), to get frame counts and sizes."""
    facts = {"config": speech_config(files), "zero_mean_unit_variance": files.normalises}
    with refusing(files, "the configuration"), torch.device("meta"):
        return SpeechEncoder.from_dict(facts)


def speech_config(files: EncoderFiles) -> dict[str, Any]:
    """Read the checkpoint's transformers configuration as plain values, enough for `SpeechEncoder`.

    Raises:
        UserError: it cannot be read, or its model type is not supported.
    """
    config = plain_config(files)
    _check_supported(config, files.name)
    return config
