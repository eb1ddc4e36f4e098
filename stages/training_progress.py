"""Progress of training one fold: a bar within each epoch, and a line after it."""

import time
from typing import Any

import click

from mmer_pipeline.settings import Settings
from stages.progress import StopRequest, Work, duration
from stages.shared_options import Common, say


class TrainingProgress:
    """Shows the progress of a `training.loop.Trainer` on a terminal."""

    def __init__(self, common: Common, settings: Settings) -> None:
        self.common, self.settings = common, settings
        self.title = f"Fold {settings.fold}" if settings.fold else "All utterances"
        self.work: Work | None = None
        self.epoch_seconds: list[float] = []
        self.epoch_began = time.monotonic()
        self.stop = StopRequest()

    def __enter__(self) -> "TrainingProgress":
        self.stop.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._end_bar()
        self.stop.__exit__()

    def stop_requested(self) -> bool:
        """See `training.loop.Observer`."""
        return self.stop.requested

    def _end_bar(self) -> None:
        if self.work:
            self.work.__exit__()
            self.work = None

    def step(self, progress: Any, steps: int, epochs: int) -> None:
        """See `training.loop.Observer`."""
        if self.work is None:
            self.work = Work(self.common, "", transient=True).__enter__()
        seen = max(1, progress.utterances)
        ce, ctc = progress.ce_sum / seen, progress.ctc_sum / seen
        self.work.description = f"{self.title}, epoch {progress.epoch}/{epochs}: CE {ce:.3f}, CTC {ctc:.1f}"
        self.work.show(progress.utterances, round(progress.utterances * steps / max(1, progress.step)))

    def ran_out_of_memory(self, max_seconds: float) -> None:
        """See `training.loop.Observer`."""
        self._end_bar()
        say(
            self.common,
            f"{self.title}: ran out of memory; continuing with micro-batches of at most {max_seconds:.1f} s.",
        )

    def epoch(self, record: dict[str, Any], epochs: int) -> None:
        """See `training.loop.Observer`."""
        self._end_bar()
        now = time.monotonic()
        self.epoch_seconds.append(now - self.epoch_began)
        self.epoch_began = now
        if self.common.quiet:
            return
        train, held_out, validation = record["train"], record["held_out"], record["validation"]
        ctc = f"  CTC {train['ctc']:7.2f}" if train["ctc"] is not None else ""
        chosen = f"  validation WA {100 * validation['wa']:.2f}" if validation else ""
        scores = f"  held-out WA {100 * held_out['wa']:.2f}  UA {100 * held_out['ua']:.2f}" if held_out else ""
        left = sum(self.epoch_seconds) / len(self.epoch_seconds) * (epochs - record["epoch"])
        most = self.settings.epochs
        remaining = f"{'at most ' if self.settings.patience and left else ''}{duration(left)} left in this fold"
        click.echo(
            f"{self.title}  epoch {record['epoch']:>{len(str(most))}}/{most}  CE {train['ce']:.4f}{ctc}"
            f"{scores}{chosen}"
            f"  {record['speed']['utterances_per_second']:.1f} utterances/s  {remaining}",
            err=True,
        )
        if epochs < most:
            click.echo(
                f"{self.title}  ends here: the validation WA has not improved for {self.settings.patience} epochs",
                err=True,
            )
        if record["epoch"] == epochs:
            speed = record["speed"]
            click.echo(
                f"{self.title}  trained in {duration(sum(self.epoch_seconds))}, peak memory "
                f"{speed['peak_memory_gib']:.2f} GiB, micro-batches of at most {speed['max_batch_seconds']:.0f} s",
                err=True,
            )
