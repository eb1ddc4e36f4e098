"""Stopping and resuming a fold, and what belongs to the identity of a run."""

import errno
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from helpers.pipeline import Silent, extract, extract_for, metrics, quick_settings, train

from mmer_pipeline import paths, runs
from mmer_pipeline.errors import UserError
from mmer_pipeline.settings import Settings
from mmer_pipeline.systems.registry import settings_for
from mmer_pipeline.training import checkpoint

settings = pytest.fixture(quick_settings)


def test_a_finished_fold_is_left_alone_and_its_state_is_gone(corpus, settings):
    assert train(settings, corpus)
    fold = paths.fold(Path("runs/mmer"), 1)
    assert not fold.state.exists()
    before = {path: path.stat().st_mtime_ns for path in fold.directory.rglob("*")}
    assert not train(settings, corpus)
    assert {path: path.stat().st_mtime_ns for path in fold.directory.rglob("*")} == before


def test_a_state_that_a_failing_disk_keeps_is_removed_by_the_next_call(corpus, settings, monkeypatch):
    fold, remove = paths.fold(Path("runs/mmer"), 1), shutil.rmtree

    def fail(path, *arguments, **options):
        if path == fold.state:
            raise OSError(errno.EROFS, "Read-only file system", str(path))
        remove(path, *arguments, **options)

    with monkeypatch.context() as failing:
        failing.setattr(shutil, "rmtree", fail)
        with pytest.raises(UserError, match=r"read-only: .*state could not be"):
            train(settings, corpus)
    assert fold.weights.is_file()
    assert fold.state.exists()
    assert not train(settings, corpus)
    assert not fold.state.exists()


def test_how_steps_are_cut_is_no_part_of_the_identity_so_that_a_run_can_go_on_with_less_memory(corpus, settings):
    with pytest.raises(StopError):
        train(settings, corpus, observer=StopsAt(2, 1), save_seconds=0.0)
    assert train(Settings(**{**settings.__dict__, "max_batch_seconds": 1.0}), corpus)
    assert [line["speed"]["max_batch_seconds"] for line in runs.read_metrics(_fold().metrics)][1] == 1.0


def test_gradient_checkpointing_gives_the_same_run_and_can_be_turned_on_later(corpus, settings):
    assert train(settings, corpus, run=Path("runs/plain"))
    with pytest.raises(StopError):
        train(settings, corpus, observer=StopsAt(2, 1), save_seconds=0.0)
    assert train(replace(settings, gradient_checkpointing=True), corpus)
    assert metrics() == metrics("runs/plain")  # the norms of the gradients of both losses among them
    assert _fold().weights.read_bytes() == paths.fold(Path("runs/plain"), 1).weights.read_bytes()


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


def test_the_state_of_a_fold_that_was_killed_just_before_its_end_is_removed(corpus, settings):
    fold = paths.fold(Path("runs/mmer"), 1)
    assert train(settings, corpus, keep_state=True)
    assert not train(settings, corpus)
    assert fold.state.is_dir()  # kept on purpose
    replace(runs.RunRecord.read(fold.settings, ""), files=None).write(fold.settings)  # as before the last write
    assert not train(settings, corpus)
    assert not fold.state.exists()


def test_other_settings_under_the_same_name_are_refused_and_named(corpus, settings):
    assert train(settings, corpus)
    other = Settings(**{**settings.__dict__, "alpha": 0.5})
    with pytest.raises(UserError, match=r"alpha: 0\.01 → 0\.5"):
        train(other, corpus)
    assert train(other, corpus, restart=True)


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


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"ema": 0.9},
        {"lora": 2, "ema": 0.9},
        {"augment": "speed-0.9+noise-20"},
        {"average_best": 2, "validation": "speaker", "lora": 2, "batch_size": 1},
    ],
)
def test_a_run_stopped_in_an_epoch_and_resumed_gives_the_metrics_of_one_never_stopped(corpus, settings, options):
    if "lora" in options:
        pytest.importorskip("peft")
    stop_and_resume(Settings(**{**settings.__dict__, "batch_size": 2, **options}), corpus)  # four steps an epoch


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize("system", ["chen", "morais", "wang", "makiuchi-speech", "misa"])
def test_momentum_and_statistics_of_batch_norm_are_those_of_a_run_never_stopped(corpus, tiny_text, tiny_speech, system):
    places = {"text_encoder": str(tiny_text), "speech_encoder": str(tiny_speech)}
    stop_and_resume(settings_for(system, fold=1, epochs=2, batch_size=2, **places), corpus)


def stop_and_resume(settings, corpus):
    """Train twice, once with interruptions, and compare all that was written."""
    extract_for(settings, corpus)
    assert train(settings, corpus)
    for where in ((1, 2), (2, 1), (2, 3)):
        with pytest.raises(StopError):
            train(settings, corpus, run=Path("runs/stopped"), save_seconds=0.0, observer=StopsAt(*where))
    assert train(settings, corpus, run=Path("runs/stopped"), save_seconds=0.0)
    assert metrics("runs/stopped") == metrics()
    one, other = (runs.trained_digests(paths.fold(Path(run), 1)) for run in ("runs/mmer", "runs/stopped"))
    for files in (one, other):
        files.pop("metrics.jsonl")  # which has times
    assert one == other


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
    progress.gradients.add([2.5, 0.5, 2.0], limit=1.0)
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


@pytest.mark.parametrize("step", [0, 7])
def test_a_state_of_version_0_1_0_resumes_between_epochs_only(tmp_path, monkeypatch, step):
    """That version divided an epoch into other steps, so an epoch that it left unfinished cannot be completed."""
    model = torch.nn.Linear(4, 2)
    optimiser = torch.optim.AdamW(model.parameters(), lr=0.1)
    state = tmp_path / "state.safetensors"
    of_that_version = asdict(checkpoint.Progress("me", 2, step))
    del of_that_version["gradients"]
    monkeypatch.setattr(checkpoint, "asdict", lambda _: of_that_version)
    checkpoint.save(state, model, optimiser, checkpoint.Progress("me"))
    if step:
        with pytest.raises(UserError, match=r"in the middle of epoch 2 by an earlier version, .* with --restart"):
            checkpoint.load(state, model, optimiser, "me")
    else:
        assert checkpoint.load(state, model, optimiser, "me") == checkpoint.Progress("me", 2)


def test_without_stored_frames_a_replaced_recording_still_makes_another_run(corpus, settings):
    settings = Settings(**{**settings.__dict__, "speech_features": False, "epochs": 1})
    assert train(settings, corpus)
    assert not train(settings, corpus)
    recording = corpus.audio_path(corpus.utterances[0])
    recording.write_bytes(recording.read_bytes()[:-2] + b"\1\1")
    with pytest.raises(UserError, match="speech_features: "):
        train(settings, corpus)
