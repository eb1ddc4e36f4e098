"""Tiny encoders with untrained weights: real transformers checkpoints for the demo, the tests and CI.

Their architectures, files and frame rates are those of the encoders that the pipeline is for; only the sizes
are small, and nothing is downloaded. The same seed gives the same weights.
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
HIDDEN = 64  # of every encoder here
_VOCABULARY = 1_000  # at most: 256 bytes, the special tokens, and most of the demo's words whole
_SPECIAL_TOKENS = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]  # in the order of roberta-base's ids
_TRANSFORMER = {
    "hidden_size": HIDDEN,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 4 * HIDDEN,
}


def write_tiny_encoders(directory: Path, sentences: Iterable[str] | None = None, seed: int = 0) -> tuple[Path, Path]:
    """Write the demo's text encoder and speech encoder below `directory`; return the two directories.

    The tokenizer is trained on `sentences`, or on the demo corpus's own lines. The speech encoder hears how
    loud an utterance is: its waveforms are not normalised, and its layer norms are over channels, as those
    of wav2vec2-large are. (wav2vec2-base's group norm is over time and takes loudness out, which is most of
    what an untrained front end can tell emotions by.)
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
    """Write a RoBERTa with a byte-level BPE tokenizer of its own.

    `sizes` replace fields of its configuration.
    """
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

    The wav2vec2-like ones keep the real kernels and strides (50 frames a second); Moonshine's are fixed in
    its code (about 41.7 frames a second), and its checkpoint is the whole model, decoder included.
    `do_normalize` (zero mean, unit variance) is true for the wav2vec2-like ones unless it is given.
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
    if family == "data2vec-audio":  # its positional embedding is a stack of so many convolutions
        return {**_WAV2VEC2, "num_conv_pos_embeddings": 2}
    return _WAV2VEC2


def _save(config: Any, directory: Path, seed: int) -> None:
    """Draw the weights of a seed and save them; the caller's random state stays as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # the CPU's alone; torch.manual_seed reaches the GPUs too
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
