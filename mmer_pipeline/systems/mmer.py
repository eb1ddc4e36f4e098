"""The whole MMER model, in the paper's order and notation (section 3).

Shape letters: B batch, J speech frames, M tokens, d hidden size of the speech encoder, d_t hidden size of the text
encoder, C classes, V symbols of the CTC alphabet. Masks: True is a real position; padding never changes a result.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel

from mmer_pipeline.encoders.attention import key_mask, padding_mask
from mmer_pipeline.encoders.speech import SpeechEncoder
from mmer_pipeline.encoders.text import encode
from mmer_pipeline.errors import UserError
from mmer_pipeline.settings import Settings
from mmer_pipeline.systems.base import EmotionModel, Output, Parts, View, masked_mean
from mmer_pipeline.systems.pooling import AttentiveStatistics, LayerSum, summed_context


class CrossModalEncoder(nn.Module):
    """CME(query, context): a transformer layer that attends to the other modality (section 3.3, eq. 1).

    Multi-head cross-attention, residual on the query, layer norm, GELU feed-forward of 4d, residual, layer norm. With
    `inner_dropout` there is dropout also between the two maps of the feed-forward part.
    """

    def __init__(self, d: int, heads: int, dropout: float, *, inner_dropout: bool = True) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = nn.Linear(d, d), nn.Linear(d, d), nn.Linear(d, d)
        self.out = nn.Linear(d, d)
        self.attention_norm = nn.LayerNorm(d)
        inner = nn.Dropout(dropout if inner_dropout else 0.0)
        self.feed_forward = nn.Sequential(nn.Linear(d, 4 * d), nn.GELU(), inner, nn.Linear(4 * d, d))
        self.feed_forward_norm = nn.LayerNorm(d)
        self.dropout = nn.Dropout(dropout)

    def forward(self, query: Tensor, context: Tensor, context_mask: Tensor | None) -> Tensor:
        """Query `[B, N, d]`, context `[B, K, d]` and its mask `[B, K]` (None: no padding) → `[B, N, d]`."""
        B, N, d = query.shape
        attended = functional.scaled_dot_product_attention(
            self._per_head(self.query(query)),  # [B, h, N, d/h]
            self._per_head(self.key(context)),  # [B, h, K, d/h]
            self._per_head(self.value(context)),  # [B, h, K, d/h]
            attn_mask=key_mask(context_mask),
            dropout_p=self.dropout.p if self.training else 0.0,
        )  # [B, h, N, d/h]
        attended = self.out(attended.transpose(1, 2).reshape(B, N, d))  # [B, N, d]
        hidden = self.attention_norm(query + self.dropout(attended))
        normed: Tensor = self.feed_forward_norm(hidden + self.dropout(self.feed_forward(hidden)))
        return normed  # [B, N, d]

    def attention(self, query: Tensor, context: Tensor, context_mask: Tensor | None) -> Tensor:
        """The weights with which `forward` attends, mean over heads: `[B, N, K]`; each row adds up to 1."""
        q, k = self._per_head(self.query(query)), self._per_head(self.key(context))
        scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5  # [B, h, N, K]
        if context_mask is not None:
            scores = scores.masked_fill(~context_mask[:, None, None, :], float("-inf"))
        weights: Tensor = scores.softmax(dim=-1).mean(dim=1)
        return weights

    def _per_head(self, values: Tensor) -> Tensor:
        """`[B, N, d]` → `[B, h, N, d/h]`."""
        B, N, d = values.shape
        return values.view(B, N, self.heads, d // self.heads).transpose(1, 2)


class MultimodalInteraction(nn.Module):
    """MMI: three cross-modal encoders and the acoustic gate (section 3.3, figure 1).

    The flags remove parts, for ablations. Without the R branch, the gate sees only Q; without the Q branch, there is
    nothing to gate. With `speech_projections`, each branch has its own linear map of A, as in the authors' code.
    """

    def __init__(
        self,
        d: int,
        heads: int,
        dropout: float,
        *,
        gate: bool = True,
        r_branch: bool = True,
        q_branch: bool = True,
        speech_projections: bool = False,
        inner_dropout: bool = True,
    ) -> None:
        super().__init__()
        width = d * (r_branch + q_branch)
        self.cme_b = CrossModalEncoder(d, heads, dropout, inner_dropout=inner_dropout) if r_branch else None
        self.cme_c = CrossModalEncoder(d, heads, dropout, inner_dropout=inner_dropout) if r_branch else None
        self.cme_d = CrossModalEncoder(d, heads, dropout, inner_dropout=inner_dropout) if q_branch else None
        self.gate = nn.Linear(width, d) if gate and q_branch else None
        self.down = nn.Linear(width, d)
        self.speech_for_r = nn.Linear(d, d) if speech_projections and r_branch else nn.Identity()
        self.speech_for_q = nn.Linear(d, d) if speech_projections and q_branch else nn.Identity()

    def forward(self, A: Tensor, A_mask: Tensor, T: Tensor, T_mask: Tensor) -> tuple[Tensor, Tensor | None]:
        """Speech A `[B, J, d]` and words T `[B, M, d]`, with their masks → M and g.

        M is one fused vector per word, g the acoustic gate of eq. 2 (None without one), both `[B, M, d]`.
        """
        R = Q = g = None
        A_keys, T_keys = padding_mask(A_mask), padding_mask(T_mask)
        if self.cme_b is not None and self.cme_c is not None:
            P = self.cme_b(self.speech_for_r(A), T, T_keys)  # [B, J, d] words that each frame attends to
            R = self.cme_c(T, P, A_keys)  # [B, M, d] speech-aware words (3.3.1)
        if self.cme_d is not None:
            Q = self.cme_d(T, self.speech_for_q(A), A_keys)  # [B, M, d] word-aware speech (3.3.2)
            if self.gate is not None:
                g = torch.sigmoid(self.gate(_concatenated(R, Q)))  # [B, M, d] eq. 2
                Q = g * Q  # [B, M, d]
        M: Tensor = self.down(_concatenated(Q, R))  # [B, M, 2d] → [B, M, d]
        return M, g

    def attention(self, A: Tensor, A_mask: Tensor, T: Tensor, T_mask: Tensor) -> Tensor:
        """Attention of each word to the frames: that of the Q branch, or of the R branch if there is no other.

        Takes the arguments of `forward`; returns `[B, M, J]`.
        """
        A_keys = padding_mask(A_mask)
        if self.cme_d is not None:
            return self.cme_d.attention(T, self.speech_for_q(A), A_keys)
        assert self.cme_b is not None
        assert self.cme_c is not None
        P = self.cme_b(self.speech_for_r(A), T, padding_mask(T_mask))  # [B, J, d]
        return self.cme_c.attention(T, P, A_keys)


def _concatenated(*branches: Tensor | None) -> Tensor:
    """[first; second], or the only branch left by an ablation: `[B, M, 2d]` or `[B, M, d]`."""
    return torch.cat([branch for branch in branches if branch is not None], dim=-1)


class MMER(EmotionModel):
    """The paper's system: speech encoder, MMI, emotion head, CTC head; with `text`, the text encoder is trained, too.

    Raises:
        UserError: both branches of the MMI are removed, or no head reads the text encoder that is to be trained.
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
        text_self_attention: bool = False,  # a transformer layer over T before the MMI
        speech_projections: bool = False,  # a linear map of A before each branch of the MMI
        dropout_at: str = "head",  # where dropout is, besides attention and residuals: head, or inputs (A and T)
        layer_sum: bool = False,  # whether A is a weighted sum of the encoder's layers, or its last one
        speech_pooling: str = "mean",  # what the emotion head reads of A: its mean, or its attentive statistics
        text: PreTrainedModel | None = None,  # the text encoder, if it is fine-tuned; None: its output is stored
    ) -> None:
        super().__init__()
        if text is not None and pooled == "speech":
            raise UserError(
                "--finetune-text trains nothing with --pooled speech, which reads no words. Leave one of them out."
            )
        self.speech, self.text = speech, text
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
                d,
                speech.attention_heads,
                dropout,
                gate=gate,
                r_branch=r_branch,
                q_branch=q_branch,
                speech_projections=speech_projections,
                inner_dropout=dropout_at == "head",
            )
        self.input_dropout = nn.Dropout(dropout if dropout_at == "inputs" else 0.0)
        self.dropout = nn.Dropout(dropout if dropout_at == "head" else 0.0)
        self.layer_sum = LayerSum(len(speech.layers) + 1) if layer_sum else None
        pools_speech = pooled in ("both", "speech")
        self.speech_attention = AttentiveStatistics(d) if speech_pooling == "attentive" and pools_speech else None
        vectors = (pooled != "speech") + pools_speech * (2 if self.speech_attention else 1)
        self.emotion_head = nn.Linear(vectors * d, len(labels))
        self.ctc_head = nn.Linear(d, len(alphabet)) if alphabet else None
        self.text_layer = None
        if text_self_attention and pooled != "speech":
            self.text_layer = CrossModalEncoder(d, speech.attention_heads, dropout, inner_dropout=dropout_at == "head")

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
            text_self_attention=settings.text_self_attention,
            speech_projections=settings.speech_projections,
            dropout_at=settings.dropout_at,
            layer_sum=settings.layer_sum,
            speech_pooling=settings.speech_pooling,
            text=parts.text_encoder() if settings.finetune_text else None,
        )

    def forward(self, frames: Tensor, frame_mask: Tensor, tokens: Tensor, token_mask: Tensor) -> Output:
        """Front-end frames `[B, J, front_dim]` and text features `[B, M, d_t]`, with their masks → `Output`.

        If the text encoder is fine-tuned, token ids `[B, M]` are in the place of text features.
        """
        A, T = self._encoded(frames, frame_mask, tokens, token_mask)  # [B, J, d], [B, M, d]
        parts, gate = [], None
        if self.pooled in ("both", "speech"):
            pool = self.speech_attention or masked_mean
            parts.append(pool(A, frame_mask))  # [B, d] or [B, 2d]
        if self.mmi is not None:
            M, g = self.mmi(A, frame_mask, T, token_mask)  # [B, M, d] each
            parts.append(masked_mean(M, token_mask))  # [B, d]
            if g is not None and not self.training:
                gate = masked_mean(g, token_mask).mean(dim=-1)  # [B]
        if self.pooled == "text":
            parts.append(masked_mean(T, token_mask))  # [B, d]
        pooled = torch.cat(parts, dim=-1)  # [B, 2d], or [B, d] if only one part is pooled; d more with attention
        return Output(self.emotion_head(self.dropout(pooled)), self.ctc_head(A) if self.ctc_head else None, gate)

    def view(self, frames: Tensor, frame_mask: Tensor, tokens: Tensor, token_mask: Tensor) -> View | None:
        """See `EmotionModel.view`."""
        if self.mmi is None:
            return None
        A, T = self._encoded(frames, frame_mask, tokens, token_mask)  # [B, J, d], [B, M, d]
        _, g = self.mmi(A, frame_mask, T, token_mask)  # [B, M, d]
        attention = self.mmi.attention(A, frame_mask, T, token_mask)  # [B, M, J]
        return View(None if g is None else g.mean(dim=-1), attention)

    def _encoded(self, frames: Tensor, frame_mask: Tensor, tokens: Tensor, token_mask: Tensor) -> tuple[Tensor, Tensor]:
        """A `[B, J, d]` and T `[B, M, d]` from the arguments of `forward`."""
        A = self.input_dropout(summed_context(self.speech, self.layer_sum, frames, frame_mask))  # [B, J, d]
        T = tokens if self.text is None else encode(self.text, tokens, token_mask).last_hidden_state  # [B, M, d_t]
        T = self.input_dropout(self.text_projection(T))  # [B, M, d]
        if self.text_layer is not None:
            T = self.text_layer(T, T, padding_mask(token_mask))  # [B, M, d]
        return A, T
