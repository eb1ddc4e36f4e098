"""What all systems share: the model's interface, its output, pooling, the CTC loss.

Shape letters: B batch, J speech frames, N positions, d hidden size, C classes, V symbols of the CTC alphabet. Masks:
True is a real position.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from huggingface_hub import ModelCard, PyTorchModelHubMixin
from torch import Tensor, nn
from torch.nn import functional

_CARD = """\
---
library_name: mmer-pipeline
tags: [speech-emotion-recognition]
---
# {name}

Emotion of an utterance: {labels}. One of the systems of the MMER experiments (Ghosh, Srivastava, Umesh,
arXiv 2203.16794). Load it with `{module}.{name}.from_pretrained`.

Corpus, held-out part, encoders, settings and versions stand in `settings.json` beside the directory that this
model was saved to, its scores in `evaluation.json`.
"""


@dataclass(frozen=True)
class Output:
    """What the heads say."""

    logits: Tensor  # [B, C] emotion, before the softmax of eq. 3
    ctc_logits: Tensor | None  # [B, J, V] characters, before the softmax of eq. 5; None without a CTC head


class EmotionModel(nn.Module, PyTorchModelHubMixin):
    """What every system has in common.

    Its `forward` takes by name what it reads of a batch (frames, frame_mask, tokens, token_mask) and returns an
    `Output`; its constructor names the settings and sizes that it needs (`experiment.build_model`).

    `save_pretrained`, `from_pretrained` and `push_to_hub` come from huggingface_hub; the constructor's arguments are
    the saved `config.json`, so that a saved model needs no other file.
    """

    labels: list[str]  # the classes, in the order of the logits
    alphabet: list[str]  # the CTC symbols, in the order of the logits; empty without a CTC head

    def generate_model_card(self, *_: Any, **__: Any) -> ModelCard:
        """README.md of a saved model: what it is, and where its training is written down."""
        name = type(self).__name__
        return ModelCard(_CARD.format(name=name, module=type(self).__module__, labels=", ".join(self.labels)))


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean over real positions: values `[B, N, d]`, mask `[B, N]` → `[B, d]` (mp in eq. 3)."""
    weights = mask.unsqueeze(-1).to(values.dtype)  # [B, N, 1]
    return (values * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1)


def ctc_losses(
    ctc_logits: Tensor, symbols: Tensor, *, frame_counts: Sequence[int], symbol_counts: Sequence[int]
) -> Tensor:
    """−ln p(t|a) of each utterance, a sum over its frames (eq. 6): `[B]`, in float32.

    The blank is symbol 0. An utterance with nothing to spell gets 0. The counts are the host's, which need not ask a
    device for them then; torch's own kernel on a GPU copies them there, and the host waits once for that.

    Args:
        ctc_logits: `[B, J, V]`.
        symbols: the targets, one utterance's behind the other's `[sum of symbol_counts]`.
        frame_counts: real frames of each utterance.
        symbol_counts: symbols of each utterance.
    """
    log_probabilities = functional.log_softmax(ctc_logits.float(), dim=-1).transpose(0, 1)  # [J, B, V]
    losses = functional.ctc_loss(
        log_probabilities,
        symbols,
        torch.tensor(frame_counts),
        torch.tensor(symbol_counts),
        blank=0,
        reduction="none",
        zero_infinity=True,
    )  # [B]
    if all(symbol_counts):
        return losses
    spelled = zip(losses, symbol_counts, strict=True)
    return torch.stack([loss if count else 0 * loss for loss, count in spelled])
