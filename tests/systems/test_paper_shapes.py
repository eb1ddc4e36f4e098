"""The paper's shapes: wav2vec2-base and roberta-base with random weights, through every stage."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from helpers.command_line import succeed
from transformers import AutoConfig, AutoModel

from mmer_pipeline import paths
from mmer_pipeline.features.feature_file import FeatureFile
from mmer_pipeline.features.speech_features import Frames
from mmer_pipeline.features.text_features import Tokens
from mmer_pipeline.training.build_model import load_model

pytestmark = [pytest.mark.real, pytest.mark.slow]


@pytest.fixture
def encoders(shared, tmp_path):
    """Checkpoints of exactly the paper's architectures; the tokenizer is the true one."""
    configs = shared / "models" / "configs"
    directories = {name: tmp_path / name for name in ("roberta-base", "wav2vec2-base")}
    for name, directory in directories.items():
        torch.manual_seed(0)
        AutoModel.from_config(AutoConfig.from_pretrained(configs / name)).save_pretrained(directory)
    for file in (shared / "models" / "roberta-base-tokenizer").iterdir():
        shutil.copy(file, directories["roberta-base"])
    text, speech = directories.values()
    return ["--text-encoder", str(text), "--speech-encoder", str(speech)]


def test_extract_one_training_step_and_evaluate_with_the_papers_shapes(tmp_path, tiny_corpus, encoders):
    """About 60 s and 5 GiB: 16 utterances, two optimiser steps."""
    corpus = tiny_corpus(tmp_path)
    arguments = ["extract", *encoders, "train", *encoders, "--fold", "1", "--epochs", "1", "evaluate", "--fold", "1"]
    succeed(*arguments)

    text = FeatureFile(Tokens("text", encoders[1], None, "float16").path(Path("cache"), corpus.path))
    speech = FeatureFile(Frames("speech", encoders[3], None, "float16").path(Path("cache"), corpus.path))
    assert (text.dim, speech.dim) == (768, 512)
    model = load_model(paths.fold(Path("runs/mmer"), 1).model, "mmer")
    sizes = {name: sum(p.numel() for p in part.parameters()) for name, part in model.named_children()}
    assert {name: size for name, size in sizes.items() if size or name == "text_projection"} == {
        "speech": 94_371_712,
        "text_projection": 0,
        "mmi": 23_624_448,
        "emotion_head": 6_148,
        "ctc_head": 24_608,
    }
    frames = torch.from_numpy(speech.at(0).copy()).float()[None]  # [1, J, 512]
    tokens = torch.from_numpy(text.at(0).copy()).float()[None]  # [1, M, 768]
    with torch.no_grad():
        output = model(
            frames,
            torch.ones(1, frames.shape[1], dtype=torch.bool),
            tokens,
            torch.ones(1, tokens.shape[1], dtype=torch.bool),
        )
    assert output.logits.shape == (1, 4)
    assert output.ctc_logits.shape == (1, frames.shape[1], 32)
    evaluation = json.loads(paths.fold(Path("runs/mmer"), 1).evaluation.read_text())
    assert evaluation["metrics"]["utterances"] == 8
