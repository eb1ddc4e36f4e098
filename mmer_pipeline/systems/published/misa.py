"""MISA, modality-invariant and -specific representations (Hazarika et al., ACM MM 2020), with two modalities.

docs/published/misa.md says how near this is to the publication and its code.

Shape letters: B batch, J speech frames, M tokens, h = 128. Masks: True is a real position.
"""

from collections.abc import Sequence
from itertools import combinations
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from mmer_pipeline.systems.base import CrossEntropy, Output, masked_mean
from mmer_pipeline.systems.published.recurrence import BiLSTM
from mmer_pipeline.systems.published.speech_and_text import SpeechAndText

HIDDEN, HEADS = 128, 2
SIMILARITY, DIFFERENCE, RECONSTRUCTION = 1.0, 0.3, 1.0  # weights of the losses
MOMENTS = 5


class SpeechVector(nn.Module):
    """Two bidirectional LSTMs with a layer norm between; the final states of both."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.first, self.second = BiLSTM(dim, HIDDEN), BiLSTM(2 * HIDDEN, HIDDEN)
        self.norm = nn.LayerNorm(2 * HIDDEN)

    def forward(self, values: Tensor, mask: Tensor) -> Tensor:
        """Values `[B, J, dim]` and their mask → `[B, 4h]`."""
        outputs, first = self.first(values, mask)
        _, second = self.second(self.norm(outputs), mask)
        return torch.cat([first, second], dim=-1)


class Misa(SpeechAndText):
    """A private and a shared vector of each modality, attention among them, linear layers.

    Besides the cross-entropy, losses make the shared vectors alike, private ones unlike all others, and both together
    rebuild the vector of their modality. They are computed over the utterances of a step.
    """

    splits_steps: ClassVar[bool] = False

    def __init__(
        self,
        *,
        labels: list[str],
        alphabet: Sequence[str] = (),
        inputs: list[dict[str, Any]],
        text_dim: int,
        dropout: float = 0.5,
    ) -> None:
        super().__init__(labels=labels, alphabet=alphabet, inputs=inputs, text_dim=text_dim)
        self.speech_vector = SpeechVector(self.speech_dim)
        dims = {"speech": 4 * HIDDEN, "text": text_dim}
        self.projections = nn.ModuleDict(
            {name: nn.Sequential(nn.Linear(dim, HIDDEN), nn.ReLU(), nn.LayerNorm(HIDDEN)) for name, dim in dims.items()}
        )
        self.private = nn.ModuleDict({name: _encoder() for name in dims})
        self.shared = _encoder()
        self.rebuild = nn.ModuleDict({name: nn.Linear(HIDDEN, HIDDEN) for name in dims})
        self.fusion = nn.TransformerEncoderLayer(HIDDEN, HEADS, batch_first=True)
        self.emotion_head = nn.Sequential(
            nn.Linear(4 * HIDDEN, 2 * HIDDEN), nn.Dropout(dropout), nn.ReLU(), nn.Linear(2 * HIDDEN, len(labels))
        )

    def forward(self, speech_states: Tensor, speech_states_mask: Tensor, tokens: Tensor, token_mask: Tensor) -> Output:
        """See `SpeechAndText`; the `others` of the output are the vectors of each modality, `[B, h]`."""
        vectors = {
            "speech": self.speech_vector(speech_states, speech_states_mask),
            "text": masked_mean(tokens, token_mask),
        }
        others: dict[str, Tensor] = {}
        for name, vector in vectors.items():
            projected = self.projections[name](vector)
            private, shared = self.private[name](projected), self.shared(projected)
            rebuilt = self.rebuild[name](private + shared)
            others |= {f"projected_{name}": projected, f"private_{name}": private, f"shared_{name}": shared,
                       f"rebuilt_{name}": rebuilt}  # fmt: skip
        four = torch.stack([others[f"{kind}_{name}"] for kind in ("private", "shared") for name in vectors], dim=1)
        fused = self.fusion(four).flatten(1)  # [B, 4h]
        return Output(self.emotion_head(fused), None, others=others)

    def emotion_loss(self, output: Output, classes: Tensor, cross_entropy: CrossEntropy) -> Tensor:
        """See `EmotionModel.emotion_loss`: the cross-entropy, and for each utterance the other losses of the step."""
        of = {name: values.float() for name, values in output.others.items()}
        unlike = [(of[f"private_{name}"], of[f"shared_{name}"]) for name in self.private]
        unlike += combinations([of[f"private_{name}"] for name in self.private], 2)
        rebuilt = [functional.mse_loss(of[f"rebuilt_{name}"], of[f"projected_{name}"]) for name in self.private]
        others = (
            SIMILARITY * moment_discrepancy(of["shared_speech"], of["shared_text"])
            + DIFFERENCE * torch.stack([squared_products(*pair) for pair in unlike]).sum()
            + RECONSTRUCTION * torch.stack(rebuilt).mean()
        )
        return cross_entropy(output.logits, classes) + len(classes) * others


def _encoder() -> nn.Sequential:
    return nn.Sequential(nn.Linear(HIDDEN, HIDDEN), nn.Sigmoid())


def moment_discrepancy(x: Tensor, y: Tensor) -> Tensor:
    """The central moment discrepancy of `[B, h]` and `[B, h]`: distances of means and of moments up to the fifth."""
    centred = x - x.mean(0), y - y.mean(0)
    distances = [x.mean(0) - y.mean(0)]
    distances += [centred[0].pow(k).mean(0) - centred[1].pow(k).mean(0) for k in range(2, MOMENTS + 1)]
    return torch.stack([distance.norm() for distance in distances]).sum()


def squared_products(x: Tensor, y: Tensor) -> Tensor:
    """The mean square of the products of dimensions of `[B, h]` and `[B, h]` over utterances of unit length.

    Before, the mean over utterances is subtracted. The lengths get no gradient.
    """
    x, y = (_unit(values - values.mean(0)) for values in (x, y))
    squares: Tensor = (x.T @ y).square()
    return squares.mean()


def _unit(values: Tensor) -> Tensor:
    lengths: Tensor = values.norm(dim=1, keepdim=True).detach()
    return values / (lengths + 1e-6)
