"""Speech and text parts of Makiuchi et al. (ASRU 2021, arXiv 2111.10202), without the decoder of the speech part.

What the publication and its authors' code leave open is told in docs/published/makiuchi.md.

Shape letters: B batch, N frames or tokens, L layers, d hidden size, S segments, T frames of a segment, C classes.
Masks: True is a real position.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from mmer_pipeline.encoders.frozen_speech import frozen_outline
from mmer_pipeline.errors import UserError
from mmer_pipeline.settings import Settings
from mmer_pipeline.systems.base import EmotionModel, FrozenInput, Output, Parts
from mmer_pipeline.systems.published.segments import Segments

FRAMES = 96  # of a segment
WIDTH, CONVOLUTIONS, KERNEL = 2048, 3, 5
NECK, LSTM_LAYERS, SAMPLED = 8, 2, 48  # units a direction; every so many frames, their outputs are kept
CODE_HIDDEN = 128  # of the classifier
TOKENS = 122  # to which a text is cut or padded
TEXT_LAYERS = ((256, 1), (256, 1), (128, 8), (64, 4))  # channels and kernels
TEXT_PADDING = 1


class WeightedMean(nn.Module):
    """Mean of layers with trained weights, which are 1 at first and divided by their sum."""

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.ones(layers))

    def forward(self, layers: Tensor) -> Tensor:
        """The layers `[..., L, d]` → `[..., d]`."""
        mean: Tensor = (self.weights / self.weights.sum()) @ layers
        return mean


class SegmentEncoder(nn.Module):
    """Convolutions and a bidirectional LSTM, of whose outputs few are kept: the code of a segment."""

    def __init__(self, dim: int, width: int) -> None:
        super().__init__()
        blocks: list[nn.Module] = []
        for before in (dim, *[width] * (CONVOLUTIONS - 1)):
            blocks += [nn.Conv1d(before, width, KERNEL, padding=KERNEL // 2), nn.BatchNorm1d(width), nn.ReLU()]
        self.convolutions = nn.Sequential(*blocks)
        self.lstm = nn.LSTM(width, NECK, LSTM_LAYERS, batch_first=True, bidirectional=True)
        self.dim = 2 * NECK * (FRAMES // SAMPLED)  # of the code

    def forward(self, segments: Tensor) -> Tensor:
        """Segments `[S, T, d]` → codes `[S, self.dim]`.

        Of every 48 frames, the forward outputs at the last one and the backward outputs at the first one are kept:
        those that have seen all of them.
        """
        hidden, _ = self.lstm(self.convolutions(segments.transpose(1, 2)).transpose(1, 2))  # [S, T, 2 · NECK]
        forward, backward = hidden.split(NECK, dim=-1)
        kept = torch.cat([forward[:, SAMPLED - 1 :: SAMPLED], backward[:, ::SAMPLED]], dim=-1)  # [S, T / 48, 2 · NECK]
        return kept.flatten(1)


class MakiuchiSpeech(EmotionModel):
    """The encoder of the speech part, and the classifier of its code.

    `inputs` are the frames of several layers of a frozen speech encoder side by side, and speaker vectors if there are
    any, which are repeated at each frame.
    """

    splits_steps: ClassVar[bool] = False

    def __init__(
        self,
        *,
        labels: list[str],
        alphabet: Sequence[str] = (),
        inputs: list[dict[str, Any]],
        hidden_size: int,  # d of the speech encoder
        width: int = WIDTH,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.labels, self.alphabet = list(labels), list(alphabet)
        self.inputs, self.hidden_size = inputs, hidden_size
        entries = [FrozenInput(**entry) for entry in inputs]
        self.states = next(entry for entry in entries if entry.axis == "time")
        self.speakers = [entry for entry in entries if entry.axis == "vector"]
        self.layer_mean = WeightedMean(self.states.dim // hidden_size)
        self.encoder = SegmentEncoder(hidden_size + sum(entry.dim for entry in self.speakers), width)
        self.classifier = nn.Sequential(
            nn.Linear(self.encoder.dim, CODE_HIDDEN),
            nn.ReLU(),
            nn.Linear(CODE_HIDDEN, CODE_HIDDEN),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(CODE_HIDDEN, len(labels)),
        )

    @classmethod
    def build(cls, settings: Settings, parts: Parts) -> "MakiuchiSpeech":
        """See `EmotionModel.build`.

        Raises:
            UserError: the inputs are not frames of an encoder, and speaker vectors.
        """
        axes = [entry["axis"] for entry in parts.frozen_inputs]
        names = [entry["name"] for entry in parts.frozen_inputs]
        if parts.speech is None or "speech_states" not in names or axes.count("time") != 1 or "layers" in axes:
            found = ", ".join(f"{name} ({axis})" for name, axis in zip(names, axes, strict=True))
            raise UserError(
                "--inputs: makiuchi-speech reads speech-states, alone or with vectors of speakers, such as "
                f"speech-states+resemblyzer; found {found}."
            )
        hidden = frozen_outline(parts.speech).hidden_size
        return cls(
            labels=parts.labels, inputs=parts.frozen_inputs, hidden_size=hidden, width=WIDTH, dropout=settings.dropout
        )

    def forward(self, **features: Tensor) -> Output:
        """Frames `[B, N, L · d]` with their mask, and vectors `[B, 1, dim]` → `Output`.

        In training, the logits are those of a random segment of each utterance; in evaluation, log-probabilities, the
        mean over its segments.
        """
        frames, mask = features[self.states.name], features[f"{self.states.name}_mask"]
        segments = (Segments.random if self.training else Segments.all)(mask, FRAMES)
        cut = segments.of(frames)
        cut = cut.view(*cut.shape[:2], -1, self.hidden_size)  # [S, T, L, d]
        parts = [self.layer_mean(cut)]  # [S, T, d]
        parts += [segments.of(features[entry.name].expand(-1, frames.shape[1], -1)) for entry in self.speakers]
        logits = self.classifier(self.encoder(torch.cat(parts, dim=-1)))  # [S, C]
        return Output(logits if self.training else segments.mean_posteriors(logits), None)


class MakiuchiText(EmotionModel):
    """The text part: convolutions over the tokens of a frozen text encoder, their mean, a linear layer, a sigmoid."""

    def __init__(self, *, labels: list[str], alphabet: Sequence[str] = (), text_dim: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.labels, self.alphabet = list(labels), list(alphabet)
        blocks: list[nn.Module] = []
        before = text_dim
        for channels, kernel in TEXT_LAYERS:
            blocks += [nn.Conv1d(before, channels, kernel, padding=TEXT_PADDING), nn.ReLU()]
            before = channels
        self.convolutions = nn.Sequential(*blocks)
        self.dropout = nn.Dropout(dropout)
        self.emotion_head = nn.Linear(before, len(labels))

    @classmethod
    def build(cls, settings: Settings, parts: Parts) -> "MakiuchiText":
        """See `EmotionModel.build`."""
        return cls(labels=parts.labels, text_dim=parts.text_dim, dropout=settings.dropout)

    def forward(self, tokens: Tensor, token_mask: Tensor) -> Output:
        """Tokens `[B, N, d]`, the first and the last of which are special, and their mask `[B, N]` → `Output`.

        The logits are the outputs of the sigmoid, which the authors' cross-entropy reads. As theirs, the convolutions
        and the mean see zeros after a text: all texts have the same number of positions.
        """
        positions = torch.arange(tokens.shape[1], device=tokens.device)
        words = (positions > 0) & (positions < token_mask.sum(dim=1, keepdim=True) - 1)  # [B, N]
        values = tokens.masked_fill(~words.unsqueeze(-1), 0.0)[:, 1 : 1 + TOKENS]
        padded = nn.functional.pad(values, (0, 0, 0, TOKENS - values.shape[1]))  # [B, 122, d]
        pooled = self.convolutions(padded.transpose(1, 2)).mean(dim=-1)  # [B, 64]
        return Output(torch.sigmoid(self.emotion_head(self.dropout(pooled))), None)
