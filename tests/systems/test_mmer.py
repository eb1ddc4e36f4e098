"""The model against torch's and transformers' own modules, by hand, and with itself: padded, saved, loaded."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from transformers import Wav2Vec2Config, Wav2Vec2ForCTC

from mmer_pipeline.corpora.transcripts import WAV2VEC2_ALPHABET
from mmer_pipeline.demo.encoders import SPEECH_FAMILIES, tiny_speech_encoder
from mmer_pipeline.encoders.encoder_files import resolve_encoder
from mmer_pipeline.encoders.speech import SpeechEncoder, speech_config
from mmer_pipeline.systems.base import ctc_losses, masked_mean
from mmer_pipeline.systems.mmer import MMER, CrossModalEncoder, MultimodalInteraction

LABELS = ["happy", "angry", "neutral", "sad"]


def mask_of(*lengths: int) -> Tensor:
    return torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]


def untrained_speech(directory: Path) -> SpeechEncoder:
    config = speech_config(resolve_encoder(str(directory)))
    return SpeechEncoder.from_dict({"config": config, "zero_mean_unit_variance": True})


def mmer(directory: Path, text_dim: int = 64, **options: Any) -> MMER:
    """An untrained model whose speech encoder has a checkpoint's shape; the same weights each time."""
    torch.manual_seed(0)
    model = MMER(
        untrained_speech(directory),
        text_dim=text_dim,
        labels=LABELS,
        alphabet=list(WAV2VEC2_ALPHABET),
        **options,
    )
    return model.eval()


@torch.no_grad()
def test_the_cross_modal_encoder_is_torch_s_attention_norms_and_feed_forward() -> None:
    d, heads = 32, 4
    ours = CrossModalEncoder(d, heads, dropout=0.1).eval()
    attention = nn.MultiheadAttention(d, heads, batch_first=True).eval()
    projections = (ours.query, ours.key, ours.value)
    attention.in_proj_weight.copy_(torch.cat([layer.weight for layer in projections]))
    attention.in_proj_bias.copy_(torch.cat([layer.bias for layer in projections]))
    attention.out_proj.load_state_dict(ours.out.state_dict())
    first, second, up, down = nn.LayerNorm(d), nn.LayerNorm(d), nn.Linear(d, 4 * d), nn.Linear(4 * d, d)
    for norm, copied in ((first, ours.attention_norm), (second, ours.feed_forward_norm)):
        nn.init.normal_(copied.weight)
        nn.init.normal_(copied.bias)
        norm.load_state_dict(copied.state_dict())
    up.load_state_dict(ours.feed_forward[0].state_dict())
    down.load_state_dict(ours.feed_forward[3].state_dict())

    query, context, mask = torch.randn(3, 7, d), torch.randn(3, 9, d), mask_of(9, 4, 1)
    attended, _ = attention(query, context, context, key_padding_mask=~mask)
    hidden = first(query + attended)
    expected = second(hidden + down(nn.functional.gelu(up(hidden))))
    torch.testing.assert_close(ours(query, context, mask), expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_what_stands_in_padded_context_positions_does_not_matter() -> None:
    encoder = CrossModalEncoder(16, 4, dropout=0.0).eval()
    query, context, mask = torch.randn(2, 5, 16), torch.randn(2, 6, 16), mask_of(6, 2)
    other = torch.where(mask.unsqueeze(-1), context, 1e3 * torch.randn(2, 6, 16))
    torch.testing.assert_close(encoder(query, other, mask), encoder(query, context, mask))


def test_the_masked_mean_is_over_real_positions_alone() -> None:
    values = torch.tensor([[[1.0, 10.0], [3.0, 30.0], [99.0, 99.0]], [[5.0, 6.0], [99.0, 99.0], [99.0, 99.0]]])
    mask = torch.tensor([[True, True, False], [True, False, False]])
    assert masked_mean(values, mask).tolist() == [[2.0, 20.0], [5.0, 6.0]]


class Given(nn.Module):
    """Stands for a cross-modal encoder whose answer is known; notes what it was asked."""

    def __init__(self, answer: Tensor) -> None:
        super().__init__()
        self.answer = answer
        self.asked: tuple[Tensor, ...] = ()

    def forward(self, *asked: Tensor) -> Tensor:
        self.asked = asked
        return self.answer


@torch.no_grad()
def test_the_interaction_follows_the_paper_with_the_gate_by_hand() -> None:
    d = 2
    interaction = MultimodalInteraction(d, heads=1, dropout=0.0).eval()
    A, T, A_mask, T_mask = torch.randn(1, 3, d), torch.randn(1, 1, d), mask_of(3, 2)[1:], mask_of(1)
    P, R, Q = torch.randn(1, 3, d), torch.tensor([[[1.0, -2.0]]]), torch.tensor([[[0.5, 3.0]]])
    b, c, e = Given(P), Given(R), Given(Q)
    interaction.cme_b, interaction.cme_c, interaction.cme_d = b, c, e  # type: ignore[assignment]
    gate_weight, gate_bias = np.array([[1.0, 0.0, 2.0, 0.0], [0.0, 1.0, 0.0, -1.0]]), np.array([0.1, -0.2])
    down_weight, down_bias = np.array([[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]]), np.array([0.5, -0.5])
    interaction.gate.weight.copy_(torch.tensor(gate_weight))
    interaction.gate.bias.copy_(torch.tensor(gate_bias))
    interaction.down.weight.copy_(torch.tensor(down_weight))
    interaction.down.bias.copy_(torch.tensor(down_bias))

    r, q = np.array([1.0, -2.0]), np.array([0.5, 3.0])
    g = 1 / (1 + np.exp(-(gate_weight @ np.concatenate([r, q]) + gate_bias)))  # eq. 2
    np.testing.assert_allclose(g, [1 / (1 + np.exp(-2.1)), 1 / (1 + np.exp(5.2))])
    expected = down_weight @ np.concatenate([g * q, r]) + down_bias
    fused, gate_values = interaction(A, A_mask, T, T_mask)
    np.testing.assert_allclose(fused[0, 0].numpy(), expected, rtol=1e-6)
    np.testing.assert_allclose(gate_values[0, 0].numpy(), g, rtol=1e-6)
    for encoder, asked in ((b, (A, T, None)), (c, (T, P, A_mask)), (e, (T, A, A_mask))):  # no word is padding
        assert all(given is wanted for given, wanted in zip(encoder.asked, asked, strict=True))


def test_the_interaction_adds_the_paper_s_number_of_parameters_for_d_768() -> None:
    def count(module: nn.Module) -> int:
        return sum(parameter.numel() for parameter in module.parameters())

    config = Wav2Vec2Config(num_hidden_layers=1).to_dict()
    with torch.device("meta"):
        model = MMER(
            SpeechEncoder.from_dict({"config": config, "zero_mean_unit_variance": True}),
            text_dim=768,
            labels=LABELS,
            alphabet=list(WAV2VEC2_ALPHABET),
        )
    assert count(model.mmi) == 23_624_448
    assert count(model.emotion_head) == 6_148
    assert count(model.ctc_head) == 24_608
    assert count(model.text_projection) == 0
    assert model.mmi.cme_b.heads == 12


def tiny_ctc(reduction: str) -> Wav2Vec2ForCTC:
    torch.manual_seed(0)
    config = Wav2Vec2Config(
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        conv_dim=(16,) * 7,
        num_conv_pos_embeddings=4,
        num_conv_pos_embedding_groups=2,
        vocab_size=len(WAV2VEC2_ALPHABET),
        pad_token_id=0,
        ctc_loss_reduction=reduction,
    )
    return Wav2Vec2ForCTC(config).eval()


def losses_of(logits: torch.Tensor, frames: list[int], targets: list[list[int]]) -> torch.Tensor:
    symbols = torch.tensor([symbol for target in targets for symbol in target], dtype=torch.long)
    return ctc_losses(logits, symbols, frame_counts=frames, symbol_counts=[len(target) for target in targets])


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_the_ctc_losses_are_those_of_transformers(reduction: str) -> None:
    model = tiny_ctc(reduction)
    samples, targets = [16_000, 9_000, 12_345], [[5, 6, 6, 4, 7], [9, 9], [4, 30, 31, 12]]
    labels = torch.full((3, 5), -100)
    for row, target in enumerate(targets):
        labels[row, : len(target)] = torch.tensor(target)
    with torch.no_grad():
        output = model(torch.randn(3, 16_000), attention_mask=mask_of(*samples).long(), labels=labels)
    frames = [int(model._get_feat_extract_output_lengths(n)) for n in samples]
    losses = losses_of(output.logits, frames, targets)
    lengths = torch.tensor([len(target) for target in targets])
    ours = losses.sum() if reduction == "sum" else (losses / lengths).mean()
    torch.testing.assert_close(ours, output.loss)


def test_the_ctc_loss_of_one_symbol_in_two_frames_by_hand() -> None:
    logits = torch.tensor([[[1.0, 0.0, -1.0], [0.5, 0.5, 0.0]]])
    p = logits.softmax(dim=-1)[0]
    spelt = p[0, 1] * p[1, 1] + p[0, 1] * p[1, 0] + p[0, 0] * p[1, 1]  # aa, a-, -a
    torch.testing.assert_close(losses_of(logits, [2], [[1]]), -spelt.log()[None])


@pytest.mark.parametrize("targets", [[[5], [], [6, 6]], [[], [], []]])
def test_an_empty_target_and_one_that_does_not_fit_add_neither_loss_nor_gradient(targets: list[list[int]]) -> None:
    logits = torch.randn(3, 4, 8, requires_grad=True)
    losses = losses_of(logits, [4, 4, 2], targets)  # [6, 6] needs three frames
    assert losses.tolist()[1:] == [0.0, 0.0]
    losses.sum().backward()
    assert logits.grad is not None
    assert not logits.grad[1:].any()
    assert bool(logits.grad[0].any()) == bool(targets[0])
    assert logits.grad.isfinite().all()


def test_ctc_losses_are_computed_in_float32() -> None:
    logits = torch.randn(1, 9, 8)
    half = losses_of(logits.bfloat16(), [9], [[1, 2]])
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, losses_of(logits.bfloat16().float(), [9], [[1, 2]]))


@pytest.mark.parametrize("family", SPEECH_FAMILIES)
@torch.no_grad()
def test_an_utterance_alone_and_in_a_padded_batch_gives_the_same_logits(family: str, tmp_path: Path) -> None:
    model = mmer(tiny_speech_encoder(tmp_path, family), text_dim=48)
    frame_mask, token_mask = mask_of(21, 40, 3, 33), mask_of(9, 2, 11, 5)
    frames = torch.randn(4, 40, model.speech.front_dim) * frame_mask.unsqueeze(-1)
    tokens = torch.randn(4, 11, 48) * token_mask.unsqueeze(-1)
    together = model(frames, frame_mask, tokens, token_mask)
    for row in range(4):
        j, m = frame_mask[row], token_mask[row]
        alone = model(frames[row, j][None], j[j][None], tokens[row, m][None], m[m][None])
        torch.testing.assert_close(together.logits[row], alone.logits[0], atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(together.ctc_logits[row, j], alone.ctc_logits[0], atol=1e-4, rtol=1e-4)


def test_text_features_of_the_hidden_size_need_no_projection(tiny_speech: Path) -> None:
    assert isinstance(mmer(tiny_speech, text_dim=64).text_projection, nn.Identity)
    assert mmer(tiny_speech, text_dim=48).text_projection.weight.shape == (64, 48)


@pytest.mark.parametrize("family", ["wav2vec2", "moonshine"])
@torch.no_grad()
def test_a_model_saved_and_loaded_gives_identical_outputs(family: str, tmp_path: Path) -> None:
    model = mmer(tiny_speech_encoder(tmp_path / "encoder", family), text_dim=48, dropout=0.2)
    model.save_pretrained(tmp_path / "model")
    loaded = MMER.from_pretrained(tmp_path / "model")
    frames, frame_mask = torch.randn(2, 20, model.speech.front_dim), mask_of(20, 11)
    tokens, token_mask = torch.randn(2, 7, 48), mask_of(3, 7)
    expected, found = (each(frames, frame_mask, tokens, token_mask) for each in (model, loaded))
    assert torch.equal(found.logits, expected.logits)
    assert torch.equal(found.ctc_logits, expected.ctc_logits)
    waveform = torch.randn(1, 5_000)
    assert torch.equal(loaded.speech.frontend(waveform), model.speech.frontend(waveform))
    assert not loaded.training
    assert (loaded.labels, loaded.alphabet, loaded.dropout.p) == (LABELS, list(WAV2VEC2_ALPHABET), 0.2)
    assert not any(parameter.requires_grad for parameter in loaded.speech.frontend_modules().parameters())


def test_a_saved_model_is_safetensors_and_plain_json(tiny_speech: Path, tmp_path: Path) -> None:
    mmer(tiny_speech).save_pretrained(tmp_path)
    assert {"config.json", "model.safetensors"} <= {path.name for path in tmp_path.iterdir()}
    assert not [path for path in tmp_path.rglob("*") if path.suffix in (".bin", ".pt", ".pkl")]
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["labels"] == LABELS
    assert config["speech"]["config"]["model_type"] == "wav2vec2"
    assert str(tiny_speech) not in (tmp_path / "config.json").read_text()  # a model knows no place on a disk
