"""Loading a complete transformers checkpoint, or failing with one clear message."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from safetensors import safe_open
from transformers import AutoConfig, PreTrainedModel
from transformers.utils import logging as transformers_logging

from mmer_pipeline.encoders.attention import use_padding_masks
from mmer_pipeline.encoders.encoder_files import CONFIG, EncoderFiles
from mmer_pipeline.errors import NAMED, UserError, first_few

# An ASR checkpoint may lack the SpecAugment vector; it is then initialised at random, as in transformers.
_MAY_BE_MISSING = {"masked_spec_embed"}

MOST_LAYERS = 1000  # of a stack; the largest encoders have about 100
MOST_LABELS = 100_000  # of a classifier, which is never used
_LAYERS = ("num_hidden_layers", "num_feat_extract_layers", "num_adapter_layers", "encoder_layers", "decoder_layers",
           "encoder_num_hidden_layers", "decoder_num_hidden_layers")  # fmt: skip
_SIZES = ("hidden_size", "intermediate_size", "vocab_size", "num_attention_heads", "encoder_num_attention_heads",
          "decoder_num_attention_heads", "num_conv_pos_embeddings", "num_conv_pos_embedding_groups", "conv_dim",
          "conv_kernel", "conv_stride", "mask_time_length", "mask_feature_length")  # fmt: skip
_ATTENTION = (None, "eager", "sdpa")  # transformers downloads and runs the code of others
_WEIGHT_TYPES = ("F16", "BF16", "F32", "F64")
_COUNTERS = ("position_ids", "token_type_ids", "num_batches_tracked")  # tensors that are no weights
_REASON = 300  # characters of a library's message


@contextmanager
def refusing(files: EncoderFiles, what: str) -> Iterator[None]:
    """Turn what transformers raises for files that it cannot use into a `UserError` about `what`.

    It does not check them; it may fail anywhere, with any exception. tokenizers raises `Exception` itself, and panics,
    which are none.
    """
    try:
        yield
    except UserError:
        raise
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"[:_REASON]
        raise UserError(
            f"{files.name}: {what} in {files.directory} cannot be used ({reason}). Download the model again, or use "
            "another one."
        ) from error


def read_config(files: EncoderFiles) -> Any:
    """Read the checkpoint's configuration.

    Raises:
        UserError: it cannot be read, or no model can be built from it.
    """
    facts = files.read_json(CONFIG)
    try:
        for name in ("attn_implementation", "_attn_implementation"):
            if facts.get(name) not in _ATTENTION:
                raise _wrong(name, facts[name], "eager or sdpa (other code is not run)")
        labels = facts.get("num_labels", 0)
        if not isinstance(labels, int) or labels > MOST_LABELS:
            raise _wrong("num_labels", labels, f"at most {MOST_LABELS:,}")
        with refusing(files, "the configuration"):
            config = AutoConfig.from_pretrained(files.directory, trust_remote_code=False)
        _check_values(config)
    except ValueError as error:
        raise UserError(
            f"{files.name}: the configuration in {files.directory} cannot be used: {error}. Download the model again, "
            "or use another one."
        ) from None
    return config


def config_of(values: Mapping[str, Any]) -> Any:
    """The configuration with these plain values, which `plain_values` gives.

    Raises:
        ValueError: no model can be built from it, or only one that is too large.
    """
    config = AutoConfig.for_model(**values)
    _check_values(config)
    return config


def _check_values(config: Any) -> None:
    """Check what transformers does not check.

    Raises:
        ValueError: a size or a share is out of range.
    """
    for name in _SIZES + _LAYERS:
        value = getattr(config, name, None)
        for size in value if isinstance(value, list | tuple) else [value]:
            if isinstance(size, int) and size < 1:
                raise _wrong(name, size, "at least 1")
            if name in _LAYERS and isinstance(size, int) and size > MOST_LAYERS:
                raise _wrong(name, size, f"at most {MOST_LAYERS:,}")
    for name, value in config.to_dict().items():
        is_share = "dropout" in name or name.endswith(("layerdrop", "_prob"))
        if is_share and isinstance(value, int | float) and not 0 <= value <= 1:
            raise _wrong(name, value, "a number from 0 to 1")
    if (encoder := getattr(config, "encoder_config", None)) is not None:
        _check_values(encoder)


def _wrong(name: str, value: Any, expected: str) -> ValueError:
    return ValueError(f"{name} is {repr(value)[:50]}, expected {expected}")


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
    changes: Mapping[str, Any] | None = None,
) -> PreTrainedModel:
    """Load a checkpoint in float32; weights whose names begin with one of `allow_missing` may be missing.

    `changes` are values to use in place of its configuration's. With `padding_masks` it uses those of
    `attention`; a decoder, which must not see later tokens, keeps its own.

    Raises:
        UserError: the weights cannot be read or do not fit the model.
    """
    # Also in the workers of an extraction: no progress bar, and no report on unused weights; missing ones are checked.
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    _check_weights(files)
    config = read_config(files)
    with refusing(files, "the configuration"), torch.device("meta"):
        build = getattr(loader, "from_config", None) or loader._from_config
        numbers = sum(parameter.numel() for parameter in build(config).parameters())
    size = sum(path.stat().st_size for path in files.weight_files)
    if numbers > 2 * size:  # before the memory is allocated: at least a byte each, and few may be missing
        raise UserError(
            f"{files.name}: the configuration in {files.directory} describes a model of {numbers:,} numbers, but the "
            f"weights have {size:,} bytes. One of them is damaged or of another model: download the model again."
        )
    with refusing(files, "the weights"):
        model, info = loader.from_pretrained(
            files.directory,
            dtype=torch.float32,
            local_files_only=True,
            output_loading_info=True,
            key_mapping=key_mapping,
            ignore_mismatched_sizes=True,
            weights_only=True,
            **(changes or {}),
        )
    different = sorted(key if isinstance(key, str) else str(key[0]) for key in info["mismatched_keys"])
    if different:
        raise UserError(
            f"{files.name}: the weights in {files.directory} do not have the sizes in its configuration: "
            f"{first_few(different)[:_REASON]}. Download the model again."
        )
    missing = sorted(
        key
        for key in info["missing_keys"]
        if key not in _MAY_BE_MISSING and not key.startswith(allow_missing or ("\0",))
    )
    if missing:
        more = f" and {len(missing) - NAMED} more" if len(missing) > NAMED else ""
        raise UserError(
            f"{files.name}: {files.directory} lacks weights of {type(model).__name__}: {', '.join(missing[:NAMED])}"
            f"{more}. The checkpoint is incomplete (download it again) or of another type (use another encoder)."
        )
    return use_padding_masks(model) if padding_masks else model


def _check_weights(files: EncoderFiles) -> None:
    """Check the headers of the weights: what is not a floating-point number would be converted without a word.

    Raises:
        UserError: a file is damaged, or a weight has another type.
    """
    for path in files.weight_files:
        if path.suffix != ".safetensors":
            continue
        with refusing(files, f"the weights {path.name}"), safe_open(path, framework="pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118 (no mapping)
                dtype = tensors.get_slice(name).get_dtype()
                if dtype not in _WEIGHT_TYPES and not name.endswith(_COUNTERS):
                    raise UserError(
                        f"{files.name}: {path} has the weight {name[:100]} as {dtype}, expected one of "
                        f"{', '.join(_WEIGHT_TYPES)}. Use the model's original checkpoint."
                    )
