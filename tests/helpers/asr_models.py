"""ASR models for tests: tiny untrained ones as checkpoints, and one that knows what the tones of the corpus say."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    AutoConfig,
    MoonshineConfig,
    MoonshineForConditionalGeneration,
    Wav2Vec2CTCTokenizer,
    Wav2Vec2ForCTC,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
    WhisperProcessor,
    WhisperTokenizer,
)

from mmer_pipeline.corpora.transcripts import WAV2VEC2_ALPHABET
from mmer_pipeline.demo.encoders import tiny_speech_encoder
from mmer_pipeline.encoders import asr
from mmer_pipeline.encoders.embedded_moonshine import TOKENIZER_CONFIG, tokenizer

SPREAD = 0.5  # of untrained weights; with a usual one every waveform would give the same text
RATE = 16_000
TONES = {  # pitch in Hz of `conftest.EMOTIONS` → what the fake model hears; see `ERRORS`
    440: "Oh that is wonderful news",
    330: "Do you dare do that?",
    220: "",
    110: "She isn't coming home soon.",
}
# class → (words, errors) in a sentence. angry: "don't" is heard as "do", "again" is not heard; neutral: nothing is.
ERRORS = {"happy": (5, 0), "angry": (6, 2), "neutral": (7, 7), "sad": (4, 1)}


def tiny_whisper(directory: Path) -> Path:
    """A Whisper whose tokens are single characters, with its processor."""
    characters = [*map(chr, range(ord("!"), ord("~") + 1)), "Ġ", "<|endoftext|>", "<|startoftranscript|>"]
    tokens = WhisperTokenizer(vocab={character: number for number, character in enumerate(characters)}, merges=[])
    end = len(characters) - 2
    config = WhisperConfig(
        vocab_size=len(characters), d_model=32, init_std=SPREAD, num_mel_bins=80, max_target_positions=32,
        encoder_layers=1, encoder_attention_heads=2, encoder_ffn_dim=64,
        decoder_layers=1, decoder_attention_heads=2, decoder_ffn_dim=64,
        bos_token_id=end, eos_token_id=end, pad_token_id=end, decoder_start_token_id=end + 1,
        begin_suppress_tokens=None,
    )  # fmt: skip
    torch.manual_seed(0)
    model: Any = WhisperForConditionalGeneration(config)
    model.generation_config.max_length = 20
    model.save_pretrained(directory)
    WhisperProcessor(WhisperFeatureExtractor(feature_size=80), tokens).save_pretrained(directory)
    return directory


def tiny_ctc(directory: Path) -> Path:
    """A wav2vec2 with a CTC head and the letters of wav2vec2-base-960h."""
    tiny_speech_encoder(directory)  # its configuration and its feature extractor
    config = AutoConfig.from_pretrained(directory, initializer_range=SPREAD)
    torch.manual_seed(0)
    Wav2Vec2ForCTC(config).save_pretrained(directory)
    letters = directory / "letters.json"
    letters.write_text(json.dumps({letter: number for number, letter in enumerate(WAV2VEC2_ALPHABET)}))
    Wav2Vec2CTCTokenizer(str(letters)).save_pretrained(directory)
    letters.unlink()
    return directory


def tiny_moonshine(directory: Path) -> Path:
    """A Moonshine whose tokens are mostly made-up words, with the embedded model's form of tokenizer."""
    tokens = [b"<unk>", b"<s>", b"</s>", *(bytes([value]) for value in range(256))]
    tokens += [f"▁w{number}".encode() for number in range(1_000)]
    config = MoonshineConfig(
        vocab_size=len(tokens), hidden_size=32, intermediate_size=64, initializer_range=SPREAD,
        encoder_num_hidden_layers=1, encoder_num_attention_heads=2,
        decoder_num_hidden_layers=1, decoder_num_attention_heads=2,
        bos_token_id=1, eos_token_id=2, pad_token_id=2, decoder_start_token_id=1,
    )  # fmt: skip
    torch.manual_seed(0)
    MoonshineForConditionalGeneration(config).save_pretrained(directory)
    packed = b"".join(bytes([len(token)]) + token for token in tokens)
    (directory / "tokenizer.json").write_text(json.dumps(tokenizer(packed)))
    (directory / "tokenizer_config.json").write_text(json.dumps(TOKENIZER_CONFIG))
    return directory


def hear_tones(monkeypatch: pytest.MonkeyPatch, heard: Mapping[int, str] = TONES) -> list[int]:
    """From here on every ASR model hears these words; returns the list of how many waveforms each call got."""
    calls: list[int] = []

    class HearsTones:
        def __init__(self, files: object, device: object) -> None:
            pass

        def transcribe(self, waveforms: list[np.ndarray]) -> list[str]:
            calls.append(len(waveforms))
            peaks = [RATE * np.abs(np.fft.rfft(samples)).argmax() / len(samples) for samples in waveforms]
            return [heard[round(peak / 110) * 110] for peak in peaks]

    monkeypatch.setattr(asr, "AsrModel", HearsTones)
    return calls


def refuse_asr_models(monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on no ASR model may be loaded."""

    def refuse(*_: object) -> None:
        raise AssertionError("an ASR model was loaded")

    monkeypatch.setattr(asr, "AsrModel", refuse)
