"""The state from which an interrupted run resumes: one safetensors file, replaced atomically; nothing is unpickled.

The random number generators need no saved state: each optimiser step seeds them from (seed, epoch, step).
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from mmer_pipeline import files
from mmer_pipeline.errors import UserError


@dataclass
class Progress:
    """Progress of a run; the sums are over the utterances of the current epoch."""

    identity: str  # of the run that wrote it
    epoch: int = 1  # the current epoch, counted from 1
    step: int = 0  # optimiser steps completed in this epoch
    utterances: int = 0  # in those steps
    ce_sum: float = 0.0
    ctc_sum: float = 0.0
    seconds: float = 0.0  # spent on those steps
    max_batch_seconds: float = 0.0  # audio in a micro-batch, as determined or reduced so far; 0: not yet known

    def next_epoch(self) -> None:
        """Begin the next epoch."""
        self.epoch, self.step, self.utterances = self.epoch + 1, 0, 0
        self.ce_sum = self.ctc_sum = self.seconds = 0.0


def save(path: Path, model: nn.Module, optimiser: torch.optim.Optimizer, progress: Progress) -> None:
    """Write trained weights, optimiser moments and progress; the previous file is kept until this one is complete."""
    tensors: dict[str, Tensor] = {}
    for name, parameter in _trained(model):
        tensors[f"model.{name}"] = parameter.detach()
        for key, value in optimiser.state.get(parameter, {}).items():
            tensors[f"{key}.{name}"] = value
    on_cpu = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
    with files.replacing(path) as temporary:
        save_file(on_cpu, temporary, metadata={"progress": json.dumps(asdict(progress))})


def load(path: Path, model: nn.Module, optimiser: torch.optim.Optimizer, identity: str) -> Progress:
    """Restore what `save` wrote, or return new progress if nothing was saved.

    Raises:
        UserError: the file is damaged or belongs to another run.
    """
    if not path.is_file():
        return Progress(identity)
    try:
        with safe_open(path, framework="pt") as file:
            progress = Progress(**json.loads(file.metadata()["progress"]))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error}). Start the fold again with --restart.") from None
    if progress.identity != identity:
        raise UserError(
            f"{path} is the state of a run with other settings: expected identity {identity}, found "
            f"{progress.identity}. Start the fold again with --restart."
        )
    for name, parameter in _trained(model):
        parameter.data.copy_(tensors[f"model.{name}"])
        if f"step.{name}" in tensors:  # a parameter that never had a gradient has no state
            moments = {key: tensors[f"{key}.{name}"].to(parameter.device) for key in ("exp_avg", "exp_avg_sq")}
            # A fused optimiser keeps its step count on the device, other optimisers keep it on the CPU.
            step = tensors[f"step.{name}"]
            on_device = step.to(parameter.device) if optimiser.defaults.get("fused") else step
            optimiser.state[parameter] = {"step": on_device, **moments}
    return progress


def _trained(model: nn.Module) -> list[tuple[str, nn.Parameter]]:
    return [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
