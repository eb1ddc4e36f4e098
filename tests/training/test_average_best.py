"""The mean of the weights of the best epochs on the validation part (`--average-best`)."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers.command_line import succeed
from helpers.pipeline import Silent, metrics, train
from safetensors.torch import load_file, save_file
from training.test_validated import (
    RUN,
    STOPPED,
    StopError,
    StopsAtTheEndOf,
    evaluate,
    kill_at,
    same,
    scripted_by,
    settings_of,
    validated,
)

from mmer_pipeline import paths
from mmer_pipeline.errors import UserError
from mmer_pipeline.prediction.trained_model import read_packed_model
from mmer_pipeline.runs import validated_epoch
from mmer_pipeline.training.averaging import write_average

settings = pytest.fixture(settings_of)
scripted = pytest.fixture(scripted_by)


@pytest.mark.parametrize(("count", "of"), [(2, [2, 3]), (3, [2, 3, 4]), (9, [1, 2, 3, 4])])
def test_the_weights_of_the_best_epochs_are_averaged(corpus, settings, scripted, count, of):
    """Of equally good epochs, the earlier ones; all, if there are fewer than asked for."""
    weights = scripted(0.25, 0.75, 0.5, 0.5)
    assert train(replace(settings, average_best=count), corpus)
    for name, value in validated().items():
        expected = torch.stack([weights[epoch][name].double() for epoch in of]).mean(dim=0)
        assert value.dtype == weights[1][name].dtype
        torch.testing.assert_close(value, expected.to(value.dtype), rtol=0, atol=0)
    fold = paths.fold(RUN, 1)
    assert same(load_file(fold.weights), weights[4])
    assert not fold.state.exists()
    assert validated_epoch(metrics()) == 2
    found, _ = evaluate()
    assert (found["validated"]["epoch"], sorted(found["validated"]["averaged"])) == (2, of)
    assert "averaged" not in found


def test_the_epochs_kept_are_the_best_so_far(corpus, settings, scripted):
    scripted(0.5, 0.25, 0.75, 0.5)
    kept = []

    class Looks(Silent):
        def epoch(self, record, epochs):  # noqa: ARG002
            kept.append(sorted(path.name for path in paths.fold(RUN, 1).state.glob("epoch-*")))

    assert train(replace(settings, average_best=2), corpus, observer=Looks(), keep_state=True)
    assert kept == [
        [],
        ["epoch-1"],
        ["epoch-1", "epoch-2"],
        ["epoch-1", "epoch-3"],
    ]  # before the epoch's own is written
    assert sorted(path.name for path in paths.fold(RUN, 1).state.iterdir()) == [
        "checkpoint.safetensors", "epoch-1", "epoch-3"
    ]  # fmt: skip


def test_a_run_killed_before_any_write_of_its_averages_and_resumed_keeps_the_same_models(
    corpus, settings, scripted, monkeypatch
):
    scripted(0.25, 0.75, 0.5)
    settings = replace(settings, epochs=3, average_best=2)
    with monkeypatch.context() as patched:
        written = kill_at(0, patched)
        assert train(settings, corpus)
    epoch = ["metrics.jsonl", "checkpoint.safetensors"]
    assert written[1:] == [
        *(*epoch, "epoch-1"), *(*epoch, "epoch-2"), *(*epoch, "epoch-3", ".epoch-1.old.tmp"),
        "model-validated", "model", "settings.json",
    ]  # fmt: skip
    fold, stopped = paths.fold(RUN, 1), paths.fold(STOPPED, 1)
    for number in range(4, len(written) + 1):
        with monkeypatch.context() as patched:
            kill_at(number, patched)
            with pytest.raises(StopError):
                train(settings, corpus, run=STOPPED)
        assert train(settings, corpus, run=STOPPED) == (number < len(written))
        assert metrics(STOPPED) == metrics(RUN)
        assert stopped.validated_weights.read_bytes() == fold.validated_weights.read_bytes()
        assert stopped.weights.read_bytes() == fold.weights.read_bytes()
        assert not stopped.state.exists()
        shutil.rmtree(STOPPED)


@pytest.mark.parametrize("damage", [lambda path: path.write_bytes(b"cut"), lambda path: path.unlink()])
def test_a_damaged_model_of_a_best_epoch_is_one_message(corpus, settings, scripted, damage):
    scripted(0.5, 0.75, 0.25, 0.25)
    settings = replace(settings, average_best=2, epochs=3)
    with pytest.raises(UserError, match="Stopped in epoch 3 after 0 steps"):
        train(settings, corpus, observer=StopsAtTheEndOf(2))
    damage(paths.fold(RUN, 1).model_of(1) / paths.WEIGHTS_NAME)
    with pytest.raises(UserError, match=r"best epochs, epoch-2, epoch-1 in .*cannot be averaged .* --restart"):
        train(settings, corpus)
    assert not paths.fold(RUN, 1).weights.exists()
    assert train(settings, corpus, restart=True)


def test_statistics_of_batch_norm_are_averaged_and_its_count_is_that_of_the_best(tmp_path):
    torch.manual_seed(0)
    layers = [torch.nn.BatchNorm1d(3) for _ in range(3)]
    for number, layer in enumerate(layers):
        for _ in range(number + 1):
            layer(torch.randn(8, 3) + number)
        (tmp_path / f"epoch-{number}").mkdir()
        save_file(layer.state_dict(), tmp_path / f"epoch-{number}" / paths.WEIGHTS_NAME, metadata={"format": "pt"})
    write_average([tmp_path / f"epoch-{number}" for number in (1, 0, 2)], tmp_path / "mean")
    found = load_file(tmp_path / "mean" / paths.WEIGHTS_NAME)
    for name in ("running_mean", "running_var"):
        expected = sum(getattr(layer, name) for layer in layers) / 3
        torch.testing.assert_close(found[name], expected)
    assert found["num_batches_tracked"] == 2


def test_a_model_of_averaged_epochs_is_packed_without_an_epoch(corpus, settings, scripted):
    scripted(0.5, 0.75)
    assert train(replace(settings, epochs=2, average_best=2), corpus)
    assert "validated, mean of epochs 1, 2: WA" in succeed("evaluate", "--run", "mmer", "--fold", 1).output
    succeed("pack", "mmer", "--fold", 1, "--selection", "validated")
    (member,) = read_packed_model(Path("mmer-model")).members
    assert member.epoch is None
    card = Path("mmer-model/README.md").read_text()
    assert "validated: the mean of the weights after the 2 epochs with the highest WA on the validation part" in card
