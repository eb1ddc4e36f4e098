"""A step: it never waits for the device, it fits itself into the memory, and its layers can be compiled."""

import re
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.optimisers import optimisers

from mmer_pipeline.demo.encoders import tiny_speech_encoder
from mmer_pipeline.errors import UserError
from mmer_pipeline.suggested_commands import train_command
from mmer_pipeline.systems import base as model_module
from mmer_pipeline.systems.base import Output
from mmer_pipeline.systems.unimodal import TextClassifier
from mmer_pipeline.training import inference, memory_budget
from mmer_pipeline.training.step import Optimiser

make = pytest.fixture(optimisers)
OUT_OF_MEMORY = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


@pytest.mark.parametrize("family", ["wav2vec2", "hubert", "unispeech-sat", "data2vec-audio", "moonshine"])
def test_no_value_is_asked_of_the_device_within_a_step(family, make, tmp_path, monkeypatch):
    """Tensors without values stand for those that are not computed yet: whoever asks for one fails."""

    def ctc_loss(log_probabilities, symbols, frame_counts, symbol_counts, **_):
        """Torch has none without values; it would ask the device for lengths that lie there."""
        assert symbols.is_meta
        assert frame_counts.device.type == symbol_counts.device.type == "cpu"
        return log_probabilities.sum(dim=(0, 2))

    monkeypatch.setattr(model_module.functional, "ctc_loss", ctc_loss)
    augmented = {} if family == "moonshine" else {"mask_time_prob": 0.5, "mask_feature_prob": 0.5}
    made = make(speech=tiny_speech_encoder(tmp_path / family, family, **augmented))
    model = made.model.to("meta")
    made.device = torch.device("meta")
    losses = made.add_gradient(range(5), 5)
    torch.nn.utils.clip_grad_norm_([p for p in model.parameters() if p.grad is not None], 1.0)
    assert losses.is_meta
    with pytest.raises(RuntimeError):
        float(losses[0])


class TwoProcesses:
    """Stands for two processes: the first one's sum has what the second one sent."""

    device, num_processes, is_main_process = torch.device("cpu"), 2, True

    def __init__(self, rank, sent):
        self.process_index, self.sent, self.autocast = rank, sent, nullcontext

    def reduce(self, message, reduction):
        assert reduction == "sum"
        if self.process_index == 1:
            self.sent.append(message.clone())
            return message
        return message + self.sent.pop()


@pytest.mark.parametrize("layerdrop", [0.0, 1.0])
def test_two_processes_move_and_decay_only_what_one_process_does(layerdrop, make, tmp_path):
    """Layers that LayerDrop left out got zeros as gradients, so that AdamW moved and decayed them."""
    dropouts = ("hidden_dropout", "attention_dropout", "activation_dropout", "feat_proj_dropout", "final_dropout")
    speech = tiny_speech_encoder(tmp_path, **dict.fromkeys(dropouts, 0.0), layerdrop=layerdrop)
    one, *two = (make(speech=speech, dropout=0.0, weight_decay=0.1, learning_rate=1e-3) for _ in range(3))
    begin = [parameter.detach().clone() for parameter in one.trained]
    sent = []
    for rank, made in enumerate(two):
        made.accelerator = TwoProcesses(rank, sent)
    for step in range(3):
        one.step(range(8), seed=step, rate_factor=1.0)
        two[1].model.load_state_dict(two[0].model.state_dict())
        for made in reversed(two):
            made.step(range(8), seed=step, rate_factor=1.0)
    rested = 0
    for alone, shared, before in zip(one.trained, two[0].trained, begin, strict=True):
        torch.testing.assert_close(shared, alone, rtol=1e-4, atol=1e-5)
        assert torch.equal(shared, before) == torch.equal(alone, before)
        rested += torch.equal(shared, before)
    layers = len(list(one.model.speech.encoder.encoder.layers.parameters()))
    assert rested == (layers if layerdrop else 0)


def test_a_layer_that_one_process_left_out_has_the_gradient_of_the_other(make):
    made = make()
    made.active, made.device = [torch.nn.Parameter(torch.ones(2)) for _ in range(3)], torch.device("cpu")
    made.accelerator = TwoProcesses(0, [torch.tensor([0.0, 0.0, 3.0, 4.0, 0.0, 0.0, 0.0, 1.0, 0.0])])
    first, second, third = made._over_processes([torch.tensor([1.0, 2.0]), None, None])
    assert first.tolist() == [1.0, 2.0]
    assert second.tolist() == [3.0, 4.0]
    assert third is None


def test_a_step_is_begun_anew_with_half_the_audio_where_memory_runs_out(make, monkeypatch):
    whole = Optimiser.add_gradient
    sizes = []

    def small_device(optimiser, positions, step_size):
        sizes.append(len(positions))
        losses = whole(optimiser, positions, step_size)  # it runs out at the very end
        if len(positions) > 2:
            raise OUT_OF_MEMORY
        return losses

    expected, found = make(max_batch_seconds=1e3, dropout=0.0), make(max_batch_seconds=1e3, dropout=0.0)
    expected.model.eval()
    found.model.eval()
    wanted = expected.step(range(8), seed=1, rate_factor=1.0).losses
    monkeypatch.setattr(Optimiser, "add_gradient", small_device)
    losses = found.step(range(8), seed=1, rate_factor=1.0).losses
    assert sizes[0] == 8
    assert max(sizes[-4:]) <= 2
    assert 0 < found.max_seconds < 1e3
    torch.testing.assert_close(losses, wanted, rtol=1e-4, atol=1e-4)
    for mine, other in zip(found.trained, expected.trained, strict=True):
        torch.testing.assert_close(mine.grad, other.grad, rtol=1e-3, atol=1e-5)
    before = found.max_seconds
    found.step(range(8), seed=2, rate_factor=1.0)
    assert found.max_seconds == before  # halved for good


def test_one_utterance_that_does_not_fit_is_named(make, monkeypatch):
    def no_memory(*_):
        raise OUT_OF_MEMORY

    made = make(max_batch_seconds=1e3)
    monkeypatch.setattr(Optimiser, "add_gradient", no_memory)
    names = "|".join(re.escape(u.utterance_id) for u in made.examples.manifest.utterances)
    with pytest.raises(UserError, match=rf"ran out of memory on the single utterance ({names}) \(\d+\.\d s\)\."):
        made.step(range(8), seed=1, rate_factor=1.0)


def test_an_error_that_is_not_about_memory_stays_what_it_is(make, monkeypatch):
    def broken(*_):
        raise RuntimeError("a kernel failed")

    made = make(max_batch_seconds=1e3)
    monkeypatch.setattr(Optimiser, "add_gradient", broken)
    for call in (lambda: made.step(range(8), seed=1, rate_factor=1.0), lambda: inference_of(made)):
        monkeypatch.setattr(inference, "_predict_batch", broken)
        with pytest.raises(RuntimeError, match="a kernel failed"):
            call()


def inference_of(made):
    return inference.predict(made.model, made.examples, range(16), made.accelerator)


def test_predictions_are_the_same_where_memory_suffices_for_two_utterances_alone(make, monkeypatch):
    made = make()
    expected = inference_of(made)
    whole = inference._predict_batch

    def small_device(model, examples, part, accelerator):
        if len(part) > 2:
            raise OUT_OF_MEMORY
        return whole(model, examples, part, accelerator)

    monkeypatch.setattr(inference, "_predict_batch", small_device)
    found = inference_of(made)
    np.testing.assert_allclose(found.probabilities, expected.probabilities, atol=1e-5)
    assert found.transcripts == expected.transcripts
    assert made.model.training


def test_on_a_cpu_micro_batches_are_as_long_as_is_fastest_there(make):
    made = make()
    made.find_max_seconds(range(16))
    longest = max(made.examples.seconds)
    assert made.max_seconds == min(memory_budget.CPU_SECONDS, 8 * longest)


def test_what_fits_is_measured_on_the_longest_utterances_and_leaves_no_gradient(make, monkeypatch):
    asked = []

    def fits(use, device, later_bytes, most):
        asked.extend((device.type, later_bytes, most, use(1e9)))
        return 12.5

    made = make()
    monkeypatch.setattr(memory_budget, "seconds_that_fit", fits)
    made.find_max_seconds(range(10))
    longest = max(made.examples.seconds[:10])
    trained = sum(p.numel() for p in made.trained)
    assert asked == ["cpu", 12 * trained, pytest.approx(8 * longest), pytest.approx(8 * longest)]
    assert made.max_seconds == 12.5
    assert all(p.grad is None for p in made.trained)


def test_where_not_even_the_trial_fits_the_steps_begin_with_a_second(make, monkeypatch):
    def nothing_fits(*_):
        raise OUT_OF_MEMORY

    made = make()
    monkeypatch.setattr(memory_budget, "seconds_that_fit", nothing_fits)
    made.find_max_seconds(range(10))
    assert made.max_seconds == 1.0


@pytest.mark.parametrize(
    ("per_second", "free", "most", "expected"),
    [(1e6, 100e6, 1e3, 85.0), (1e6, 100e6, 30.0, 30.0), (1e9, 1e6, 30.0, 1.0), (1e6, 0, 30.0, 1.0)],
)
def test_the_audio_that_fits_grows_with_the_free_memory_up_to_what_a_step_has(per_second, free, most, expected):
    assert memory_budget.bounded_seconds(per_second, free, most) == expected


def test_the_peak_of_this_process_is_more_than_torch_alone_takes():
    assert 0.05 < memory_budget.peak_gib(torch.device("cpu")) < 100


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the compiler about itself
def test_compiled_layers_give_the_same_losses_and_no_length_is_compiled_again(make, monkeypatch):
    """Batches of seven shapes, and every gradient as without. Graphs are traced, and left to PyTorch to compute."""
    from torch._dynamo.utils import counters

    whole = torch.nn.Module.compile
    traced = lambda module, **options: whole(module, backend="aot_eager", **options)  # noqa: E731
    monkeypatch.setattr(torch.nn.Module, "compile", traced)

    plain, compiled = make(dropout=0.0), make(dropout=0.0, compile=True)
    plain.model.eval()
    compiled.model.eval()
    graphs = []
    for size in (2, 3, 4, 5, 6, 7, 8):
        positions = list(range(size, 2 * size))
        for made in (plain, compiled):
            made.max_seconds = 1e3
        wanted, found = (made.step(positions, seed=1, rate_factor=0.0).losses for made in (plain, compiled))
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
        graphs.append(counters["stats"]["unique_graphs"])
    for mine, other in zip(compiled.trained, plain.trained, strict=True):
        torch.testing.assert_close(mine.grad, other.grad, rtol=1e-3, atol=1e-5)
    assert graphs[0] > 0
    assert graphs[-1] == graphs[1]


def test_settings_say_whether_layers_are_compiled(make):
    assert train_command(replace(make().settings, compile=True), "mmer", 1).endswith("--compile")


def test_a_step_whose_utterances_depend_on_each_other_is_not_split(make, monkeypatch):
    made = make("roberta", splits_steps=False, max_batch_seconds=0.5)
    whole, sizes = Optimiser.add_gradient, []

    def count(optimiser, positions, step_size):
        sizes.append(len(positions))
        return whole(optimiser, positions, step_size)

    monkeypatch.setattr(Optimiser, "add_gradient", count)
    made.step(range(8), seed=1, rate_factor=1.0)
    assert sizes == [8]

    def no_memory(*_):
        raise OUT_OF_MEMORY

    monkeypatch.setattr(Optimiser, "add_gradient", no_memory)
    with pytest.raises(UserError, match=r"memory on a step of 8 utterances\. .* smaller --batch-size"):
        made.step(range(8), seed=1, rate_factor=1.0)


@pytest.mark.parametrize(("rule", "plain"), [("sgd", torch.optim.SGD), ("adam", torch.optim.Adam)])
def test_other_optimisers_are_those_of_torch(rule, plain, make):
    made, other = (make("roberta", optimiser=rule, clip_norm=0.0, weight_decay=0.1, dropout=0.0) for _ in range(2))
    momentum = {"momentum": 0.9} if rule == "sgd" else {}
    theirs = plain(other.model.parameters(), lr=made.settings.learning_rate, weight_decay=0.1, **momentum)
    for step in range(3):
        made.step(range(8), seed=step, rate_factor=1.0)
        theirs.zero_grad()
        other.add_gradient(range(8), 8)
        theirs.step()
    for mine, expected in zip(made.trained, other.trained, strict=True):
        torch.testing.assert_close(mine, expected)


class TwoBranches(TextClassifier):
    """Its loss is the mean of the cross-entropies of two branches."""

    def emotion_loss(self, output, classes, cross_entropy):
        return (cross_entropy(output.logits, classes) + cross_entropy(output.others["second"], classes)) / 2

    def forward(self, tokens, token_mask):
        logits = super().forward(tokens, token_mask).logits
        return Output(logits, None, others={"second": 2 * logits})


def test_a_system_may_have_another_emotion_loss(make):
    made = make("roberta", dropout=0.0)
    made.model.__class__ = TwoBranches
    found = made.add_gradient(range(8), 8)[0]
    batch = made.examples.batch(range(8)).to(torch.device("cpu"))
    logits = made.model(**batch.inputs).logits
    expected = [torch.nn.functional.cross_entropy(times * logits, batch.labels, reduction="sum") for times in (1, 2)]
    torch.testing.assert_close(found, sum(expected).detach() / 2)
