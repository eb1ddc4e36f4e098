"""Tiny speech encoders of filter banks with untrained weights, as checkpoints."""

from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModel,
    ParakeetFeatureExtractor,
    SeamlessM4TFeatureExtractor,
    SequenceFeatureExtractor,
    WhisperFeatureExtractor,
)

WINDOW = 16_000  # samples of a window of the tiny Whisper: one second in place of 30

_CONFIGS: dict[str, dict[str, Any]] = {
    "whisper": {
        "d_model": 16, "encoder_layers": 2, "decoder_layers": 1, "encoder_attention_heads": 2,
        "decoder_attention_heads": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "vocab_size": 32,
        "max_source_positions": 50, "max_target_positions": 8, "num_mel_bins": 80,
        "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1,
    },
    "wav2vec2-bert": {
        "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32,
        "feature_projection_input_dim": 160, "conv_depthwise_kernel_size": 5,
    },
    "parakeet_encoder": {
        "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32,
        "subsampling_conv_channels": 4, "num_mel_bins": 80,
    },
}  # fmt: skip
_DECODER = {"vocab_size": 32, "pad_token_id": 31, "blank_token_id": 31, "decoder_hidden_size": 8}


def filter_bank_encoder(directory: Path, model_type: str, **changes: Any) -> Path:
    """Write a whole checkpoint, with its feature extractor; `changes` replace fields of its configuration."""
    fields = _CONFIGS.get(model_type) or {"encoder_config": _CONFIGS["parakeet_encoder"], **_DECODER}
    config = AutoConfig.for_model(model_type, **{**fields, **changes})
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model: Any = AutoModel.from_config(config)
        for parameter in model.parameters():
            parameter.data.normal_(0, 0.2)
    model.save_pretrained(directory)
    feature_extractor(model_type).save_pretrained(directory)
    return directory


def feature_extractor(model_type: str) -> SequenceFeatureExtractor:
    """The feature extractor of such a checkpoint."""
    if model_type == "whisper":
        return WhisperFeatureExtractor(chunk_length=WINDOW // 16_000)
    return (
        SeamlessM4TFeatureExtractor(padding_value=1.0) if model_type == "wav2vec2-bert" else ParakeetFeatureExtractor()
    )
