"""The rebuilt key-sparse transformer: its size, its limits, and padding as in the authors' code."""

from dataclasses import asdict

import pytest
import torch
from helpers.plain_attention import plain_attention
from torch import Tensor

from mmer_pipeline.systems.base import FrozenInput
from mmer_pipeline.systems.published.attention import sinusoids
from mmer_pipeline.systems.published.chen import FRAMES, TOKENS, KeySparseTransformer, Masks, Stack
from mmer_pipeline.systems.registry import settings_for
from mmer_pipeline.systems.titles import title

LABELS = ["happy", "angry", "neutral", "sad"]


def make(d_a: int = 16, d_t: int = 24, **options: str) -> KeySparseTransformer:
    torch.manual_seed(0)
    inputs = [asdict(FrozenInput("speech_states", "time", d_a))]
    return KeySparseTransformer(labels=LABELS, inputs=inputs, text_dim=d_t, **options).eval()


def logits(model: KeySparseTransformer, frames: Tensor, tokens: Tensor) -> Tensor:
    masks = (torch.ones(values.shape[:2], dtype=torch.bool) for values in (frames, tokens))
    return model(frames, next(masks), tokens, next(masks)).logits


@torch.no_grad()
def test_what_follows_the_longest_frame_and_token_is_cut() -> None:
    model, frames, tokens = make(), torch.randn(1, FRAMES + 9, 16), torch.randn(1, TOKENS + 5, 24)
    expected = logits(model, frames[:, :FRAMES], tokens[:, :TOKENS])
    torch.testing.assert_close(logits(model, frames, tokens), expected)


@torch.no_grad()
def test_padding_as_in_the_authors_code_counts() -> None:
    frames, tokens = torch.randn(1, 30, 16), torch.randn(1, 7, 24)
    masked, counted = make(), make(padding="reference")
    plain = logits(counted, frames, tokens)
    rubbish, mask = torch.randn(2, 50, 16), torch.arange(50) < torch.tensor([30, 50])[:, None]
    rubbish[0, :30] = frames
    padded = counted(rubbish, mask, tokens.expand(2, -1, -1), torch.ones(2, 7, dtype=torch.bool)).logits[:1]
    torch.testing.assert_close(padded, plain, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(plain, logits(masked, frames, tokens), atol=1e-4)
    full = torch.randn(1, FRAMES, 16), torch.randn(1, TOKENS, 24)  # without padding there is no difference
    torch.testing.assert_close(logits(counted, *full), logits(masked, *full))


@pytest.mark.parametrize("d", [12, 10])
@torch.no_grad()
def test_padding_that_counts_is_not_attended_to_by_the_first_layers_but_counts_among_the_keys(d: int) -> None:
    """Of 3 real keys of 8, four may be kept: all. Then the sparse layer is torch's attention with a mask."""
    torch.manual_seed(0)
    stack = Stack(12, 20, 0.1, context_dim=d).eval()
    values, context = torch.randn(1, 5, 12), torch.randn(1, 8, d)
    real, everything = torch.arange(8)[None] < 3, torch.ones(1, 5, dtype=torch.bool)
    found = stack(values, Masks(everything, everything), context, Masks(real, torch.ones_like(real)))
    layer, hidden, keys = stack.layers[0], stack.norm(values), stack.context_norm(context)
    query, placed = hidden + sinusoids(5, 12, values), keys + sinusoids(8, d, keys)
    attended, _ = plain_attention(layer.attention)(query, placed, keys, key_padding_mask=~real)
    hidden = layer.attention_norm(hidden + attended)
    expected = layer.feed_forward_norm(hidden + layer.feed_forward(hidden))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_the_blocks_attend_to_the_other_modality_as_its_first_layers_leave_it() -> None:
    model = make()
    seen: list[Tensor] = []
    for cross in model.text_branch.cross:
        cross.register_forward_pre_hook(lambda _, given: seen.append(given[2]))
    before: list[Tensor] = []
    last = model.speech_branch.last
    model.speech_branch.first.register_forward_hook(lambda _, __, result: before.append(result))
    model.speech_branch.own[-1].register_forward_hook(lambda _, __, result: before.append(result))
    last.register_forward_pre_hook(lambda _, given: before.append(given[0]))
    logits(model, torch.randn(1, 9, 16), torch.randn(1, 5, 24))
    for context in seen:
        torch.testing.assert_close(context, before[0])
    torch.testing.assert_close(before[2], 2 * before[0] + before[1])


def test_the_number_of_parameters_is_the_publication_s_without_biases_of_keys() -> None:
    def attention(d: int, context: int) -> int:
        return d * d + d + 2 * (d * context + d) + d * d + d  # with a bias of the keys

    def layer(d: int, context: int, hidden: int) -> int:
        return attention(d, context) + 4 * d + 2 * d * hidden + hidden + d

    def branch(d: int, context: int, hidden: int) -> int:
        norms = 8 * 2 * d + 3 * 2 * context  # of inputs
        return 10 * layer(d, d, hidden) + 3 * layer(d, context, hidden) + norms

    with torch.device("meta"):
        found = sum(parameter.numel() for parameter in make(512, 1024).parameters())
    head = 1536 * 768 + 768 + 768 * 384 + 384 + 384 * 4 + 4
    published = branch(512, 1024, 256) + branch(1024, 512, 512) + head
    assert (found, published) == (published - 13 * (512 + 1024), 85_324_676)


def test_its_title_names_the_substitute_encoders_and_the_padding() -> None:
    settings = settings_for("chen", fold=1, speech_encoder="embedded/moonshine-tiny", padding="reference", layer="3")
    expected = "Chen et al. (2022) (padding counted, moonshine-tiny, roberta-base, layer 3)"
    assert title(asdict(settings)) == expected
