"""Text encoders: frozen, whose output is stored, or trained from the transcripts' tokens.

Shape letters: B batch, M tokens, d_t hidden size. Masks: True is a real position.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import AutoConfig, AutoModel, AutoTokenizer, PreTrainedModel

from mmer_pipeline.encoders.attention import never_waiting
from mmer_pipeline.encoders.encoder_files import EncoderFiles
from mmer_pipeline.encoders.pretrained import load_pretrained, read_config
from mmer_pipeline.encoders.speech import MOONSHINE, WAV2VEC2_FAMILY
from mmer_pipeline.errors import UserError


class TextTokenizer:
    """The text encoder's tokenizer and what it takes, without its weights.

    Raises:
        UserError: the checkpoint has no fast tokenizer, or is a speech encoder's.
    """

    def __init__(self, files: EncoderFiles) -> None:
        config = read_config(files)
        if config.model_type in (*WAV2VEC2_FAMILY, MOONSHINE):
            raise UserError(f"{files.name} is a speech encoder ({config.model_type}) and has no tokenizer for text.")
        if config.is_encoder_decoder:
            raise UserError(f"{files.name} ({config.model_type}) is encoder and decoder; an encoder alone is needed.")
        try:
            self.tokenizer = AutoTokenizer.from_pretrained(files.directory, trust_remote_code=False)
        except (OSError, ValueError) as error:
            raise UserError(f"{files.name}: no tokenizer can be loaded from {files.directory}: {error}") from None
        if not self.tokenizer.is_fast:
            raise UserError(f"{files.name}: its tokenizer is not a fast one (tokenizer.json is missing).")
        vocabularies = sorted(set(self.tokenizer.vocab_files_names.values()))
        if not any((files.directory / name).is_file() for name in vocabularies):
            # transformers makes a tokenizer without a vocabulary of it, and every word an unknown one.
            raise UserError(
                f"{files.name}: {files.directory} has no tokenizer: expected {' or '.join(vocabularies)} in it."
            )
        self.dim = int(config.hidden_size)
        self.max_tokens = _max_tokens(config, self.tokenizer)

    def __call__(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text with the special tokens, cut at what the encoder takes."""
        if not texts:
            return []
        ids: list[list[int]] = self.tokenizer(list(texts), truncation=True, max_length=self.max_tokens)["input_ids"]
        return ids


def _max_tokens(config: Any, tokenizer: Any) -> int:
    """Tokens that the model has positions for (RoBERTa's positions start behind the padding index)."""
    positions = int(getattr(config, "max_position_embeddings", 512))
    if config.model_type in ("roberta", "xlm-roberta", "camembert"):
        positions -= int(config.pad_token_id) + 1
    return min(positions, int(tokenizer.model_max_length))


class TextEncoder:
    """A frozen text encoder: token ids → last hidden state (paper, section 3.2.2)."""

    def __init__(self, files: EncoderFiles, device: torch.device) -> None:
        model: Any = load_text_model(files)
        self.model, self.device = model.to(device).eval(), device

    def encode(self, token_ids: Sequence[Sequence[int]]) -> list[np.ndarray]:
        """Last hidden states, one float32 array `[M, d_t]` a text."""
        values = self.hidden_states(token_ids).cpu().numpy()  # [B, M, d_t]
        return [values[row, : len(tokens)] for row, tokens in enumerate(token_ids)]

    @torch.inference_mode()
    def hidden_states(self, token_ids: Sequence[Sequence[int]]) -> Tensor:
        """Last hidden states of texts padded to the longest: float32 `[B, M, d_t]` on the device.

        A GPU may still be at work on them: the host only waits for it when it takes the values.
        """
        longest = max(len(ids) for ids in token_ids)
        padding = self.model.config.pad_token_id or 0
        # Both in one piece, so that there is one copy; pinned, a GPU makes it by itself.
        inputs = torch.zeros((2, len(token_ids), longest), dtype=torch.long, pin_memory=self.device.type == "cuda")
        ids, mask = inputs
        ids.fill_(padding)
        for row, tokens in enumerate(token_ids):
            ids[row, : len(tokens)] = torch.tensor(tokens)
            mask[row, : len(tokens)] = 1
        ids, mask = inputs.to(self.device, non_blocking=True)
        hidden: Tensor = self.model(input_ids=ids, attention_mask=mask).last_hidden_state.float()
        return hidden


def load_text_model(files: EncoderFiles) -> PreTrainedModel:
    """The encoder with its checkpoint's weights.

    Raises:
        UserError: weights that cannot be read, or do not fit.
    """
    return _without_pooler(load_pretrained(AutoModel, files, allow_missing=("pooler.",)))


def empty_text_model(config: Mapping[str, Any]) -> PreTrainedModel:
    """An encoder of this configuration (`pretrained.plain_config`) with random weights."""
    return _without_pooler(never_waiting(AutoModel.from_config(AutoConfig.for_model(**config))))


def _without_pooler(model: PreTrainedModel) -> PreTrainedModel:
    """Take off the sentence-level head: nothing here reads it, and many checkpoints lack its weights."""
    if hasattr(model, "pooler"):
        setattr(model, "pooler", None)  # noqa: B010 (annotated as a module)
    return model
