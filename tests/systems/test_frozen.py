"""Systems on frozen features: SUPERB's head, attentive pooling, probes; against scikit-learn and plain compositions."""

import csv
import json
import pickle
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.command_line import fail, succeed
from helpers.speaker_weights import install_speaker_weights
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from torch import nn

from mmer_pipeline import sealed_json
from mmer_pipeline.corpora.manifest import Manifest
from mmer_pipeline.encoders.statistics import mean_and_deviation
from mmer_pipeline.errors import UserError
from mmer_pipeline.features.required_features import feature_of, requests_of
from mmer_pipeline.layers import layer_numbers
from mmer_pipeline.runs import read_predictions
from mmer_pipeline.settings import Settings
from mmer_pipeline.systems.base import FrozenInput
from mmer_pipeline.systems.frozen import AttentivePooling, WeightedLayers
from mmer_pipeline.systems.probe import ABSENT, LinearProbe
from mmer_pipeline.systems.published.entries import PUBLISHED
from mmer_pipeline.systems.registry import settings_for

pytestmark = pytest.mark.usefixtures("narrow")
LABELS = ["happy", "angry", "neutral", "sad"]
LAYERS = asdict(FrozenInput("speech_layers", "layers", 2 * 24, 5, ["mean", "std"]))
FRAMES = asdict(FrozenInput("log_mel", "time", 24))
VECTOR = asdict(FrozenInput("egemaps", "vector", 24))
SETTINGS = Settings(fold=1)


@torch.no_grad()
def test_superb_s_head_on_means_is_the_published_one_on_frames() -> None:
    """Weighted sum of layers, linear map to 256, mean over real frames, linear layer, with plain modules."""
    torch.manual_seed(0)
    model = WeightedLayers(labels=LABELS, inputs=[LAYERS])
    nn.init.normal_(model.layer_sum.scores)
    lengths = [40, 23, 5]
    mask = torch.arange(40) < torch.tensor(lengths)[:, None]  # [B, J]
    states = torch.randn(5, 3, 40, 24)  # [L, B, J, d]
    summed = (model.layer_sum.scores.softmax(0)[:, None, None, None] * states).sum(0)
    projected = nn.functional.linear(summed, model.projector.weight, model.projector.bias)
    pooled = torch.stack([row[:length].mean(0) for row, length in zip(projected, lengths, strict=True)])
    expected = nn.functional.linear(pooled, model.emotion_head.weight, model.emotion_head.bias)
    stored = torch.stack([mean_and_deviation(state, mask) for state in states], dim=1)  # [B, L, 2d]
    torch.testing.assert_close(model(speech_layers=stored).logits, expected, atol=1e-5, rtol=1e-5)


def test_superb_s_head_on_wav2vec2_base_has_the_published_number_of_parameters() -> None:
    """13 weights of layers, a projector of 768 × 256, a classifier of 256 × 4, with biases."""
    base = asdict(FrozenInput("speech_layers", "layers", 2 * 768, 13, ["mean", "std"]))
    model = WeightedLayers(labels=LABELS, inputs=[base])
    assert sum(p.numel() for p in model.parameters()) == 13 + 768 * 256 + 256 + 256 * 4 + 4


@torch.no_grad()
def test_attentive_pooling_standardises_frames_by_those_of_the_training_part() -> None:
    torch.manual_seed(0)
    model = AttentivePooling(labels=LABELS, inputs=[FRAMES], dropout=0.0)
    values, mask = 5 + 3 * torch.randn(6, 40, 24), torch.arange(40) < torch.tensor([40, 23, 5, 40, 7, 9])[:, None]
    parts = [{"log_mel": values[part], "log_mel_mask": mask[part]} for part in (slice(0, 2), slice(2, 6))]
    model.prepare(parts, np.zeros(6, dtype=np.int64), [""] * 6, SETTINGS)
    mean, deviation = values[mask].mean(0), values[mask].std(0, correction=0)
    torch.testing.assert_close(model.mean, mean)
    torch.testing.assert_close(model.deviation, deviation, atol=1e-4, rtol=1e-4)
    expected = model.emotion_head(model.pooling((values - mean) / deviation, mask))
    torch.testing.assert_close(model(log_mel=values, log_mel_mask=mask).logits, expected, atol=1e-4, rtol=1e-4)


def data(inputs: dict[str, object], classes: int = 4) -> tuple[dict[str, torch.Tensor], np.ndarray, list[str]]:
    """120 utterances of 12 speakers, whose classes can be told from the rows."""
    generator = np.random.default_rng(1)
    truth = np.tile(np.arange(classes), 120 // classes)
    length = {"layers": 5, "time": 7, "vector": 1}[str(inputs["axis"])]
    values = generator.normal(size=(120, length, int(str(inputs["dim"])))).astype(np.float32)
    values[:, :, :classes] += 1.5 * np.eye(classes)[truth][:, None]
    if inputs["axis"] == "layers":
        values[:, [0, 1, 3, 4], :] = generator.normal(size=(120, 4, values.shape[2]))  # only layer 2 says anything
    mask = torch.ones(120, length, dtype=torch.bool)
    name = str(inputs["name"])
    groups = [f"speaker {number // 10}" for number in range(120)]
    return {name: torch.from_numpy(values), f"{name}_mask": mask}, truth, groups


@pytest.mark.parametrize("inputs", [LAYERS, FRAMES, VECTOR], ids=lambda entry: entry["axis"])
@pytest.mark.parametrize("classifier", ["logistic", "svm"])
def test_a_fitted_probe_says_what_scikit_learn_says(inputs: dict[str, object], classifier: str) -> None:
    features, truth, groups = data(inputs)
    model = LinearProbe(labels=LABELS, inputs=[inputs], classifier=classifier)
    summaries = [summary.numpy() for summary in model.summaries(features)]
    chosen = model.fit(summaries, truth, groups, SETTINGS)
    assert chosen["layers"] == ({"speech_layers": [2]} if inputs["axis"] == "layers" else {})
    assert chosen["inner_ua"] > 0.5
    x = summaries[0][:, 2 if inputs["axis"] == "layers" else 0].astype(np.float64)
    kind = LogisticRegression(C=chosen["strength"], max_iter=1000)
    if classifier == "svm":
        kind = LinearSVC(C=chosen["strength"], dual=False)
    reference = make_pipeline(StandardScaler(), kind).fit(x, truth)
    logits = model(**features).logits.detach().double()
    assert (logits.argmax(1).numpy() == reference.predict(x)).mean() > 0.98
    if classifier == "logistic":
        np.testing.assert_allclose(logits.softmax(1).numpy(), reference.predict_proba(x), atol=5e-3)


def test_the_scale_of_an_svm_s_decisions_makes_probabilities_of_them() -> None:
    features, truth, groups = data(VECTOR)
    model = LinearProbe(labels=LABELS, inputs=[VECTOR], classifier="svm")
    model.fit([summary.numpy() for summary in model.summaries(features)], truth, groups, SETTINGS)
    confidence = model(**features).logits.detach().softmax(1).max(1).values.mean()
    assert 0.4 < float(confidence) < 0.99


@pytest.mark.parametrize("classifier", ["logistic", "svm"])
def test_a_class_that_the_training_part_lacks_is_never_predicted(classifier: str) -> None:
    for classes in (2, 3):
        features, truth, groups = data(VECTOR, classes)
        model = LinearProbe(labels=LABELS, inputs=[VECTOR], classifier=classifier)
        model.fit([summary.numpy() for summary in model.summaries(features)], truth, groups, SETTINGS)
        logits = model(**features).logits
        assert set(logits.argmax(1).tolist()) == set(range(classes))
        assert (logits[:, classes:] == ABSENT).all()


def test_a_training_part_of_one_class_or_with_one_utterance_of_each_is_refused() -> None:
    features, truth, groups = data(VECTOR)
    model = LinearProbe(labels=LABELS, inputs=[VECTOR])
    with pytest.raises(UserError, match="only the class happy"):
        model.fit([summary.numpy() for summary in model.summaries(features)], 0 * truth, groups, SETTINGS)
    few = [summary.numpy()[:4] for summary in model.summaries(features)]
    with pytest.raises(UserError, match="has 4 utterances, one of each class"):
        model.fit(few, truth[:4], groups[:4], SETTINGS)


@pytest.mark.parametrize(
    ("changes", "size"),
    [
        ({"layer": "3"}, 48),
        ({"layer": "3+1"}, 96),
        ({"layer": "all"}, 240),
        ({"layer": "last", "statistics": "mean"}, 24),
        ({}, 48),
    ],
)
def test_the_layers_and_statistics_that_are_named_are_read(changes: dict[str, str], size: int) -> None:
    features, _, _ = data(LAYERS)
    model = LinearProbe(labels=LABELS, inputs=[LAYERS], **changes)
    with torch.no_grad():
        model.emotion_head.weight.zero_()
        model.emotion_head.bias.zero_()
        model.emotion_head.weight[0] = 1.0
    assert model.emotion_head.in_features == size
    values, numbers = features["speech_layers"], layer_numbers(changes.get("layer", "0"), 4)
    expected = values[:, numbers][..., : 24 if changes.get("statistics") == "mean" else 48].sum((1, 2))
    torch.testing.assert_close(model(**features).logits[:, 0], expected, atol=1e-4, rtol=1e-4)


def test_statistics_that_a_feature_lacks_are_named() -> None:
    with pytest.raises(UserError, match="--statistics first: speech_layers has mean, std, and no first"):
        LinearProbe(labels=LABELS, inputs=[LAYERS], statistics="first")


@pytest.mark.parametrize("choice", ["7", "-1", "1++2", "two", "", "1+1", "best"])
def test_layers_that_do_not_exist_are_named(choice: str) -> None:
    with pytest.raises(UserError, match="expected last, all, or numbers from 0 to 6 joined by"):
        layer_numbers(choice, 6)


@pytest.mark.parametrize(
    ("system", "inputs"), [(WeightedLayers, [FRAMES]), (AttentivePooling, [LAYERS]), (WeightedLayers, [LAYERS, LAYERS])]
)
def test_a_feature_of_the_wrong_kind_is_refused(
    system: type[WeightedLayers | AttentivePooling], inputs: list[dict[str, object]]
) -> None:
    with pytest.raises(UserError, match=r"--inputs: .* reads one feature with .*; found "):
        system(labels=LABELS, inputs=inputs)


def test_an_unknown_feature_is_named_with_those_that_are(encoders: list[str], manifest: Manifest) -> None:
    said = fail("extract", "--system", "probe", "--inputs", "mel", *encoders)
    assert "There is no feature 'mel'. Available features: speech-layers, speech-states, text-layers" in said


@pytest.mark.parametrize(
    ("system", "options"),
    [
        ("probe", "--inputs speech-layers"),
        ("probe", "--inputs speech-layers+text-layers"),
        ("probe", "--inputs speech-states --layer 1"),
        *((name, "") for name in PUBLISHED),
    ],
)
def test_predictions_on_recordings_are_those_of_the_evaluation(
    system: str,
    options: str,
    manifest: Manifest,
    encoders: list[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    install_speaker_weights(monkeypatch, tmp_path_factory.mktemp("packages"))
    words = ["--system", system, *options.split(), *encoders]
    succeed("extract", *words)
    succeed("train", *words, "--fold", "1", "--epochs", "1")
    succeed("evaluate", "--run", system)
    succeed("pack", system, "--fold", "1", "--output", "packed")
    if system == "probe":
        facts = json.loads(Path("packed/mmer_model.json").read_text())
        assert facts["speech_encoder"]["directory"] == "speech_encoder"  # a local one is copied
    expected = {row["utterance_id"]: row for row in read_predictions(Path(f"runs/{system}/fold-1/predictions.csv"))}
    used = [u for u in manifest.utterances if u.utterance_id in expected]
    with Path("list.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["audio", "transcript"])
        writer.writerows([str(manifest.audio_path(u)), u.transcript] for u in used)
    succeed("predict", "list.csv", "--model", "packed", "--output", "out.csv")
    found = list(csv.DictReader(Path("out.csv").read_text().splitlines()))
    for utterance, row in zip(used, found, strict=True):
        known = expected[utterance.utterance_id]
        for label in ("happy", "angry", "neutral", "sad"):
            column = f"probability_{label}"
            assert float(row[column]) == pytest.approx(float(known[column]), abs=2e-3)


def test_a_system_s_own_defaults_take_precedence_over_a_preset(manifest: Manifest, encoders: list[str]) -> None:
    words = ["--preset", "small", *encoders]
    succeed("extract", "--system", "superb", *words)
    succeed("train", "--system", "superb", *words, "--epochs", "1")
    settings = json.loads(Path("runs/superb/fold-1/settings.json").read_text())["settings"]
    assert (settings["epochs"], settings["learning_rate"], settings["batch_size"]) == (1, 1e-4, 32)


def test_settings_of_epochs_leave_a_fitted_system_alone() -> None:
    plain = settings_for("probe", fold=1)
    assert settings_for("probe", fold=1, epochs=7, learning_rate=0.5, schedule="linear", precision="bf16") == plain
    assert settings_for("probe", fold=1, seed=2) != plain
    assert settings_for("probe", fold=1, balanced_classes=True) != plain


FEATURE = """
from dataclasses import dataclass
from mmer_pipeline.features.speech_features import SpeechLayers

@dataclass(frozen=True)
class Mine(SpeechLayers):
    kind = "mine"

FEATURES = {"mine": Mine}
"""


def test_a_feature_of_a_file_is_found_sent_and_read(manifest: Manifest, encoders: list[str]) -> None:
    Path("own.py").write_text(FEATURE)
    name = f"{Path('own.py').absolute()}:mine"
    feature = feature_of(name, settings_for("probe", fold=1, inputs=name))
    assert pickle.loads(pickle.dumps(feature)) == feature
    words = ["--system", "probe", "--inputs", name, *encoders]
    succeed("extract", *words)
    assert list(Path("cache/features/manifest").glob("mine-*.h5"))
    succeed("train", *words, "--fold", "1")
    succeed("evaluate", "--run", "probe")
    assert "Feature mine comes from a file" in fail("pack", "probe", "--fold", "1", "--output", "packed")


def test_a_packed_model_cannot_name_code_that_is_run(manifest: Manifest, encoders: list[str]) -> None:
    succeed("extract", "--system", "probe", *encoders)
    succeed("train", "--system", "probe", "--fold", "1", *encoders)
    succeed("pack", "probe", "--fold", "1", "--output", "packed")
    Path("evil.py").write_text("import pathlib\npathlib.Path('ran').touch()\nFEATURES = {}\n")
    description = sealed_json.read(Path("packed/mmer_model.json"), "mmer-pipe pack")
    description["settings"]["inputs"] = f"speech-layers+{Path('evil.py').absolute()}:x"
    sealed_json.write(Path("packed/mmer_model.json"), description)
    said = fail("predict", str(manifest.audio_path(manifest.utterances[0])), "--model", "packed")
    assert "names a system or feature from a file" in said
    assert not Path("ran").exists()


def test_layers_are_extracted_once_for_all_choices_of_them() -> None:
    both = [requests_of(settings_for("probe", fold=1, layer=layer)) for layer in ("2", "best")]
    assert both[0] == both[1] == requests_of(settings_for("superb", fold=1))
    assert requests_of(settings_for("attentive", fold=1, layer="2")) != requests_of(settings_for("attentive", fold=1))


def test_the_report_says_how_each_was_trained(manifest: Manifest, encoders: list[str]) -> None:
    shown = succeed("cv", "--systems", "probe,superb", "--fold", "1", "--epochs", "2", *encoders)
    said = Path("runs/report/methods.md").read_text()
    probe, superb = "Probe (speech-layers, tiny-speech)", "SUPERB (speech-layers, tiny-speech)"
    assert f"{probe} was fitted by scikit-learn" in said
    assert f"{superb} was trained for 2 epochs in batches of 32 utterances with AdamW" in said
    assert f"For {superb}, they are read by the emotion head of SUPERB" in said
    assert "SpecAugment" not in said
    assert "unlike probe" not in shown.output
    chosen = json.loads(Path("runs/probe/fold-1/metrics.jsonl").read_text())["chosen"]
    assert set(chosen) == {"layers", "strength", "inner_ua"}


def test_a_feature_of_a_file_follows_a_system_in_a_list(manifest: Manifest, encoders: list[str]) -> None:
    Path("own.py").write_text(FEATURE)
    succeed("cv", "--systems", "probe:inputs=own.py:mine+speech-layers:layer=1", "--fold", "1", *encoders)
    (run,) = Path("runs").glob("probe-*")
    assert run.name == "probe-inputs-mine-speech-layers-layer-1"
    settings = json.loads((run / "fold-1/settings.json").read_text())["settings"]
    assert settings["inputs"] == f"{Path('own.py').absolute()}:mine+speech-layers"
