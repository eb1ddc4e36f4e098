"""Building a model with pretrained encoders for training, and loading it from `model/` for evaluation."""

import contextlib
import io
import pkgutil
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

from safetensors import SafetensorError
from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers.modeling_layers import GradientCheckpointingLayer

from mmer_pipeline.corpora.transcripts import Alphabet
from mmer_pipeline.errors import UserError
from mmer_pipeline.feature_registry import keyword
from mmer_pipeline.features.required_features import feature_of
from mmer_pipeline.paths import MODEL_CONFIG_NAME, WEIGHTS_NAME
from mmer_pipeline.settings import SPEECH_CONFIG, Settings
from mmer_pipeline.systems.base import EmotionModel, Parts
from mmer_pipeline.systems.registry import find_system, read_features
from mmer_pipeline.training.fold_inputs import Encoders
from mmer_pipeline.training.lora import add_lora

# Raised by constructors that get other arguments than they were saved with, and by weights that do not fit.
_DAMAGED = (OSError, RuntimeError, TypeError, ValueError, ArithmeticError, AttributeError, LookupError, SafetensorError)


def model_class(system: str) -> type[EmotionModel]:
    """The class of a system."""
    model = find_system(system).model
    found: type[EmotionModel] = pkgutil.resolve_name(model) if isinstance(model, str) else model
    return found


def build_model(
    settings: Settings, encoders: Encoders, labels: Sequence[str], alphabet: Alphabet | None
) -> EmotionModel:
    """Build a system's model with pretrained encoders.

    Raises:
        UserError: an encoder's weights cannot be loaded, the settings remove every part of the model, or they ask for
            LoRA where it is not installed or no encoder is trained.
    """
    symbols = list(alphabet.symbols) if alphabet else []
    inputs = []
    for name in read_features(settings):
        if name not in ("speech", "text"):
            feature = feature_of(name, settings)
            inputs.append({"name": keyword(name), **asdict(feature.shape(encoders.of_feature(feature)))})
    parts = Parts(
        list(labels),
        symbols,
        encoders.speech,
        encoders.text,
        spec_augment=settings.spec_augment,
        frozen_layers=settings.frozen_layers,
        frozen_inputs=inputs,
        speech_config=settings.changed(SPEECH_CONFIG),
    )
    model = model_class(settings.system).build(settings, parts)
    if settings.lora:
        add_lora(model, settings.lora)
    if settings.gradient_checkpointing:
        checkpoint_layers(model)
    return model


def checkpoint_layers(model: nn.Module) -> None:
    """Compute each trained layer of the encoders again in the backward pass, in place of keeping what it computed.

    Set in the layers themselves: the method of the whole model has another name in each version of transformers.
    """
    for layer in model.modules():
        if isinstance(layer, GradientCheckpointingLayer) and any(p.requires_grad for p in layer.parameters()):
            layer.gradient_checkpointing = True
            # The "reentrant" way gives no gradient to a layer whose input has none, as the first after frozen ones.
            layer._gradient_checkpointing_func = partial(checkpoint, use_reentrant=False)  # type: ignore[assignment]


def load_model(
    directory: Path, system: str, command: str = "mmer-pipe train", *, labels: Sequence[str] = ()
) -> EmotionModel:
    """Load a fold's `model/`, trained as this system; `command` trains it.

    `labels` are the classes that the model must have, in this order; empty: not known.

    Raises:
        UserError: there is no such directory, or its files are missing, damaged or do not fit.
    """
    if not (directory / WEIGHTS_NAME).is_file():
        found = sorted(path.name for path in directory.iterdir()) if directory.is_dir() else "no such directory"
        raise UserError(
            f"No model at {directory}: expected {MODEL_CONFIG_NAME} and {WEIGHTS_NAME}, found {found}. Run `{command}`."
        )
    try:
        # The mixin prints the location it loads from, but standard output is reserved for results.
        with contextlib.redirect_stdout(io.StringIO()):
            model = model_class(system).from_pretrained(directory, local_files_only=True, strict=True)
    except _DAMAGED as error:
        raise UserError(
            f"The model at {directory} cannot be loaded: {error}. Train the fold again: `{command} --restart`."
        ) from None
    assert isinstance(model, EmotionModel)
    if labels and list(model.labels) != list(labels):
        raise UserError(
            f"{directory / MODEL_CONFIG_NAME} has the classes {', '.join(map(str, model.labels))}, expected "
            f"{', '.join(labels)} as in training. Restore the file, or train the fold again: `{command} --restart`."
        )
    return model.eval()
