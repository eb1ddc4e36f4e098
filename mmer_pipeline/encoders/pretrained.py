"""Loading a complete transformers checkpoint, or failing with one clear message."""

from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoConfig, PreTrainedModel
from transformers.utils import logging as transformers_logging

from mmer_pipeline.encoders.attention import use_padding_masks
from mmer_pipeline.encoders.encoder_files import EncoderFiles
from mmer_pipeline.errors import UserError

# An ASR checkpoint may lack the SpecAugment vector; it is then initialised at random, as in transformers.
_MAY_BE_MISSING = {"masked_spec_embed"}


def read_config(files: EncoderFiles) -> Any:
    """Read the checkpoint's configuration.

    Raises:
        UserError: it cannot be read.
    """
    try:
        return AutoConfig.from_pretrained(files.directory, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise UserError(f"{files.name}: the configuration in {files.directory} cannot be used: {error}") from None


def plain_config(files: EncoderFiles) -> dict[str, Any]:
    """Read the checkpoint's configuration as plain values, enough to build an untrained model of the same shape.

    Raises:
        UserError: it cannot be read.
    """
    return plain_values(read_config(files))


def plain_values(config: Any) -> dict[str, Any]:
    """The plain values of a configuration, without those that describe one checkpoint or library version."""
    values: dict[str, Any] = config.to_diff_dict()
    for key in ("architectures", "transformers_version", "_name_or_path", "dtype", "torch_dtype"):
        values.pop(key, None)
    return values


def load_pretrained(
    loader: Any,
    files: EncoderFiles,
    *,
    allow_missing: tuple[str, ...] = (),
    key_mapping: dict[str, str] | None = None,
    padding_masks: bool = True,
) -> PreTrainedModel:
    """Load a checkpoint in float32; weights whose names begin with one of `allow_missing` may be missing.

    With `padding_masks` it uses those of `attention`; a decoder, which must not see later tokens, keeps its own.

    Raises:
        UserError: the weights cannot be read or do not fit the model.
    """
    # Also in the workers of an extraction: no progress bar, and no report on unused weights; missing ones are checked.
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
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
            f"{files.name}: a weight file in {files.directory} cannot be loaded because it is damaged or truncated "
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
            f"{f' and {len(missing) - 5} more' if len(missing) > 5 else ''}. The checkpoint is incomplete (download "
            "it again) or of another type (use another encoder)."
        )
    return use_padding_masks(model) if padding_masks else model
