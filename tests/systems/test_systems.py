"""Every registered system: it trains, saves, evaluates; the ablations take away what they say."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from accelerate.utils import set_seed
from helpers.pipeline import extract_for, train
from helpers.speaker_weights import install_speaker_weights
from huggingface_hub import ModelCard
from torch import Tensor

from mmer_pipeline import paths, runs
from mmer_pipeline.encoders.encoder_files import resolve_encoder
from mmer_pipeline.encoders.speech import load_speech_encoder
from mmer_pipeline.encoders.text import load_text_model
from mmer_pipeline.errors import Busy, UserError
from mmer_pipeline.files import locked
from mmer_pipeline.presets import RECIPES
from mmer_pipeline.runs import RunRecord
from mmer_pipeline.settings import POOLED, Settings
from mmer_pipeline.systems.base import EmotionModel
from mmer_pipeline.systems.catalogue import NAMED_LISTS, SYSTEMS
from mmer_pipeline.systems.mmer import MultimodalInteraction
from mmer_pipeline.systems.registry import (
    read_features,
    settings_for,
)
from mmer_pipeline.systems.unimodal import SpeechClassifier, TextClassifier
from mmer_pipeline.training.build_model import build_model, load_model, model_class
from mmer_pipeline.training.evaluation import evaluate_fold
from mmer_pipeline.training.fold_inputs import Encoders, ctc_alphabet

pytestmark = pytest.mark.usefixtures("narrow")
RUN = Path("runs/mmer")
ABLATIONS = [
    {"gate": False},
    {"r_branch": False},
    {"q_branch": False},
    {"r_branch": False, "gate": False},
    {"alpha": 0.0},
    *({"pooled": pooled} for pooled in POOLED),
    {"pooled": "text", "alpha": 0.0},
]
EVERY_SYSTEM = [
    *((name, {}) for name in SYSTEMS),
    ("roberta", {"finetune_text": True}),
    *(("mmer", ablation) for ablation in ABLATIONS),
    ("mmer", {"finetune_text": True}),
    ("mmer", RECIPES["reference"]["mmer"]),
    ("roberta", {"finetune_text": True, "text_pooling": "pooler"}),
    ("wav2vec2", {"layer_sum": True}),
    ("cai", {"speech_pooling": "attentive"}),
    ("mmer", {"layer_sum": True, "speech_pooling": "attentive"}),
    ("mmer", {"pooled": "speech", "speech_pooling": "attentive"}),
    ("mmer", {"pooled": "text", "speech_pooling": "attentive"}),
    ("pappagari", {"speaker_weights": "frozen"}),
    ("pappagari", {"speaker_weights": "scratch"}),
]


@pytest.fixture(scope="module", autouse=True)
def _speaker_weights(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        install_speaker_weights(patch, tmp_path_factory.mktemp("site"))
        yield


@pytest.fixture
def settings_of(tiny_text, tiny_speech):
    def make(system, **options):
        places = {"text_encoder": str(tiny_text), "speech_encoder": str(tiny_speech)}
        return settings_for(system, fold=1, epochs=1, batch_size=8, learning_rate=1e-3, **places, **options)

    return make


@pytest.mark.parametrize(("system", "options"), EVERY_SYSTEM)
def test_every_system_trains_a_step_and_is_evaluated_from_its_saved_model(corpus, settings_of, system, options):
    settings = settings_of(system, **options)
    extract_for(settings, corpus)
    assert train(settings, corpus)  # 8 utterances, 8 a step
    fold = paths.fold(RUN, 1)
    (line,) = runs.read_metrics(fold.metrics)
    evaluation, _ = evaluate_fold(RUN, 1, cache=Path("cache"), device="cpu")
    assert evaluation["metrics"]["confusion"] == line["held_out"]["confusion"]
    assert (line["train"]["ctc"] is not None) == bool(settings.alpha)
    assert (evaluation["metrics"]["wer"] is not None) == bool(settings.alpha)
    assert not train(settings, corpus)  # nothing is left to do


@pytest.mark.parametrize(("system", "options"), EVERY_SYSTEM)
def test_every_trained_parameter_of_a_system_moves(corpus, settings_of, system, options):
    settings = settings_of(system, **options)
    extract_for(settings, corpus)
    train(settings, corpus)
    trained = dict(load_model(paths.fold(RUN, 1).model, system).named_parameters())
    set_seed(settings.seed)  # as training begins
    again = build_model(settings, Encoders.of(settings), corpus.labels, ctc_alphabet(settings, ()))
    rested = {name for name, p in again.named_parameters() if p.requires_grad and torch.equal(p, trained[name])}
    if settings.pooled == "text" and not settings.alpha:
        rested = {name for name in rested if not name.startswith("speech.")}  # nothing asks for speech
    assert not {name for name in rested if not _may_rest(name)}
    frozen = {name for name, p in again.named_parameters() if not p.requires_grad}
    assert all(torch.equal(again.get_parameter(name), trained[name]) for name in frozen)
    assert bool(frozen) == ("speech" in SYSTEMS[system].reads)


def _may_rest(name):
    """SpecAugment's vector is drawn in few steps alone, and few words stand in eight sentences."""
    return name.endswith("masked_spec_embed") or "embeddings" in name


@pytest.mark.parametrize(("system", "options"), EVERY_SYSTEM)
@torch.no_grad()
def test_an_utterance_alone_and_in_a_padded_batch_gives_the_same_logits(corpus, settings_of, system, options):
    settings = settings_of(system, **options)
    torch.manual_seed(0)
    model = build_model(settings, Encoders.of(settings), corpus.labels, ctc_alphabet(settings, ())).eval()
    batch = random_inputs(model, settings)
    together = model(**batch).logits
    for row in range(3):
        alone = {}
        others = [(name, f"{name}_mask") for name in batch if f"{name}_mask" in batch]
        for values, mask in (("frames", "frame_mask"), ("tokens", "token_mask"), *others):
            if values in batch:
                real = batch[mask][row]
                alone |= {values: batch[values][row, real][None], mask: real[real][None]}
        torch.testing.assert_close(model(**alone).logits[0], together[row], atol=1e-4, rtol=1e-4)


def random_inputs(model: EmotionModel, settings: Settings) -> dict[str, Tensor]:
    """Three utterances of different lengths, as the system reads them; padding is not zero, but rubbish."""
    inputs = {}
    if "speech" in SYSTEMS[settings.system].reads:
        inputs["frames"] = torch.randn(3, 40, model.speech.front_dim)
        inputs["frame_mask"] = torch.arange(40) < torch.tensor([40, 23, 5])[:, None]
        inputs["frames"] *= inputs["frame_mask"].unsqueeze(-1)
    if "text" in SYSTEMS[settings.system].reads:
        inputs["token_mask"] = torch.arange(9) < torch.tensor([2, 9, 6])[:, None]
        inputs["tokens"] = torch.randint(5, 20, (3, 9)) if settings.finetune_text else torch.randn(3, 9, 64)
    for entry in getattr(model, "inputs", ()):
        name, lengths = entry["name"], [40, 23, 5] if entry["axis"] == "time" else [max(1, entry["layers"])] * 3
        inputs[name] = torch.randn(3, max(lengths), entry["dim"])
        inputs[f"{name}_mask"] = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    return inputs


def test_a_fine_tuned_text_encoder_says_what_transformers_says_of_the_same_tokens(settings_of, corpus):
    """With the head taken off: positions of padded RoBERTa inputs included."""
    settings = settings_of("roberta", finetune_text=True)
    model = build_model(settings, Encoders.of(settings), corpus.labels, None).eval()
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(settings.text_encoder)
    reference = AutoModel.from_pretrained(settings.text_encoder).eval()
    encoded = tokenizer(["She isn't coming home.", "Oh"], padding=True, return_tensors="pt")
    mask = encoded["attention_mask"].bool()
    with torch.no_grad():
        hidden = reference(**encoded).last_hidden_state
        mean = torch.stack([row[real].mean(dim=0) for row, real in zip(hidden, mask, strict=True)])
        found = model(encoded["input_ids"] * mask, mask).logits
    torch.testing.assert_close(found, model.emotion_head(mean), atol=1e-5, rtol=1e-5)


def test_the_flags_of_mmi_take_away_their_parameters():
    d = 8
    count = {
        name: sum(p.numel() for p in MultimodalInteraction(d, 2, 0.1, **flags).parameters())
        for name, flags in {
            "all": {},
            "no gate": {"gate": False},
            "no R": {"r_branch": False},
            "no Q": {"q_branch": False},
        }.items()
    }
    encoder = 4 * (d * d + d) + (4 * d * d + 4 * d) + (4 * d * d + d) + 4 * d  # attention, feed-forward, two norms
    down, narrow = 2 * d * d + d, d * d + d
    assert count == {
        "all": 3 * encoder + 2 * down,
        "no gate": 3 * encoder + down,
        "no R": encoder + 2 * narrow,
        "no Q": 2 * encoder + narrow,
    }


def test_an_mmi_without_branches_is_refused(corpus, settings_of):
    with pytest.raises(UserError, match="remove the whole MMI"):
        train(settings_of("mmer", r_branch=False, q_branch=False), corpus)


def test_the_two_readings_of_roberta_read_what_they_say(corpus, settings_of):
    frozen, tuned = settings_of("roberta"), settings_of("roberta", finetune_text=True)
    assert (read_features(frozen), read_features(tuned)) == (["text"], [])
    train(frozen, corpus)
    record = RunRecord.read(paths.fold(RUN, 1).settings, "mmer-pipe train")
    assert "text_features" in record.inputs
    assert not {"speech_features", "speech_encoder", "text_encoder", "transcripts"} & record.inputs.keys()
    train(tuned, corpus, restart=True)
    record = RunRecord.read(paths.fold(RUN, 1).settings, "mmer-pipe train")
    assert {"transcripts", "text_encoder"} <= record.inputs.keys()
    assert "text_features" not in record.inputs


def test_a_system_needs_no_features_that_it_does_not_read(corpus, settings_of):
    for path in Path("cache/features").rglob("*.h5"):
        path.unlink()
    assert train(settings_of("roberta", finetune_text=True), corpus)
    with pytest.raises(UserError, match=r"No features at .*speech"):
        train(settings_of("wav2vec2"), corpus, restart=True)


def test_evaluation_refuses_another_text_encoder_than_the_one_that_was_fine_tuned(corpus, settings_of, monkeypatch):
    train(settings_of("roberta", finetune_text=True), corpus)
    monkeypatch.setattr("mmer_pipeline.encoders.encoder_files.EncoderFiles.digest", lambda _: "another")
    with pytest.raises(UserError, match=r"Changed since .* was trained: text encoder"):
        evaluate_fold(RUN, 1, cache=Path("cache"), device="cpu")


@pytest.mark.parametrize("system", ["mmer", "roberta"])
def test_a_model_that_version_0_1_saved_is_still_read(corpus, settings_of, system):
    """Its config.json had the encoders' configurations as arguments of their own."""
    settings = settings_of(system, **({"finetune_text": True} if system == "roberta" else {}))
    train(settings, corpus)
    fold = paths.fold(RUN, 1)
    expected, _ = evaluate_fold(RUN, 1, cache=Path("cache"), device="cpu")
    config = json.loads((fold.model / "config.json").read_text())
    if system == "mmer":
        speech = config.pop("speech")
        config |= {"speech_config": speech["config"], "zero_mean_unit_variance": speech["zero_mean_unit_variance"]}
    else:
        config["text_config"] = config.pop("text")
    (fold.model / "config.json").write_text(json.dumps(config))
    replace(RunRecord.read(fold.settings, ""), files=None).write(fold.settings)  # it recorded no digests
    fold.evaluation.unlink()
    found, computed = evaluate_fold(RUN, 1, cache=Path("cache"), device="cpu")
    assert computed
    assert found == expected


def test_the_classes_of_the_registry_are_there():
    assert model_class("cai") is model_class("wav2vec2") is SpeechClassifier
    assert model_class("roberta") is TextClassifier
    assert {entry.partition(":")[0] for entry in ",".join(NAMED_LISTS.values()).split(",")} <= set(SYSTEMS)


def test_a_saved_model_says_how_it_is_loaded(tmp_path, tiny_speech):
    encoder = resolve_encoder(str(tiny_speech))
    model = SpeechClassifier(load_speech_encoder(encoder), labels=["a", "b"], alphabet=[])
    model.save_pretrained(tmp_path)
    card = ModelCard.load(tmp_path / "README.md").text
    assert "mmer_pipeline.systems.unimodal.SpeechClassifier.from_pretrained" in card
    assert SpeechClassifier.from_pretrained(tmp_path).labels == ["a", "b"]


def test_labels_are_no_markup_in_the_card_of_a_saved_model(tmp_path):
    labels = ["<script>alert(1)</script>", "[angry](javascript:x)\n# Title"]
    TextClassifier(None, text_dim=3, labels=labels).save_pretrained(tmp_path)
    card = ModelCard.load(tmp_path / "README.md").text
    assert r"\<script\>alert(1)\</script\>, \[angry\](javascript:x) \# Title." in card


@pytest.mark.parametrize("kind", ["speech", "text"])
@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("num_hidden_layers", 10_000_000, "num_hidden_layers is 10000000, expected at most 1,000"),
        (
            "intermediate_size",
            10**8,
            r"config.json describes an encoder of .* numbers, but model.safetensors has .* bytes",
        ),
        ("hidden_size", -1, "hidden_size is -1, expected at least 1"),
    ],
)
def test_a_saved_model_whose_encoder_has_impossible_sizes_is_refused(
    tmp_path, tiny_speech, tiny_text, kind, name, value, said
):
    """It was built layer by layer, or its memory was allocated."""
    if kind == "speech":
        speech = load_speech_encoder(resolve_encoder(str(tiny_speech)))
        model: EmotionModel = SpeechClassifier(speech, labels=["a", "b"], alphabet=[])
    else:
        text = load_text_model(resolve_encoder(str(tiny_text)))
        model = TextClassifier(text, text_dim=text.config.hidden_size, labels=["a", "b"])
    model.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (config["speech"]["config"] if kind == "speech" else config["text"])[name] = value
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=rf"The model at {tmp_path} cannot be loaded: {said}"):
        load_model(tmp_path, "cai" if kind == "speech" else "roberta")


def test_a_fold_that_another_process_works_on_is_busy(corpus, settings_of):
    with locked(paths.fold(RUN, 1).lock), pytest.raises(Busy, match="Another process"):
        train(settings_of("roberta"), corpus)
    assert train(settings_of("roberta"), corpus)
    with locked(paths.fold(RUN, 1).lock), pytest.raises(Busy):
        evaluate_fold(RUN, 1, cache=Path("cache"), device="cpu")
