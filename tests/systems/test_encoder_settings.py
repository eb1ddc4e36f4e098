"""Settings of the encoders: regularisation that is not the checkpoint's."""

from pathlib import Path

import pytest
import torch
from helpers.pipeline import train
from torch import nn

from mmer_pipeline import paths
from mmer_pipeline.demo.encoders import SPEECH_FAMILIES, tiny_speech_encoder
from mmer_pipeline.encoders.encoder_files import resolve_encoder
from mmer_pipeline.encoders.speech import load_speech_encoder
from mmer_pipeline.errors import UserError
from mmer_pipeline.systems.registry import settings_for
from mmer_pipeline.training.build_model import checkpoint_layers, load_model


def encoder_of(directory, **changes):
    torch.manual_seed(0)
    return load_speech_encoder(resolve_encoder(str(directory)), changes=changes)


def rates(module):
    return {inner.p for inner in module.modules() if isinstance(inner, nn.Dropout)}


def test_dropout_has_the_rate_of_the_setting_or_of_the_checkpoint(tiny_speech):
    checkpoint, changed = encoder_of(tiny_speech), encoder_of(tiny_speech, speech_dropout=0.35)
    assert rates(changed.encoder.encoder) | rates(changed.encoder.feature_projection) == {0.35}
    assert 0.35 not in rates(checkpoint)
    assert changed.encoder.encoder.layers[0].attention.dropout == 0.35
    same = {name: torch.equal(value, checkpoint.state_dict()[name]) for name, value in changed.state_dict().items()}
    assert all(same.values())


def test_spec_augment_masks_the_share_of_the_setting(tiny_speech):
    frames, mask = torch.randn(2, 60, 32), torch.ones(2, 60, dtype=torch.bool)
    without = {"mask_time_prob": 0.0, "mask_feature_prob": 0.0, "layerdrop": 0.0, "speech_dropout": 0.0}

    def trained(**changes):
        encoder = encoder_of(tiny_speech, **{**without, **changes}).train()
        return [encoder.context(frames, mask) for _ in range(2)]

    first, second = trained()
    assert torch.equal(first, second)
    for name in ("mask_time_prob", "mask_feature_prob", "layerdrop"):
        first, second = trained(**{name: 0.5})
        assert not torch.equal(first, second), name


def test_a_run_is_evaluated_with_the_settings_of_its_encoder(corpus, tiny_text, tiny_speech):
    places = {"text_encoder": str(tiny_text), "speech_encoder": str(tiny_speech)}
    changes = {"mask_time_prob": 0.3, "layerdrop": 0.2, "speech_dropout": 0.15}
    settings = settings_for("wav2vec2", fold=1, epochs=1, **places, **changes)
    assert settings.identity().keys() >= changes.keys()
    assert train(settings, corpus)
    config = load_model(paths.fold(Path("runs/mmer"), 1).model, "wav2vec2").speech.config
    assert (config["mask_time_prob"], config["layerdrop"], config["hidden_dropout"]) == (0.3, 0.2, 0.15)


def test_an_encoder_without_such_a_setting_and_one_that_masks_nothing_are_refused(tmp_path):
    moonshine = tiny_speech_encoder(tmp_path / "moonshine", family="moonshine")
    with pytest.raises(UserError, match="encoders of type moonshine have no setting for --mask-time-prob"):
        encoder_of(moonshine, mask_time_prob=0.1)
    assert encoder_of(moonshine, speech_dropout=0.2).config["attention_dropout"] == 0.2
    with pytest.raises(UserError, match="--no-spec-augment masks nothing, but --mask-time-prob is given"):
        settings_for("wav2vec2", fold=1, spec_augment=False, mask_time_prob=0.1)
    assert settings_for("roberta", fold=1, mask_time_prob=0.1, layerdrop=0.1).changed(["mask_time_prob"]) == {}


@pytest.mark.parametrize("family", SPEECH_FAMILIES)
def test_gradient_checkpointing_computes_layers_again_and_gives_the_same_gradients(family, tmp_path):
    encoder = load_speech_encoder(resolve_encoder(str(tiny_speech_encoder(tmp_path / family, family=family)))).train()
    frames, mask = torch.randn(2, 60, encoder.front_dim), torch.arange(60) < torch.tensor([60, 33])[:, None]
    found, calls = [], []
    for inside in encoder.layers.modules():
        if isinstance(inside, nn.LayerNorm):
            inside.register_forward_pre_hook(lambda *_: calls.append(1))
    for _ in range(2):
        torch.manual_seed(3)
        encoder.zero_grad()
        calls.clear()
        encoder.context(frames, mask).square().sum().backward()
        found.append([None if p.grad is None else p.grad.clone() for p in encoder.parameters()])
        found.append(len(calls))
        checkpoint_layers(encoder)
    plain, once, again, twice = found
    assert twice == 2 * once > 0
    for one, other in zip(plain, again, strict=True):
        assert (one is None and other is None) or torch.equal(one, other)
