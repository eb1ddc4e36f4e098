"""Training: the gradient of a step, resuming, refusals, and what a run leaves behind."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from helpers.pipeline import Silent, extract, metrics, train

from mmer_pipeline import paths, runs
from mmer_pipeline.corpora.transcripts import WAV2VEC2_ALPHABET, Alphabet
from mmer_pipeline.encoders.encoder_files import resolve_encoder
from mmer_pipeline.encoders.speech import load_speech_encoder
from mmer_pipeline.errors import UserError
from mmer_pipeline.features import required_features
from mmer_pipeline.features.feature_file import open_features
from mmer_pipeline.runs import RunRecord
from mmer_pipeline.settings import Settings
from mmer_pipeline.systems.base import ctc_losses
from mmer_pipeline.systems.mmer import MMER
from mmer_pipeline.training import checkpoint, loop
from mmer_pipeline.training.batches import micro_batches
from mmer_pipeline.training.build_model import load_model
from mmer_pipeline.training.examples import ComputedFrames, Examples, StoredRows
from mmer_pipeline.training.inference import predict
from mmer_pipeline.training.mixed_precision import make_accelerator
from mmer_pipeline.training.schedules import learning_rate_factor
from mmer_pipeline.training.step import Optimiser


@pytest.fixture
def settings(tiny_text, tiny_speech):
    return Settings(
        fold=1,
        text_encoder=str(tiny_text),
        speech_encoder=str(tiny_speech),
        epochs=2,
        learning_rate=1e-3,
        alpha=0.01,
        batch_size=4,
    )


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
    text_path = paths.text_features(Path("cache"), manifest.path, settings.text_encoder, "strip", dtype)
    text = open_features(
        text_path,
        required_features.text_identity(resolve_encoder(settings.text_encoder), "strip", dtype),
        required_features.text_inputs(manifest, "strip").digests,
        "mmer-pipe extract",
    )
    if stored:
        path = paths.speech_features(Path("cache"), manifest.path, settings.speech_encoder, dtype)
        identity = required_features.speech_identity(encoder, dtype)
        inputs = required_features.speech_inputs(manifest, None).digests
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


def test_a_finished_fold_is_left_alone_and_its_state_is_gone(corpus, settings):
    assert train(settings, corpus)
    fold = paths.fold(Path("runs/mmer"), 1)
    assert not fold.state.exists()
    before = {path: path.stat().st_mtime_ns for path in fold.directory.rglob("*")}
    assert not train(settings, corpus)
    assert {path: path.stat().st_mtime_ns for path in fold.directory.rglob("*")} == before


def test_how_steps_are_cut_is_no_part_of_the_identity_so_that_a_run_can_go_on_with_less_memory(corpus, settings):
    with pytest.raises(StopError):
        train(settings, corpus, observer=StopsAt(2, 1), save_seconds=0.0)
    assert train(Settings(**{**settings.__dict__, "max_batch_seconds": 1.0}), corpus)
    assert [line["speed"]["max_batch_seconds"] for line in runs.read_metrics(_fold().metrics)][1] == 1.0


def test_where_an_encoder_lies_is_no_part_of_the_identity(corpus, settings, tmp_path):
    assert train(settings, corpus)
    copy = shutil.copytree(settings.speech_encoder, tmp_path / "elsewhere" / Path(settings.speech_encoder).name)
    assert not train(Settings(**{**settings.__dict__, "speech_encoder": str(copy)}), corpus)


def test_a_state_whose_metrics_are_gone_is_refused(corpus, settings):
    with pytest.raises(StopError):
        train(settings, corpus, observer=StopsAt(2, 1), save_seconds=0.0)
    paths.fold(Path("runs/mmer"), 1).metrics.unlink()
    with pytest.raises(UserError, match=r"expected 1 epochs as in the saved state, found 0\..*--restart"):
        train(settings, corpus)
    assert train(settings, corpus, restart=True)


def test_what_a_killed_process_left_is_swept_away(corpus, settings):
    fold = paths.fold(Path("runs/mmer"), 1)
    (fold.state / ".checkpoint.x.tmp").mkdir(parents=True)
    (fold.directory / ".model.y.tmp").touch()
    assert train(settings, corpus)
    assert not list(fold.directory.rglob(".*.tmp"))


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
    torch.testing.assert_close(seen[0][0], torch.from_numpy(examples.speech.row(0)))


def test_other_settings_under_the_same_name_are_refused_and_named(corpus, settings):
    assert train(settings, corpus)
    other = Settings(**{**settings.__dict__, "alpha": 0.5})
    with pytest.raises(UserError, match=r"alpha: 0\.01 → 0\.5"):
        train(other, corpus)
    assert train(other, corpus, restart=True)


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


def _fold():
    return paths.fold(Path("runs/mmer"), 1)


class StopError(Exception):
    """Stands for a kill."""


class StopsAt(Silent):
    """An observer that ends the run in the middle of an epoch."""

    def __init__(self, epoch, step):
        self.where = (epoch, step)

    def step(self, progress, steps, epochs):  # noqa: ARG002
        if (progress.epoch, progress.step) >= self.where:
            raise StopError


def test_a_run_stopped_in_an_epoch_and_resumed_gives_the_metrics_of_one_never_stopped(corpus, settings):
    settings = Settings(**{**settings.__dict__, "batch_size": 2})  # four steps an epoch
    assert train(settings, corpus)
    for where in ((1, 2), (2, 1), (2, 3)):
        with pytest.raises(StopError):
            train(settings, corpus, run=Path("runs/stopped"), save_seconds=0.0, observer=StopsAt(*where))
    assert train(settings, corpus, run=Path("runs/stopped"), save_seconds=0.0)
    assert metrics("runs/stopped") == metrics()


class AsksToStop(Silent):
    """An observer that asks for a stop once a step is done, as Ctrl-C does."""

    asked = False

    def step(self, progress, steps, epochs):  # noqa: ARG002
        self.asked = progress.epoch == 2

    def stop_requested(self):
        return self.asked


def test_a_stop_that_is_asked_for_saves_the_state_and_loses_no_step(corpus, settings):
    settings = Settings(**{**settings.__dict__, "batch_size": 1})  # losses are read every ten steps: eight an epoch
    settings = Settings(**{**settings.__dict__, "epochs": 3})
    assert train(settings, corpus)
    with pytest.raises(UserError, match=r"Stopped in epoch 3 after 0 steps.*continues from there"):
        train(settings, corpus, run=Path("runs/stopped"), observer=AsksToStop())
    assert len(runs.read_metrics(paths.fold(Path("runs/stopped"), 1).metrics)) == 2
    assert train(settings, corpus, run=Path("runs/stopped"))
    assert metrics("runs/stopped") == metrics()


def test_features_that_hold_more_than_the_manifest_belong_to_the_same_run(corpus, settings, tiny_text, tiny_speech):
    """A deleted cache that is made again for the smaller manifest must not make a trained run worthless."""
    smaller = corpus.__class__(**{**corpus.__dict__, "utterances": corpus.utterances[:-1]})
    extract(smaller, tiny_text, tiny_speech, "float16")  # nothing to do: the features there cover it
    assert train(settings, smaller)
    shutil.rmtree("cache/features")
    extract(smaller, tiny_text, tiny_speech, "float16")
    assert not train(settings, smaller)


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


def test_a_checkpoint_brings_back_weights_moments_and_progress(tmp_path):
    torch.manual_seed(0)

    def trained(steps, model, optimiser):
        for _ in range(steps):
            optimiser.zero_grad()
            model(torch.ones(3, 4)).square().sum().backward()
            optimiser.step()
        return [p.detach().clone() for p in model.parameters()]

    model = torch.nn.Linear(4, 2)
    optimiser = torch.optim.AdamW(model.parameters(), lr=0.1)
    trained(3, model, optimiser)
    state = tmp_path / "state.safetensors"
    progress = checkpoint.Progress("me", epoch=2, step=7, utterances=9, ce_sum=0.1 + 0.2, ctc_sum=1 / 3, seconds=1.5)
    checkpoint.save(state, model, optimiser, progress)
    expected = trained(2, model, optimiser)

    torch.manual_seed(1)
    fresh = torch.nn.Linear(4, 2)
    optimiser = torch.optim.AdamW(fresh.parameters(), lr=0.1)
    assert checkpoint.load(state, fresh, optimiser, "me") == progress
    for mine, wanted in zip(trained(2, fresh, optimiser), expected, strict=True):
        assert torch.equal(mine, wanted)
    with pytest.raises(UserError, match="other settings"):
        checkpoint.load(state, fresh, optimiser, "another")
    state.write_bytes(b"cut")
    with pytest.raises(UserError, match="--restart"):
        checkpoint.load(state, fresh, optimiser, "me")


def test_the_linear_schedule_climbs_for_a_tenth_and_falls_to_nothing():
    factors = [learning_rate_factor("linear", step, 100) for step in range(100)]
    assert factors[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert factors[9] == max(factors) == 1.0
    assert factors[10:] == pytest.approx([(100 - step) / 90 for step in range(10, 100)])
    assert factors[-1] > 0
    assert {learning_rate_factor("constant", step, 100) for step in range(100)} == {1.0}


def test_no_two_steps_share_a_seed():
    seeds = {loop.derive_seed(1, epoch, step, rank) for epoch in range(20) for step in range(20) for rank in (0, 1)}
    assert len(seeds) == 800


def test_without_stored_frames_a_replaced_recording_still_makes_another_run(corpus, settings):
    settings = Settings(**{**settings.__dict__, "speech_features": False, "epochs": 1})
    assert train(settings, corpus)
    assert not train(settings, corpus)
    recording = corpus.audio_path(corpus.utterances[0])
    recording.write_bytes(recording.read_bytes()[:-2] + b"\1\1")
    with pytest.raises(UserError, match="speech_features: "):
        train(settings, corpus)
