"""Progress of training one fold: a bar within each epoch, and a line after it.

The lines show what training may be judged by: its losses and, if there is a validation part, the scores of that. The
held-out part is shown once, after the last epoch, since a person who watches its scores soon chooses by them.
"""

import time
from collections.abc import Mapping
from typing import Any

import click

from mmer_pipeline.ctc_weight import EpochLosses, advice, ctc_outweighs
from mmer_pipeline.runs import WHOLE_STEP
from mmer_pipeline.settings import Settings
from stages.progress import StopRequest, Work, duration
from stages.shared_options import Common, run_title, say


class TrainingProgress:
    """Shows the progress of a `training.loop.Trainer` on a terminal."""

    def __init__(self, common: Common, settings: Settings, run: str, *, show_held_out: bool = False) -> None:
        """`run` is the name of the run; `show_held_out`: show the held-out part's scores after every epoch."""
        self.common, self.settings, self.show_held_out = common, settings, show_held_out
        part = f"fold {settings.fold}" if settings.fold else "all utterances"
        self.title = f"{run_title(run, settings.system)}, {part}"
        self.work: Work | None = None
        self.epoch_seconds: list[float] = []
        self.epoch_began = time.monotonic()
        self.stop = StopRequest()
        self.said_about_ctc = False

    def __enter__(self) -> "TrainingProgress":
        self.stop.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._end_bar()
        self.stop.__exit__()

    def stop_requested(self) -> bool:
        """See `training.job.Observer`."""
        return self.stop.requested

    def _end_bar(self) -> None:
        if self.work:
            self.work.__exit__()
            self.work = None

    def step(self, progress: Any, steps: int, epochs: int) -> None:
        """See `training.job.Observer`."""
        if self.work is None:
            self.work = Work(self.common, "", transient=True).__enter__()
        seen = max(1, progress.utterances)
        ctc = f", CTC {progress.ctc_sum / seen:.1f}" if self.settings.alpha else ""
        losses = f"CE {progress.ce_sum / seen:.3f}{ctc}"
        self.work.description = f"{self.title}, epoch {progress.epoch}/{epochs}: {losses}"
        self.work.show(progress.utterances, round(progress.utterances * steps / max(1, progress.step)))

    def ran_out_of_memory(self, max_seconds: float) -> None:
        """See `training.job.Observer`."""
        self._end_bar()
        say(
            self.common,
            f"{self.title}: ran out of memory; continuing with micro-batches of at most {max_seconds:.1f} s.",
        )

    def epoch(self, record: dict[str, Any], epochs: int) -> None:
        """See `training.job.Observer`."""
        self._end_bar()
        now = time.monotonic()
        self.epoch_seconds.append(now - self.epoch_began)
        self.epoch_began = now
        if self.common.quiet:
            return
        train, held_out, validation = record["train"], record["held_out"], record["validation"]
        if "chosen" in record:  # fitted at once
            click.echo(
                f"{self.title}  fitted in {record['speed']['seconds']:.1f} s  {_chosen(record['chosen'])}"
                f"{_scores('validation', validation)}{_scores('held-out', held_out)}",
                err=True,
            )
            return
        ctc = f"  CTC {train['ctc']:7.2f}" if train["ctc"] is not None else ""
        scores = _scores("validation", validation)
        if self.show_held_out:
            scores += _scores("held-out", held_out)
        left = sum(self.epoch_seconds) / len(self.epoch_seconds) * (epochs - record["epoch"])
        most = self.settings.epochs
        remaining = f"{'at most ' if self.settings.patience and left else ''}{duration(left)} left in this fold"
        click.echo(
            f"{self.title}  epoch {record['epoch']:>{len(str(most))}}/{most}  CE {train['ce']:.4f}{ctc}"
            f"{scores}"
            f"  {record['speed']['utterances_per_second']:.1f} utterances/s  {remaining}",
            err=True,
        )
        gradients = record.get("gradient_norm") or {}
        losses = EpochLosses(train["ce"], train["ctc"], gradients.get("emotion"), gradients.get("ctc"))
        if not self.said_about_ctc and (found := ctc_outweighs(self.settings.alpha, losses)):
            self.said_about_ctc = True
            click.echo(f"Warning: {advice(self.settings.alpha, found)}", err=True)
        if epochs < most:
            click.echo(
                f"{self.title}  ends here: the validation WA has not improved for {self.settings.patience} epochs",
                err=True,
            )
        if record["epoch"] == epochs:
            speed = record["speed"]
            longest = speed["max_batch_seconds"]
            of_parts = f", micro-batches of at most {longest:.0f} s" if longest < WHOLE_STEP else ""
            click.echo(
                f"{self.title}  trained in {duration(sum(self.epoch_seconds))}, peak memory "
                f"{speed['peak_memory_gib']:.2f} GiB{of_parts}"
                f"{_scores('held-out', held_out)}",
                err=True,
            )


def _chosen(chosen: Mapping[str, Any]) -> str:
    """The choices that a fit made within the training part."""
    layers = ", ".join(
        f"layer {'+'.join(map(str, numbers))} of {name.replace('_', '-')}" for name, numbers in chosen["layers"].items()
    )
    return f"{f'{layers}, ' if layers else ''}C {chosen['strength']:g} (inner UA {100 * chosen['inner_ua']:.2f})"


def _scores(part: str, scores: Mapping[str, Any] | None) -> str:
    """The scores of a part of the corpus in a line; "" if there is no such part."""
    return f"  {part} WA {100 * scores['wa']:.2f}  UA {100 * scores['ua']:.2f}" if scores else ""
