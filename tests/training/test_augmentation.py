"""Training that draws a version of each recording at every use (`--augment`)."""

import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
import torch
from helpers.pipeline import extract_for, metrics, quick_settings, train
from transformers import AutoModel, Wav2Vec2FeatureExtractor

from mmer_pipeline import paths
from mmer_pipeline.corpora.manifest import Manifest
from mmer_pipeline.corpora.transcripts import WAV2VEC2_ALPHABET, Alphabet, frames_needed
from mmer_pipeline.errors import UserError
from mmer_pipeline.features.feature_file import FeatureFile
from mmer_pipeline.features.required_features import requests_of
from mmer_pipeline.runs import RunRecord
from mmer_pipeline.settings import Settings
from mmer_pipeline.systems.registry import settings_for
from mmer_pipeline.training.batches import micro_batches
from mmer_pipeline.training.evaluation import evaluate_fold, score_fold
from mmer_pipeline.training.examples import Examples
from mmer_pipeline.training.step import Optimiser
from stages.system_list import Entry

VERSIONS = "speed-0.9+speed-1.1+noise-20"


@pytest.fixture
def settings(tiny_text: Path, tiny_speech: Path) -> Settings:
    return replace(quick_settings(tiny_text, tiny_speech), augment=VERSIONS, dtype="float32", validation="speaker")


def file_of(version: str) -> Path:
    return Path(f"cache/features/manifest/speech-tiny-speech{version and '-'}{version}-float32.h5")


def test_each_version_has_a_file_with_the_frames_of_the_changed_recordings(
    manifest: Manifest, settings: Settings, tiny_speech: Path
) -> None:
    extract_for(settings, manifest)
    model = AutoModel.from_pretrained(tiny_speech).eval()
    extractor = Wav2Vec2FeatureExtractor.from_pretrained(tiny_speech)
    for version, rate in (("", 16_000), ("speed-0.9", 14_400), ("speed-1.1", 17_600)):
        file = FeatureFile(file_of(version))
        for utterance in manifest.utterances[:3]:
            samples, _ = soundfile.read(manifest.audio_path(utterance), dtype="float32")
            changed = soxr.resample(samples, rate, 16_000, quality="VHQ")[: round(len(samples) * 16_000 / rate)]
            with torch.no_grad():
                expected = model.feature_extractor(
                    extractor(changed, sampling_rate=16_000, return_tensors="pt").input_values
                )
            np.testing.assert_allclose(file.rows(utterance.utterance_id), expected[0].T.numpy(), atol=1e-4)
    plain, noisy = FeatureFile(file_of("")), FeatureFile(file_of("noise-20"))
    assert plain.identity.mismatches(noisy.identity) == [
        "policy is 'zero mean, unit variance; noise-20', expected 'zero mean, unit variance'"
    ]


def test_a_file_of_another_version_is_not_read(manifest: Manifest, settings: Settings) -> None:
    extract_for(settings, manifest)
    shutil.copy(file_of("speed-0.9"), file_of("speed-1.1"))
    with pytest.raises(UserError, match=r"; speed-0\.9', expected .*mmer-pipe extract .*--augment speed-0\.9\+speed-1"):
        train(settings, manifest)


def test_a_list_of_systems_can_name_versions(tiny_speech: Path) -> None:
    entry = Entry.parse(f"wav2vec2:augment={VERSIONS}:epochs=3")
    settings = settings_for("wav2vec2", fold=1, speech_encoder=str(tiny_speech), **entry.options)
    assert settings.augment == VERSIONS
    names = [request.path(Path("cache"), Path("cache/manifest.csv")).name for request in requests_of(settings)]
    assert names == [
        f"speech-tiny-speech{version}-float16.h5" for version in ("", "-speed-0.9", "-speed-1.1", "-noise-20")
    ]


@pytest.mark.parametrize("system", ["roberta", "probe"])
def test_a_system_that_trains_no_speech_encoder_has_no_versions(system: str) -> None:
    with pytest.raises(UserError, match=f"System {system} has no setting augment"):
        settings_for(system, fold=1, augment="noise-20")


def test_a_version_that_does_not_exist_is_refused_before_anything_is_computed() -> None:
    with pytest.raises(UserError, match="no version 'speed-9'"):
        settings_for("wav2vec2", fold=1, augment="speed-9")


def test_without_versions_the_identity_is_what_it_was(settings: Settings) -> None:
    assert "augment" not in replace(settings, augment="none").identity()
    assert settings.identity()["augment"] == VERSIONS


class Lengths:
    """Rows of the given lengths, whose values are a number."""

    def __init__(self, lengths: list[int], value: float) -> None:
        self.lengths, self.value = lengths, value

    def row(self, position: int) -> np.ndarray:
        return np.full((self.lengths[position], 2), self.value + position, np.float32)

    def length(self, position: int) -> int:
        return self.lengths[position]


@pytest.fixture
def examples(manifest: Manifest) -> Examples:
    """Recordings of 100 frames as they are and at two other speeds, with their tokens."""
    count = len(manifest.utterances)
    versions = [Lengths([length] * count, value) for length, value in ((111, 1_000.0), (20, 2_000.0))]
    return Examples(
        manifest,
        speech=Lengths([100] * count, 0.0),
        frame_rate=50.0,
        text=Lengths([3] * count, 5.0),
        alphabet=Alphabet(WAV2VEC2_ALPHABET),
        versions=versions,
    )


def test_every_version_is_drawn_equally_often_and_the_seed_decides(examples: Examples) -> None:
    count = examples.utterances
    drawn = Counter(position for seed in range(600) for position in examples.draw([3, 7], seed))
    assert drawn.keys() == {number * count + position for number in range(3) for position in (3, 7)}
    assert all(150 < times < 250 for times in drawn.values())
    assert examples.draw(range(count), 5) == examples.draw(range(count), 5) != examples.draw(range(count), 6)


def test_a_version_has_its_own_frames_and_length_and_the_words_and_class_of_its_utterance(examples: Examples) -> None:
    count = examples.utterances
    batch = examples.batch([2, count + 2, 2 * count + 2])
    assert batch.frame_counts == (100, 111, 20)
    assert batch.inputs["frames"][:, 0, 0].tolist() == [2.0, 1_002.0, 2_002.0]
    assert batch.inputs["tokens"][:, 0, 0].tolist() == [7.0] * 3
    assert len(set(batch.labels.tolist())) == 1
    target = frames_needed(examples.targets[2])
    assert 20 < target <= 100  # the words do not fit into the frames of the fastest version
    assert batch.symbol_counts[0] == batch.symbol_counts[1] > batch.symbol_counts[2] == 0
    assert examples.without_target == 0  # of the recordings as they are
    assert examples.utterance(count + 2) == examples.manifest.utterances[2]


def test_micro_batches_are_limited_by_the_length_of_the_versions(examples: Examples) -> None:
    slower = [examples.utterances + position for position in range(4)]
    assert [examples.seconds[position] for position in (0, slower[0])] == [2.0, 2.22]
    assert [len(part) for part in micro_batches(range(4), examples.seconds, 4.0)] == [2, 2]
    assert [len(part) for part in micro_batches(slower, examples.seconds, 4.0)] == [1, 1, 1, 1]
    assert max(examples.seconds[position] for position in examples.all_versions([0])) == 2.22


def used(settings: Settings, manifest: Manifest, monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """The positions of each step of a training."""
    steps = []
    take = Optimiser.step

    def step(self: Optimiser, positions: list[int], **options: object) -> object:
        steps.append(list(positions))
        return take(self, positions, **options)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(Optimiser, "step", step)
        train(settings, manifest, restart=True)
    return steps


def test_training_draws_versions_and_the_order_is_that_without_them(
    manifest: Manifest, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = replace(settings, validation="none")
    extract_for(settings, manifest)
    count = len(manifest.utterances)
    drawn = used(settings, manifest, monkeypatch)
    assert {position // count for step in drawn for position in step} == {0, 1, 2, 3}
    plain = used(replace(settings, augment="none"), manifest, monkeypatch)
    assert [[position % count for position in step] for step in drawn] == plain


def test_stored_versions_give_the_training_of_versions_that_are_computed(
    manifest: Manifest, settings: Settings
) -> None:
    extract_for(settings, manifest)
    losses = []
    for stored in (True, False):
        train(replace(settings, speech_features=stored), manifest, run=Path(f"runs/{stored}"))
        losses.append([line["train"]["loss"] for line in metrics(f"runs/{stored}")])
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)
    train(replace(settings, augment="none"), manifest, run=Path("runs/plain"))
    assert metrics("runs/plain")[0]["train"]["loss"] != pytest.approx(losses[0][0], rel=1e-3)


def test_held_out_and_validation_parts_are_read_as_they_are(manifest: Manifest, settings: Settings) -> None:
    """The files of the versions are not needed for an evaluation."""
    extract_for(settings, manifest)
    train(settings, manifest)
    assert not train(settings, manifest)
    with pytest.raises(UserError, match=r"augment: 'speed-0\.9\+speed-1\.1\+noise-20' → 'speed-0\.9'"):
        train(replace(settings, augment="speed-0.9"), manifest)
    record = RunRecord.read(paths.fold(Path("runs/mmer"), 1).settings, "")
    assert {name for name in record.inputs if name.startswith("speech_features")} == {
        "speech_features", "speech_features_speed-0.9", "speech_features_speed-1.1", "speech_features_noise-20"
    }  # fmt: skip
    for version in VERSIONS.split("+"):
        file_of(version).unlink()
    evaluation, _ = evaluate_fold(Path("runs/mmer"), 1, cache=Path("cache"), device="cpu")
    last = metrics()[-1]
    assert evaluation["metrics"]["confusion"] == last["held_out"]["confusion"]
    scored = score_fold(Path("runs/mmer"), record, cache=Path("cache"), device="cpu", part="validation")
    assert (scored.predictions.predicted == scored.predictions.truth).mean() == last["validation"]["wa"]
