"""Parameter groups, frozen encoders, the emotion loss's weights and the measured gradient norms."""

import numpy as np
import pytest
import torch
from helpers.optimisers import optimisers
from sklearn.utils.class_weight import compute_class_weight

from mmer_pipeline.training.checkpoint import GradientNorms
from mmer_pipeline.training.parameter_groups import new_parameters, parameter_groups
from mmer_pipeline.training.step import balanced_weights

make = pytest.fixture(optimisers)


def peaks(made):
    """The peak learning rate of each trained parameter, by its name."""
    names = {parameter: name for name, parameter in made.model.named_parameters()}
    return {names[p]: group["peak"] for group in made.rule.param_groups for p in group["params"]}


def test_without_settings_every_trained_parameter_is_in_one_group(make):
    made = make()
    (group,) = parameter_groups(made.model, made.settings)
    assert set(group["params"]) == set(made.trained)
    assert (group["lr"], group["weight_decay"]) == (1e-5, 0.01)


def test_heads_and_mmi_have_their_own_learning_rate(make):
    found = peaks(make(learning_rate=1e-4, head_learning_rate=1e-3, finetune_text=True))
    for name, rate in found.items():
        assert rate == (1e-4 if name.startswith(("speech.", "text.")) else 1e-3), name
    assert {name.partition(".")[0] for name in found} >= {"speech", "text", "mmi", "emotion_head", "ctc_head"}


@pytest.mark.parametrize("family", ["wav2vec2", "moonshine"])
def test_the_learning_rate_decays_from_layer_to_layer(make, tmp_path, family):
    from mmer_pipeline.demo.encoders import tiny_speech_encoder

    made = make(speech=tiny_speech_encoder(tmp_path / family, family), learning_rate=1e-3, layer_decay=0.5)
    encoder = made.model.speech.encoder
    layers = encoder.layers if family == "moonshine" else encoder.encoder.layers
    rate = {p: group["peak"] for group in made.rule.param_groups for p in group["params"]}
    for depth, layer in enumerate(reversed(layers)):
        assert [rate[p] for p in layer.parameters()] == pytest.approx([1e-3 * 0.5**depth] * len([*layer.parameters()]))
    below = peaks(made)
    if family == "wav2vec2":  # what precedes the layers: one step further down
        assert below["speech.encoder.feature_projection.projection.weight"] == pytest.approx(1e-3 * 0.5 ** len(layers))
    else:  # Moonshine's last norm follows its layers
        assert below["speech.encoder.layer_norm.weight"] == pytest.approx(1e-3)
    assert below["emotion_head.weight"] == 1e-3


def test_each_encoder_of_a_system_counts_its_own_layers(make):
    made = make(learning_rate=1e-3, layer_decay=0.5, finetune_text=True)
    found, layers = peaks(made), len(made.model.text.encoder.layer)
    for depth in range(layers):
        rate = found[f"text.encoder.layer.{layers - 1 - depth}.output.dense.weight"]
        assert rate == pytest.approx(1e-3 * 0.5**depth)
    assert found["text.embeddings.word_embeddings.weight"] == pytest.approx(1e-3 * 0.5**layers)
    assert found["speech.encoder.encoder.layers.0.layer_norm.weight"] == pytest.approx(
        1e-3 * 0.5 ** (len(made.model.speech.encoder.encoder.layers) - 1)
    )


def test_the_last_norm_of_the_large_form_follows_its_layers(make, tmp_path):
    """It is registered before the layers, and would have the lowest rate of all."""
    from mmer_pipeline.demo.encoders import tiny_speech_encoder

    large = tiny_speech_encoder(tmp_path, "wav2vec2", do_stable_layer_norm=True, feat_extract_norm="layer")
    found = peaks(make(speech=large, learning_rate=1e-3, layer_decay=0.5))
    assert found["speech.encoder.encoder.layer_norm.weight"] == pytest.approx(1e-3)
    assert found["speech.encoder.feature_projection.projection.weight"] < 1e-3


def test_biases_and_norms_can_be_spared_from_weight_decay(make):
    made = make(decay_biases_and_norms=False, weight_decay=0.05)
    for group in made.rule.param_groups:
        expected = 0.05 if all(p.ndim > 1 for p in group["params"]) else 0.0
        assert group["weight_decay"] == expected
        assert len({p.ndim > 1 for p in group["params"]}) == 1


def test_the_schedule_scales_every_group(make):
    made = make(learning_rate=1e-4, head_learning_rate=1e-3)
    made.max_seconds = 1e3
    made.step(range(4), seed=1, rate_factor=0.25)
    assert sorted({group["lr"] for group in made.rule.param_groups}) == pytest.approx([2.5e-5, 2.5e-4])


def test_frozen_encoders_stay_as_they_are_until_their_epoch(make):
    made = make(frozen_epochs=1, learning_rate=1e-3)
    made.max_seconds = 1e3
    before = {name: p.detach().clone() for name, p in made.model.named_parameters() if p.requires_grad}
    new = set(new_parameters(made.model))

    def moved():
        return {p for name, p in made.model.named_parameters() if p.requires_grad and not torch.equal(p, before[name])}

    made.begin_epoch(1)
    made.step(range(8), seed=1, rate_factor=1.0, measure_parts=True)
    assert moved() == new
    assert all(p.grad is None for p in made.trained if p not in new)
    made.begin_epoch(2)
    made.step(range(8), seed=2, rate_factor=1.0)
    assert len(moved()) > len(new)


def test_balanced_weights_are_scikit_learn_s():
    classes = [0, 0, 0, 1, 3, 3]
    found = balanced_weights(classes, ["a", "b", "c", "d"]).numpy()
    expected = compute_class_weight("balanced", classes=np.array([0, 1, 3]), y=classes)
    np.testing.assert_allclose(found[[0, 1, 3]], expected, rtol=1e-6)
    assert found[2] == 0  # occurs nowhere
    assert np.mean(found[classes]) == pytest.approx(1)


def test_class_weights_and_label_smoothing_are_those_of_torch(make):
    made = make("mmer", alpha=0.0, balanced_classes=True, label_smoothing=0.1, dropout=0.0)
    made.class_weights = torch.tensor([0.5, 1.0, 2.0, 4.0])
    made.max_seconds = 1e3
    made.model.eval()
    batch = made.examples.batch(range(6)).to(made.device)
    with torch.no_grad():
        logits = made.model(**batch.inputs).logits
    loss = torch.nn.CrossEntropyLoss(weight=made.class_weights, label_smoothing=0.1, reduction="sum")
    found = made.step(range(6), seed=1, rate_factor=0.0).losses
    torch.testing.assert_close(found[0], loss(logits, batch.labels), rtol=1e-5, atol=1e-5)


def test_the_gradients_of_both_losses_are_measured_apart_and_their_sum_trains(make):
    """Two micro-batches, against gradients that torch computes for each loss alone."""
    plain, measured = make(dropout=0.0, clip_norm=0.0), make(dropout=0.0, clip_norm=0.0)
    for made in (plain, measured):
        made.model.eval()
        made.max_seconds = 15.0
    wanted = plain.step(range(8), seed=1, rate_factor=1.0)
    found = measured.step(range(8), seed=1, rate_factor=1.0, measure_parts=True)
    assert torch.isnan(wanted.norms[1:]).all()
    torch.testing.assert_close(found.losses, wanted.losses)
    torch.testing.assert_close(found.norms[0], wanted.norms[0], rtol=1e-4, atol=1e-5)
    for mine, other in zip(measured.trained, plain.trained, strict=True):
        torch.testing.assert_close(mine.grad, other.grad, rtol=1e-3, atol=1e-5)
    emotion, both = make(dropout=0.0, clip_norm=0.0, alpha=1e-12), make(dropout=0.0, clip_norm=0.0)
    for made in (emotion, both):
        made.model.eval()
        made.max_seconds = 15.0
    alone = emotion.step(range(8), seed=1, rate_factor=1.0)
    torch.testing.assert_close(found.norms[1], alone.norms[0], rtol=1e-4, atol=1e-5)
    both.step(range(8), seed=1, rate_factor=1.0)
    ctc = [
        q.grad - (0 if p.grad is None else p.grad) for p, q in zip(emotion.trained, both.trained, strict=True)
        if q.grad is not None
    ]  # fmt: skip
    expected = torch.linalg.vector_norm(torch.cat([part.reshape(-1) for part in ctc]))
    torch.testing.assert_close(found.norms[2], expected, rtol=1e-3, atol=1e-4)


def test_clipping_limits_the_norm_of_the_step_and_reports_the_one_before(make):
    free, clipped = make(dropout=0.0, clip_norm=0.0), make(dropout=0.0, clip_norm=0.5)
    for made in (free, clipped):
        made.model.eval()
        made.max_seconds = 1e3
    wanted, found = (made.step(range(8), seed=1, rate_factor=1.0).norms[0] for made in (free, clipped))
    assert found == wanted > 0.5
    norm = torch.nn.utils.get_total_norm([p.grad for p in clipped.trained if p.grad is not None])
    assert float(norm) == pytest.approx(0.5, rel=1e-3)


def test_an_epoch_s_norms_are_means_over_the_steps_that_measured_them():
    norms, nan = GradientNorms(), float("nan")
    for step in ([3.0, nan, nan], [5.0, 1.0, 4.0], [1.0, 2.0, 0.5]):
        norms.add(step, limit=2.0)
    expected = {"mean": 3.0, "max": 5.0, "emotion": 1.5, "ctc": 2.25, "clipped": pytest.approx(2 / 3)}
    assert norms.means() == expected
    norms = GradientNorms()
    norms.add([3.0, nan, nan], limit=0.0)
    assert norms.means() == {"mean": 3.0, "max": 3.0, "emotion": None, "ctc": None, "clipped": 0.0}
