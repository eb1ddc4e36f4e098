"""Send the numbers of training to TensorBoard, Weights & Biases or MLflow (`--track`), by accelerate's trackers.

A fold is a run of the tracker. All calls to a tracker are made by a thread for which training does not wait, so that a
server that fails or does not answer costs a warning and changes no result.
"""

import logging
import os
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from mmer_pipeline import files, paths
from mmer_pipeline.errors import UserError
from mmer_pipeline.runs import RunRecord
from mmer_pipeline.settings import Settings
from mmer_pipeline.systems.registry import short_name

if TYPE_CHECKING:
    from mmer_pipeline.training.job import Observer

TRACKERS = ("tensorboard", "wandb", "mlflow")  # each is also the name of its package and of the extra that installs it
PROJECT = "mmer-pipeline"  # of the runs in Weights & Biases; the experiment in MLflow
STEPS_BETWEEN_POINTS = 50  # optimiser steps between two points within an epoch
CLOSE_SECONDS = 60.0  # that a tracker has at the end of a fold for what it has not yet written
HELD_OUT, EVALUATION = "held_out", "evaluation"
# The columns of results in TensorBoard's table of hyper-parameters.
_SCORES = ("train/loss", "validation/wa", "validation/ua", f"{EVALUATION}/wa", f"{EVALUATION}/ua")
_NO_NAME = re.compile(r"[^/\w.\- ]")  # what MLflow does not allow in the name of a metric
_log = logging.getLogger(__name__)
_said: set[str] = set()  # warnings of this process

Warn = Callable[[str], None]


def check_trackers(names: Sequence[str]) -> None:
    """Check that the packages of these trackers are installed.

    Raises:
        UserError: one is not; the message says how to install it.
    """
    for name in names:
        if find_spec(name) is None:
            raise UserError(
                f"--track {name} requires the package {name}, which is not installed. "
                f"Run `pip install 'mmer-pipeline[{name}]'`."
            )


class Tracking:
    """A `training.job.Observer` that passes all calls on to another one, and the numbers to trackers."""

    def __init__(
        self,
        names: Sequence[str],
        settings: Settings,
        run: Path,
        observer: "Observer",
        *,
        show_held_out: bool = False,
        warn: Warn = _log.warning,
    ) -> None:
        """`names` are some of `TRACKERS`, or none.

        `show_held_out`: send the held-out part's scores after every epoch, and not only after the last one.
        """
        self.settings, self.observer, self.show_held_out = settings, observer, show_held_out
        self.clients = [_Client(name, run, settings.fold, warn) for name in dict.fromkeys(names)]
        self.steps = 0  # per epoch
        self.last_point = 0  # the step that was sent last

    def __enter__(self) -> "Tracking":
        return self

    def __exit__(self, *_: object) -> None:
        for client in self.clients:
            client.close()

    def step(self, progress: Any, steps: int, epochs: int) -> None:
        """See `training.job.Observer`; sends the mean losses of the epoch so far."""
        self.observer.step(progress, steps, epochs)
        self.steps = steps
        number = (progress.epoch - 1) * steps + progress.step
        if progress.step < steps and number - self.last_point >= STEPS_BETWEEN_POINTS:
            self.last_point = number
            ce, ctc = (total / max(1, progress.utterances) for total in (progress.ce_sum, progress.ctc_sum))
            alpha = self.settings.alpha
            self._send({"train": {"loss": ce + alpha * ctc, "ce": ce, "ctc": ctc if alpha else None}}, number)

    def epoch(self, record: dict[str, Any], epochs: int) -> None:
        """See `training.job.Observer`; sends the numbers of the line in metrics.jsonl."""
        self.observer.epoch(record, epochs)
        is_shown = self.show_held_out or record["epoch"] == epochs
        self._send(record if is_shown else {**record, HELD_OUT: None}, record["epoch"] * self.steps)

    def ran_out_of_memory(self, max_seconds: float) -> None:
        """See `training.job.Observer`."""
        self.observer.ran_out_of_memory(max_seconds)

    def stop_requested(self) -> bool:
        """See `training.job.Observer`."""
        return self.observer.stop_requested()

    def evaluation(self, evaluation: Mapping[str, Any]) -> None:
        """Send the scores in evaluation.json."""
        self._send(_scores(evaluation), None)

    def _send(self, values: Mapping[str, Any], step: int | None) -> None:
        for client in self.clients:
            client.log(dict(_numbers(values)), step)


def track_evaluation(run: Path, fold: int, evaluation: Mapping[str, Any], warn: Warn) -> None:
    """Send the scores in evaluation.json to the trackers that the fold was trained with, if any."""
    for name in _known_ids(paths.fold(run, fold)):
        client = _Client(name, run, fold, warn)
        client.log(dict(_numbers(_scores(evaluation))), None)
        client.close()


def _scores(evaluation: Mapping[str, Any]) -> dict[str, Any]:
    validated = evaluation.get("validated")
    also = {"validated": {"epoch": validated["epoch"], **validated["metrics"]}} if validated else {}
    return {EVALUATION: {**evaluation["metrics"], **also}}


def _numbers(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """The numbers in nested mappings, under names such as "validation/ua"; lists, such as confusions, are left out."""
    for key, value in values.items():
        name = prefix + _NO_NAME.sub("_", str(key))
        if isinstance(value, Mapping):
            yield from _numbers(value, f"{name}/")
        elif isinstance(value, int | float):
            yield name, value


class _Client:
    """A tracker's run for one fold; it is started with the first number."""

    def __init__(self, name: str, run: Path, fold: int, warn: Warn) -> None:
        self.name, self.run, self.fold, self.warn = name, run, paths.fold(run, fold), warn
        self.calls: SimpleQueue[tuple[dict[str, float], int | None] | None] = SimpleQueue()  # None: close
        self.thread: threading.Thread | None = None

    def log(self, values: dict[str, float], step: int | None) -> None:
        """Hand over numbers of an optimiser step; None: of the fold as a whole."""
        self.calls.put((values, step))
        if self.thread is None:
            self.thread = threading.Thread(target=self._work, name=f"track-{self.name}", daemon=True)
            self.thread.start()

    def close(self) -> None:
        """Wait until everything is written, for at most `CLOSE_SECONDS`."""
        if self.thread is None:
            return
        self.calls.put(None)
        self.thread.join(CLOSE_SECONDS)
        if self.thread.is_alive():
            self._say(f"{self.name} has not answered for {CLOSE_SECONDS:g} s")

    def _say(self, problem: str) -> None:
        text = (
            f"Warning: {problem}. The results are not affected, but {self.name} lacks numbers of {self.fold.directory}."
        )
        if problem not in _said:  # once for all folds of this process
            _said.add(problem)
            self.warn(text)

    def _work(self) -> None:
        try:
            tracker, call = None, self.calls.get()
            while call is not None:
                tracker = tracker or self._start(call[1])
                tracker.log(call[0], step=call[1])
                call = self.calls.get()
            if tracker is not None:
                tracker.finish()
        except Exception as error:  # whatever a tracker raises: training must not notice
            self._say(f"{self.name} failed ({type(error).__name__}: {str(error).strip().rstrip('.')})")

    def _start(self, first_step: int | None) -> Any:
        """Start a run of the tracker, or continue the fold's."""
        # The first call creates the database of MLflow, and tracking.json belongs to all trackers.
        with files.locked(paths.lock_of(self.run.parent / paths.TRACKING_NAME), wait=True):
            known = _known_ids(self.fold)
            record = RunRecord.read(self.fold.settings, "mmer-pipe train")
            tracker = _MAKE[self.name](self.run, record, known.get(self.name), first_step)
            tracker.main_process_only = False  # only the main process gets here; asking accelerate is not thread-safe
            tracker.start()
            if self.name not in known:
                settings = {"run": self.run.name, **asdict(record.settings)}
                _store_settings(tracker, {key: "none" if value is None else value for key, value in settings.items()})
                files.write_json(self.fold.tracking, {**known, self.name: _id_of(tracker)})
        return tracker


def _known_ids(fold: paths.FoldPaths) -> dict[str, str | None]:
    """The runs of trackers that belong to a fold: name of the tracker → id."""
    with suppress(UserError):
        known = files.read_json(fold.tracking, "mmer-pipe train --track")
        if isinstance(known, dict):
            return {name: known[name] for name in TRACKERS if name in known}
    return {}


def _tags(run: Path, record: RunRecord) -> dict[str, str]:
    settings = record.settings
    fold = paths.fold_name(settings.fold)
    return {"run": run.name, "system": short_name(settings.system), "seed": str(settings.seed), "fold": fold}


def _title(run: Path, record: RunRecord) -> str:
    return f"{run.name}/{paths.fold(run, record.settings.fold).directory.name}"


def _tensorboard(run: Path, record: RunRecord, _: str | None, first_step: int | None) -> Any:
    from accelerate.tracking import TensorBoardTracker

    directory = paths.fold(run, record.settings.fold).directory
    # What was written after the saved state, before training was interrupted, is replaced from that step.
    return TensorBoardTracker(paths.TENSORBOARD_NAME, str(directory), purge_step=first_step)


def _wandb(run: Path, record: RunRecord, known: str | None, _: int | None) -> Any:
    import wandb
    from accelerate.tracking import WandBTracker

    return WandBTracker(
        os.environ.get("WANDB_PROJECT", PROJECT), id=known, resume="allow", name=_title(run, record), group=run.name,
        tags=[f"{name}: {value}"[:64] for name, value in _tags(run, record).items()],  # of at most 64 characters
        dir=os.environ.get("WANDB_DIR", str(run.parent)), settings=wandb.Settings(console="off"),
    )  # fmt: skip


def _mlflow(run: Path, record: RunRecord, known: str | None, _: int | None) -> Any:
    import mlflow
    from accelerate.tracking import MLflowTracker

    if "MLFLOW_TRACKING_URI" not in os.environ:
        mlflow.set_tracking_uri(f"sqlite:///{(run.parent / paths.MLFLOW_NAME).absolute()}")
    return MLflowTracker(PROJECT, run_id=known, tags=_tags(run, record), run_name=_title(run, record))


_MAKE = {"tensorboard": _tensorboard, "wandb": _wandb, "mlflow": _mlflow}


def _store_settings(tracker: Any, settings: dict[str, Any]) -> None:
    """Store the settings as hyper-parameters."""
    if tracker.name != "tensorboard":
        tracker.store_init_configuration(settings)
        return
    # accelerate's way puts them in another directory, apart from the scores.
    from torch.utils.tensorboard.summary import hparams

    for summary in hparams(settings, dict.fromkeys(_SCORES, 0.0)):  # type: ignore[no-untyped-call]
        tracker.tracker.file_writer.add_summary(summary)


def _id_of(tracker: Any) -> str | None:
    """The id by which the tracker's run is continued; TensorBoard's is its directory."""
    ids: dict[str, Callable[[Any], str]] = {"wandb": lambda run: run.id, "mlflow": lambda run: run.info.run_id}
    return ids[tracker.name](tracker.tracker) if tracker.name in ids else None
