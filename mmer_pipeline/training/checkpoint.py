"""The state from which an interrupted run resumes: one safetensors file, replaced atomically; nothing is unpickled.

The random number generators need no saved state: each optimiser step seeds them from (seed, epoch, step).
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from mmer_pipeline import files
from mmer_pipeline.digests import SHORT
from mmer_pipeline.errors import UserError, first_few, shortened
from mmer_pipeline.json_shapes import mismatch

_COUNT = "step"  # of the updates of a parameter, which Adam and AdamW keep
_OF_ADAM, _OF_SGD = (_COUNT, "exp_avg", "exp_avg_sq"), ("momentum_buffer",)  # state of a parameter
_PROGRESS = {
    "identity": str,
    **dict.fromkeys(("epoch", "step", "utterances"), int),
    **dict.fromkeys(("ce_sum", "ctc_sum", "seconds", "max_batch_seconds"), float),
    "records?": str,
    "gradients?": {
        **dict.fromkeys(("steps", "clipped", "steps_apart"), int),
        **dict.fromkeys(("whole", "largest", "emotion", "ctc"), float),
    },
}


@dataclass
class GradientNorms:
    """Sums over the steps of an epoch, from which the mean gradient norms follow."""

    steps: int = 0
    whole: float = 0.0  # sum of the norms of the gradient of CE + α · CTC, before clipping
    largest: float = 0.0
    clipped: int = 0  # steps whose norm was above the limit
    steps_apart: int = 0  # those in which the two parts were measured
    emotion: float = 0.0  # sum of the norms of CE's part
    ctc: float = 0.0  # sum of the norms of α · CTC's part

    def add(self, norms: Sequence[float], limit: float) -> None:
        """Add a step's norms, in the order of `StepResult.norms`; `limit` is that of clipping, 0 for none."""
        whole, emotion, ctc = norms
        self.steps += 1
        self.whole += whole
        self.largest = max(self.largest, whole)
        self.clipped += bool(limit) and whole > limit
        if not math.isnan(ctc):
            self.steps_apart += 1
            self.emotion += emotion
            self.ctc += ctc

    def means(self) -> dict[str, float | None]:
        """The values in metrics.jsonl: means and maximum of the norms, and the share of steps that were clipped."""
        apart = self.steps_apart
        return {
            "mean": self.whole / self.steps,
            "max": self.largest,
            "emotion": self.emotion / apart if apart else None,
            "ctc": self.ctc / apart if apart else None,
            "clipped": self.clipped / self.steps,
        }


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
    gradients: GradientNorms = field(default_factory=GradientNorms)
    records: str = ""  # digest of the completed epochs' lines in metrics.jsonl; "": saved by an earlier version

    @staticmethod
    def read(facts: dict[str, Any]) -> "Progress":
        """Restore the progress from plain values; states of version 0.1.0 have no gradient norms."""
        return Progress(**{**facts, "gradients": GradientNorms(**facts.get("gradients", {}))})

    def next_epoch(self) -> None:
        """Begin the next epoch."""
        self.epoch, self.step, self.utterances = self.epoch + 1, 0, 0
        self.ce_sum = self.ctc_sum = self.seconds = 0.0
        self.gradients = GradientNorms()


def save(
    path: Path,
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    progress: Progress,
    averages: Sequence[Tensor] = (),
) -> None:
    """Write trained weights, buffers, optimiser moments and progress; the previous file is kept until this is complete.

    Buffers are, for example, the running statistics of batch norm.

    `averages` are those of all trained weights, in the model's order, or empty.
    """
    tensors = {f"buffer.{name}": buffer for name, buffer in _buffers(model).items()}
    if averages:
        tensors |= {f"average.{name}": value for (name, _), value in zip(_trained(model), averages, strict=True)}
    for name, parameter in _trained(model):
        tensors[f"model.{name}"] = parameter.detach()
        for key, value in optimiser.state.get(parameter, {}).items():
            tensors[f"{key}.{name}"] = value
    on_cpu = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
    facts = json.dumps(asdict(progress))
    with files.replacing(path) as temporary:
        save_file(on_cpu, temporary, metadata={"progress": facts, "digest": _digest(facts, on_cpu)})


def load(
    path: Path,
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    identity: str,
    averages: Sequence[Tensor] = (),
) -> Progress:
    """Restore what `save` wrote, or return new progress if nothing was saved.

    Raises:
        UserError: the file is damaged, belongs to another run, or cannot be resumed by this version.
    """
    if not path.exists():
        return Progress(identity)
    try:
        progress, tensors = _read(path)
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise UserError(
            f"{path} cannot be read ({shortened(error, 200)}). Start the fold again with --restart."
        ) from None
    if progress.identity != identity:
        raise UserError(
            f"{path} is the state of a run with other settings: expected identity {identity}, found "
            f"{progress.identity}. Start the fold again with --restart."
        )
    if progress.step and not progress.gradients.steps:
        raise UserError(
            f"{path} was saved in the middle of epoch {progress.epoch} by an earlier version, which divided an epoch "
            "into other steps. Start the fold again with --restart."
        )
    if fault := _unlike(tensors, model, _state_of(optimiser), bool(averages)):
        raise UserError(f"{path} is not the state of this model: {fault}. Start the fold again with --restart.")
    for (name, _), value in zip(_trained(model), averages, strict=False):  # none, or all
        value.copy_(tensors[f"average.{name}"])
    for name, parameter in _trained(model):
        parameter.data.copy_(tensors[f"model.{name}"])
        state = {key: tensors[f"{key}.{name}"] for key in _state_of(optimiser) if f"{key}.{name}" in tensors}
        for key, value in state.items():  # a parameter that never had a gradient has none
            if key != _COUNT:
                # In the parameter's own order of memory, such as channels_last: a fused optimiser reads them together.
                state[key] = torch.empty_like(parameter).copy_(value)
            elif optimiser.defaults.get("fused"):  # it keeps its count on the device, other optimisers on the CPU
                state[key] = value.to(parameter.device)
        if state:
            optimiser.state[parameter] = state
    for name, buffer in _buffers(model).items():
        if f"buffer.{name}" in tensors:
            buffer.copy_(tensors[f"buffer.{name}"])
    return progress


def _read(path: Path) -> tuple[Progress, dict[str, Tensor]]:
    """Read a saved state, whose digest is checked; states of earlier versions have none.

    Raises:
        SafetensorError, OSError, KeyError, TypeError, ValueError, RecursionError: the file is damaged.
    """
    with safe_open(path, framework="pt") as file:
        facts = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    if "digest" in facts and facts["digest"] != _digest(facts["progress"], tensors):
        raise ValueError("its content is not that of its digest")
    if fault := mismatch(json.loads(facts["progress"]), _PROGRESS):
        raise ValueError(fault)
    return Progress.read(json.loads(facts["progress"])), tensors


def _digest(facts: str, tensors: Mapping[str, Tensor]) -> str:
    """Digest the content of a state: names, shapes, types and values."""
    digest = hashlib.sha256(facts.encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"\0{name} {tensor.dtype} {tuple(tensor.shape)}\0".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()[:SHORT]


def _state_of(optimiser: torch.optim.Optimizer) -> tuple[str, ...]:
    return _OF_SGD if isinstance(optimiser, torch.optim.SGD) else _OF_ADAM


def _unlike(tensors: Mapping[str, Tensor], model: nn.Module, state: Sequence[str], has_averages: bool) -> str:
    """Say where the tensors of a state are not those of the model and its optimiser; "" if they are.

    `state` are the names of the optimiser's tensors for a parameter. Earlier versions saved no buffers, and had no
    system whose buffers change in training.
    """
    expected: dict[str, Tensor] = {}
    if any(name.startswith("buffer.") for name in tensors) or not getattr(model, "splits_steps", True):
        expected = {f"buffer.{name}": buffer for name, buffer in _buffers(model).items()}
    for name, parameter in _trained(model):
        expected[f"model.{name}"] = parameter
        if has_averages:
            expected[f"average.{name}"] = parameter
        if any(f"{key}.{name}" in tensors for key in state):
            expected |= {f"{key}.{name}": torch.tensor(0.0) if key == _COUNT else parameter for key in state}
    if missing := [name for name in expected if name not in tensors]:
        return f"{first_few(missing)} missing"
    if others := [name for name in tensors if name not in expected]:
        return f"{first_few(others)} unknown"
    for name, tensor in tensors.items():
        if (tensor.shape, tensor.dtype) != (expected[name].shape, expected[name].dtype):
            return (
                f"{name} is {tuple(tensor.shape)} {tensor.dtype}, expected {tuple(expected[name].shape)} "
                f"{expected[name].dtype}"
            )
        if not tensor.isfinite().all():
            return f"{name} has values that are not finite"
    return ""


def _trained(model: nn.Module) -> list[tuple[str, nn.Parameter]]:
    return [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]


def _buffers(model: nn.Module) -> dict[str, Tensor]:
    saved = model.state_dict()
    return {name: buffer for name, buffer in model.named_buffers() if name in saved}
