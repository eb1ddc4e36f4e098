"""Models: built with pretrained encoders for training, loaded from `model/` for evaluation."""

import contextlib
import inspect
import io
import pkgutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from mmer_pipeline.corpora.transcripts import Alphabet
from mmer_pipeline.encoders.pretrained import plain_config, read_config
from mmer_pipeline.encoders.speech import load_speech_encoder, speech_config
from mmer_pipeline.encoders.text import load_text_model
from mmer_pipeline.errors import UserError
from mmer_pipeline.paths import WEIGHTS_NAME
from mmer_pipeline.settings import Settings
from mmer_pipeline.systems.base import EmotionModel
from mmer_pipeline.systems.registry import find_system
from mmer_pipeline.training.fold_inputs import Encoders


def model_class(system: str) -> type[EmotionModel]:
    """The class of a system."""
    model = find_system(system).model
    found: type[EmotionModel] = pkgutil.resolve_name(model) if isinstance(model, str) else model
    return found


def build_model(
    settings: Settings, encoders: Encoders, labels: Sequence[str], alphabet: Alphabet | None
) -> EmotionModel:
    """A system's model with its encoders' pretrained weights.

    Its constructor is given what it names: a setting of the run, or one of the values below.
    """
    kind = model_class(settings.system)
    values: dict[str, Any] = {
        **asdict(settings),
        "labels": list(labels),
        "alphabet": list(alphabet.symbols) if alphabet else [],
    }
    if encoders.speech:
        values["speech_config"] = speech_config(encoders.speech)
        values["zero_mean_unit_variance"] = encoders.speech.normalises
    if encoders.text:
        values["text_dim"] = int(read_config(encoders.text).hidden_size)
        values["text_config"] = plain_config(encoders.text) if settings.finetune_text else None
    wanted = list(inspect.signature(kind.__init__).parameters.items())[1:]  # without self
    required = {name for name, parameter in wanted if parameter.default is parameter.empty}
    model = kind(**{name: values[name] for name, _ in wanted if name in values or name in required})
    if encoders.speech:
        model.speech = load_speech_encoder(encoders.speech)
    if encoders.text and settings.finetune_text:
        model.text = load_text_model(encoders.text)
    return model


def load_model(directory: Path, system: str) -> EmotionModel:
    """Load `model/` of a fold that was trained as this system.

    Raises:
        UserError: no such directory, no weights in it, or weights that do not fit.
    """
    if not (directory / WEIGHTS_NAME).is_file():
        found = sorted(path.name for path in directory.iterdir()) if directory.is_dir() else "no such directory"
        raise UserError(
            f"No model at {directory}: expected config.json and {WEIGHTS_NAME}, found {found}. "
            "Run `mmer-pipe train` for this fold."
        )
    try:
        # The mixin prints where it loads from; standard output is for results.
        with contextlib.redirect_stdout(io.StringIO()):
            model = model_class(system).from_pretrained(directory, local_files_only=True, strict=True)
    except (OSError, RuntimeError, TypeError, ValueError, SafetensorError) as error:
        raise UserError(f"The model at {directory} cannot be loaded: {error}. Train the fold again.") from None
    assert isinstance(model, EmotionModel)
    return model.eval()
