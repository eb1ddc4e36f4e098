"""The common base of all systems: the model's interface, its parts and output, pooling, and the CTC loss.

Shape letters: B batch, J speech frames, N positions, d hidden size, C classes, V symbols of the CTC alphabet. Masks:
True is a real position.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
import torch
from huggingface_hub import ModelCard, PyTorchModelHubMixin
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel

from mmer_pipeline.encoders.encoder_files import EncoderFiles
from mmer_pipeline.encoders.pretrained import read_config
from mmer_pipeline.encoders.speech import SpeechEncoder, load_speech_encoder
from mmer_pipeline.encoders.text import load_text_model, text_facts, untrained_text_model
from mmer_pipeline.errors import UserError
from mmer_pipeline.names import in_markdown
from mmer_pipeline.paths import MODEL_CONFIG_NAME, WEIGHTS_NAME
from mmer_pipeline.settings import Settings

_CARD = """\
---
library_name: mmer-pipeline
tags: [speech-emotion-recognition]
---
# {name}

Classifies the emotion of an utterance: {labels}. One of the systems of the MMER experiments (Ghosh, Srivastava, Umesh,
arXiv 2203.16794). Load it with `{module}.{name}.from_pretrained`.

`settings.json`, next to the directory that this model was saved to, describes the corpus, the held-out part, the
encoders, the settings and the versions; `evaluation.json` contains the scores. To use it on recordings or hand it on,
run `mmer-pipe pack`.
"""
CrossEntropy = Callable[[Tensor, Tensor], Tensor]  # logits [B, C] and classes [B] → the sum over utterances
# How an encoder that is passed to a constructor is written to config.json; `_from_pretrained` reads it.
_CODERS = {
    SpeechEncoder: (SpeechEncoder.as_dict, lambda facts: facts),
    PreTrainedModel: (text_facts, lambda facts: facts),
}


@dataclass(frozen=True)
class FrozenInput:
    """A frozen feature that a model reads: see `features.feature.Shape`."""

    name: str  # the argument of `forward`; that of its mask is `{name}_mask`
    axis: str  # what the rows of an utterance are: "time", "layers", or a single one, a "vector"
    dim: int  # size of a row
    layers: int = 0  # number of rows if they are layers
    statistics: Sequence[str] = ()  # what the equal parts of a row are

    @property
    def part(self) -> int:
        """Size of a part of a row."""
        return self.dim // max(1, len(self.statistics))


@dataclass(frozen=True)
class Parts:
    """The parts from which a system can be built."""

    labels: list[str]  # the classes, in the order of the logits
    alphabet: list[str]  # the CTC symbols, in the order of the logits, the blank first; empty: no CTC head
    speech: EncoderFiles | None  # None: the system reads no speech
    text: EncoderFiles | None  # None: the system reads no text
    spec_augment: bool = True  # False: the speech encoder is loaded without SpecAugment
    frozen_layers: int = 0  # of the speech encoder
    # The frozen features that it reads besides, as plain values of `FrozenInput`.
    frozen_inputs: list[dict[str, Any]] = field(default_factory=list)
    # Settings of the speech encoder (`settings.SPEECH_CONFIG`) that differ from its checkpoint's configuration.
    speech_config: dict[str, float] = field(default_factory=dict)

    def speech_encoder(self) -> SpeechEncoder:
        """Load the speech encoder with its pretrained weights."""
        assert self.speech is not None, "the system's entry in the registry does not list speech in `reads`"
        return load_speech_encoder(
            self.speech,
            spec_augment=self.spec_augment,
            frozen_layers=self.frozen_layers,
            changes=self.speech_config,
        )

    def text_encoder(self, *, pooler: bool = False) -> PreTrainedModel:
        """Load the text encoder with its pretrained weights, for fine-tuning, with its pooler or without."""
        assert self.text is not None, "the system's entry in the registry does not list text in `reads`"
        return load_text_model(self.text, pooler=pooler)

    @property
    def text_dim(self) -> int:
        """d_t, the size of a token's features."""
        assert self.text is not None, "the system's entry in the registry does not list text in `reads`"
        return int(read_config(self.text).hidden_size)


@dataclass(frozen=True)
class Output:
    """The outputs of the heads."""

    logits: Tensor  # [B, C] emotions, before the softmax of eq. 3
    ctc_logits: Tensor | None  # [B, J, V] characters, before the softmax of eq. 5; None without a CTC head
    gate: Tensor | None = None  # [B] mean of the acoustic gate (eq. 2) over words and channels; None without one
    # What `emotion_loss` reads besides, such as the logits of two branches. Normalised log-probabilities serve as
    # logits where a system computes probabilities: a softmax does not change them.
    others: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class View:
    """How a model combined words and speech, for explanations."""

    gate: Tensor | None  # [B, M] mean over channels of the acoustic gate of each word; None without a gate
    attention: Tensor  # [B, M, J] attention of each word to the frames, mean over heads; each row adds up to 1


class EmotionModel(nn.Module, PyTorchModelHubMixin):
    """The interface of every system.

    `build` constructs it for training. `forward` takes the inputs that the system reads as keyword arguments (frames,
    frame_mask, tokens, token_mask; of other features their names, speech_layers and speech_layers_mask) and returns an
    `Output`. A system that reads speech stores its encoder as `speech`.

    `save_pretrained` and `from_pretrained` come from huggingface_hub. The constructor's arguments, which are plain
    values and encoders, are saved as `config.json`, so that a saved model needs no other configuration.
    """

    labels: list[str]  # the classes, in the order of the logits
    alphabet: list[str]  # the CTC symbols, in the order of the logits; empty without a CTC head
    # False: the utterances of a step depend on each other, as with batch norm, so that it is not split into
    # micro-batches; among several processes it is, and the first one's buffers are kept.
    splits_steps: ClassVar[bool] = True

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(coders=_CODERS, **options)

    @classmethod
    def build(cls, settings: Settings, parts: Parts) -> Self:
        """Construct the system for training, with pretrained encoders."""
        raise NotImplementedError

    def prepare(
        self,
        batches: Iterable[Mapping[str, Tensor]],
        truth: npt.NDArray[np.int64],
        groups: Sequence[str],
        settings: Settings,
    ) -> None:
        """Learn from the training part before the first step; most systems do not.

        `batches` are the inputs of `forward`, on the model's device; `truth` are the classes `[n]` of the utterances in
        the same order, `groups` their speakers.
        """

    def emotion_loss(self, output: Output, classes: Tensor, cross_entropy: CrossEntropy) -> Tensor:
        """The emotion loss, a sum over the utterances of a batch, whose classes are `[B]`: the cross-entropy.

        `cross_entropy` weights classes and smooths labels as the settings say.
        """
        return cross_entropy(output.logits, classes)

    def summaries(self, features: Mapping[str, Tensor]) -> list[Tensor]:
        """For a system that is fitted at once: what `fit` gets of a batch, from the inputs of `forward`."""
        raise NotImplementedError

    def fit(
        self,
        summaries: Sequence[npt.NDArray[Any]],
        truth: npt.NDArray[Any],
        groups: Sequence[str],
        settings: Settings,
    ) -> dict[str, Any]:
        """For a system that is fitted at once (`System.is_fitted`): train on the summaries of the training part.

        `truth` are the classes `[n]`, `groups` the speakers. Returns facts for metrics.jsonl.
        """
        raise NotImplementedError

    def push_to_hub(self, *_: Any, **__: Any) -> str:
        """Refuse: the weights alone do not say which text encoder, tokenizer and transcripts they need.

        Raises:
            UserError: always; it names the command that uploads a complete model.
        """
        raise UserError(
            "These weights are only a part of a model. Upload all of it with `mmer-pipe pack RUN --push-to-hub ID`."
        )

    def view(self, *_: Any, **__: Any) -> View | None:
        """How the model combines words and speech, from the inputs of `forward`; None if it does not combine them."""
        return None

    @classmethod
    def _from_pretrained(cls, *, config: dict[str, Any], **options: Any) -> Self:  # type: ignore[override]
        """Load a saved model; version 0.1 saved its encoders' configurations as separate arguments.

        Raises:
            ValueError: no encoder can be built from its configuration, or only one that is larger than the weights.
        """
        if "speech_config" in config:
            options["speech"] = {
                "config": config["speech_config"],
                "zero_mean_unit_variance": config["zero_mean_unit_variance"],
            }
        if "text_config" in config:
            options["text"] = config["text_config"]
        weights = Path(str(options["model_id"])) / WEIGHTS_NAME
        most = weights.stat().st_size if weights.is_file() else None
        options = {name: _untrained_encoder(value, most) for name, value in options.items()}
        loaded: Self = super()._from_pretrained(**options)
        return loaded

    def generate_model_card(self, *_: Any, **__: Any) -> ModelCard:
        """Create the README.md of a saved model."""
        name = type(self).__name__
        return ModelCard(
            _CARD.format(name=name, module=type(self).__module__, labels=", ".join(map(in_markdown, self.labels)))
        )


def _untrained_encoder(value: Any, most: int | None) -> Any:
    """An encoder with random weights if the value describes one, otherwise the value.

    It may have as many numbers as its weights have bytes, `most`, which is found out before its memory is allocated.
    """
    build: Callable[[Any], nn.Module]
    if isinstance(value, dict) and value.keys() - {"frozen_layers"} == {"config", "zero_mean_unit_variance"}:
        build = SpeechEncoder.from_dict
    elif isinstance(value, dict) and "model_type" in value:
        build = untrained_text_model
    else:
        return value
    if most is not None:
        with torch.device("meta"):
            numbers = sum(parameter.numel() for parameter in build(value).parameters())
        if numbers > most:
            described = f"{MODEL_CONFIG_NAME} describes an encoder of {numbers:,} numbers"
            raise ValueError(f"{described}, but {WEIGHTS_NAME} has {most:,} bytes")
    return build(value)


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean over real positions: values `[B, N, d]`, mask `[B, N]` → `[B, d]` (mp in eq. 3)."""
    weights = mask.unsqueeze(-1).to(values.dtype)  # [B, N, 1]
    return (values * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1)


def ctc_losses(
    ctc_logits: Tensor, symbols: Tensor, *, frame_counts: Sequence[int], symbol_counts: Sequence[int]
) -> Tensor:
    """−ln p(t|a) of each utterance, summed over its frames (eq. 6): `[B]`, in float32.

    The blank is symbol 0. An utterance without a target gets 0. The counts are on the host, so that they need not be
    read from the device; torch's GPU kernel copies them to the device, for which the host waits once.

    Args:
        ctc_logits: `[B, J, V]`.
        symbols: the targets of all utterances, concatenated `[sum of symbol_counts]`.
        frame_counts: number of real frames of each utterance.
        symbol_counts: number of symbols of each utterance.
    """
    log_probabilities = functional.log_softmax(ctc_logits.float(), dim=-1).transpose(0, 1)  # [J, B, V]
    losses = functional.ctc_loss(
        log_probabilities,
        symbols,
        torch.tensor(frame_counts),
        torch.tensor(symbol_counts),
        blank=0,
        reduction="none",
        zero_infinity=True,
    )  # [B]
    if all(symbol_counts):
        return losses
    return torch.stack([loss if count else 0 * loss for loss, count in zip(losses, symbol_counts, strict=True)])
