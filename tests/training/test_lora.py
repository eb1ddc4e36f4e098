"""LoRA: which parameters are trained, resuming, and saved models that need no peft."""

import sys
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from helpers.pipeline import metrics, train
from safetensors.torch import load_file

from mmer_pipeline import paths
from mmer_pipeline.demo.encoders import SPEECH_FAMILIES, tiny_speech_encoder
from mmer_pipeline.encoders.encoder_files import resolve_encoder
from mmer_pipeline.encoders.speech import load_speech_encoder
from mmer_pipeline.errors import UserError
from mmer_pipeline.systems.registry import settings_for
from mmer_pipeline.systems.titles import title
from mmer_pipeline.training.build_model import build_model
from mmer_pipeline.training.evaluation import evaluate_fold
from mmer_pipeline.training.fold_inputs import Encoders
from mmer_pipeline.training.lora import add_lora, without_lora


@pytest.fixture
def settings_of(tiny_text, tiny_speech):
    def make(system, **options):
        places = {"text_encoder": str(tiny_text), "speech_encoder": str(tiny_speech)}
        shared = {"epochs": 2, "batch_size": 4, "learning_rate": 1e-2}
        return settings_for(system, fold=1, **shared, **places, **options)

    return make


@pytest.fixture
def peft():
    return pytest.importorskip("peft")


@pytest.mark.parametrize(
    ("system", "options"), [("mmer", {}), ("roberta", {"finetune_text": True}), ("mmer", {"finetune_text": True})]
)
def test_a_run_trains_additions_alone_and_saves_weights_that_need_no_peft(
    corpus, settings_of, peft, monkeypatch, system, options
):
    settings = settings_of(system, lora=2, **options)
    assert "LoRA of rank 2" in title(asdict(settings))
    assert train(settings, corpus, keep_state=True)
    fold = paths.fold(Path("runs/mmer"), 1)
    saved, state = load_file(fold.weights), load_file(fold.checkpoint)
    plain = build_model(settings_of(system, **options), Encoders.of(settings), corpus.labels, None).state_dict()
    for encoder in ["speech."] * (system == "mmer") + ["text."] * ("finetune_text" in options):
        mine = {name for name in state if name.startswith(f"model.{encoder}")}
        assert mine
        assert all(".lora_" in name for name in mine)
        names = {name for name in saved if name.startswith(encoder)}
        assert names == {name for name in plain if name.startswith(encoder)}
        moved = {name for name in names if not torch.equal(saved[name], plain[name])}
        assert moved
        assert not [name for name in moved if "norm" in name.lower() or not name.endswith(".weight")]
    monkeypatch.setitem(sys.modules, "peft", None)
    evaluation, _ = evaluate_fold(Path("runs/mmer"), 1, cache=Path("cache"), device="cpu")
    assert evaluation["metrics"]["confusion"] == metrics()[-1]["held_out"]["confusion"]


@pytest.mark.parametrize("family", SPEECH_FAMILIES)
def test_every_addition_has_an_effect_and_the_merged_encoder_gives_the_same(family, tmp_path, peft):
    torch.manual_seed(0)
    sizes = {} if family == "moonshine" else {"layerdrop": 0.0}
    place = tiny_speech_encoder(tmp_path / family, family=family, **sizes)
    encoder = load_speech_encoder(resolve_encoder(str(place))).train()
    add_lora(encoder, 2)
    frames, mask = torch.randn(2, 30, encoder.front_dim), torch.ones(2, 30, dtype=torch.bool)
    trained = {name: p for name, p in encoder.named_parameters() if p.requires_grad}
    assert trained
    assert all(".lora_" in name for name in trained)
    encoder.context(frames, mask).square().sum().backward()
    added = [name for name, p in trained.items() if ".lora_B." in name]
    assert [name for name in added if trained[name].grad is None or not trained[name].grad.any()] == []
    for name in added:
        torch.nn.init.normal_(trained[name], std=0.1)
    encoder.eval()
    with torch.no_grad():
        merged = without_lora(encoder)
        torch.testing.assert_close(merged.context(frames, mask), encoder.context(frames, mask), atol=1e-4, rtol=1e-4)
    assert not [name for name in merged.state_dict() if "lora" in name or "base_layer" in name]
    assert [name for name in encoder.state_dict() if "lora" in name]  # it goes on training


def test_without_peft_it_is_refused(corpus, settings_of, monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(UserError, match=r"needs the package peft, .* `pip install 'mmer-pipeline\[lora\]'`"):
        train(settings_of("wav2vec2", lora=2), corpus)


def test_a_frozen_text_encoder_gets_no_additions(corpus, settings_of, peft):
    with pytest.raises(UserError, match=r"--lora 2 needs an encoder that is fine-tuned.*add --finetune-text"):
        train(settings_of("roberta", lora=2), corpus)
