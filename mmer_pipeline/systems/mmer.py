"""The whole MMER model, in the paper's order and notation (section 3).

Shape letters: B batch, J speech frames, M tokens, d hidden size of the speech encoder, d_t hidden size of the text
encoder, C classes, V symbols of the CTC alphabet. Masks: True is a real position; padding never changes a result.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from mmer_pipeline.encoders.attention import key_mask, padding_mask
from mmer_pipeline.encoders.speech import SpeechEncoder
from mmer_pipeline.errors import UserError
from mmer_pipeline.settings import Settings
from mmer_pipeline.systems.base import EmotionModel, Output, Parts, masked_mean


class CrossModalEncoder(nn.Module):
    """CME(query, context): a transformer layer that attends to the other modality (section 3.3, eq. 1).

    Multi-head cross-attention, residual on the query, layer norm, GELU feed-forward of 4d, residual, layer norm.
    """

    def __init__(self, d: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = nn.Linear(d, d), nn.Linear(d, d), nn.Linear(d, d)
        self.out = nn.Linear(d, d)
        self.attention_norm = nn.LayerNorm(d)
        self.feed_forward = nn.Sequential(nn.Linear(d, 4 * d), nn.GELU(), nn.Dropout(dropout), nn.Linear(4 * d, d))
        self.feed_forward_norm = nn.LayerNorm(d)
        self.dropout = nn.Dropout(dropout)

    def forward(self, query: Tensor, context: Tensor, context_mask: Tensor | None) -> Tensor:
        """Query `[B, N, d]`, context `[B, K, d]` and its mask `[B, K]` (None: no padding) → `[B, N, d]`."""
        B, N, d = query.shape
        K, h = context.shape[1], self.heads
        q = self.query(query).view(B, N, h, d // h).transpose(1, 2)  # [B, h, N, d/h]
        k = self.key(context).view(B, K, h, d // h).transpose(1, 2)  # [B, h, K, d/h]
        v = self.value(context).view(B, K, h, d // h).transpose(1, 2)  # [B, h, K, d/h]
        attended = functional.scaled_dot_product_attention(
            q,
            k,
            v,
            attn_mask=key_mask(context_mask),
            dropout_p=self.dropout.p if self.training else 0.0,
        )  # [B, h, N, d/h]
        attended = self.out(attended.transpose(1, 2).reshape(B, N, d))  # [B, N, d]
        hidden = self.attention_norm(query + self.dropout(attended))
        normed: Tensor = self.feed_forward_norm(hidden + self.dropout(self.feed_forward(hidden)))
        return normed  # [B, N, d]


class MultimodalInteraction(nn.Module):
    """MMI: three cross-modal encoders and the acoustic gate (section 3.3, figure 1).

    The flags remove parts, for ablations. Without the R branch, the gate sees only Q; without the Q branch, there is
    nothing to gate.
    """

    def __init__(
        self, d: int, heads: int, dropout: float, *, gate: bool = True, r_branch: bool = True, q_branch: bool = True
    ) -> None:
        super().__init__()
        width = d * (r_branch + q_branch)
        self.cme_b = CrossModalEncoder(d, heads, dropout) if r_branch else None
        self.cme_c = CrossModalEncoder(d, heads, dropout) if r_branch else None
        self.cme_d = CrossModalEncoder(d, heads, dropout) if q_branch else None
        self.gate = nn.Linear(width, d) if gate and q_branch else None
        self.down = nn.Linear(width, d)

    def forward(self, A: Tensor, A_mask: Tensor, T: Tensor, T_mask: Tensor) -> Tensor:
        """Speech A `[B, J, d]` and words T `[B, M, d]`, with their masks → M, one fused vector per word `[B, M, d]`."""
        R = Q = None
        A_keys, T_keys = padding_mask(A_mask), padding_mask(T_mask)
        if self.cme_b is not None and self.cme_c is not None:
            P = self.cme_b(A, T, T_keys)  # [B, J, d] words that each frame attends to
            R = self.cme_c(T, P, A_keys)  # [B, M, d] speech-aware words (3.3.1)
        if self.cme_d is not None:
            Q = self.cme_d(T, A, A_keys)  # [B, M, d] word-aware speech (3.3.2)
            if self.gate is not None:
                g = torch.sigmoid(self.gate(_concatenated(R, Q)))  # [B, M, d] acoustic gate, eq. 2
                Q = g * Q  # [B, M, d]
        M: Tensor = self.down(_concatenated(Q, R))  # [B, M, 2d] → [B, M, d]
        return M


def _concatenated(*branches: Tensor | None) -> Tensor:
    """[first; second], or the only branch left by an ablation: `[B, M, 2d]` or `[B, M, d]`."""
    return torch.cat([branch for branch in branches if branch is not None], dim=-1)


class MMER(EmotionModel):
    """The paper's system: speech encoder, MMI, emotion head, CTC head.

    Raises:
        UserError: both branches of the MMI are removed.
    """

    def __init__(
        self,
        speech: SpeechEncoder,
        *,
        text_dim: int,  # d_t
        labels: list[str],  # the classes, in the order of the logits
        alphabet: list[str],  # the CTC symbols, in the order of the logits, the blank first; empty: no CTC head
        dropout: float = 0.1,
        gate: bool = True,  # the acoustic gate
        r_branch: bool = True,  # speech-aware words
        q_branch: bool = True,  # word-aware speech
        pooled: str = "both",  # what the emotion head reads: both (eq. 3), speech (A), fused (M) or text (T)
    ) -> None:
        super().__init__()
        self.speech = speech
        d = speech.hidden_size
        self.labels, self.alphabet, self.pooled = list(labels), list(alphabet), pooled
        self.text_projection = nn.Identity() if text_dim == d else nn.Linear(text_dim, d)
        self.mmi = None
        if pooled in ("both", "fused"):
            if not (r_branch or q_branch):
                raise UserError(
                    "--no-r-branch and --no-q-branch together remove the whole MMI. Keep one branch, or use "
                    "--pooled speech for speech only."
                )
            self.mmi = MultimodalInteraction(
                d, speech.attention_heads, dropout, gate=gate, r_branch=r_branch, q_branch=q_branch
            )
        self.dropout = nn.Dropout(dropout)
        self.emotion_head = nn.Linear(2 * d if pooled == "both" else d, len(labels))
        self.ctc_head = nn.Linear(d, len(alphabet)) if alphabet else None

    @classmethod
    def build(cls, settings: Settings, parts: Parts) -> "MMER":
        """See `EmotionModel.build`."""
        return cls(
            parts.speech_encoder(),
            text_dim=parts.text_dim,
            labels=parts.labels,
            alphabet=parts.alphabet,
            dropout=settings.dropout,
            gate=settings.gate,
            r_branch=settings.r_branch,
            q_branch=settings.q_branch,
            pooled=settings.pooled,
        )

    def forward(self, frames: Tensor, frame_mask: Tensor, tokens: Tensor, token_mask: Tensor) -> Output:
        """Front-end frames `[B, J, front_dim]` and text features `[B, M, d_t]`, with their masks → `Output`."""
        A = self.speech.context(frames, frame_mask)  # [B, J, d]
        T = self.text_projection(tokens)  # [B, M, d]
        parts = []
        if self.pooled in ("both", "speech"):
            parts.append(masked_mean(A, frame_mask))  # [B, d]
        if self.mmi is not None:
            M = self.mmi(A, frame_mask, T, token_mask)  # [B, M, d]
            parts.append(masked_mean(M, token_mask))  # [B, d]
        if self.pooled == "text":
            parts.append(masked_mean(T, token_mask))  # [B, d]
        pooled = torch.cat(parts, dim=-1)  # [B, 2d], or [B, d] if only one part is pooled
        return Output(self.emotion_head(self.dropout(pooled)), self.ctc_head(A) if self.ctc_head else None)
