"""After Wu et al.: routing, squashing and margin loss by hand and against plain loops; windows; sizes."""

import math
from dataclasses import asdict

import pytest
import torch
from torch.nn import functional

from mmer_pipeline.systems.base import FrozenInput
from mmer_pipeline.systems.published.wu import CapsuleNetwork, margin_losses, routed, squashed

LABELS = ["happy", "angry", "neutral", "sad"]
INPUT = asdict(FrozenInput("spectrogram", "time", 200))


def test_a_vector_is_squashed_to_a_length_below_one() -> None:
    torch.testing.assert_close(squashed(torch.tensor([3.0, 4.0])), torch.tensor([0.6, 0.8]) * 25 / 26)
    zero = torch.zeros(2, requires_grad=True)
    squashed(zero).sum().backward()
    assert zero.grad is not None
    assert zero.grad.isfinite().all()


def test_routing_is_the_loop_of_sabour_et_al_over_capsules() -> None:
    torch.manual_seed(0)
    votes, mask = torch.randn(2, 5, 3, 4).double(), torch.tensor([[True] * 5, [True, True, False, False, False]])
    for b in range(2):
        inputs = [i for i in range(5) if mask[b, i]]
        logits = {(i, j): 0.0 for i in inputs for j in range(3)}
        for routing in range(3):
            capsules = []
            for j in range(3):
                total = torch.zeros(4).double()
                for i in inputs:
                    share = math.exp(logits[i, j]) / sum(math.exp(logits[i, k]) for k in range(3))
                    total += share * votes[b, i, j]
                norm = float(total.norm())
                capsules.append(total / norm * norm**2 / (1 + norm**2))
            if routing < 2:
                for i, j in logits:
                    logits[i, j] += float(votes[b, i, j] @ capsules[j])
        torch.testing.assert_close(routed(votes, mask)[b], torch.stack(capsules))


def test_the_margin_loss_is_that_computed_by_hand() -> None:
    found = margin_losses(torch.tensor([[0.7, 0.3, 0.05], [0.95, 0.1, 0.6]]), torch.tensor([0, 0]))
    torch.testing.assert_close(found, torch.tensor([0.2**2 + 0.5 * 0.2**2, 0.5 * 0.5**2]))


@pytest.mark.parametrize(("count", "windows"), [(1, 1), (40, 1), (41, 2), (60, 2), (61, 3)])
@torch.no_grad()
def test_the_windows_of_an_utterance_are_means_over_their_real_steps(count: int, windows: int) -> None:
    torch.manual_seed(0)
    model = CapsuleNetwork(labels=LABELS, inputs=[INPUT])
    steps = torch.zeros(1, 70, model.convolutions.dim)
    steps[:, :count] = torch.rand(1, count, model.convolutions.dim)
    votes = []
    for start in range(0, 20 * windows, 20):
        capsules = squashed(model.window_capsules(steps[0, start : min(start + 40, count)].mean(0)).view(8, 8))
        votes += [torch.stack([capsule @ model.votes[k, c] for c in range(4)]) for k, capsule in enumerate(capsules)]
    expected = routed(torch.stack(votes)[None], torch.ones(1, len(votes), dtype=torch.bool)).norm(dim=-1)
    torch.testing.assert_close(model.capsule_lengths(steps, [count]), expected, atol=1e-5, rtol=1e-4)


def test_posteriors_and_losses_are_mixed() -> None:
    torch.manual_seed(0)
    model = CapsuleNetwork(labels=LABELS, inputs=[INPUT])
    mask = torch.arange(90) < torch.tensor([90, 31])[:, None]
    output, classes = model(spectrogram=torch.randn(2, 90, 200), spectrogram_mask=mask), torch.tensor([2, 0])
    capsules, recurrent = output.others["capsules"], output.others["recurrent"]
    expected = 0.6 * capsules / capsules.sum(1, keepdim=True) + 0.4 * recurrent.softmax(1)
    torch.testing.assert_close(output.logits.exp(), expected)
    found = model.emotion_loss(output, classes, lambda *both: functional.cross_entropy(*both, reduction="sum"))
    cross_entropy = functional.cross_entropy(recurrent, classes, reduction="sum")
    torch.testing.assert_close(found, 0.6 * margin_losses(capsules, classes).sum() + 0.4 * cross_entropy)


def test_it_has_the_documented_number_of_parameters() -> None:
    model = CapsuleNetwork(labels=LABELS, inputs=[INPUT])
    convolutions = 2 * 8 * (16 + 1) + 2 * 16 * (16 * 25 + 1)
    gru, capsules = 2 * 3 * 64 * (800 + 64 + 2), 801 * 64 + 8 * 4 * 8 * 16
    assert sum(p.numel() for p in model.parameters()) == convolutions + gru + capsules + 129 * 4 == 401_524
