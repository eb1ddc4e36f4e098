"""ECAPA-TDNN and its masked batch norm, against plain modules on unpadded utterances."""

from dataclasses import asdict

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from mmer_pipeline.errors import UserError
from mmer_pipeline.systems.base import FrozenInput
from mmer_pipeline.systems.published.ecapa import EcapaTdnn
from mmer_pipeline.systems.published.morais import EcapaHead
from mmer_pipeline.systems.published.normalisation import MaskedBatchNorm

LENGTHS = [40, 23, 5]
MASK = torch.arange(40) < torch.tensor(LENGTHS)[:, None]  # [B, N]


def frames(dim: int) -> Tensor:
    """Three utterances whose padding is rubbish."""
    return torch.randn(3, 40, dim, generator=torch.Generator().manual_seed(0))


def test_masked_batch_norm_is_batch_norm_of_all_real_positions() -> None:
    masked, plain = MaskedBatchNorm(8), nn.BatchNorm1d(8)
    values = frames(8)
    for norm in (masked, plain):
        nn.init.uniform_(norm.weight, generator=torch.Generator().manual_seed(1))
    joined = torch.cat([row[:length] for row, length in zip(values, LENGTHS, strict=True)])
    for _ in range(2):
        found, expected = masked(values, MASK), plain(joined)
        torch.testing.assert_close(found[MASK], expected)
        assert not found[~MASK].any()
    torch.testing.assert_close(masked.state_dict(), plain.state_dict())
    torch.testing.assert_close(masked.eval()(values, MASK)[MASK], plain.eval()(joined))


def test_a_single_position_is_normalised_by_the_running_statistics() -> None:
    norm = MaskedBatchNorm(8)
    norm(frames(8), MASK)
    before = {name: value.clone() for name, value in norm.state_dict().items()}
    one, real = frames(8)[:1, 0], torch.tensor([True])
    found = norm(one, real)
    torch.testing.assert_close(found, norm.eval()(one, real))
    torch.testing.assert_close(norm.state_dict(), before)


def plain_ecapa(network: EcapaTdnn, values: Tensor) -> Tensor:
    """The published network on one utterance `[N, d]`, with torch's functions and the running statistics."""

    def norm(x: Tensor, of: nn.BatchNorm1d) -> Tensor:
        return functional.batch_norm(x, of.running_mean, of.running_var, of.weight, of.bias, False, eps=of.eps)

    def tdnn(x: Tensor, of: nn.Module, kernel: int, dilation: int = 1) -> Tensor:
        padded = functional.pad(x, [dilation * (kernel // 2)] * 2)
        convolution = of.convolution
        return norm(functional.conv1d(padded, convolution.weight, convolution.bias, dilation=dilation).relu(), of.norm)

    def linear(x: Tensor, of: nn.Module) -> Tensor:
        return functional.linear(x, of.weight, of.bias)

    x = tdnn(values.T[None], network.first, 5)  # [1, C, N]
    outputs = []
    for block, dilation in zip(network.blocks, (2, 3, 4), strict=True):
        parts = tdnn(x, block.first, 1).chunk(8, dim=1)
        done = [parts[0], tdnn(parts[1], block.groups[0], 3, dilation)]
        for part, group in zip(parts[2:], block.groups[1:], strict=True):
            done.append(tdnn(part + done[-1], group, 3, dilation))
        inner = tdnn(torch.cat(done, dim=1), block.last, 1)
        scale = linear(linear(inner.mean(dim=2), block.squeeze).relu(), block.excite).sigmoid()
        x = x + inner * scale[:, :, None]
        outputs.append(x)
    h = linear(torch.cat(outputs, dim=1)[0].T, network.joined).relu()  # [N, 1536]
    seen = torch.cat([h, h.mean(0).expand_as(h), h.std(0, unbiased=False).clamp(min=1e-5**0.5).expand_as(h)], dim=1)
    first, _, second = network.pooling.score
    weights = linear(linear(seen, first).tanh(), second).softmax(dim=0)
    mean = (weights * h).sum(0)
    deviation = ((weights * h.square()).sum(0) - mean.square()).clamp(min=1e-5).sqrt()
    pooled = norm(torch.cat([mean, deviation])[None], network.pooled_norm)
    return norm(linear(pooled, network.embedding), network.embedding_norm)[0]


@pytest.fixture
def network() -> EcapaTdnn:
    """A narrow one, whose running statistics are those of some batches."""
    torch.manual_seed(0)
    network = EcapaTdnn(12, channels=16)
    for _ in range(3):
        network(torch.randn(3, 40, 12), MASK)
    return network


@torch.no_grad()
def test_the_network_is_the_published_one_on_each_utterance_alone(network: EcapaTdnn) -> None:
    values = frames(12)
    found = network.double().eval()(values.double(), MASK)
    for row, length in enumerate(LENGTHS):
        torch.testing.assert_close(found[row], plain_ecapa(network, values[row, :length].double()))


def test_padding_changes_neither_a_step_s_gradient_nor_its_statistics(network: EcapaTdnn) -> None:
    """Batch norm sees all utterances of a step, so they are padded more or less, not taken apart."""
    values, states, gradients = frames(12), [], []
    for longer in (0, 7):
        padded = functional.pad(values, (0, 0, 0, longer), value=3.0)
        mask = functional.pad(MASK, (0, longer))
        copy = EcapaTdnn(12, channels=16)
        copy.load_state_dict(network.state_dict())
        copy(padded, mask).square().sum().backward()
        states.append(dict(copy.named_buffers()))
        gradients.append({name: parameter.grad for name, parameter in copy.named_parameters()})
    torch.testing.assert_close(states[0], states[1])
    torch.testing.assert_close(gradients[0], gradients[1], atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize(("channels", "millions"), [(512, 6.2), (1024, 14.7)])
def test_the_number_of_parameters_is_the_published_one(channels: int, millions: float) -> None:
    """On 80 coefficients (Desplanques et al., table 1)."""
    count = sum(parameter.numel() for parameter in EcapaTdnn(80, channels).parameters())
    assert round(count / 1e6, 1) == millions


def test_morais_reads_frames_alone() -> None:
    vector = asdict(FrozenInput("egemaps", "vector", 88))
    with pytest.raises(UserError, match=r"--inputs: morais reads one feature with frames.*; found egemaps \(vector\)"):
        EcapaHead(labels=["a", "b"], inputs=[vector])
    model = EcapaHead(labels=["a", "b"], inputs=[asdict(FrozenInput("log_mel", "time", 12))])
    assert model(log_mel=frames(12), log_mel_mask=MASK).logits.shape == (3, 2)
    assert not model.splits_steps
