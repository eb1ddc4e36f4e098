"""The parts in which the authors' code differs from the paper, against plain compositions of torch's modules."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoModel, AutoTokenizer, Wav2Vec2Config

from mmer_pipeline.corpora.transcripts import WAV2VEC2_ALPHABET
from mmer_pipeline.demo.encoders import tiny_speech_encoder
from mmer_pipeline.encoders.encoder_files import resolve_encoder
from mmer_pipeline.encoders.speech import SpeechEncoder, load_speech_encoder
from mmer_pipeline.encoders.text import load_text_model
from mmer_pipeline.errors import UserError
from mmer_pipeline.systems.mmer import MMER, CrossModalEncoder
from mmer_pipeline.systems.unimodal import SpeechClassifier, TextClassifier

LABELS = ["happy", "angry", "neutral", "sad"]
REFERENCE: dict[str, Any] = {"text_self_attention": True, "speech_projections": True, "dropout_at": "inputs"}
NO_DROPOUT = dict.fromkeys(
    ("hidden_dropout", "attention_dropout", "activation_dropout", "feat_proj_dropout", "layerdrop"), 0.0
)
Inputs = tuple[Tensor, Tensor, Tensor, Tensor]


def mask_of(*lengths: int) -> Tensor:
    return torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]


def mmer(directory: Path, text_dim: int = 64, **options: Any) -> MMER:
    """A model with the speech encoder of a directory; the same weights each time."""
    torch.manual_seed(0)
    speech = load_speech_encoder(resolve_encoder(str(directory)))
    return MMER(speech, text_dim=text_dim, labels=LABELS, alphabet=list(WAV2VEC2_ALPHABET), **options).eval()


def padded_inputs(model: MMER, text_dim: int = 64) -> Inputs:
    """Three utterances of different lengths; the padding of words is filled with random values."""
    frame_mask, token_mask = mask_of(21, 40, 33), mask_of(9, 4, 2)
    frames = torch.randn(3, 40, model.speech.front_dim) * frame_mask.unsqueeze(-1)
    return frames, frame_mask, torch.randn(3, 9, text_dim), token_mask


def torch_layer(ours: CrossModalEncoder, d: int) -> nn.TransformerEncoderLayer:
    """torch's post-norm transformer layer with the weights of ours."""
    layer = nn.TransformerEncoderLayer(d, ours.heads, 4 * d, 0.1, "gelu", batch_first=True).eval()
    projections = (ours.query, ours.key, ours.value)
    layer.self_attn.in_proj_weight.copy_(torch.cat([each.weight for each in projections]))
    layer.self_attn.in_proj_bias.copy_(torch.cat([each.bias for each in projections]))
    layer.self_attn.out_proj.load_state_dict(ours.out.state_dict())
    layer.linear1.load_state_dict(ours.feed_forward[0].state_dict())
    layer.linear2.load_state_dict(ours.feed_forward[3].state_dict())
    layer.norm1.load_state_dict(ours.attention_norm.state_dict())
    layer.norm2.load_state_dict(ours.feed_forward_norm.state_dict())
    return layer


def crossed(layer: nn.TransformerEncoderLayer, query: Tensor, context: Tensor, mask: Tensor) -> Tensor:
    """torch's layer with its attention to another sequence."""
    attended, _ = layer.self_attn(query, context, context, key_padding_mask=~mask)
    hidden = layer.norm1(query + attended)
    answer: Tensor = layer.norm2(hidden + layer.linear2(nn.functional.gelu(layer.linear1(hidden))))
    return answer


@torch.no_grad()
def test_the_whole_variant_is_a_composition_of_torch_s_modules(tiny_speech: Path) -> None:
    model = mmer(tiny_speech, text_dim=48, **REFERENCE)
    frames, frame_mask, tokens, token_mask = inputs = padded_inputs(model, 48)
    b, c, e = (torch_layer(cme, 64) for cme in (model.mmi.cme_b, model.mmi.cme_c, model.mmi.cme_d))
    maps = nn.Linear(64, 64), nn.Linear(64, 64)
    maps[0].load_state_dict(model.mmi.speech_for_r.state_dict())
    maps[1].load_state_dict(model.mmi.speech_for_q.state_dict())

    A = model.speech.context(frames, frame_mask)
    T = torch_layer(model.text_layer, 64)(model.text_projection(tokens), src_key_padding_mask=~token_mask)
    R = crossed(c, T, crossed(b, maps[0](A), T, token_mask), frame_mask)
    Q = crossed(e, T, maps[1](A), frame_mask)
    g = torch.sigmoid(model.mmi.gate(torch.cat([R, Q], dim=-1)))
    M = model.mmi.down(torch.cat([g * Q, R], dim=-1))
    means = [torch.stack([v[r, m[r]].mean(dim=0) for r in range(3)]) for v, m in ((A, frame_mask), (M, token_mask))]
    output = model(*inputs)
    torch.testing.assert_close(output.logits, model.emotion_head(torch.cat(means, dim=-1)), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(output.ctc_logits, model.ctc_head(A))  # the heads read A itself, and not its maps


@torch.no_grad()
def test_padding_changes_nothing_in_the_variant_and_its_view(tiny_speech: Path) -> None:
    model = mmer(tiny_speech, **REFERENCE)
    frames, frame_mask, tokens, token_mask = inputs = padded_inputs(model)
    together, view = model(*inputs), model.view(*inputs)
    assert not view.attention.masked_select(~frame_mask[:, None]).any()
    for row in range(3):
        j, m = frame_mask[row], token_mask[row]
        one = frames[row, j][None], j[j][None], tokens[row, m][None], m[m][None]
        alone, seen = model(*one), model.view(*one)
        torch.testing.assert_close(together.logits[row], alone.logits[0], atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(view.gate[row, m], seen.gate[0], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(view.attention[row][m][:, j], seen.attention[0], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(view.gate[row, m].mean(), together.gate[row])


@pytest.mark.parametrize("options", [{}, {"q_branch": False}])
@torch.no_grad()
def test_the_view_of_the_variant_shows_what_forward_attends_with(tiny_speech: Path, options: dict[str, bool]) -> None:
    model = mmer(tiny_speech, **REFERENCE, **options)
    asked: list[tuple[Tensor, ...]] = []
    shown = model.mmi.cme_d or model.mmi.cme_c
    shown.register_forward_hook(lambda _module, given, _made: asked.append(given))
    inputs = padded_inputs(model)
    model(*inputs)
    torch.testing.assert_close(model.view(*inputs).attention, shown.attention(*asked[0]))


def test_parts_are_there_only_where_something_reads_them(tiny_speech: Path) -> None:
    def added(**options: Any) -> set[str]:
        plain, variant = (mmer(tiny_speech, **options, **extra).state_dict() for extra in ({}, REFERENCE))
        return {name.rpartition(".")[0] for name in variant.keys() - plain.keys() if not name.startswith("text_layer")}

    maps = {"mmi.speech_for_r", "mmi.speech_for_q"}
    assert added() == maps
    assert added(r_branch=False) == {"mmi.speech_for_q"}
    assert added(q_branch=False) == {"mmi.speech_for_r"}
    assert mmer(tiny_speech, pooled="text", **REFERENCE).text_layer is not None
    assert mmer(tiny_speech, pooled="speech", **REFERENCE).text_layer is None


def test_the_variant_s_parameters_for_d_768() -> None:
    """Those of the authors' modules: a transformer layer of BERT's size and two maps of 768 to 768."""
    config = Wav2Vec2Config(num_hidden_layers=1).to_dict()
    counts = []
    for options in ({}, REFERENCE):
        with torch.device("meta"):
            speech = SpeechEncoder.from_dict({"config": config, "zero_mean_unit_variance": True})
            model = MMER(speech, text_dim=768, labels=LABELS, alphabet=[], **options)
        counts.append(sum(parameter.numel() for parameter in model.parameters()))
    assert counts[1] - counts[0] == 7_087_872 + 2 * 590_592


@pytest.mark.parametrize("place", ["head", "inputs"])
@torch.no_grad()
def test_dropout_is_where_the_setting_says(place: str, tmp_path: Path) -> None:
    """A half is dropped either from A, which both heads then read, or from the mean that the emotion head reads."""
    speech = load_speech_encoder(resolve_encoder(str(tiny_speech_encoder(tmp_path, **NO_DROPOUT))))
    model = SpeechClassifier(speech, labels=LABELS, alphabet=["-", "a"], dropout=0.5, dropout_at=place).train()
    read: dict[str, Tensor] = {}
    model.ctc_head.register_forward_pre_hook(lambda _module, given: read.update(ctc=given[0]))
    model.emotion_head.register_forward_pre_hook(lambda _module, given: read.update(emotion=given[0]))
    model(torch.randn(2, 30, speech.front_dim), torch.ones(2, 30, dtype=torch.bool))
    dropped_frames, dropped_means = ((read[head] == 0).float().mean() for head in ("ctc", "emotion"))
    if place == "inputs":
        assert dropped_frames == pytest.approx(0.5, abs=0.05)
        torch.testing.assert_close(read["emotion"], read["ctc"].mean(dim=1))
    else:
        assert dropped_frames == 0
        assert dropped_means == pytest.approx(0.5, abs=0.2)


def test_mmer_s_dropout_on_inputs_is_on_a_and_t_and_not_inside_feed_forward_layers(tiny_speech: Path) -> None:
    model = mmer(tiny_speech, dropout=0.3, **REFERENCE)
    assert (model.input_dropout.p, model.dropout.p) == (0.3, 0.0)
    layers = (model.text_layer, model.mmi.cme_b, model.mmi.cme_c, model.mmi.cme_d)
    assert [(layer.feed_forward[2].p, layer.dropout.p) for layer in layers] == [(0.0, 0.3)] * 4
    plain = mmer(tiny_speech, dropout=0.3)
    assert (plain.input_dropout.p, plain.dropout.p, plain.mmi.cme_b.feed_forward[2].p) == (0.0, 0.3, 0.3)


@pytest.mark.parametrize("place", ["head", "inputs"])
@torch.no_grad()
def test_mmer_s_heads_and_branches_read_the_inputs_that_dropout_left(place: str, tmp_path: Path) -> None:
    model = mmer(tiny_speech_encoder(tmp_path, **NO_DROPOUT), dropout=0.5, dropout_at=place).train()
    read: list[Tensor] = []
    model.ctc_head.register_forward_pre_hook(lambda _module, given: read.append(given[0]))
    model.mmi.register_forward_pre_hook(lambda _module, given: read.extend((given[0], given[2])))
    model(*padded_inputs(model))
    zeros = [float((values == 0).float().mean()) for values in read]
    assert zeros == pytest.approx([0.5 if place == "inputs" else 0.0] * 3, abs=0.05)
    torch.testing.assert_close(read[0], read[2])  # A, in the order of the calls: MMI first


@torch.no_grad()
def test_spec_augment_can_be_turned_off_and_a_saved_model_knows(tmp_path: Path) -> None:
    files = resolve_encoder(str(tiny_speech_encoder(tmp_path / "encoder", mask_time_prob=0.5, **NO_DROPOUT)))
    frames, mask = torch.randn(1, 60, 32), torch.ones(1, 60, dtype=torch.bool)
    speech = load_speech_encoder(files, spec_augment=False)
    torch.testing.assert_close(speech.train().context(frames, mask), speech.eval().context(frames, mask))
    usual = load_speech_encoder(files)
    assert not torch.allclose(usual.train().context(frames, mask), usual.eval().context(frames, mask))
    SpeechClassifier(speech, labels=LABELS, alphabet=[]).save_pretrained(tmp_path / "model")
    again = SpeechClassifier.from_pretrained(tmp_path / "model").speech
    torch.testing.assert_close(again.train().context(frames, mask), speech.eval().context(frames, mask))


@torch.no_grad()
def test_the_pooler_is_that_of_transformers(tiny_text: Path, tmp_path: Path) -> None:
    text = load_text_model(resolve_encoder(str(tiny_text)), pooler=True)
    model = TextClassifier(text, text_dim=64, labels=LABELS, pooling="pooler").eval()
    encoded = AutoTokenizer.from_pretrained(tiny_text)(["She isn't here.", "Oh"], padding=True, return_tensors="pt")
    mask = encoded["attention_mask"].bool()
    expected = model.emotion_head(AutoModel.from_pretrained(tiny_text).eval()(**encoded).pooler_output)
    torch.testing.assert_close(model(encoded["input_ids"] * mask, mask).logits, expected, atol=1e-5, rtol=1e-5)
    model.save_pretrained(tmp_path)
    loaded = TextClassifier.from_pretrained(tmp_path)
    torch.testing.assert_close(loaded(encoded["input_ids"], mask).logits, expected, atol=1e-5, rtol=1e-5)


def test_a_pooler_that_is_not_there_is_refused(tiny_text: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="--text-pooling pooler needs a fine-tuned text encoder"):
        TextClassifier(None, text_dim=64, labels=LABELS, pooling="pooler")
    files = resolve_encoder(str(tiny_text))
    without = load_text_model(files)
    monkeypatch.setattr("mmer_pipeline.encoders.text.load_pretrained", lambda *_, **__: without)
    with pytest.raises(UserError, match="has no pooler"):
        load_text_model(files, pooler=True)


@torch.no_grad()
def test_a_saved_variant_is_loaded_whole_and_a_model_from_before_is_the_paper_s(
    tiny_speech: Path, tmp_path: Path
) -> None:
    for name, options in (("variant", REFERENCE), ("before", {})):
        model = mmer(tiny_speech, **options)
        model.save_pretrained(tmp_path / name)
        config = json.loads((tmp_path / name / "config.json").read_text())
        if name == "before":
            config = {key: value for key, value in config.items() if key not in REFERENCE}
            (tmp_path / name / "config.json").write_text(json.dumps(config))
        inputs = padded_inputs(model)
        assert torch.equal(MMER.from_pretrained(tmp_path / name)(*inputs).logits, model(*inputs).logits)
