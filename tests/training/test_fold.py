"""Training a fold: the gradient of a step, the result, refusals, and the run's files."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from helpers.pipeline import extract, metrics, quick_settings, train
from transformers import get_linear_schedule_with_warmup

from mmer_pipeline import paths
from mmer_pipeline.corpora.transcripts import WAV2VEC2_ALPHABET, Alphabet
from mmer_pipeline.encoders.encoder_files import resolve_encoder
from mmer_pipeline.encoders.speech import load_speech_encoder
from mmer_pipeline.errors import UserError
from mmer_pipeline.features.feature_file import open_features
from mmer_pipeline.features.speech_features import Frames, speech_inputs
from mmer_pipeline.features.text_features import Tokens, text_inputs
from mmer_pipeline.runs import RunRecord
from mmer_pipeline.settings import Settings
from mmer_pipeline.systems.base import ctc_losses
from mmer_pipeline.systems.mmer import MMER
from mmer_pipeline.training import loop
from mmer_pipeline.training.batches import micro_batches
from mmer_pipeline.training.build_model import load_model
from mmer_pipeline.training.examples import ComputedFrames, Examples, StoredRows
from mmer_pipeline.training.inference import predict
from mmer_pipeline.training.mixed_precision import make_accelerator
from mmer_pipeline.training.schedules import learning_rate_factor
from mmer_pipeline.training.step import Optimiser

settings = pytest.fixture(quick_settings)


def model_and_examples(settings, manifest, dtype="float16", stored=True):
    """A model without dropout, so that its gradient is a function of the batch alone."""
    encoder = resolve_encoder(settings.speech_encoder)
    torch.manual_seed(0)
    model = MMER(
        load_speech_encoder(encoder),
        text_dim=64,
        labels=list(manifest.labels),
        alphabet=list(WAV2VEC2_ALPHABET),
        dropout=0.0,
    )
    model.eval()
    text_path = Tokens("text", settings.text_encoder, None, dtype).path(Path("cache"), manifest.path)
    text = open_features(
        text_path,
        Tokens("text", settings.text_encoder, None, dtype).identity(resolve_encoder(settings.text_encoder)),
        text_inputs(manifest, "strip").digests,
        "mmer-pipe extract",
    )
    if stored:
        path = Frames("speech", settings.speech_encoder, None, dtype).path(Path("cache"), manifest.path)
        identity = Frames("speech", settings.speech_encoder, None, dtype).identity(encoder)
        inputs = speech_inputs(manifest).digests
        source = StoredRows(manifest, open_features(path, identity, inputs, "mmer-pipe extract"))
    else:
        source = ComputedFrames(manifest, model.speech)
    examples = Examples(
        manifest,
        speech=source,
        frame_rate=model.speech.frame_rate,
        text=StoredRows(manifest, text),
        alphabet=Alphabet(WAV2VEC2_ALPHABET),
    )
    return model, examples


def gradients(settings, model, examples, parts, step_size):
    """Losses and gradients of micro-batches that share a step, without dropout."""
    optimiser = Optimiser(settings, model, examples, Accelerator(cpu=True))
    model.zero_grad()
    losses = sum(optimiser.add_gradient(part, step_size) for part in parts)
    return losses, {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def test_eight_utterances_as_one_batch_or_as_four_give_the_same_gradient(corpus, settings):
    model, examples = model_and_examples(settings, corpus)
    positions = list(range(8))
    parts = [positions[i : i + 2] for i in range(0, 8, 2)]
    whole_losses, whole = gradients(settings, model, examples, [positions], 8)
    cut_losses, cut = gradients(settings, model, examples, parts, 8)
    assert len({len(part) for part in micro_batches(positions, examples.seconds, 1e9)}) == 1
    torch.testing.assert_close(whole_losses, cut_losses, rtol=1e-5, atol=1e-5)
    assert whole.keys() == cut.keys()
    assert any(name.startswith("speech.encoder") for name in whole)
    for name, gradient in whole.items():
        torch.testing.assert_close(cut[name], gradient, rtol=1e-4, atol=1e-6, msg=name)


def test_the_front_end_gets_no_gradient(corpus, settings):
    model, examples = model_and_examples(settings, corpus)
    _, grads = gradients(settings, model, examples, [[0, 1]], 2)
    frozen = {f"speech.{name}" for name, p in model.speech.named_parameters() if not p.requires_grad}
    assert frozen
    assert not frozen & grads.keys()


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("float16", 1e-2)])
def test_stored_and_computed_frames_give_the_same_loss(
    tmp_path, tiny_corpus, tiny_text, tiny_speech, settings, dtype, tolerance
):
    manifest = tiny_corpus(tmp_path)
    extract(manifest, tiny_text, tiny_speech, dtype)
    losses = []
    for stored in (True, False):
        model, examples = model_and_examples(settings, manifest, dtype, stored)
        with torch.no_grad():
            batch = examples.batch(range(6)).to(torch.device("cpu"))
            output = model(**batch.inputs)
            ce = torch.nn.functional.cross_entropy(output.logits, batch.labels)
            ctc = ctc_losses(
                output.ctc_logits, batch.symbols, frame_counts=batch.frame_counts, symbol_counts=batch.symbol_counts
            ).mean()
            losses.append(float(ce + 0.1 * ctc))
    assert losses[0] == pytest.approx(losses[1], rel=tolerance)


def test_the_same_settings_give_the_same_metrics(corpus, settings):
    assert train(settings, corpus)
    assert train(settings, corpus, run=Path("runs/again"))
    assert metrics() == metrics("runs/again")


def test_another_seed_gives_other_metrics(corpus, settings):
    assert train(settings, corpus)
    assert train(Settings(**{**settings.__dict__, "seed": 2}), corpus, run=Path("runs/again"))
    assert metrics() != metrics("runs/again")


def test_micro_batches_of_one_utterance_change_no_epoch_much(corpus, settings):
    assert train(settings, corpus)
    assert train(Settings(**{**settings.__dict__, "max_batch_seconds": 0.1}), corpus, run=Path("runs/small"))
    # Dropout draws differ, so this is no equality.
    assert metrics()[0]["train"]["ce"] == pytest.approx(metrics("runs/small")[0]["train"]["ce"], rel=0.2)


def test_a_run_learns_the_emotions_of_tones(corpus, settings):
    assert train(Settings(**{**settings.__dict__, "epochs": 20, "alpha": 0.0}), corpus)
    lines = metrics()
    assert lines[-1]["train"]["ce"] < 0.5 * lines[0]["train"]["ce"]
    assert lines[-1]["held_out"]["wa"] > 0.6
    assert lines[-1]["train"]["ctc"] is None


def test_frames_computed_on_the_fly_are_the_same_in_training_and_in_evaluation_in_bf16(corpus, settings):
    """The front end runs outside autocast in both."""
    model, examples = model_and_examples(settings, corpus, stored=False)
    accelerator, _ = make_accelerator("cpu", "bf16")
    seen = []
    whole = Examples.batch

    def spy(self, positions, **options):
        seen.append(whole(self, positions, **options).inputs["frames"])
        return whole(self, positions, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Examples, "batch", spy)
        predict(model, examples, [0], accelerator)
    assert torch.equal(seen[0], examples.batch([0]).inputs["frames"])
    torch.testing.assert_close(seen[0][0], torch.from_numpy(np.asarray(examples.speech.row(0))))


def test_a_loss_that_is_not_a_number_names_the_utterances_and_keeps_the_state(corpus, settings, monkeypatch):
    whole = Examples.batch

    def poisoned(self, positions, **options):
        batch = whole(self, positions, **options)
        if any(self.manifest.utterances[position].utterance_id == bad for position in positions):
            batch.inputs["frames"].fill_(float("nan"))
        return batch

    bad = next(u.utterance_id for u in corpus.utterances if u.session == "2")
    with monkeypatch.context() as patch:
        patch.setattr(Examples, "batch", poisoned)
        with pytest.raises(UserError, match=f"not a number in epoch 1 .*{bad}"):
            train(settings, corpus)
    assert not paths.fold(Path("runs/mmer"), 1).model.exists()
    assert train(settings, corpus)  # nothing stands in the way of going on


def test_a_fold_whose_text_features_are_stale_names_the_command(corpus, settings):
    changed = [*corpus.utterances]
    changed[0] = changed[0].__class__(**{**changed[0].__dict__, "transcript": "something else entirely"})
    stale = corpus.__class__(**{**corpus.__dict__, "utterances": tuple(changed)})
    with pytest.raises(UserError, match=r"out of date: 1 of \d+ .*mmer-pipe extract --text-encoder"):
        train(settings, stale)


def test_features_of_the_other_policy_are_not_found_and_the_command_is_named(corpus, settings):
    with pytest.raises(UserError, match=r"No features at .*mmer-pipe extract .*--annotations keep"):
        train(Settings(**{**settings.__dict__, "annotations": "keep"}), corpus)


def test_a_fold_that_does_not_exist_is_refused(corpus, settings):
    with pytest.raises(UserError, match="There is no fold 9"):
        train(Settings(**{**settings.__dict__, "fold": 9}), corpus)


def test_a_validation_part_is_scored_every_epoch(corpus, settings):
    assert train(Settings(**{**settings.__dict__, "validation": "0.5"}), corpus)
    assert all(line["validation"]["utterances"] > 0 for line in metrics())


def test_weights_that_are_not_numbers_after_an_epoch_s_last_step_are_a_failure_that_says_so(corpus, settings):
    """The loss of that step was still a number."""
    diverging = Settings(**{**settings.__dict__, "batch_size": 8, "learning_rate": 1e30})
    with pytest.raises(UserError, match=r"output is not a number for 8 of 8 utterances|loss is not a number"):
        train(diverging, corpus)
    assert not paths.fold(Path("runs/mmer"), 1).model.exists()


def test_the_record_of_a_run_holds_what_was_really_used(corpus, settings):
    train(Settings(**{**settings.__dict__, "precision": "auto"}), corpus)
    record = RunRecord.read(paths.fold(Path("runs/mmer"), 1).settings, "mmer-pipe train")
    assert record.settings.precision == "fp32"  # what "auto" became on a CPU
    assert record.inputs["labels"] == list(corpus.labels)
    assert record.inputs["manifest"] == corpus.digest
    assert record.facts["versions"]["torch"] == torch.__version__
    assert json.loads(paths.fold(Path("runs/mmer"), 1).settings.read_text())["identity"] == record.digest


def test_a_model_directory_without_weights_says_what_it_found(corpus, settings):
    train(settings, corpus)
    model = paths.fold(Path("runs/mmer"), 1).model
    (model / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"No model at .*found \['README.md', 'config.json'\]|found \['config.json'\]"):
        load_model(model, "mmer")


def test_the_linear_schedule_climbs_for_a_tenth_and_falls_to_nothing():
    factors = [learning_rate_factor("linear", step, 100) for step in range(100)]
    assert factors[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert factors[9] == max(factors) == 1.0
    assert factors[10:] == pytest.approx([(100 - step) / 90 for step in range(10, 100)])
    assert factors[-1] > 0
    assert {learning_rate_factor("constant", step, 100) for step in range(100)} == {1.0}


def test_the_schedule_without_warm_up_is_that_of_transformers():
    optimiser = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = get_linear_schedule_with_warmup(optimiser, num_warmup_steps=0, num_training_steps=7)
    for step in range(7):
        assert learning_rate_factor("decay", step, 7) == pytest.approx(theirs.get_last_lr()[0])
        optimiser.step()
        theirs.step()


def test_the_cosine_schedule_is_that_of_torch_and_the_halving_one_halves_three_times():
    optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=50, eta_min=1e-3)
    for step in range(50):
        assert learning_rate_factor("cosine", step, 50) == pytest.approx(theirs.get_last_lr()[0])
        optimiser.step()
        theirs.step()
    halving = [learning_rate_factor("halving", epoch, 50) for epoch in range(50)]
    assert halving == [1.0] * 10 + [0.5] * 10 + [0.25] * 10 + [0.125] * 20


def test_memory_is_measured_as_a_step_uses_it(corpus, settings, monkeypatch):
    """A model in evaluation mode keeps less for the backward pass: no masks of dropout."""
    found, measure = [], Optimiser.find_max_seconds
    monkeypatch.setattr(
        Optimiser, "find_max_seconds", lambda made, part: (found.append(made.model.training), measure(made, part))
    )
    train(settings, corpus)
    assert found == [True]


def test_no_two_steps_share_a_seed():
    seeds = {loop.derive_seed(1, epoch, step, rank) for epoch in range(20) for step in range(20) for rank in (0, 1)}
    assert len(seeds) == 800
