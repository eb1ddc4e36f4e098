"""The moving average of the weights: against a hand-computed one, and what a run evaluates and saves with it."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers.pipeline import metrics, quick_settings, train
from safetensors.torch import load_file

from mmer_pipeline import paths
from mmer_pipeline.errors import UserError
from mmer_pipeline.training.evaluation import evaluate_fold
from mmer_pipeline.training.moving_average import MovingAverage

settings = pytest.fixture(quick_settings)


def test_the_average_forgets_its_beginning_soon_and_then_decays_as_asked():
    parameter = torch.nn.Parameter(torch.tensor([8.0]))
    average = MovingAverage([parameter], 0.5)
    expected, found = 8.0, []
    for step, value in enumerate((0.0, 2.0, 4.0, 6.0)):
        parameter.data.fill_(value)
        average.update(step)
        decay = (1 / 10, 2 / 11, 3 / 12, 4 / 13)[step]
        expected = decay * expected + (1 - decay) * value
        found.append(average.values[0].item() == pytest.approx(expected))
    assert all(found)
    average.update(1000)
    assert average.values[0].item() == pytest.approx(0.5 * expected + 0.5 * 6.0)


def test_parameters_have_the_average_within_the_block_alone():
    parameter = torch.nn.Parameter(torch.tensor([1.0]))
    average = MovingAverage([parameter], 0.9)
    parameter.data.fill_(2.0)
    with pytest.raises(ZeroDivisionError), average.in_place():
        1 / (parameter.item() - 1.0)
    assert (parameter.item(), average.values[0].item()) == (2.0, 1.0)


def test_a_run_scores_and_saves_the_average_and_trains_the_same_weights(corpus, settings):
    assert train(settings, corpus, run=Path("runs/last"), keep_state=True)
    averaged = replace(settings, ema=0.999)
    assert train(averaged, corpus, keep_state=True)
    fold, last = paths.fold(Path("runs/mmer"), 1), paths.fold(Path("runs/last"), 1)
    state, other = load_file(fold.checkpoint), load_file(last.checkpoint)
    assert all(torch.equal(state[name], other[name]) for name in other)  # training itself is unchanged
    model = load_file(fold.weights)
    assert all(torch.equal(model[name.partition(".")[2]], state[name]) for name in state if name.startswith("average."))
    name = "emotion_head.weight"
    assert not torch.equal(model[name], load_file(last.weights)[name])
    evaluation, _ = evaluate_fold(Path("runs/mmer"), 1, cache=Path("cache"), device="cpu")
    assert evaluation["metrics"]["confusion"] == metrics()[-1]["held_out"]["confusion"]
    with pytest.raises(UserError, match=r"ema: 0\.999 → 0\.0"):
        train(settings, corpus)
