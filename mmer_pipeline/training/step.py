"""One optimiser step: forward, losses, micro-batches, gradient norms, update of the weights.

A step's gradient is the mean over its utterances, however they are split. Micro-batches, and processes if there are
several, only divide the work: each adds its part of the sum, so no wrapper around the model is needed. A step of a
single process has no host–device synchronisation.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import broadcast, set_seed
from torch import Tensor, nn
from torch.nn import functional
from transformers.modeling_layers import GradientCheckpointingLayer

from mmer_pipeline.errors import UserError
from mmer_pipeline.runs import WHOLE_STEP
from mmer_pipeline.settings import Settings
from mmer_pipeline.systems.base import EmotionModel, ctc_losses
from mmer_pipeline.systems.mmer import CrossModalEncoder
from mmer_pipeline.training import memory_budget
from mmer_pipeline.training.batches import micro_batches
from mmer_pipeline.training.examples import Examples
from mmer_pipeline.training.parameter_groups import new_parameters, parameter_groups, trained_parameters

# The update rules of `--optimiser`.
_RULES: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adamw": partial(torch.optim.AdamW, fused=True),
    "adam": partial(torch.optim.Adam, fused=True),
    "sgd": partial(torch.optim.SGD, momentum=0.9, fused=True),
}
# Allocated after the first pass, per trained parameter: Adam's two moments and CTC's part of a gradient, in float32.
_LATER_BYTES = 12


@dataclass(frozen=True)
class StepResult:
    """The losses and gradient norms of a step, on the device."""

    losses: Tensor  # [2] sums of the CE and CTC losses over this process's share of the step
    norms: Tensor  # [3] norms of the whole gradient, of CE's part and of α · CTC's part; NaN: not measured


class Optimiser:
    """A model on its device, and the optimiser that trains it step by step."""

    def __init__(
        self,
        settings: Settings,
        model: EmotionModel,
        examples: Examples,
        accelerator: Accelerator,
        training: Sequence[int] = (),
    ) -> None:
        """`training` are the positions of the training utterances, whose classes are balanced on request."""
        self.settings, self.examples, self.accelerator = settings, examples, accelerator
        self.model, self.device = model.to(accelerator.device), accelerator.device
        if settings.compile:
            compile_layers(model)
        self.trained = trained_parameters(model)
        self.active = self.trained  # those that the next step changes
        self.rule = _RULES[settings.optimiser](parameter_groups(model, settings))
        # Audio in a micro-batch; 0: not yet known.
        self.max_seconds = (settings.max_batch_seconds or 0.0) if model.splits_steps else WHOLE_STEP
        self.class_weights: Tensor | None = None  # [C]; None: all are 1
        if settings.balanced_classes:
            self.class_weights = balanced_weights([examples.labels[position] for position in training], model.labels)
            self.class_weights = self.class_weights.to(self.device)
        # CTC's part of the gradient of each active parameter, in a step that measures it apart.
        self._ctc_gradient: list[Tensor | None] | None = None

    def begin_epoch(self, epoch: int) -> None:
        """Freeze or thaw the encoders; epochs are counted from 1."""
        self.active = new_parameters(self.model) if epoch <= self.settings.frozen_epochs else self.trained

    def step(
        self, positions: Sequence[int], *, seed: int, rate_factor: float, measure_parts: bool = False
    ) -> StepResult:
        """Take a step on the utterances at these positions; each process computes its share of them.

        If memory runs out, `max_seconds` is reduced permanently and the step starts again from its seed.

        Args:
            positions: the utterances of the step.
            seed: of its random numbers.
            rate_factor: factor of every peak learning rate.
            measure_parts: whether to measure the gradients of the two losses apart, which takes a second backward pass.

        Raises:
            UserError: not even one utterance fits in memory.
        """
        share = positions[self.accelerator.process_index :: self.accelerator.num_processes]
        losses: Tensor | None = None
        while losses is None:
            set_seed(seed)
            self.rule.zero_grad(set_to_none=True)
            self._ctc_gradient = [None] * len(self.active) if measure_parts else None
            parts = micro_batches(share, self.examples.seconds, self.max_seconds)
            try:
                losses = sum((self.add_gradient(part, len(positions)) for part in parts), self._no_losses())
            except RuntimeError as error:
                self.max_seconds = self._reduced_seconds(parts, error)
            if losses is None:  # not in the handler, where the error still refers to the memory
                torch.cuda.empty_cache()
        norms = self._finish_gradient()
        if self.settings.clip_norm:
            nn.utils.clip_grads_with_norm_(self.trained, self.settings.clip_norm, norms[0])
        for group in self.rule.param_groups:
            group["lr"] = group["peak"] * rate_factor
        self.rule.step()
        if self.accelerator.num_processes > 1 and not self.model.splits_steps:
            broadcast(list(self.model.buffers()))  # those of the first process, such as the statistics of batch norm
        return StepResult(losses, norms)

    def add_gradient(self, positions: Sequence[int], step_size: int) -> Tensor:
        """Add a micro-batch's share of the gradient of CE + α · CTC, a mean over the `step_size` utterances of a step.

        Returns the sums of the CE and CTC losses over the micro-batch, `[2]`, detached.
        """
        batch = self.examples.batch(positions, pin=self.device.type == "cuda").to(self.device)
        with self.accelerator.autocast():
            output = self.model(**batch.inputs)
        ce = self.model.emotion_loss(output, batch.labels, self._cross_entropy)
        ctc = ce.new_zeros(())
        if output.ctc_logits is not None:
            counts = {"frame_counts": batch.frame_counts, "symbol_counts": batch.symbol_counts}
            ctc = ctc_losses(output.ctc_logits, batch.symbols, **counts).sum()
        weighted = self.settings.alpha * ctc
        if self._ctc_gradient is not None and weighted.requires_grad:
            parts = torch.autograd.grad(weighted / step_size, self.active, retain_graph=True, allow_unused=True)
            self._ctc_gradient = [_sum(total, part) for total, part in zip(self._ctc_gradient, parts, strict=True)]
            weighted = weighted.detach()
        # Frozen parameters get no gradient, and nothing is computed for them.
        inputs = None if self.active is self.trained else self.active
        ((ce + weighted) / step_size).backward(inputs=inputs)  # type: ignore[no-untyped-call]
        return torch.stack([ce.detach(), ctc.detach()])

    def _cross_entropy(self, logits: Tensor, classes: Tensor) -> Tensor:
        smoothing = self.settings.label_smoothing
        return functional.cross_entropy(
            logits.float(), classes, self.class_weights, reduction="sum", label_smoothing=smoothing
        )

    def find_max_seconds(self, positions: Sequence[int]) -> None:
        """Find how much audio a micro-batch may contain (`--max-batch-seconds auto`), by trying the longest utterances.

        Leaves the weights unchanged, but not the gradients.
        """
        seconds = self.examples.seconds
        longest = sorted(positions, key=lambda position: -seconds[position])[: self.settings.batch_size]
        upper_limit = max(1.0, len(longest) * seconds[longest[0]])

        def run_pass(max_seconds: float) -> float:
            part = micro_batches(longest, seconds, max_seconds)[0]
            self.add_gradient(part, len(longest))
            return max(0.02, len(part) * seconds[part[0]])

        self.max_seconds = 1.0
        try:
            later = _LATER_BYTES * sum(parameter.numel() for parameter in self.trained)
            self.max_seconds = memory_budget.seconds_that_fit(run_pass, self.device, later, upper_limit)
        except RuntimeError as error:
            if not memory_budget.is_out_of_memory(error):
                raise  # otherwise training starts with one second; if even that is too much, `step` reports it
        self.rule.zero_grad(set_to_none=True)

    def _finish_gradient(self) -> Tensor:
        """Sum the gradient over processes and add CTC's part if that was kept apart.

        Returns the norms as in `StepResult`.
        """
        norms = torch.full((3,), torch.nan, device=self.device)
        self._set_gradient(self._over_processes([p.grad for p in self.active]))
        if self._ctc_gradient is not None:
            parts = self._over_processes(self._ctc_gradient)
            norms[1], norms[2] = self._norm(), _norm(parts)
            self._set_gradient([_sum(p.grad, part) for p, part in zip(self.active, parts, strict=True)])
        norms[0] = self._norm()
        self._ctc_gradient = None
        return norms

    def _norm(self) -> Tensor:
        return _norm([parameter.grad for parameter in self.active])

    def _set_gradient(self, gradients: Sequence[Tensor | None]) -> None:
        for parameter, gradient in zip(self.active, gradients, strict=True):
            parameter.grad = gradient

    def _no_losses(self) -> Tensor:
        return torch.zeros(2, device=self.device)

    def _reduced_seconds(self, parts: Sequence[Sequence[int]], error: RuntimeError) -> float:
        """Half the audio of the largest micro-batch; raises the error again if it has another cause than memory."""
        if not memory_budget.is_out_of_memory(error):
            raise error
        seconds = self.examples.seconds
        largest = max(parts, key=lambda part: len(part) * seconds[part[0]])
        if not self.model.splits_steps:
            raise UserError(
                f"{self.device} ran out of memory on a step of {len(largest)} utterances. The utterances of a step of "
                "this system depend on each other (batch norm), so it cannot be split. Everything saved is kept. "
                "Free some memory, or train with a smaller --batch-size."
            ) from None
        if len(largest) > 1:
            return len(largest) * seconds[largest[0]] / 2
        utterance = self.examples.utterance(largest[0])
        raise UserError(
            f"{self.device} ran out of memory on the single utterance {utterance.utterance_id} "
            f"({seconds[largest[0]]:.1f} s). Everything saved is kept. Free some memory, choose a smaller encoder, or "
            "remove utterances as long as this one from the manifest."
        ) from None

    def _over_processes(self, gradients: Sequence[Tensor | None]) -> Sequence[Tensor | None]:
        """The sums of the gradients of the active parameters over all processes, in one message.

        A parameter that has no gradient in any process, such as one of a layer that LayerDrop left out everywhere,
        still has none afterwards: zeros would let AdamW move and decay it.
        """
        if self.accelerator.num_processes == 1:
            return gradients
        own = [torch.zeros_like(p) if g is None else g for p, g in zip(self.active, gradients, strict=True)]
        present = torch.tensor([float(g is not None) for g in gradients], device=self.device)
        flat = self.accelerator.reduce(torch.cat([*(gradient.reshape(-1) for gradient in own), present]), "sum")
        *sums, holders = flat.split([*(p.numel() for p in self.active), len(self.active)])
        # The host waits for the device here: it cannot know otherwise what the other processes left out.
        parts = zip(self.active, sums, holders.tolist(), strict=True)
        return [part.view_as(parameter) if number else None for parameter, part, number in parts]


def _sum(one: Tensor | None, other: Tensor | None) -> Tensor | None:
    """The sum of two gradients, where None is the gradient of a parameter that was not used."""
    if one is None or other is None:
        return other if one is None else one
    return one + other


def _norm(gradients: Sequence[Tensor | None]) -> Tensor:
    return nn.utils.get_total_norm([gradient for gradient in gradients if gradient is not None])


def balanced_weights(classes: Sequence[int], labels: Sequence[str]) -> Tensor:
    """Weights `[C]` with which every class that occurs counts equally, 1 on average over these utterances."""
    counts = np.bincount(classes, minlength=len(labels))
    occurs = counts > 0
    weights = np.divide(len(classes), occurs.sum() * counts, out=np.zeros(len(labels)), where=occurs)
    return torch.tensor(weights, dtype=torch.float32)


def compile_layers(model: nn.Module) -> None:
    """Compile each trained transformer layer separately, in place.

    Layers of the same kind share their graphs, LayerDrop stays outside of them, and dynamic shapes avoid recompilation
    for batches of other lengths.
    """
    for module in model.modules():
        is_layer = isinstance(module, (GradientCheckpointingLayer, CrossModalEncoder))
        if is_layer and any(parameter.requires_grad for parameter in module.parameters()):
            module.compile(dynamic=True)
