"""Data for the benchmarks: encoders of given shapes with random weights, and utterances as long as IEMOCAP's."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import norm

from mmer_pipeline.corpora.labels import BUILT_IN
from mmer_pipeline.corpora.manifest import Manifest, read_manifest, write_manifest
from mmer_pipeline.corpora.utterances import Utterance
from mmer_pipeline.demo.encoders import tiny_speech_encoder, tiny_text_encoder
from mmer_pipeline.features.feature_file import FeatureFile, FeatureIdentity, Row
from mmer_pipeline.features.feature_writer import FeatureWriter

# The lengths of IEMOCAP's utterances: log-normal, at most 34 s.
MEDIAN_SECONDS, SIGMA, LONGEST_SECONDS = 3.5, 0.65, 34.0
TOKENS_PER_SECOND, SPECIAL_TOKENS = 3.2, 2
CHARACTERS_PER_SECOND = 12
IEMOCAP_UTTERANCES = 5531
_WORDS = ("you", "know", "that", "is", "what", "I", "said", "to", "them", "before", "anyway", "listen", "well", "no")
_EMOTIONS = ("hap", "ang", "neu", "sad")


@dataclass(frozen=True)
class Size:
    """A pair of encoders."""

    name: str
    family: str  # of the speech encoder
    speech: dict[str, Any] = field(default_factory=dict)  # fields of its configuration
    text: dict[str, Any] = field(default_factory=dict)  # fields of a RoBERTa's configuration

    def write_speech_encoder(self, directory: Path) -> Path:
        """Write the speech encoder with random weights."""
        return tiny_speech_encoder(directory / f"speech-{self.name}", self.family, **self.speech)

    def write_text_encoder(self, directory: Path) -> Path:
        """Write the text encoder with random weights and its own small tokenizer."""
        return tiny_text_encoder(directory / f"text-{self.name}", [" ".join(_WORDS)] * 2, **self.text)


def _transformer(hidden: int, layers: int, heads: int) -> dict[str, int]:
    return {
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "intermediate_size": 4 * hidden,
    }


SIZES = {
    size.name: size
    for size in (
        Size(  # wav2vec2-base and roberta-base
            "paper",
            "wav2vec2",
            {
                **_transformer(768, 12, 12),
                "conv_dim": (512,) * 7,
                "num_conv_pos_embeddings": 128,
                "num_conv_pos_embedding_groups": 16,
                "mask_time_prob": 0.05,
                "activation_dropout": 0.0,
            },
            {**_transformer(768, 12, 12), "vocab_size": 50_265, "max_position_embeddings": 514},
        ),
        Size(  # the shapes of Moonshine tiny and of MiniLM-L6
            "small",
            "moonshine",
            {
                "hidden_size": 288,
                "intermediate_size": 1152,
                "encoder_num_hidden_layers": 6,
                "encoder_num_attention_heads": 8,
            },
            {**_transformer(384, 6, 12), "vocab_size": 30_522, "max_position_embeddings": 514},
        ),
        Size("tiny", "wav2vec2"),  # to test that everything runs
    )
}


def utterance_seconds(count: int, seed: int = 0) -> np.ndarray:
    """Lengths of `count` utterances, shuffled: quantiles, so that even a few have the shape of the distribution."""
    quantiles = norm.ppf((np.arange(count) + 0.5) / count)
    seconds = np.minimum(LONGEST_SECONDS, MEDIAN_SECONDS * np.exp(SIGMA * quantiles))
    return np.random.default_rng(seed).permutation(seconds)


def token_counts(seconds: np.ndarray) -> np.ndarray:
    """Tokens of utterances of these lengths, `<s>` and `</s>` included."""
    return np.rint(TOKENS_PER_SECOND * seconds).astype(int) + SPECIAL_TOKENS


def transcript(seconds: float, generator: np.random.Generator) -> str:
    """Random words, about 12 characters per second."""
    words: list[str] = []
    while sum(map(len, words)) + len(words) < CHARACTERS_PER_SECOND * seconds:
        words.append(_WORDS[generator.integers(len(_WORDS))])
    return " ".join(words)


def synthetic_manifest(seconds: np.ndarray, directory: Path) -> Manifest:
    """A corpus in five sessions with utterances of these lengths; its recordings do not exist."""
    generator = np.random.default_rng(0)
    utterances = [
        Utterance(
            utterance_id=f"utterance-{number:06d}",
            audio=f"{number:06d}.wav",
            start_seconds=None,
            end_seconds=None,
            speaker=f"speaker-{number % 10}",
            session=f"session-{number % 5 + 1}",
            dialogue=f"dialogue-{number % 5}-{number // 50}",
            emotion=_EMOTIONS[generator.integers(len(_EMOTIONS))],
            transcript=transcript(length, generator),
        )
        for number, length in enumerate(seconds)
    ]
    path = directory / "manifest.csv"
    write_manifest(path, utterances, root=directory, corpus="csv", label_map=BUILT_IN["iemocap-4"])
    return read_manifest(path)


def synthetic_features(path: Path, kind: str, manifest: Manifest, lengths: Sequence[int], dim: int) -> FeatureFile:
    """A complete feature file of random rows."""
    generator = np.random.default_rng(1)
    identity = FeatureIdentity(kind, "made up", "", "", "", "", "float16")
    plan = [Row(u.utterance_id, "0" * 32, int(n)) for u, n in zip(manifest.utterances, lengths, strict=True)]
    with FeatureWriter(path, identity, dim, plan) as writer:
        for number, row in enumerate(plan):
            writer.write([(number, generator.standard_normal((row.length, dim), np.float32).astype(np.float16))])
        writer.finish()
    return FeatureFile(path)
