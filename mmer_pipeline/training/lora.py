"""LoRA (Hu et al. 2022): encoders that are fine-tuned by low-rank additions to their linear layers, by `peft`."""

import copy
from collections.abc import Iterator
from typing import Any, TypeVar

from torch import nn
from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer

from mmer_pipeline.errors import UserError

Model = TypeVar("Model", bound=nn.Module)
SCALE = 2  # of the additions: lora_alpha / rank


def add_lora(model: nn.Module, rank: int) -> None:
    """Add LoRA to all linear layers of a model's trained encoders, and freeze everything else in these encoders.

    Raises:
        UserError: peft is not installed, or no encoder of the model is trained.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError:
        raise UserError(
            "--lora needs the package peft, which is not installed. Install it: `pip install 'mmer-pipeline[lora]'`."
        ) from None
    encoders = [module for module in model.modules() if isinstance(module, PreTrainedModel)]
    targets = {encoder: list(_linear_layers(encoder)) for encoder in encoders}
    if not any(targets.values()):
        raise UserError(
            f"--lora {rank} needs an encoder that is fine-tuned, but this system trains none. Leave --lora out, or, of "
            "roberta, add --finetune-text."
        )
    for encoder, names in targets.items():
        if names:
            config = LoraConfig(r=rank, lora_alpha=SCALE * rank, target_modules=names)
            inject_adapter_in_model(config, encoder)


def _linear_layers(encoder: PreTrainedModel) -> Iterator[str]:
    """The names of the linear layers in an encoder's trained transformer layers.

    Those in WavLM's attention are left out: it uses their weights without calling them, so that LoRA would do nothing.
    """
    skipped = "attention." if encoder.config.model_type == "wavlm" else "\0"
    for name, layer in encoder.named_modules():
        if isinstance(layer, GradientCheckpointingLayer) and any(p.requires_grad for p in layer.parameters()):
            for inner, module in layer.named_modules():
                if isinstance(module, nn.Linear) and not inner.startswith(skipped):
                    yield f"{name}.{inner}"


def without_lora(model: Model) -> Model:
    """The model, or a copy of it in which LoRA's additions are added to the weights, so that it needs no peft."""
    if not any(hasattr(module, "lora_A") for module in model.modules()):
        return model
    merged = copy.deepcopy(model)
    for parent in list(merged.modules()):
        child: Any
        for name, child in parent.named_children():
            if hasattr(child, "lora_A"):
                child.merge()
                setattr(parent, name, child.get_base_layer())
    return merged
