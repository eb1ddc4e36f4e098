"""One optimiser step: the same gradient however its utterances are cut, and no wait for the device within it.

A step's gradient is the mean over its utterances. Micro-batches, and processes where there are several, only
share the work: each adds its part of the sum, so the step needs no wrapper around the model.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch import Tensor, nn
from torch.nn import functional
from transformers.modeling_layers import GradientCheckpointingLayer

from mmer_pipeline.errors import UserError
from mmer_pipeline.settings import Settings
from mmer_pipeline.systems.base import EmotionModel, ctc_losses
from mmer_pipeline.systems.mmer import CrossModalEncoder
from mmer_pipeline.training import memory
from mmer_pipeline.training.batches import Batch, Examples, micro_batches

Autocast = Callable[[], AbstractContextManager[Any]]
_MOMENT_BYTES = 8  # of AdamW, a trained parameter: two in float32


def add_gradients(model: EmotionModel, batch: Batch, alpha: float, step_size: int, autocast: Autocast) -> Tensor:
    """Add a micro-batch's share of the gradient of CE + α · CTC, averaged over a step of `step_size` utterances.

    Returns the sums of CE and CTC over the micro-batch, `[2]`, detached.
    """
    with autocast():
        output = model(**batch.inputs)
    ce = functional.cross_entropy(output.logits.float(), batch.labels, reduction="sum")
    ctc = ce.new_zeros(())
    if output.ctc_logits is not None:
        counts = {"frame_counts": batch.frame_counts, "symbol_counts": batch.symbol_counts}
        ctc = ctc_losses(output.ctc_logits, batch.symbols, **counts).sum()
    ((ce + alpha * ctc) / step_size).backward()  # type: ignore[no-untyped-call]
    return torch.stack([ce.detach(), ctc.detach()])


class Optimisation:
    """A model on its device, and the AdamW that trains it step by step."""

    def __init__(self, settings: Settings, model: EmotionModel, examples: Examples, accelerator: Accelerator) -> None:
        self.settings, self.examples, self.accelerator = settings, examples, accelerator
        self.model = model.to(accelerator.device)
        if settings.compile:
            compile_layers(model)
        self.trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self.optimiser = torch.optim.AdamW(
            self.trained, lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True
        )
        self.max_seconds = settings.max_batch_seconds or 0.0  # of a micro-batch; 0: to be found

    def find_max_seconds(self, positions: Sequence[int]) -> None:
        """Find how much audio a micro-batch may hold (`--max-batch-seconds auto`), by trying on the longest of these.

        Weights stay as they are, gradients do not.
        """
        longest = sorted(positions, key=lambda position: -self.examples.seconds[position])
        longest = longest[: self.settings.batch_size]
        most = max(1.0, len(longest) * self.examples.seconds[longest[0]])

        def use(seconds: float) -> float:
            part = micro_batches(longest, self.examples.seconds, seconds)[0]
            self._add(part, len(longest))
            return max(0.02, len(part) * self.examples.seconds[part[0]])

        self.max_seconds = 1.0
        try:
            later = _MOMENT_BYTES * sum(parameter.numel() for parameter in self.trained)
            self.max_seconds = memory.seconds_that_fit(use, self.accelerator.device, later, most)
        except RuntimeError as error:
            if not memory.is_exhausted(error):
                raise  # otherwise the steps go on from a second, and say what is wrong if that is too much
        self.optimiser.zero_grad(set_to_none=True)

    def step(self, positions: Sequence[int], *, seed: int, learning_rate: float) -> Tensor:
        """Take a step on the utterances at these positions, of which this process computes its share.

        Where memory does not suffice, `max_seconds` is halved for good and the step is begun anew.

        Returns:
            The sums of CE and CTC over this process's share, `[2]`, on the device.

        Raises:
            UserError: memory does not even suffice for one utterance at a time.
        """
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate
        share = positions[self.accelerator.process_index :: self.accelerator.num_processes]
        while (losses := self._accumulate(share, len(positions), seed)) is None:
            torch.cuda.empty_cache()
        if self.accelerator.num_processes > 1:
            self._sum_gradients()
        if self.settings.clip_norm:
            nn.utils.clip_grad_norm_(self.trained, self.settings.clip_norm)
        self.optimiser.step()
        return losses

    def _accumulate(self, share: Sequence[int], step_size: int, seed: int) -> Tensor | None:
        """The gradient of a step; None where memory did not suffice, and less will be tried."""
        set_seed(seed)
        self.optimiser.zero_grad(set_to_none=True)
        parts = micro_batches(share, self.examples.seconds, self.max_seconds)
        try:
            losses = torch.zeros(2, device=self.accelerator.device)
            for part in parts:
                losses += self._add(part, step_size)
        except RuntimeError as error:
            if not memory.is_exhausted(error):
                raise
            largest = max(parts, key=lambda part: len(part) * self.examples.seconds[part[0]])
            if len(largest) == 1:
                raise self._too_long(largest[0]) from None
            self.max_seconds = len(largest) * self.examples.seconds[largest[0]] / 2
            return None  # not from here: the error still holds what filled the memory
        return losses

    def _add(self, part: Sequence[int], step_size: int) -> Tensor:
        device = self.accelerator.device
        batch = self.examples.batch(part, pin=device.type == "cuda").to(device)
        return add_gradients(self.model, batch, self.settings.alpha, step_size, self.accelerator.autocast)

    def _too_long(self, position: int) -> UserError:
        utterance, seconds = self.examples.manifest.utterances[position], self.examples.seconds[position]
        return UserError(
            f"The memory of {self.accelerator.device} does not suffice for utterance {utterance.utterance_id} "
            f"({seconds:.1f} s) alone. What is saved is kept: free some memory, take a smaller encoder, or leave "
            "utterances as long as this out of the manifest."
        )

    def _sum_gradients(self) -> None:
        """Sum the gradients over all processes, in one message."""
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in self.trained]
        flat = self.accelerator.reduce(torch.cat([gradient.reshape(-1) for gradient in gradients]), "sum")
        for parameter, part in zip(self.trained, flat.split([p.numel() for p in self.trained]), strict=True):
            parameter.grad = part.view_as(parameter)


def compile_layers(model: nn.Module) -> None:
    """Compile each trained transformer layer by itself, in place.

    Layers that are alike share their graphs, LayerDrop stays outside of them, and with dynamic shapes no length of a
    batch is compiled anew.
    """
    for module in model.modules():
        is_layer = isinstance(module, (GradientCheckpointingLayer, CrossModalEncoder))
        if is_layer and any(parameter.requires_grad for parameter in module.parameters()):
            module.compile(dynamic=True)
