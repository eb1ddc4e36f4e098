"""Text encoders: frozen, with stored output, or fine-tuned on the transcripts' tokens.

Shape letters: B batch, M tokens, d_t hidden size. Masks: True is a real position.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import AutoModel, AutoTokenizer, PreTrainedModel

from mmer_pipeline.encoders.attention import use_padding_masks
from mmer_pipeline.encoders.encoder_files import EncoderFiles
from mmer_pipeline.encoders.pretrained import config_of, load_pretrained, plain_values, read_config, refusing
from mmer_pipeline.encoders.speech import MOONSHINE, WAV2VEC2_FAMILY
from mmer_pipeline.errors import UserError

FEWEST_TOKENS = 3  # those of the beginning and the end, and one of a word
_POOLER = "keeps_pooler"  # not a name in any configuration of transformers


class TextTokenizer:
    """A text encoder's tokenizer and input limits; its weights are not loaded.

    Raises:
        UserError: the checkpoint has no fast tokenizer, or is that of a speech encoder.
    """

    def __init__(self, files: EncoderFiles) -> None:
        config = read_config(files)
        if config.model_type in (*WAV2VEC2_FAMILY, MOONSHINE):
            raise UserError(
                f"{files.name} is a speech encoder ({config.model_type}) and has no text tokenizer. Expected a text "
                "encoder such as roberta-base."
            )
        if config.is_encoder_decoder:
            raise UserError(
                f"{files.name} is an encoder–decoder model ({config.model_type}). Expected an encoder-only model such "
                "as roberta-base."
            )
        with refusing(files, "the tokenizer"):
            self.tokenizer = AutoTokenizer.from_pretrained(files.directory, trust_remote_code=False)
        if not self.tokenizer.is_fast:
            raise UserError(f"{files.name}: {files.directory} has no fast tokenizer. Expected tokenizer.json in it.")
        vocabularies = sorted(set(self.tokenizer.vocab_files_names.values()))
        if not any((files.directory / name).is_file() for name in vocabularies):
            # transformers would create a tokenizer without a vocabulary, for which every word is unknown.
            raise UserError(
                f"{files.name}: {files.directory} has no tokenizer. Expected {' or '.join(vocabularies)} in it."
            )
        self.files, self.dim, self.vocabulary = files, int(config.hidden_size), int(config.vocab_size)
        with refusing(files, "the tokenizer"):
            self.max_tokens = _max_tokens(config, self.tokenizer)
        if self.max_tokens < FEWEST_TOKENS:
            raise UserError(
                f"{files.name}: the configuration and the tokenizer in {files.directory} allow {self.max_tokens} "
                f"tokens in a text, expected at least {FEWEST_TOKENS}. Download the model again, or use another one."
            )

    def __call__(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text, special tokens included, truncated to what the encoder accepts."""
        if not texts:
            return []
        ids: list[list[int]]
        with refusing(self.files, "the tokenizer"):
            ids = self.tokenizer(list(texts), truncation=True, max_length=self.max_tokens)["input_ids"]
        largest = max((max(tokens, default=0) for tokens in ids), default=0)
        if largest >= self.vocabulary:
            raise UserError(
                f"{self.files.name}: the tokenizer in {self.files.directory} gives the token {largest}, but the model "
                f"has {self.vocabulary}. They are of different models: download the model again."
            )
        return ids

    def words(self, text: str) -> list[tuple[str, list[int]]]:
        """The words of a text, each with the positions of its tokens; special tokens belong to none.

        Words are what white space separates. Those beyond the encoder's limit are left out.
        """
        offsets = self.tokenizer(text, truncation=True, max_length=self.max_tokens, return_offsets_mapping=True)
        found: list[tuple[str, list[int]]] = []
        spans = [match.span() for match in re.finditer(r"\S+", text)]
        for begin, end in spans:
            tokens = [
                position
                for position, (first, last) in enumerate(offsets["offset_mapping"])
                if first < last and first < end and last > begin
            ]
            if tokens:
                found.append((text[begin:end], tokens))
        return found


def hidden_size(files: EncoderFiles) -> int:
    """d_t, the size of a hidden state.

    Raises:
        UserError: the configuration cannot be used.
    """
    return int(read_config(files).hidden_size)


def layer_count(files: EncoderFiles) -> int:
    """Number of layers; there is one more hidden state, the embeddings.

    Raises:
        UserError: the configuration cannot be used.
    """
    return int(read_config(files).num_hidden_layers)


def _max_tokens(config: Any, tokenizer: Any) -> int:
    """Number of tokens that the model has positions for (RoBERTa's positions start after the padding index)."""
    positions = int(getattr(config, "max_position_embeddings", 512))
    padding = config.pad_token_id
    if config.model_type in ("roberta", "xlm-roberta", "camembert"):
        positions -= int(padding) + 1
    if padding is not None and not 0 <= padding < config.vocab_size:
        raise ValueError(f"pad_token_id is {padding}, expected a token of {config.vocab_size}")
    return min(positions, int(tokenizer.model_max_length))


class TextEncoder:
    """A frozen text encoder: token ids → last hidden state (paper, section 3.2.2)."""

    def __init__(self, files: EncoderFiles, device: torch.device) -> None:
        model: Any = load_text_model(files)
        self.model, self.device = model.to(device).eval(), device

    def encode(self, token_ids: Sequence[Sequence[int]]) -> list[np.ndarray]:
        """Last hidden states, one float32 array `[M, d_t]` per text."""
        values = self.hidden_states(token_ids).cpu().numpy()  # [B, M, d_t]
        return [values[row, : len(tokens)] for row, tokens in enumerate(token_ids)]

    @torch.inference_mode()
    def hidden_states(self, token_ids: Sequence[Sequence[int]]) -> Tensor:
        """Last hidden states of texts padded to the longest: float32 `[B, M, d_t]` on the device.

        A GPU computes them asynchronously: the host waits only when it reads the values.
        """
        ids, mask = self._padded(token_ids)
        hidden: Tensor = self.model(input_ids=ids, attention_mask=mask).last_hidden_state.float()
        return hidden

    @torch.inference_mode()
    def all_hidden_states(self, token_ids: Sequence[Sequence[int]]) -> tuple[list[Tensor], Tensor]:
        """The embeddings and the output of each layer, `[B, M, d_t]`, and the mask of real tokens `[B, M]`."""
        ids, mask = self._padded(token_ids)
        states = self.model(input_ids=ids, attention_mask=mask, output_hidden_states=True).hidden_states
        return [state.float() for state in states], mask.bool()

    def _padded(self, token_ids: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        """Token ids and mask of texts padded to the longest, `[B, M]` on the device."""
        longest = max(len(ids) for ids in token_ids)
        # Ids and mask share one tensor, so that there is one copy, and it is pinned, so that the copy is asynchronous.
        inputs = torch.zeros((2, len(token_ids), longest), dtype=torch.long, pin_memory=self.device.type == "cuda")
        ids, mask = inputs
        ids.fill_(self.model.config.pad_token_id or 0)
        for row, tokens in enumerate(token_ids):
            ids[row, : len(tokens)] = torch.tensor(tokens)
            mask[row, : len(tokens)] = 1
        ids, mask = inputs.to(self.device, non_blocking=True)
        return ids, mask


def load_text_model(files: EncoderFiles, *, pooler: bool = False) -> PreTrainedModel:
    """Load the encoder with its pretrained weights, with its sentence-level pooler or without.

    Raises:
        UserError: the weights cannot be read or do not fit, or there are none of the pooler.
    """
    model = load_pretrained(AutoModel, files, allow_missing=() if pooler else ("pooler.",))
    if not pooler:
        return _without_pooler(model)
    if getattr(model, "pooler", None) is None:
        raise UserError(
            f"{files.name} has no pooler ({model.config.model_type}). Use --text-pooling mean, or an encoder that has "
            "one, such as roberta-base."
        )
    return model


def encode(model: PreTrainedModel, token_ids: Tensor, mask: Tensor) -> Any:
    """The output of an encoder that is trained, with `last_hidden_state` `[B, M, d_t]`.

    Token ids and their mask are `[B, M]`; it does not matter which ids padding has.
    """
    ids = token_ids.masked_fill(~mask, model.config.pad_token_id or 0)  # [B, M]
    return model(input_ids=ids, attention_mask=mask.long())


def text_facts(model: PreTrainedModel) -> dict[str, Any]:
    """Plain values for `untrained_text_model`: the encoder's configuration, and whether it has a pooler."""
    return {**plain_values(model.config), **({_POOLER: True} if getattr(model, "pooler", None) is not None else {})}


def untrained_text_model(facts: Mapping[str, Any]) -> PreTrainedModel:
    """Create an encoder with random weights from `text_facts`; without a pooler, unless they name one.

    Raises:
        ValueError: as `pretrained.config_of`.
    """
    config = {name: value for name, value in facts.items() if name != _POOLER}
    model = use_padding_masks(AutoModel.from_config(config_of(config)))
    return model if facts.get(_POOLER) else _without_pooler(model)


def _without_pooler(model: PreTrainedModel) -> PreTrainedModel:
    """Remove the sentence-level pooler: many checkpoints lack its weights, and hardly anything reads it."""
    if hasattr(model, "pooler"):
        setattr(model, "pooler", None)  # noqa: B010 (annotated as a module)
    return model
