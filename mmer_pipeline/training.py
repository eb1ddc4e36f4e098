"""The training loop (paper, section 4.3): readable, resumable, the same result however a step is cut.

A step's gradient is the mean over its utterances. Micro-batches, and processes where there are several, only
share the work: each adds its part of the sum, so the loop needs no wrapper around the model.
"""

import math
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch import Tensor, nn
from torch.nn import functional

from mmer_pipeline import checkpoint, files
from mmer_pipeline.checkpoint import Progress
from mmer_pipeline.data import Batch, Examples, epoch_batches, micro_batches
from mmer_pipeline.errors import UserError
from mmer_pipeline.folds import Fold
from mmer_pipeline.inference import predict
from mmer_pipeline.metrics import score
from mmer_pipeline.model import EmotionModel, ctc_losses
from mmer_pipeline.paths import FoldPaths
from mmer_pipeline.runs import read_metrics
from mmer_pipeline.settings import Settings

WARM_UP_SHARE = 0.1  # of all steps, in the linear schedule
STEPS_BETWEEN_READINGS = 10  # losses stay on the device in between
Autocast = Callable[[], AbstractContextManager[Any]]


class Observer(Protocol):
    """Who is told how a run goes on."""

    def step(self, progress: Progress, steps: int, epochs: int) -> None:
        """Some steps are done; `steps` is how many an epoch has."""

    def epoch(self, record: dict[str, Any], epochs: int) -> None:
        """An epoch is done; `record` is its line of metrics.jsonl."""

    def stop_is_asked(self) -> bool:
        """Whether to save the state now and stop."""


@dataclass(frozen=True)
class Pending:
    """A step whose losses were not read yet."""

    positions: tuple[int, ...]
    losses: Tensor  # [2] sums of CE and of CTC over this process's share of the step


def add_gradients(model: EmotionModel, batch: Batch, alpha: float, step_size: int, autocast: Autocast) -> Tensor:
    """Add a micro-batch's share of the gradient of CE + α · CTC, averaged over a step of `step_size` utterances.

    Returns the sums of CE and CTC over the micro-batch, `[2]`, detached.
    """
    with autocast():
        output = model(**batch.inputs)
    ce = functional.cross_entropy(output.logits.float(), batch.labels, reduction="sum")
    ctc = ce.new_zeros(())
    if output.ctc_logits is not None:
        ctc = ctc_losses(output.ctc_logits, batch.inputs["frame_mask"], batch.targets).sum()
    ((ce + alpha * ctc) / step_size).backward()  # type: ignore[no-untyped-call]
    return torch.stack([ce.detach(), ctc.detach()])


class Trainer:
    """Trains one fold in its directory."""

    def __init__(
        self,
        settings: Settings,
        identity: str,
        model: EmotionModel,
        examples: Examples,
        fold: Fold,
        paths: FoldPaths,
        accelerator: Accelerator,
        observer: Observer,
        save_seconds: float,
    ) -> None:
        self.settings, self.examples, self.fold, self.paths = settings, examples, fold, paths
        self.accelerator, self.observer, self.save_seconds = accelerator, observer, save_seconds
        self.model = model.to(accelerator.device)
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self.optimiser = torch.optim.AdamW(
            trained,
            lr=settings.learning_rate,
            weight_decay=settings.weight_decay,
            fused=accelerator.device.type == "cuda",
        )
        self.progress = checkpoint.load(paths.state, model, self.optimiser, identity)
        self.records = read_metrics(paths.metrics)[: self.progress.epoch - 1]
        if len(self.records) < self.progress.epoch - 1:
            raise UserError(
                f"{paths.metrics} has {len(self.records)} epochs, the saved state is behind {self.progress.epoch - 1}. "
                "Put the file back, or start the fold again with --restart."
            )
        self.pending: list[Pending] = []
        self.saved_at = time.monotonic()

    def run(self) -> None:
        """Train to the last epoch and write `model/`.

        Raises:
            UserError: a loss is not a number, the disk is full.
        """
        while self.progress.epoch <= self.settings.epochs:
            self._epoch()
        if self.accelerator.is_main_process:
            save_model(self.model, self.paths.model)
        self.accelerator.wait_for_everyone()

    def _epoch(self) -> None:
        settings, progress = self.settings, self.progress
        batches = epoch_batches(
            self.fold.train,
            self.examples.seconds,
            batch_size=settings.batch_size,
            bucket_batches=settings.bucket_batches,
            seed=derive_seed(settings.seed, progress.epoch),
        )
        self.model.train()
        for step in range(progress.step, len(batches)):
            self._step(batches[step], step)
            last = step + 1 == len(batches)
            if last or len(self.pending) >= STEPS_BETWEEN_READINGS or self._save_is_due():
                self._read_losses(step + 1)
                if self.accelerator.is_main_process:
                    self.observer.step(progress, len(batches), settings.epochs)
                if not last and self._save_is_due():
                    self._save()
        self._close_epoch()

    def _step(self, positions: Sequence[int], step: int) -> None:
        settings, world = self.settings, self.accelerator.num_processes
        began = time.perf_counter()
        set_seed(derive_seed(settings.seed, self.progress.epoch, step + 1, self.accelerator.process_index))
        for group in self.optimiser.param_groups:
            group["lr"] = settings.learning_rate * self._schedule_factor(step)
        self.optimiser.zero_grad(set_to_none=True)
        losses = torch.zeros(2, device=self.accelerator.device)
        share = positions[self.accelerator.process_index :: world]
        for part in micro_batches(share, self.examples.seconds, settings.max_batch_seconds):
            batch = self.examples.batch(part).to(self.accelerator.device)
            losses += add_gradients(self.model, batch, settings.alpha, len(positions), self.accelerator.autocast)
        if world > 1:
            _sum_gradients(self.model, self.accelerator)
        if settings.clip_norm:
            nn.utils.clip_grad_norm_(self.model.parameters(), settings.clip_norm)
        self.optimiser.step()
        self.pending.append(Pending(tuple(positions), losses))
        self.progress.seconds += time.perf_counter() - began

    def _schedule_factor(self, step: int) -> float:
        steps = math.ceil(len(self.fold.train) / self.settings.batch_size)  # an epoch has
        done = (self.progress.epoch - 1) * steps + step
        return schedule_factor(self.settings.schedule, done, self.settings.epochs * steps)

    def _read_losses(self, step: int) -> None:
        """Bring the losses of the pending steps to the host; the loop itself waits for the device nowhere else."""
        began = time.perf_counter()
        losses = self.accelerator.reduce(torch.stack([entry.losses for entry in self.pending]), "sum")
        for entry, (ce, ctc) in zip(self.pending, losses.tolist(), strict=True):
            if not math.isfinite(ce + ctc):
                raise UserError(self._not_a_number(entry, ce, ctc))
            self.progress.ce_sum += ce
            self.progress.ctc_sum += ctc
            self.progress.utterances += len(entry.positions)
        self.pending.clear()
        self.progress.step = step
        self.progress.seconds += time.perf_counter() - began

    def _not_a_number(self, entry: Pending, ce: float, ctc: float) -> str:
        utterances = self.examples.manifest.utterances
        names = ", ".join(utterances[position].utterance_id for position in entry.positions)
        return (
            f"The loss is not a number in epoch {self.progress.epoch} (CE {ce:g}, CTC {ctc:g}), in the step with the "
            f"utterances {names}. Nothing saved is lost. Look at these recordings and features, or train with a "
            "smaller --learning-rate or --precision fp32."
        )

    def _close_epoch(self) -> None:
        progress, fold = self.progress, self.fold
        record = {
            "epoch": progress.epoch,
            "train": {
                "loss": (progress.ce_sum + self.settings.alpha * progress.ctc_sum) / progress.utterances,
                "ce": progress.ce_sum / progress.utterances,
                "ctc": progress.ctc_sum / progress.utterances if self.settings.alpha else None,
            },
            "held_out": self._score(fold.test),
            "validation": self._score(fold.validation) if fold.validation else None,
            "speed": {
                "seconds": round(progress.seconds, 3),
                "utterances_per_second": round(progress.utterances / max(progress.seconds, 1e-9), 2),
            },
        }
        self.records.append(record)
        if self.accelerator.is_main_process:
            files.write_text(self.paths.metrics, "".join(files.json_line(entry) for entry in self.records))
            self.observer.epoch(record, self.settings.epochs)
        progress.next_epoch()
        self._save()

    def _score(self, positions: Sequence[int]) -> dict[str, Any]:
        predictions = predict(self.model, self.examples, positions, self.settings.max_batch_seconds, self.accelerator)
        return score(predictions, self.model.labels)

    def _save_is_due(self) -> bool:
        # Several processes must agree, and each has its own clock: they save at the epochs' ends alone.
        waited = time.monotonic() - self.saved_at >= self.save_seconds
        return self.accelerator.num_processes == 1 and (waited or self.observer.stop_is_asked())

    def _save(self) -> None:
        if self.accelerator.is_main_process:
            checkpoint.save(self.paths.state, self.model, self.optimiser, self.progress)
        self.saved_at = time.monotonic()
        if self.observer.stop_is_asked() and self.progress.epoch <= self.settings.epochs:
            raise UserError(
                f"Stopped in epoch {self.progress.epoch} after {self.progress.step} steps. "
                "The state is saved; the same command goes on from there."
            )


def schedule_factor(schedule: str, step: int, steps: int) -> float:
    """What the learning rate is multiplied with at a step (from 0) of `steps` in all.

    constant: always 1. linear: up over the first tenth of the steps, then down to nothing.
    """
    if schedule == "constant":
        return 1.0
    climb = max(1, round(WARM_UP_SHARE * steps))
    return (step + 1) / climb if step < climb else (steps - step) / max(1, steps - climb)


def derive_seed(*parts: int) -> int:
    """One seed from several numbers, so that no two steps share their random numbers."""
    return int(np.random.SeedSequence(parts).generate_state(1)[0])


def save_model(model: EmotionModel, directory: Path) -> None:
    """Write `model/` whole or not at all."""
    with files.replacing_directory(directory) as temporary:
        model.save_pretrained(temporary)


def _sum_gradients(model: nn.Module, accelerator: Accelerator) -> None:
    """Sum the gradients over all processes, in one message."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in trained]
    flat = accelerator.reduce(torch.cat([gradient.reshape(-1) for gradient in gradients]), "sum")
    for parameter, part in zip(trained, flat.split([p.numel() for p in trained]), strict=True):
        parameter.grad = part.view_as(parameter)
