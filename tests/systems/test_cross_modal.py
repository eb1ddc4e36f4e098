"""Rebuilt MemoCMT, CA-MSER, MulT and MISA against plain compositions of torch's modules and cases computed by hand."""

from dataclasses import asdict

import numpy as np
import pytest
import torch
from helpers.plain_attention import plain_attention
from torch import Tensor, nn

from mmer_pipeline.systems.base import FrozenInput
from mmer_pipeline.systems.published import misa
from mmer_pipeline.systems.published.ca_mser import CoAttention, Spectrogram
from mmer_pipeline.systems.published.memocmt import CrossModalTransformer
from mmer_pipeline.systems.published.mult import MulT
from mmer_pipeline.systems.published.speech_and_text import SpeechAndText

LABELS = ["happy", "angry", "neutral", "sad"]


def make(kind: type[SpeechAndText], d_a: int = 12, d_t: int = 16) -> SpeechAndText:
    torch.manual_seed(0)
    return kind(labels=LABELS, inputs=[asdict(FrozenInput("speech_states", "time", d_a))], text_dim=d_t).eval()


def inputs(batch: int = 3, d_a: int = 12, d_t: int = 16) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Random frames and tokens without padding, and their masks."""
    masks = (torch.ones(batch, length, dtype=torch.bool) for length in (20, 7))
    return torch.randn(batch, 20, d_a), next(masks), torch.randn(batch, 7, d_t), next(masks)


@torch.no_grad()
def test_memocmt_reads_the_minimum_of_frames_and_tokens_that_attended_to_each_other() -> None:
    model, (frames, frame_mask, tokens, token_mask) = make(CrossModalTransformer), inputs()

    def attended(part: nn.Module, query: Tensor, context: Tensor) -> Tensor:
        return part.map(plain_attention(part.attention)(query, context, context)[0])

    both = torch.cat(
        [attended(model.text_to_speech, tokens, frames), attended(model.speech_to_text, frames, tokens)], 1
    )
    expected = model.emotion_head(attended(model.fusion, both, both).min(1).values)
    found = model(frames, frame_mask, tokens, token_mask).logits
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_the_network_on_spectrograms_is_torch_s_on_each_alone() -> None:
    torch.manual_seed(0)
    model, values, lengths = Spectrogram(10), torch.randn(3, 21, 10), [21, 13, 2]
    found = model(values, torch.arange(21) < torch.tensor(lengths)[:, None])
    for row, length in enumerate(lengths):
        image = values[row, None, :length][None]  # [1, 1, length, 10]
        for convolution in model.convolutions:
            image = nn.functional.max_pool2d(convolution(image).relu(), 2, ceil_mode=True)
        torch.testing.assert_close(found[row], image[0].mean(1).flatten(), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_co_attention_weights_the_frames_of_the_encoder() -> None:
    """With a query of zeros, all frames count the same; with one along a dimension, those that are large there."""
    torch.manual_seed(0)
    dims = {"speech_states": 12, "mfcc": 9, "log_mel": 10}
    model = CoAttention(
        labels=LABELS, inputs=[asdict(FrozenInput(*item[:1], "time", item[1])) for item in dims.items()]
    )
    model.eval()
    seen: list[Tensor] = []
    model.speech_map.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    masks = torch.ones(1, 20, dtype=torch.bool)
    features = {name: torch.randn(1, 20, dim) for name, dim in dims.items()}
    for layer in (model.query[1].weight, model.query[1].bias):
        layer.zero_()
    model(**features, **{f"{name}_mask": masks for name in dims})
    model.query[1].bias[3] = 1e4
    model(**features, **{f"{name}_mask": masks for name in dims})
    frames = features["speech_states"][0]
    torch.testing.assert_close(seen[0][0], frames.mean(0))
    torch.testing.assert_close(seen[1][0], frames[frames[:, 3].argmax()])


@torch.no_grad()
def test_a_crossmodal_layer_of_mult_is_torch_s_decoder_part() -> None:
    """Pre-norm attention of queries to a context, and a feed-forward part, each with a residual."""
    model = make(MulT)
    layer = model.text_branch.crossmodal.layers[0]
    nn.init.normal_(layer.attention_norm.weight)
    values, context = torch.randn(2, 5, 40), torch.randn(2, 8, 40)
    normed, keys = layer.attention_norm(values), layer.attention_norm(context)
    hidden = values + plain_attention(layer.attention)(normed, keys, keys)[0]
    expected = hidden + layer.feed_forward(layer.feed_forward_norm(hidden))
    found = layer(values, context, torch.ones(2, 8, dtype=torch.bool))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_mult_reads_the_last_real_position() -> None:
    model = make(MulT)
    branch = model.text_branch
    branch.crossmodal = branch.memory = First()
    values, context = torch.randn(2, 7, 40), torch.randn(2, 9, 40)
    mask = torch.arange(7) < torch.tensor([7, 4])[:, None]
    found = branch(values, mask, context, torch.ones(2, 9, dtype=torch.bool))
    torch.testing.assert_close(found, torch.stack([values[0, 6], values[1, 3]]))


class First(nn.Module):
    """The first argument as it is."""

    def forward(self, values: Tensor, *_: Tensor | None) -> Tensor:
        return values


def test_the_losses_of_misa_are_those_of_numpy() -> None:
    model, features, classes = make(misa.Misa), inputs(5), torch.tensor([0, 1, 2, 3, 0])
    output = model(*features)
    of = {name: values.detach().double().numpy() for name, values in output.others.items()}

    def unlike(x: np.ndarray, y: np.ndarray) -> float:
        x, y = (v - v.mean(0) for v in (x, y))
        x, y = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (x, y))
        return float(np.mean((x.T @ y) ** 2))

    x, y = of["shared_speech"], of["shared_text"]
    similarity = np.linalg.norm(x.mean(0) - y.mean(0)) + sum(
        np.linalg.norm(((x - x.mean(0)) ** k).mean(0) - ((y - y.mean(0)) ** k).mean(0)) for k in range(2, 6)
    )
    pairs = [("private_speech", "shared_speech"), ("private_text", "shared_text"), ("private_speech", "private_text")]
    difference = sum(unlike(of[one], of[other]) for one, other in pairs)
    rebuilt = np.mean([np.mean((of[f"rebuilt_{m}"] - of[f"projected_{m}"]) ** 2) for m in ("speech", "text")])
    found = model.emotion_loss(output, classes, lambda *_: torch.tensor(7.0))
    assert found.item() == pytest.approx(7 + 5 * (similarity + 0.3 * difference + rebuilt), rel=1e-3)
    found.backward()
    assert model.rebuild["text"].weight.grad.norm() > 0


def test_a_step_of_one_utterance_has_finite_gradients_in_misa() -> None:
    model, features = make(misa.Misa), inputs(1)
    model.emotion_loss(model(*features), torch.tensor([1]), nn.functional.cross_entropy).backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in model.parameters())


@pytest.mark.parametrize(
    ("kind", "parameters"), [(CrossModalTransformer, 8_960_132), (MulT, 591_524), (misa.Misa, 2_287_876)]
)
def test_the_number_of_parameters_on_encoders_of_768(kind: type[SpeechAndText], parameters: int) -> None:
    assert sum(p.numel() for p in make(kind, 768, 768).parameters()) == parameters
