"""Speaker networks as emotion classifiers: weights, windows, masks, parameters and what is extracted."""

from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from helpers.command_line import fail, succeed
from helpers.pipeline import extract_for, train
from helpers.speaker_weights import install_speaker_weights, remove_speaker_weights

from mmer_pipeline.errors import UserError
from mmer_pipeline.prediction.packing import pack
from mmer_pipeline.prediction.recognizer import EmotionRecognizer
from mmer_pipeline.prediction.trained_model import find_model, model_of_run
from mmer_pipeline.systems.base import FrozenInput
from mmer_pipeline.systems.published.padi import MaskedSpeakerTransfer, span
from mmer_pipeline.systems.published.pappagari import SpeakerTransfer
from mmer_pipeline.systems.registry import read_features, settings_for
from mmer_pipeline.systems.titles import title
from mmer_pipeline.training.build_model import build_model
from mmer_pipeline.training.fold_inputs import Encoders
from mmer_pipeline.training.parameter_groups import parameter_groups

LABELS = ["happy", "angry", "neutral", "sad"]
MEL = [asdict(FrozenInput("resemblyzer_mel", "time", 40))]


def built(weights, system="pappagari", **options):
    settings = settings_for(system, fold=1, speaker_weights=weights, **options)
    return build_model(settings, Encoders.of(settings), LABELS, None), settings


def numbers(model):
    return sum(p.numel() for p in model.parameters())


def test_the_three_rows_have_the_weights_that_they_say(monkeypatch, tmp_path):
    installed = install_speaker_weights(monkeypatch, tmp_path)
    tuned, settings = built("finetuned", learning_rate=1e-4, head_learning_rate=1e-3)
    scratch, of_scratch = built("scratch", learning_rate=1e-4, head_learning_rate=1e-3)
    frozen, _ = built("frozen")
    for name, value in installed.state_dict().items():
        assert torch.equal(tuned.network.state_dict()[name], value)
        assert not torch.equal(scratch.network.state_dict()[name], value)
    head = 256 * 4 + 4
    assert [numbers(model) for model in (tuned, scratch, frozen)] == [1_423_616 + head, 1_423_616 + head, head]
    rates = [
        {group["peak"] for group in parameter_groups(*pair)} for pair in ((tuned, settings), (scratch, of_scratch))
    ]
    assert rates == [{1e-4, 1e-3}, {1e-3}]  # of random weights, all are new


def test_the_frozen_row_reads_stored_embeddings_and_the_others_mel_frames(manifest, monkeypatch, tmp_path):
    assert [
        read_features(settings_for("pappagari", fold=1, speaker_weights=weights))
        for weights in ("frozen", "finetuned", "scratch")
    ] == [["resemblyzer"], ["resemblyzer-mel"], ["resemblyzer-mel"]]
    install_speaker_weights(monkeypatch, tmp_path / "site")
    succeed("extract", "--system", "pappagari", "--speaker-weights", "frozen")
    assert [path.name for path in Path("cache/features").rglob("*.h5")] == ["resemblyzer-float16.h5"]


def test_without_the_weights_only_training_from_scratch_is_possible(manifest, monkeypatch):
    remove_speaker_weights(monkeypatch)
    for system in ("pappagari", "padi"):
        succeed("extract", "--system", system)
        assert "pip install --no-deps Resemblyzer" in fail("train", "--system", system, "--fold", "1")
    frozen = ["--system", "pappagari", "--speaker-weights", "frozen"]
    assert "pip install --no-deps Resemblyzer" in fail("extract", *frozen)
    succeed("train", "--system", "pappagari", "--speaker-weights", "scratch", "--fold", 1, "--epochs", 1)


def test_titles_say_which_row_it_is():
    weights = ("frozen", "finetuned", "scratch")
    assert {w: title(asdict(settings_for("pappagari", fold=1, speaker_weights=w))) for w in weights} == {
        "frozen": "Pappagari et al. (2020) (Resemblyzer, frozen)",
        "finetuned": "Pappagari et al. (2020) (Resemblyzer, fine-tuned)",
        "scratch": "Pappagari et al. (2020) (from scratch)",
    }
    with pytest.raises(UserError, match="System padi has no setting speaker-weights"):  # it is fine-tuned
        settings_for("padi", fold=1, speaker_weights="frozen")


def utterances(*lengths):
    mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    return {"resemblyzer_mel": torch.rand(len(lengths), max(lengths), 40), "resemblyzer_mel_mask": mask}


@torch.no_grad()
def test_in_training_each_utterance_has_one_random_window_and_otherwise_all_of_them():
    torch.manual_seed(0)
    model = SpeakerTransfer(labels=LABELS, inputs=MEL).eval()
    batch, seen = utterances(403, 100), []
    model.network.lstm.register_forward_hook(lambda _, given, __: seen.append(given[0]))
    mean = model(**batch).logits
    assert seen[0].shape == (4 + 1, 160, 40)
    model.train()
    drawn = [model(**batch).logits for _ in range(3)]
    assert [given.shape for given in seen[1:]] == [(2, 160, 40)] * 3
    frames = batch["resemblyzer_mel"]
    windows = frames[0].unfold(0, 160, 1).transpose(1, 2)  # [all beginnings, 160, 40]
    beginnings = [(windows == given[0]).all(dim=(1, 2)).nonzero().item() for given in seen[1:]]
    assert len(set(beginnings)) == 3
    for given in seen[1:]:
        torch.testing.assert_close(given[1, :100], frames[1, :100])
        assert not given[1, 100:].any()
    assert not torch.equal(drawn[0], drawn[1])
    assert torch.isfinite(mean).all()


@torch.no_grad()
def test_masks_are_spans_of_frames_and_bands_in_training_alone():
    torch.manual_seed(0)
    model = MaskedSpeakerTransfer(labels=LABELS, inputs=MEL)
    batch = utterances(300, 120)
    frames, mask = batch["resemblyzer_mel"], batch["resemblyzer_mel_mask"]
    assert model.eval().augmented(frames, mask) is frames
    masked = model.train().augmented(frames, mask)
    silent = masked == 0
    of_time, of_bands = silent.all(dim=2), silent.all(dim=1)  # [B, N], [B, 40]
    assert torch.equal(silent, of_time[..., None] | of_bands[:, None])
    assert (masked == frames)[~silent].all()
    assert ((of_time & mask).sum(dim=1) <= 2 * 0.2 * mask.sum(dim=1)).all()
    assert (of_bands.sum(dim=1) <= 26).all()
    assert silent.any()
    assert not torch.equal(model.augmented(frames, mask), masked)


def test_spans_have_every_length_and_place_within_their_sizes():
    torch.manual_seed(0)
    spans = span(torch.full((3000,), 10.0), torch.full((3000,), 3.0), 14)
    lengths, first = spans.sum(dim=1), spans.float().argmax(dim=1)
    assert not spans[:, 10:].any()
    assert torch.bincount(lengths).tolist() == pytest.approx([750] * 4, abs=120)
    assert torch.bincount(first[lengths == 3]).tolist() == pytest.approx([750 / 8] * 8, abs=45)


def test_a_packed_model_predicts_what_its_run_does_and_needs_no_package(manifest, monkeypatch, tmp_path):
    install_speaker_weights(monkeypatch, tmp_path / "site")
    settings = settings_for("padi", fold=1, epochs=1, batch_size=4)
    extract_for(settings, manifest)
    train(settings, manifest, run=Path("runs/padi"))
    remove_speaker_weights(monkeypatch)
    model = model_of_run(Path("runs/padi"), (1,))
    pack(model, Path("packed"), cross_validation=None)
    recording = manifest.audio_path(manifest.utterances[0])
    found = [EmotionRecognizer(one, device="cpu")(recording) for one in (model, find_model("packed", Path("runs")))]
    assert found[0].probabilities == found[1].probabilities
