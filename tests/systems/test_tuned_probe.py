"""Linear probing, then fine-tuning: it predicts as the probe at first, and then the encoder is trained, too."""

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from mmer_pipeline.demo.encoders import tiny_speech_encoder
from mmer_pipeline.encoders.encoder_files import resolve_encoder
from mmer_pipeline.encoders.speech import load_speech_encoder
from mmer_pipeline.systems.registry import settings_for
from mmer_pipeline.systems.tuned_probe import TunedProbe

LABELS = ["happy", "angry", "neutral", "sad"]


@pytest.fixture
def model(tmp_path: Path) -> TunedProbe:
    torch.manual_seed(0)
    encoder = resolve_encoder(str(tiny_speech_encoder(tmp_path, "wav2vec2")), None)
    return TunedProbe(load_speech_encoder(encoder), labels=LABELS)


def utterances(model: TunedProbe) -> tuple[Tensor, Tensor, np.ndarray, list[str]]:
    """48 utterances of 8 speakers: frames and mask, classes that can be heard, speakers."""
    torch.manual_seed(1)
    truth = np.arange(48) % 4
    frames = torch.randn(48, 20, model.speech.row_dim)
    frames[:, :, 0] += 2 * torch.tensor(truth)[:, None]
    mask = torch.arange(20) < torch.randint(8, 21, (48, 1))
    return frames, mask, truth, [f"speaker {number % 8}" for number in range(48)]


def test_before_training_it_predicts_as_logistic_regression_on_statistics_of_all_layers(model: TunedProbe) -> None:
    frames, mask, truth, groups = utterances(model)
    batches = [{"frames": frames[part], "frame_mask": mask[part]} for part in (slice(0, 20), slice(20, 48))]
    model.prepare(batches, truth, groups, settings_for("lp-ft", fold=1))
    rows = []
    with torch.no_grad():
        for row in range(48):  # alone, without padding
            real = mask[row]
            states = model.speech.hidden_states(frames[row, real][None], real[real][None])
            rows.append(torch.cat([torch.cat([s[0].mean(0), s[0].std(0, correction=0)]) for s in states]))
        found = model.eval()(frames, mask).logits.softmax(-1)
    x = StandardScaler().fit_transform(torch.stack(rows).double().numpy())
    fits = [LogisticRegression(C=c, max_iter=1000).fit(x, truth).predict_proba(x) for c in (1e-4, 1e-3, 1e-2, 1e-1, 1)]
    nearest = min(np.abs(fit - found.numpy()).max() for fit in fits)
    assert nearest < 5e-3


def test_the_encoder_and_the_linear_layer_are_trained_after_it(model: TunedProbe) -> None:
    frames, mask, truth, groups = utterances(model)
    model.prepare([{"frames": frames, "frame_mask": mask}], truth, groups, settings_for("lp-ft", fold=1))
    model.train()
    mask[0, 1:] = False  # a single frame, whose standard deviation is 0
    loss = torch.nn.functional.cross_entropy(model(frames, mask).logits, torch.tensor(truth))
    loss.backward()
    trained = {name: p.grad for name, p in model.named_parameters() if p.requires_grad}
    assert all(grad is None or bool(grad.isfinite().all()) for grad in trained.values())
    moved = {name for name, grad in trained.items() if grad is not None and bool(grad.any())}
    assert "probe.emotion_head.weight" in moved
    assert any(name.startswith("speech.") for name in moved)
