"""Parameter groups of AdamW: the learning rate and weight decay of each trained parameter.

A parameter is pretrained if it belongs to an encoder: a transformers model, or another module that says so by its
attribute `is_pretrained`. All others, those of the MMI and the heads, are new.
"""

from collections.abc import Iterator
from typing import Any

from torch import nn
from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer

from mmer_pipeline.settings import Settings


def trained_parameters(model: nn.Module) -> list[nn.Parameter]:
    """All parameters that training changes, in the model's order."""
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def new_parameters(model: nn.Module) -> list[nn.Parameter]:
    """The trained parameters that do not come from a pretrained encoder, in the model's order."""
    pretrained = {parameter for encoder in _encoders(model) for parameter in encoder.parameters()}
    return [parameter for parameter in trained_parameters(model) if parameter not in pretrained]


def parameter_groups(model: nn.Module, settings: Settings) -> list[dict[str, Any]]:
    """AdamW's groups for the trained parameters.

    Each group has the key `peak`, its peak learning rate: `head_learning_rate` for new parameters; for pretrained ones
    `learning_rate` times a power of `layer_decay`, whose exponent is the number of transformer layers above. Without
    `decay_biases_and_norms`, weight decay applies only to parameters of at least two dimensions.
    """
    head_rate = settings.learning_rate if settings.head_learning_rate is None else settings.head_learning_rate
    above = {p: layers for encoder in _encoders(model) for p, layers in _layers_above(encoder)}
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for parameter in trained_parameters(model):
        is_pretrained = parameter in above
        rate = settings.learning_rate * settings.layer_decay ** above[parameter] if is_pretrained else head_rate
        decays = settings.decay_biases_and_norms or parameter.ndim > 1
        groups.setdefault((rate, settings.weight_decay if decays else 0.0), []).append(parameter)
    return [
        {"params": parameters, "lr": rate, "peak": rate, "weight_decay": decay}
        for (rate, decay), parameters in groups.items()
    ]


def _is_trained_layer(module: nn.Module) -> bool:
    """Whether a module is a transformer layer; the convolutions of a front end have the same type, but are frozen."""
    is_layer = isinstance(module, GradientCheckpointingLayer)
    return is_layer and any(parameter.requires_grad for parameter in module.parameters())


def _encoders(model: nn.Module) -> list[nn.Module]:
    return [m for m in model.modules() if isinstance(m, PreTrainedModel) or getattr(m, "is_pretrained", False)]


def _layers_above(encoder: nn.Module) -> Iterator[tuple[nn.Parameter, int]]:
    """Each parameter with the number of transformer layers above its own.

    Encoders register what precedes their layers before them, and what follows after them, except for the last norm of
    wav2vec2's large form (`do_stable_layer_norm`), which follows its layers.
    """
    layers = [module for module in encoder.modules() if _is_trained_layer(module)]
    number_of = {parameter: number for number, layer in enumerate(layers, 1) for parameter in layer.parameters()}
    body: Any = getattr(encoder, "encoder", None)
    is_stable = getattr(getattr(encoder, "config", None), "do_stable_layer_norm", False)
    last_norm = set(body.layer_norm.parameters()) if is_stable else set()
    number = 0
    for parameter in encoder.parameters():
        if parameter in last_norm:
            yield parameter, 0
            continue
        number = number_of.get(parameter, number)
        yield parameter, len(layers) - number
