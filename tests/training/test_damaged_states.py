"""Saved states that are damaged or belong to something else: refused, and never a part of another training."""

import json
from pathlib import Path

import pytest
import torch
from helpers.pipeline import Silent, quick_settings, train
from safetensors import safe_open
from safetensors.torch import save_file

from mmer_pipeline import paths
from mmer_pipeline.errors import UserError
from mmer_pipeline.training import checkpoint

settings = pytest.fixture(quick_settings)


def trained(optimiser=torch.optim.AdamW):
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 2)
    adamw = optimiser(model.parameters(), lr=0.1)
    model(torch.ones(2, 3)).square().sum().backward()
    adamw.step()
    return model, adamw


@pytest.fixture
def state(tmp_path):
    """A saved state."""
    path = tmp_path / "checkpoint.safetensors"
    checkpoint.save(path, *trained(), checkpoint.Progress("me", 2))
    return path


def rewrite(path, change, *, with_digest=False):
    """Change tensors and metadata, by default as in a state of an earlier version, which had no digest."""
    with safe_open(path, framework="pt") as file:
        facts = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    change(tensors, facts)
    if not with_digest:
        del facts["digest"]
    save_file(tensors, path, metadata=facts)


def progress(**changes):
    return lambda _, facts: facts.update(progress=json.dumps(json.loads(facts["progress"]) | changes))


def put(name, tensor):
    return lambda tensors, _: tensors.update({name: tensor})


DAMAGE = {
    "a tensor that would be broadcast": (put("model.weight", torch.ones(1)), r"model\.weight is \(1,\) torch\.float32"),
    "a moment of another shape": (put("exp_avg.bias", torch.ones(3)), r"exp_avg\.bias is \(3,\)"),
    "another number format": (put("model.bias", torch.ones(2, dtype=torch.float16)), "model.bias is .*float16"),
    "NaN": (put("model.bias", torch.tensor([1.0, torch.nan])), r"model\.bias has values that are not finite"),
    "infinite moments": (put("exp_avg_sq.bias", torch.full((2,), torch.inf)), r"exp_avg_sq\.bias has values that are"),
    "a weight missing": (lambda tensors, _: tensors.pop("model.bias"), r"model\.bias missing"),
    "a moment missing": (lambda tensors, _: tensors.pop("exp_avg.bias"), r"exp_avg\.bias missing"),
    "a step missing": (lambda tensors, _: tensors.pop("step.weight"), r"step\.weight missing"),
    "a weight of another model": (put("model.other", torch.ones(2)), r"model\.other unknown"),
    "another optimiser": (put("momentum_buffer.bias", torch.ones(2)), r"momentum_buffer\.bias unknown"),
    "no progress": (lambda _, facts: facts.pop("progress"), "cannot be read"),
    "progress that is no object": (lambda _, facts: facts.update(progress="[]"), r"it is \[\], expected an object"),
    "an epoch that is a text": (progress(epoch="2"), r"epoch is '2', expected an integer"),
    "an unknown part of progress": (progress(speed=1), "cannot be read"),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_state_is_refused_and_the_model_stays_as_it_was(state, name):
    change, said = DAMAGE[name]
    rewrite(state, change)
    model, optimiser = trained()
    before = [parameter.detach().clone() for parameter in model.parameters()]
    with pytest.raises(UserError, match=rf"{said}.* Start the fold again with --restart"):
        checkpoint.load(state, model, optimiser, "me")
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), before, strict=True))


@pytest.mark.parametrize(
    "change", [put("model.bias", torch.zeros(2)), progress(epoch=3), put("step.bias", torch.tensor(7.0))]
)
def test_values_that_were_changed_are_noticed(state, change):
    rewrite(state, change, with_digest=True)
    with pytest.raises(UserError, match="its content is not that of its digest"):
        checkpoint.load(state, *trained(), "me")


def test_a_state_without_a_digest_is_read(state):
    rewrite(state, lambda *_: None)
    assert checkpoint.load(state, *trained(), "me") == checkpoint.Progress("me", 2)


@pytest.mark.parametrize("bytes_kept", [0, 7, 100, 500])
def test_a_state_that_was_cut_is_refused(state, bytes_kept):
    state.write_bytes(state.read_bytes()[:bytes_kept])
    with pytest.raises(UserError, match="cannot be read"):
        checkpoint.load(state, *trained(), "me")


def test_a_directory_in_the_place_of_a_state_is_refused(state):
    state.unlink()
    state.mkdir()
    with pytest.raises(UserError, match="cannot be read"):
        checkpoint.load(state, *trained(), "me")


class StopsAfterTheFirst(Silent):
    def epoch(self, record, epochs):  # noqa: ARG002
        self.stops = True

    def stop_requested(self):
        return getattr(self, "stops", False)


@pytest.fixture
def stopped(corpus, settings):
    """A fold that was stopped after its first of two epochs."""
    with pytest.raises(UserError, match="Stopped in epoch 2"):
        train(settings, corpus, observer=StopsAfterTheFirst())
    return paths.fold(Path("runs/mmer"), 1)


@pytest.mark.parametrize(("epoch", "step"), [(9, 0), (0, 0), (2, 99), (2, -1), (3, 1)])
def test_a_state_beyond_the_end_is_refused(stopped, corpus, settings, epoch, step):
    line = json.loads(stopped.metrics.read_text())
    stopped.metrics.write_text("".join(json.dumps({**line, "epoch": number}) + "\n" for number in range(1, 10)))
    gradients = {"steps": 1, "whole": 1.0, "largest": 1.0, "clipped": 0, "steps_apart": 0, "emotion": 0.0, "ctc": 0.0}
    rewrite(stopped.checkpoint, progress(epoch=epoch, step=step, records="", gradients=gradients))
    with pytest.raises(UserError, match=rf"is the state of epoch {epoch}, step {step}, but there are 2 epochs of 2 st"):
        train(settings, corpus)


def test_epochs_that_were_changed_after_the_state_was_saved_are_refused(stopped, corpus, settings):
    line = json.loads(stopped.metrics.read_text())
    line["held_out"]["wa"] = 1.0
    stopped.metrics.write_text(json.dumps(line) + "\n")
    with pytest.raises(UserError, match=r"metrics\.jsonl was changed after the state was saved"):
        train(settings, corpus)
