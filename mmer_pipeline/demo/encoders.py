"""Tiny encoders with untrained weights: transformers checkpoints for the demo, the tests and CI.

They have the architectures, files and frame rates of the real encoders in a small size, without a download. The same
seed gives the same weights.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from tokenizers import ByteLevelBPETokenizer
from transformers import AutoConfig, AutoModel, RobertaTokenizer, Wav2Vec2FeatureExtractor

from mmer_pipeline.demo.sentences import sample_lines

TEXT_ENCODER_DIR = "tiny-roberta"
SPEECH_ENCODER_DIR = "tiny-wav2vec2"
SPEECH_FAMILIES = ("wav2vec2", "hubert", "wavlm", "unispeech-sat", "data2vec-audio", "moonshine")
HIDDEN = 64  # hidden size of every tiny encoder
_VOCABULARY = 1_000  # the most: 256 bytes, the special tokens, and most of the demo's words as whole tokens
_SPECIAL_TOKENS = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]  # in the order of roberta-base
_TRANSFORMER = {
    "hidden_size": HIDDEN,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 4 * HIDDEN,
}


def write_tiny_encoders(directory: Path, sentences: Iterable[str] | None = None, seed: int = 0) -> tuple[Path, Path]:
    """Write the demo's text encoder and speech encoder below `directory`; return the two directories.

    The tokenizer is trained on `sentences`, by default the lines of the demo corpus. The speech encoder preserves
    loudness, which is most of what an untrained front end can use to recognise emotions: its waveforms are not
    normalised, and it has layer norm over channels, like wav2vec2-large. (The group norm of wav2vec2-base is over time
    and removes loudness.)
    """
    lines = sample_lines() if sentences is None else sentences
    text = tiny_text_encoder(directory / TEXT_ENCODER_DIR, lines, seed)
    speech = tiny_speech_encoder(
        directory / SPEECH_ENCODER_DIR,
        seed=seed,
        do_normalize=False,
        feat_extract_norm="layer",
        conv_bias=True,
    )
    return text, speech


def tiny_text_encoder(directory: Path, sentences: Iterable[str], seed: int = 0, **sizes: Any) -> Path:
    """Write a RoBERTa with its own byte-level BPE tokenizer; `sizes` replace fields of its configuration."""
    tokenizer = _byte_level_bpe(sentences)
    fields: dict[str, Any] = {
        **_TRANSFORMER,
        "vocab_size": len(tokenizer),
        "max_position_embeddings": 130,
        "type_vocab_size": 1,
        "layer_norm_eps": 1e-5,
        "bos_token_id": tokenizer.bos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }
    config = AutoConfig.for_model("roberta", **{**fields, **sizes})
    tokenizer.model_max_length = config.max_position_embeddings - config.pad_token_id - 1
    _save(config, directory, seed)
    tokenizer.save_pretrained(directory)
    return directory


def tiny_speech_encoder(
    directory: Path,
    family: str = "wav2vec2",
    seed: int = 0,
    *,
    do_normalize: bool | None = None,
    **sizes: Any,
) -> Path:
    """Write a speech encoder of one of SPEECH_FAMILIES; `sizes` replace fields of its configuration.

    Those like wav2vec2 have the real kernels and strides (50 frames per second). Moonshine's are fixed in its code
    (about 41.7 frames per second), and its checkpoint is the whole model including the decoder. By default,
    `do_normalize` (zero mean, unit variance) is True except for Moonshine.
    """
    _save(AutoConfig.for_model(family, **{**_fields(family), **sizes}), directory, seed)
    Wav2Vec2FeatureExtractor(
        sampling_rate=16_000,
        do_normalize=family != "moonshine" if do_normalize is None else do_normalize,
    ).save_pretrained(directory)
    return directory


_WAV2VEC2: dict[str, Any] = {
    **_TRANSFORMER,
    "vocab_size": 32,
    "conv_dim": (32,) * 7,
    "conv_kernel": (10, 3, 3, 3, 3, 2, 2),
    "conv_stride": (5, 2, 2, 2, 2, 2, 2),
    "feat_extract_norm": "group",
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
    "mask_time_prob": 0.0,
}
_MOONSHINE: dict[str, Any] = {
    "hidden_size": HIDDEN,
    "intermediate_size": 4 * HIDDEN,
    "encoder_num_hidden_layers": 2,
    "decoder_num_hidden_layers": 1,
    "encoder_num_attention_heads": 4,
    "decoder_num_attention_heads": 4,
    "vocab_size": 32,
    "max_position_embeddings": 512,
}


def _fields(family: str) -> dict[str, Any]:
    if family == "moonshine":
        return _MOONSHINE
    if family == "data2vec-audio":  # for it, the number of stacked convolutions
        return {**_WAV2VEC2, "num_conv_pos_embeddings": 2}
    return _WAV2VEC2


def _save(config: Any, directory: Path, seed: int) -> None:
    """Draw weights from a seed and save them, without changing the caller's random state."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # only the CPU's; torch.manual_seed also seeds the GPUs
        model = AutoModel.from_config(config)
    model.save_pretrained(directory)


def _byte_level_bpe(sentences: Iterable[str]) -> RobertaTokenizer:
    trained = ByteLevelBPETokenizer()
    trained.train_from_iterator(
        sentences,
        vocab_size=_VOCABULARY,
        min_frequency=2,
        special_tokens=_SPECIAL_TOKENS,
        show_progress=False,
    )
    model = json.loads(trained.to_str())["model"]
    merges: Any = [tuple(merge) for merge in model["merges"]]  # pairs, whatever the annotation says
    return RobertaTokenizer(vocab=model["vocab"], merges=merges)
