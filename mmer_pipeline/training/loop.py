"""The training loop (paper, section 4.3): epochs, saved states and scores; `step.py` contains a single step."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mmer_pipeline import files
from mmer_pipeline.digests import digest_of_texts
from mmer_pipeline.errors import UserError
from mmer_pipeline.runs import has_ended, read_metrics, validated_epochs
from mmer_pipeline.scoring.metrics import score
from mmer_pipeline.training import checkpoint, memory_budget
from mmer_pipeline.training.averaging import write_average
from mmer_pipeline.training.batches import epoch_batches
from mmer_pipeline.training.inference import predict
from mmer_pipeline.training.job import FoldJob, save_model
from mmer_pipeline.training.moving_average import MovingAverage
from mmer_pipeline.training.schedules import learning_rate_factor
from mmer_pipeline.training.step import Optimiser, StepResult

STEPS_BETWEEN_READINGS = 10  # between readings, the losses stay on the device
STEPS_BETWEEN_MEASUREMENTS = 32  # of the gradients of the two losses apart, which takes a second backward pass


@dataclass(frozen=True)
class Pending:
    """A step whose losses and gradient norms are still on the device."""

    positions: tuple[int, ...]
    result: StepResult


class Trainer:
    """Trains one fold and writes the results to its directory."""

    def __init__(self, job: FoldJob, identity: str, save_seconds: float) -> None:
        """Restore the saved state, if any; `identity` is the run's digest.

        Raises:
            UserError: the saved state belongs to a run with another identity, or metrics.jsonl lacks epochs.
        """
        self.settings, self.model, self.examples, self.fold = job.settings, job.model, job.examples, job.fold
        self.paths, self.accelerator, self.observer = job.paths, job.accelerator, job.observer
        self.save_seconds = save_seconds
        self.optimiser = Optimiser(job.settings, job.model, job.examples, job.accelerator, job.fold.train)
        self.average = MovingAverage(self.optimiser.trained, job.settings.ema)
        saved = (job.paths.checkpoint, job.model, self.optimiser.rule, identity, self.average.values)
        self.progress = checkpoint.load(*saved)
        self.records = read_metrics(job.paths.metrics)[: self.progress.epoch - 1]
        self._check_progress()
        self.pending: list[Pending] = []
        self.saved_at = time.monotonic()

    def _check_progress(self) -> None:
        progress, found = self.progress, len(self.records)
        if found < progress.epoch - 1:
            raise UserError(
                f"{self.paths.metrics}: expected {progress.epoch - 1} epochs as in the saved state, found {found}. "
                "Restore the file, or start the fold again with --restart."
            )
        if progress.records and progress.records != _digest(self.records):
            raise UserError(
                f"{self.paths.metrics} was changed after the state was saved. Restore the file, or start the fold "
                "again with --restart."
            )
        steps, done = math.ceil(len(self.fold.train) / self.settings.batch_size), (progress.epoch, progress.step)
        if not ((1, 0) <= done <= (self.settings.epochs + 1, 0) and 0 <= progress.step < steps):
            raise UserError(
                f"{self.paths.checkpoint} is the state of epoch {progress.epoch}, step {progress.step}, but there are "
                f"{self.settings.epochs} epochs of {steps} steps. Start the fold again with --restart."
            )

    def run(self) -> None:
        """Train from the saved state to the last epoch and write `model/`, and `model-validated/` as epochs improve.

        Raises:
            UserError: a loss is not a number, the disk is full, one utterance does not fit in memory, or a stop was
                requested.
        """
        settings, progress, optimiser = self.settings, self.progress, self.optimiser
        if not settings.max_batch_seconds and self.model.splits_steps:
            optimiser.max_seconds = progress.max_batch_seconds  # as before the interruption
        if not optimiser.max_seconds:
            self.model.train()  # which needs more memory than evaluation
            optimiser.find_max_seconds(self.examples.all_versions(self.fold.train))
        progress.max_batch_seconds = optimiser.max_seconds
        self._keep_validated()
        while not has_ended(settings, self.records):
            self.model.train()
            optimiser.begin_epoch(progress.epoch)
            batches = self._batches()
            done, total = (progress.epoch - 1) * len(batches), settings.epochs * len(batches)
            for step in range(progress.step, len(batches)):
                began = time.perf_counter()
                # All processes draw the same versions of the utterances, whatever their own random numbers are.
                positions = self.examples.draw(batches[step], derive_seed(settings.seed, progress.epoch, step + 1))
                result = optimiser.step(
                    positions,
                    seed=derive_seed(settings.seed, progress.epoch, step + 1, self.accelerator.process_index),
                    rate_factor=learning_rate_factor(settings.schedule, done + step, total),
                    measure_parts=self._measures_parts(step),
                )
                self.average.update(done + step)
                self.pending.append(Pending(tuple(positions), result))
                progress.seconds += time.perf_counter() - began
                self._after_step(step + 1, len(batches))
            self._close_epoch()
        if self.accelerator.is_main_process:
            if self.settings.average_best > 1:
                best = validated_epochs(self.records, self.settings.average_best)
                write_average([self.paths.model_of(epoch) for epoch in best], self.paths.validated_model)
            self._save_model(self.paths.model)
        self.accelerator.wait_for_everyone()

    def _batches(self) -> list[list[int]]:
        """The optimiser steps of the current epoch."""
        return epoch_batches(
            self.fold.train,
            self.examples.seconds,
            batch_size=self.settings.batch_size,
            bucket_batches=self.settings.bucket_batches,
            seed=derive_seed(self.settings.seed, self.progress.epoch),
        )

    def _measures_parts(self, step: int) -> bool:
        # A compiled layer frees what a second backward pass would need.
        has_two_losses = bool(self.settings.alpha) and not self.settings.compile
        return has_two_losses and step % STEPS_BETWEEN_MEASUREMENTS == 0

    def _after_step(self, step: int, steps: int) -> None:
        """Report memory that ran out; every few steps read the losses; save the state when it is due."""
        progress, last = self.progress, step == steps
        if self.optimiser.max_seconds < progress.max_batch_seconds:
            progress.max_batch_seconds = self.optimiser.max_seconds
            self.observer.ran_out_of_memory(progress.max_batch_seconds)
        alone = self.accelerator.num_processes == 1  # several read their losses in the same steps
        if not (last or len(self.pending) >= STEPS_BETWEEN_READINGS or (alone and self._wants_to_save())):
            return
        self._read_losses(step)
        if self.accelerator.is_main_process:
            self.observer.step(progress, steps, self.settings.epochs)
        if not last and self._any_process(self._wants_to_save()):
            self._save()

    def _read_losses(self, step: int) -> None:
        """Copy the losses of the pending steps to the host; the loop waits for the device only here."""
        began = time.perf_counter()
        losses = self.accelerator.reduce(torch.stack([entry.result.losses for entry in self.pending]), "sum")
        norms = torch.stack([entry.result.norms for entry in self.pending])
        for entry, (ce, ctc), measured in zip(self.pending, losses.tolist(), norms.tolist(), strict=True):
            if not math.isfinite(ce + ctc + measured[0]):
                raise UserError(self._not_a_number(entry, ce, ctc))
            self.progress.ce_sum += ce
            self.progress.ctc_sum += ctc
            self.progress.utterances += len(entry.positions)
            self.progress.gradients.add(measured, self.settings.clip_norm)
        self.pending.clear()
        self.progress.step = step
        self.progress.seconds += time.perf_counter() - began

    def _not_a_number(self, entry: Pending, ce: float, ctc: float) -> str:
        names = ", ".join(self.examples.utterance(position).utterance_id for position in entry.positions)
        return (
            f"The loss or its gradient is not a number in epoch {self.progress.epoch} (CE {ce:g}, CTC {ctc:g}), in the "
            f"step with the utterances {names}. Everything saved is kept. Check their recordings and features, or "
            "train with a smaller --learning-rate or --precision fp32."
        )

    def _close_epoch(self) -> None:
        """Score the epoch, write its line of metrics.jsonl, and save the state."""
        progress, fold = self.progress, self.fold
        record = {
            "epoch": progress.epoch,
            "train": {
                "loss": (progress.ce_sum + self.settings.alpha * progress.ctc_sum) / progress.utterances,
                "ce": progress.ce_sum / progress.utterances,
                "ctc": progress.ctc_sum / progress.utterances if self.settings.alpha else None,
            },
            "held_out": self._score(fold.test) if fold.test else None,  # None: nothing is held out
            "validation": self._score(fold.validation) if fold.validation else None,
            "gradient_norm": progress.gradients.means(),
            "speed": {
                "seconds": round(progress.seconds, 3),
                "utterances_per_second": round(progress.utterances / max(progress.seconds, 1e-9), 2),
                "max_batch_seconds": round(progress.max_batch_seconds, 3),
                "peak_memory_gib": round(memory_budget.peak_gib(self.accelerator.device), 3),
            },
        }
        self.records.append(record)
        if self.accelerator.is_main_process:
            files.write_text(self.paths.metrics, "".join(files.json_line(entry) for entry in self.records))
            ends_here = has_ended(self.settings, self.records)
            self.observer.epoch(record, progress.epoch if ends_here else self.settings.epochs)
        progress.next_epoch()
        progress.records = _digest(self.records)
        self._save()

    def _score(self, positions: Sequence[int]) -> dict[str, Any]:
        with self.average.in_place():
            predictions = predict(self.model, self.examples, positions, self.accelerator)
        return score(predictions, self.model.labels)

    def _wants_to_save(self) -> bool:
        return time.monotonic() - self.saved_at >= self.save_seconds or self.observer.stop_requested()

    def _any_process(self, answer: bool) -> bool:
        """Whether one of the processes answers yes; they have separate clocks and signals, and must do the same."""
        if self.accelerator.num_processes == 1:
            return answer
        answers = torch.tensor([float(answer)], device=self.accelerator.device)
        return bool(self.accelerator.reduce(answers, "sum").item())

    def _save(self) -> None:
        if self.accelerator.is_main_process:
            average = self.average.values
            checkpoint.save(self.paths.checkpoint, self.model, self.optimiser.rule, self.progress, average)
        self._keep_validated()
        self.saved_at = time.monotonic()
        if self._any_process(self.observer.stop_requested()) and not has_ended(self.settings, self.records):
            raise UserError(
                f"Stopped in epoch {self.progress.epoch} after {self.progress.step} steps. "
                "The state is saved; the same command continues from there."
            )

    def _save_model(self, directory: Path) -> None:
        with self.average.in_place():
            save_model(self.model, directory)

    def _keep_validated(self) -> None:
        """Write `model-validated/` if the last completed epoch is the best one and this is the model after it.

        It follows the saved state: a run that is killed before or within this write resumes from the end of the epoch,
        and writes it then. Written before the state, it could keep an epoch that is trained again with another result.
        If several epochs are to be averaged, each of the best ones so far is kept with the state, until the end.
        """
        last, count = len(self.records), self.settings.average_best
        best = validated_epochs(self.records, count)
        if not (self.accelerator.is_main_process and self.progress.step == 0 and last in best):
            return
        self._save_model(self.paths.model_of(last) if count > 1 else self.paths.validated_model)
        for epoch in set(range(1, last)) - set(best):
            files.remove_directory(self.paths.model_of(epoch))


def _digest(records: Sequence[dict[str, Any]]) -> str:
    return digest_of_texts(map(files.json_line, records))


def derive_seed(*parts: int) -> int:
    """Combine several numbers into one seed, so that no two steps share their random numbers."""
    return int(np.random.SeedSequence(parts).generate_state(1)[0])
