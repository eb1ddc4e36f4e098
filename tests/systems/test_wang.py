"""Wang et al.: the dual-sequence LSTM by hand and against a plain composition; sizes, resizing and losses."""

from dataclasses import asdict
from math import sqrt, tanh

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from mmer_pipeline.systems.base import FrozenInput
from mmer_pipeline.systems.published.wang import (
    ConvolvedSpectrogram,
    DualSequenceLayer,
    DualSequenceLSTM,
    StepNorm,
    averaged_frames,
    resized,
)

LABELS = ["happy", "angry", "neutral", "sad"]
INPUTS = [asdict(FrozenInput(name, "time", dim)) for name, dim in [("mfcc", 39), ("mel_512", 128), ("mel_1024", 256)]]


def sigmoid(value: float) -> float:
    return (1 + tanh(value / 2)) / 2


@torch.no_grad()
def test_two_steps_of_one_unit_are_those_computed_by_hand() -> None:
    """With the running statistics of a new batch norm: mean 0, variance 1."""
    layer = DualSequenceLayer(1, 1, 1, 2).eval()
    layer.of_x.weight.copy_(torch.tensor([[0.1], [0.2], [0.3], [0.4], [0.5]]))  # f, i_T, o, i_F, T
    layer.of_x.bias.copy_(torch.tensor([0.01, 0.02, 0.03, 0.04, 0.05]))
    layer.of_y.weight.copy_(torch.tensor([[-0.1], [0.3], [0.2], [-0.4], [0.6]]))  # f, i_T, o, i_F, F
    layer.of_h.weight.copy_(torch.tensor([[1.0], [2.0], [3.0], [4.0], [5.0], [6.0]]))  # f, i_T, o, i_F, T, F
    layer.f_bias.fill_(0.06)
    found = layer(torch.tensor([[[1.0], [2.0]]]), torch.tensor([[[-1.0], [0.5]]]))[0, :, 0]

    scale = 1 / sqrt(1 + 1e-5)
    i_t, o = scale * sigmoid(0.2 + 0.02 - 0.3), scale * sigmoid(0.3 + 0.03 - 0.2)
    i_f = scale * sigmoid(0.4 + 0.04 + 0.4)
    c = i_t * tanh(0.5 + 0.05) + i_f * tanh(-0.6 + 0.06)
    h = o * tanh(c)
    f = scale * sigmoid(0.2 + 0.01 - 0.05 + h)
    i_t, o = scale * sigmoid(0.4 + 0.02 + 0.15 + 2 * h), scale * sigmoid(0.6 + 0.03 + 0.1 + 3 * h)
    i_f = scale * sigmoid(0.8 + 0.04 - 0.2 + 4 * h)
    after = f * c + i_t * tanh(1.0 + 0.05 + 5 * h) + i_f * tanh(0.3 + 0.06 + 6 * h)
    np.testing.assert_allclose(found, [scale * h, scale * o * tanh(after)], rtol=1e-5)


@pytest.mark.parametrize("training", [True, False])
@torch.no_grad()
def test_a_layer_is_the_loop_of_its_equations_with_a_batch_norm_for_each_step(training: bool) -> None:
    torch.manual_seed(0)
    batch, steps, x_dim, y_dim, d = 6, 5, 7, 3, 4
    layer = DualSequenceLayer(x_dim, y_dim, d, steps).train(training)
    norms: list[list[nn.Module]] = [[], []]
    for own, plain in zip((layer.gate_norm, layer.output_norm), norms, strict=True):
        nn.init.normal_(own.weight)
        nn.init.normal_(own.bias)
        own.running_mean.normal_()
        own.running_var.uniform_(0.5, 2)
        for step in range(steps):
            norm = nn.BatchNorm1d(own.weight.numel()).train(training)
            norm.load_state_dict(
                {"weight": own.weight, "bias": own.bias, "running_mean": own.running_mean[step],
                 "running_var": own.running_var[step], "num_batches_tracked": torch.tensor(0)}
            )  # fmt: skip
            plain.append(norm)
    x, y = torch.randn(batch, steps, x_dim), torch.randn(batch, steps, y_dim)
    found = layer(x, y)

    of_x, of_y, of_h = layer.of_x.weight, layer.of_y.weight, layer.of_h.weight
    w = torch.cat([of_x[: 4 * d], of_y[: 4 * d], of_h[: 4 * d]], dim=1)  # of [x, y, h]
    w_t = torch.cat([of_x[4 * d :], of_h[4 * d : 5 * d]], dim=1)  # of [x, h]
    w_f = torch.cat([of_y[4 * d :], of_h[5 * d :]], dim=1)  # of [y, h]
    h = c = torch.zeros(batch, d)
    expected = []
    for step in range(steps):
        inputs = torch.cat([x[:, step], y[:, step], h], dim=1)
        gates = norms[0][step](torch.sigmoid(functional.linear(inputs, w, layer.of_x.bias[: 4 * d])))
        f, i_t, o, i_f = gates.split(d, dim=1)
        of_t = functional.linear(torch.cat([x[:, step], h], dim=1), w_t, layer.of_x.bias[4 * d :])
        of_f = functional.linear(torch.cat([y[:, step], h], dim=1), w_f, layer.f_bias)
        c = f * c + i_t * of_t.tanh() + i_f * of_f.tanh()
        h = o * c.tanh()
        expected.append(norms[1][step](h))
    torch.testing.assert_close(found, torch.stack(expected, dim=1), atol=1e-5, rtol=1e-4)
    means = torch.stack([norm.running_mean for norm in norms[0]])  # type: ignore[misc]
    torch.testing.assert_close(layer.gate_norm.running_mean, means)


def test_a_step_of_one_utterance_is_normalised_by_the_running_statistics() -> None:
    norm = StepNorm(2, 3)
    norm.running_mean[1] = torch.tensor([1.0, 2.0, 3.0])
    values = torch.tensor([[2.0, 2.0, 2.0]])
    torch.testing.assert_close(norm(values, 1), torch.tensor([[1.0, 0.0, -1.0]]), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("frames", [230, 120])
def test_frames_are_resized_as_torch_resizes_each_utterance_alone(frames: int) -> None:
    lengths = [301, 230, 97, 1]
    values = torch.randn(len(lengths), 301, 3, generator=torch.Generator().manual_seed(0))
    mask = torch.arange(301) < torch.tensor(lengths)[:, None]
    for row, length, alone in zip(resized(values, mask, frames), lengths, values, strict=True):
        expected = functional.interpolate(alone[:length].T[None].double(), frames)[0].T.float()
        assert float((row == expected).float().mean()) > 0.98  # torch rounds where i · N / n is a whole number


def test_three_frames_are_averaged_every_second_frame() -> None:
    values = torch.arange(7.0)[None, :, None] ** 2
    expected = [(0 + 1 + 4) / 3, (4 + 9 + 16) / 3, (16 + 25 + 36) / 3]
    torch.testing.assert_close(averaged_frames(values)[0, :, 0], torch.tensor(expected))


@torch.no_grad()
def test_a_spectrogram_s_blocks_are_convolution_batch_norm_relu_and_pooling() -> None:
    torch.manual_seed(0)
    branch, values = ConvolvedSpectrogram(30, 20, (2, 4)), torch.randn(3, 30, 20)
    expected = values[:, None]
    for convolution, norm in (branch.blocks[:2], branch.blocks[4:6]):
        expected = functional.max_pool2d(norm(convolution(expected)).relu(), 2)
    expected = torch.stack([frame.flatten(1) for frame in expected.unbind(2)], dim=1)  # channels × bands a frame
    torch.testing.assert_close(branch(values), expected)
    assert expected.shape[1:] == (branch.frames, branch.dim)


def features(lengths: list[int]) -> dict[str, Tensor]:
    found = {}
    for entry in INPUTS:
        found[entry["name"]] = torch.randn(len(lengths), max(lengths), entry["dim"])
        found[f"{entry['name']}_mask"] = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    return found


def test_logits_and_losses_are_the_means_of_both_branches() -> None:
    torch.manual_seed(0)
    model = DualSequenceLSTM(labels=LABELS, inputs=INPUTS)
    output, classes = model(**features([50, 20])), torch.tensor([1, 3])
    mfcc, mel = output.others["mfcc"], output.others["mel"]
    torch.testing.assert_close(output.logits, (mfcc + mel) / 2)
    found = model.emotion_loss(output, classes, lambda logits, truth: functional.cross_entropy(logits, truth))
    expected = functional.cross_entropy(mfcc, classes) / 2 + functional.cross_entropy(mel, classes) / 2
    torch.testing.assert_close(found, expected)


def test_the_spectrograms_give_27_steps_and_the_documented_number_of_parameters() -> None:
    model = DualSequenceLSTM(labels=LABELS, inputs=INPUTS)
    assert model.fine.frames == 56
    assert model.coarse.frames == 27
    lstm = 4 * 200 * (39 + 200 + 2) + 4 * 200 * (200 + 200 + 2)
    convolutions = 2 * (64 * 9 + 64 * 2 + 16 * (64 * 8 + 1) + 16 * 2)
    fine, coarse = 16 * 29, 16 * 63
    layers = [200 * (5 * x + 5 * coarse + 6 * 200 + 6) + 2 * 5 * 200 for x in (fine, 200)]
    expected = lstm + convolutions + sum(layers) + 2 * 201 * 4
    assert sum(p.numel() for p in model.parameters()) == expected == 3_700_296
