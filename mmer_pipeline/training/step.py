"""One optimiser step: forward, losses, micro-batches, clipping, AdamW.

A step's gradient is the mean over its utterances, however they are split. Micro-batches, and processes if there are
several, only divide the work: each adds its part of the sum, so no wrapper around the model is needed. There is no
host–device synchronisation within a step.
"""

from collections.abc import Sequence

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
from mmer_pipeline.training import memory_budget
from mmer_pipeline.training.batches import micro_batches
from mmer_pipeline.training.examples import Examples

_MOMENT_BYTES = 8  # per trained parameter: AdamW's two moments, in float32


class Optimiser:
    """A model on its device, and the AdamW optimiser that trains it step by step."""

    def __init__(self, settings: Settings, model: EmotionModel, examples: Examples, accelerator: Accelerator) -> None:
        self.settings, self.examples, self.accelerator = settings, examples, accelerator
        self.model, self.device = model.to(accelerator.device), accelerator.device
        if settings.compile:
            compile_layers(model)
        self.trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self.adamw = torch.optim.AdamW(
            self.trained, lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True
        )
        self.max_seconds = settings.max_batch_seconds or 0.0  # audio in a micro-batch; 0: not yet known

    def step(self, positions: Sequence[int], *, seed: int, learning_rate: float) -> Tensor:
        """Take a step on the utterances at these positions; each process computes its share of them.

        If memory runs out, `max_seconds` is reduced permanently and the step starts again from its seed.

        Returns:
            The sums of the CE and CTC losses over this process's share, `[2]`, on the device.

        Raises:
            UserError: not even one utterance fits in memory.
        """
        share = positions[self.accelerator.process_index :: self.accelerator.num_processes]
        losses: Tensor | None = None
        while losses is None:
            set_seed(seed)
            self.adamw.zero_grad(set_to_none=True)
            parts = micro_batches(share, self.examples.seconds, self.max_seconds)
            try:
                losses = sum((self.add_gradient(part, len(positions)) for part in parts), self._no_losses())
            except RuntimeError as error:
                self.max_seconds = self._reduced_seconds(parts, error)
            if losses is None:  # not in the handler, where the error still refers to the memory
                torch.cuda.empty_cache()
        if self.accelerator.num_processes > 1:
            self._sum_gradients_over_processes()
        if self.settings.clip_norm:
            nn.utils.clip_grad_norm_(self.trained, self.settings.clip_norm)
        for group in self.adamw.param_groups:
            group["lr"] = learning_rate
        self.adamw.step()
        return losses

    def add_gradient(self, positions: Sequence[int], step_size: int) -> Tensor:
        """Add a micro-batch's share of the gradient of CE + α · CTC, a mean over the `step_size` utterances of a step.

        Returns the sums of the CE and CTC losses over the micro-batch, `[2]`, detached.
        """
        batch = self.examples.batch(positions, pin=self.device.type == "cuda").to(self.device)
        with self.accelerator.autocast():
            output = self.model(**batch.inputs)
        ce = functional.cross_entropy(output.logits.float(), batch.labels, reduction="sum")
        ctc = ce.new_zeros(())
        if output.ctc_logits is not None:
            counts = {"frame_counts": batch.frame_counts, "symbol_counts": batch.symbol_counts}
            ctc = ctc_losses(output.ctc_logits, batch.symbols, **counts).sum()
        ((ce + self.settings.alpha * ctc) / step_size).backward()  # type: ignore[no-untyped-call]
        return torch.stack([ce.detach(), ctc.detach()])

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
            later = _MOMENT_BYTES * sum(parameter.numel() for parameter in self.trained)
            self.max_seconds = memory_budget.seconds_that_fit(run_pass, self.device, later, upper_limit)
        except RuntimeError as error:
            if not memory_budget.is_out_of_memory(error):
                raise  # otherwise training starts with one second; if even that is too much, `step` reports it
        self.adamw.zero_grad(set_to_none=True)

    def _no_losses(self) -> Tensor:
        return torch.zeros(2, device=self.device)

    def _reduced_seconds(self, parts: Sequence[Sequence[int]], error: RuntimeError) -> float:
        """Half the audio of the largest micro-batch; raises the error again if it has another cause than memory."""
        if not memory_budget.is_out_of_memory(error):
            raise error
        seconds = self.examples.seconds
        largest = max(parts, key=lambda part: len(part) * seconds[part[0]])
        if len(largest) > 1:
            return len(largest) * seconds[largest[0]] / 2
        utterance = self.examples.manifest.utterances[largest[0]]
        raise UserError(
            f"{self.device} ran out of memory on the single utterance {utterance.utterance_id} "
            f"({seconds[largest[0]]:.1f} s). Everything saved is kept. Free some memory, choose a smaller encoder, or "
            "remove utterances as long as this one from the manifest."
        ) from None

    def _sum_gradients_over_processes(self) -> None:
        """Sum the gradients over all processes, in one message."""
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in self.trained]
        flat = self.accelerator.reduce(torch.cat([gradient.reshape(-1) for gradient in gradients]), "sum")
        for parameter, part in zip(self.trained, flat.split([p.numel() for p in self.trained]), strict=True):
            parameter.grad = part.view_as(parameter)


def compile_layers(model: nn.Module) -> None:
    """Compile each trained transformer layer separately, in place.

    Layers of the same kind share their graphs, LayerDrop stays outside of them, and dynamic shapes avoid recompilation
    for batches of other lengths.
    """
    for module in model.modules():
        is_layer = isinstance(module, (GradientCheckpointingLayer, CrossModalEncoder))
        if is_layer and any(parameter.requires_grad for parameter in module.parameters()):
            module.compile(dynamic=True)
