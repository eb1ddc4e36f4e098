"""Lower layers that are frozen: with those above they are the whole encoder, and stored they give the same training."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.pipeline import extract_for, metrics, quick_settings, train

from mmer_pipeline.corpora.manifest import Manifest
from mmer_pipeline.demo.encoders import tiny_speech_encoder
from mmer_pipeline.encoders.encoder_files import resolve_encoder
from mmer_pipeline.encoders.speech import SpeechEncoder, load_speech_encoder
from mmer_pipeline.errors import UserError
from mmer_pipeline.settings import Settings
from mmer_pipeline.training.build_model import load_model
from mmer_pipeline.training.evaluation import evaluate_fold

STABLE: dict[str, Any] = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}
VARIANTS = [
    ("wav2vec2", {}), ("wav2vec2", STABLE), ("hubert", {}), ("wavlm", {}), ("wavlm", STABLE), ("unispeech-sat", {}),
    ("data2vec-audio", {}), ("moonshine", {}),
]  # fmt: skip
NAMES = [f"{family}-{'stable' if sizes else 'plain'}" for family, sizes in VARIANTS]


def waveforms() -> list[torch.Tensor]:
    generator = np.random.default_rng(0)
    return [torch.from_numpy(generator.normal(0, 0.1, (1, samples)).astype(np.float32)) for samples in (16_000, 9_000)]


@pytest.mark.parametrize(("family", "sizes"), VARIANTS, ids=NAMES)
@pytest.mark.parametrize("count", [1, 2])
def test_frozen_and_trained_layers_are_together_the_whole_encoder(
    family: str, sizes: dict[str, Any], count: int, tmp_path: Path
) -> None:
    files = resolve_encoder(str(tiny_speech_encoder(tmp_path / "encoder", family, seed=1, **sizes)))
    whole, divided = load_speech_encoder(files).eval(), load_speech_encoder(files, frozen_layers=count).eval()
    rows = [divided.rows(waveform)[0] for waveform in waveforms()]
    padded = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
    mask = torch.arange(padded.shape[1]) < torch.tensor([len(row) for row in rows])[:, None]
    assert padded.shape[-1] == divided.row_dim == divided.hidden_size
    found = divided.context(padded, mask)
    for row, waveform in enumerate(waveforms()):
        frames = whole.rows(waveform)
        expected = whole.context(frames, torch.ones(frames.shape[:2], dtype=torch.bool))[0]
        torch.testing.assert_close(found[row, : len(expected)], expected, atol=1e-5, rtol=1e-5)
    trained = [name for name, parameter in divided.named_parameters() if parameter.requires_grad]
    assert not [name for name in trained if name.startswith("lower.")]
    again = SpeechEncoder.from_dict(divided.as_dict())
    again.load_state_dict(divided.state_dict())
    torch.testing.assert_close(again.eval().context(padded, mask), found)


def test_frozen_layers_stay_in_evaluation_mode_and_get_no_gradient(tmp_path: Path) -> None:
    files = resolve_encoder(str(tiny_speech_encoder(tmp_path / "encoder")))
    encoder = load_speech_encoder(files, frozen_layers=1).train()
    assert encoder.lower is not None
    assert not any(module.training for module in encoder.lower.modules())
    rows = encoder.rows(waveforms()[0])
    encoder.context(rows, torch.ones(rows.shape[:2], dtype=torch.bool)).sum().backward()
    assert all(parameter.grad is None for parameter in encoder.lower.parameters())
    assert all(parameter.grad is not None for parameter in encoder.layers.parameters())


def test_more_layers_than_there_are_are_refused(tmp_path: Path) -> None:
    files = resolve_encoder(str(tiny_speech_encoder(tmp_path / "encoder")))
    with pytest.raises(UserError, match="--frozen-layers 9: the speech encoder has 2 layers"):
        load_speech_encoder(files, frozen_layers=9)


@pytest.fixture
def settings(tiny_text: Path, tiny_speech: Path) -> Settings:
    return replace(quick_settings(tiny_text, tiny_speech), frozen_layers=1, dtype="float32")


def test_training_on_stored_states_has_the_losses_of_computing_them(manifest: Manifest, settings: Settings) -> None:
    losses = []
    for stored in (True, False):
        changed = replace(settings, speech_features=stored)
        extract_for(changed, manifest)
        train(changed, manifest, run=Path("runs") / f"stored-{stored}")
        losses.append([line["train"]["loss"] for line in metrics(f"runs/stored-{stored}")])
    assert list(Path("cache/features/manifest").glob("speech-tiny-speech-lower-1-float32.h5"))
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)


def test_a_model_with_frozen_layers_is_evaluated_from_its_saved_weights(manifest: Manifest, settings: Settings) -> None:
    extract_for(settings, manifest)
    train(settings, manifest)
    model = load_model(Path("runs/mmer/fold-1/model"), "mmer")
    assert model.speech.frozen_layers == 1
    evaluation, _ = evaluate_fold(Path("runs/mmer"), 1, cache=Path("cache"), device="cpu")
    assert evaluation["metrics"]["confusion"] == metrics()[-1]["held_out"]["confusion"]
