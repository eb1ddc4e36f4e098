"""Trackers: TensorBoard's event files are read back; what a tracker does or fails to do never changes training."""

import json
import shutil
import threading
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from helpers.command_line import fail, succeed
from helpers.pipeline import Silent, metrics, quick_settings, train

from mmer_pipeline import paths, runs, tracking
from mmer_pipeline.training.evaluation import evaluate_fold

RUN = Path("runs/mmer")
FOLD = paths.fold(RUN, 1)

settings = pytest.fixture(quick_settings)


@pytest.fixture(autouse=True)
def _points(monkeypatch):
    monkeypatch.setattr(tracking, "STEPS_BETWEEN_POINTS", 1)
    monkeypatch.setattr(tracking, "_said", set())
    monkeypatch.setattr("mmer_pipeline.training.loop.STEPS_BETWEEN_READINGS", 1)


class StopsAt(Silent):
    """An observer that stops training after a step of an epoch."""

    def __init__(self, epoch, step):
        self.at, self.stops = (epoch, step), False

    def step(self, progress, *_):
        self.stops = self.stops or (progress.epoch, progress.step) == self.at

    def stop_requested(self):
        return self.stops


def tracked(settings, corpus, *names, observer=None, warnings=None, **options):
    warnings = [] if warnings is None else warnings
    with tracking.Tracking(names, settings, RUN, observer or Silent(), warn=warnings.append, **options) as tracks:
        train(settings, corpus, observer=tracks)


def scalars(directory=FOLD.directory / "tensorboard"):
    """TensorBoard's own reading of the event files: name → {step: value}."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(directory)).Reload()
    return {name: {event.step: event.value for event in events.Scalars(name)} for name in events.Tags()["scalars"]}


def numbers(record):
    return dict(tracking._numbers(record))


def test_tensorboard_has_the_numbers_of_metrics_jsonl_under_their_names(corpus, settings):
    settings = replace(settings, validation="speaker", batch_size=2)
    tracked(settings, corpus, "tensorboard")
    evaluation, _ = evaluate_fold(RUN, 1, cache=Path("cache"), device="cpu")
    tracking.track_evaluation(RUN, 1, evaluation, print)
    found = scalars()
    first, last = runs.read_metrics(FOLD.metrics)
    steps = max(found["train/ce"]) // 2
    assert steps > 1
    for name, value in numbers({**first, "held_out": None}).items():
        assert found[name][steps] == pytest.approx(value, rel=1e-6), name
    for name, value in numbers(last).items():
        assert found[name][2 * steps] == pytest.approx(value, rel=1e-6), name
    assert sorted(found["train/loss"]) == list(range(1, 2 * steps + 1))  # within epochs: losses alone
    assert list(found["validation/ua"]) == [steps, 2 * steps]
    assert found["evaluation/ua"][0] == pytest.approx(evaluation["metrics"]["ua"])
    assert found["evaluation/validated/ua"][0] == pytest.approx(evaluation["validated"]["metrics"]["ua"])


@pytest.mark.parametrize(("show", "epochs"), [(False, 1), (True, 2)])
def test_the_held_out_part_is_sent_after_the_last_epoch_unless_it_is_asked_for(corpus, settings, show, epochs):
    tracked(settings, corpus, "tensorboard", show_held_out=show)
    assert len(scalars()["held_out/ua"]) == epochs


def test_settings_are_the_hyper_parameters_of_tensorboard(corpus, settings):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    tracked(settings, corpus, "tensorboard")
    events = EventAccumulator(str(FOLD.directory / "tensorboard")).Reload()
    (name,) = [name for name in events.PluginTagToContent("hparams") if "start" in name]
    data = HParamsPluginData.FromString(events.PluginTagToContent("hparams")[name]).session_start_info.hparams
    assert (data["run"].string_value, data["system"].string_value) == ("mmer", "mmer")
    assert (data["alpha"].number_value, data["fold"].number_value) == (0.01, 1)
    assert data["precision"].string_value == "fp32"  # as it was resolved


def test_a_resumed_fold_continues_the_same_run_and_counts_no_step_twice(corpus, settings):
    from mmer_pipeline.errors import UserError

    with pytest.raises(UserError, match="Stopped"):
        tracked(settings, corpus, "tensorboard", observer=StopsAt(2, 1))
    tracked(settings, corpus, "tensorboard")
    found = scalars()
    steps = max(found["train/ce"]) // 2
    assert sorted(found["train/ce"]) == list(range(1, 2 * steps + 1))
    assert json.loads(FOLD.tracking.read_text()) == {"tensorboard": None}
    assert found["train/ce"][2 * steps] == pytest.approx(metrics()[1]["train"]["ce"], rel=1e-6)


class Broken:
    """A tracker whose server is gone, from the start or from the second number."""

    name, tracker = "wandb", SimpleNamespace(id="x")

    def __init__(self, when):
        self.when, self.numbers, self.answer = when, 0, threading.Event()

    def start(self):
        if self.when == "start":
            raise ConnectionError("no route to host.")

    def store_init_configuration(self, *_):
        pass

    def log(self, *_, **__):
        self.numbers += 1
        if self.when == "later" and self.numbers > 1:
            raise ConnectionError("no route to host.")
        if self.when == "hangs":
            self.answer.wait()

    def finish(self):
        pass


@pytest.mark.parametrize("when", ["start", "later", "hangs"])
def test_a_tracker_that_fails_is_one_warning_and_changes_no_digit(corpus, settings, monkeypatch, when):
    train(settings, corpus)
    untracked, weights = metrics(), FOLD.weights.read_bytes()
    identity = json.loads(FOLD.settings.read_text())["identity"]
    shutil.rmtree(RUN)
    tracker, warnings = Broken(when), []
    monkeypatch.setitem(tracking._MAKE, "wandb", lambda *_: tracker)
    monkeypatch.setattr(tracking, "CLOSE_SECONDS", 0.2 if when == "hangs" else 60)
    tracked(settings, corpus, "wandb", warnings=warnings)
    tracker.answer.set()
    assert metrics() == untracked
    assert FOLD.weights.read_bytes() == weights
    assert json.loads(FOLD.settings.read_text())["identity"] == identity
    problem = "has not answered for 0.2 s" if when == "hangs" else "failed (ConnectionError: no route to host)"
    assert warnings == [
        f"Warning: wandb {problem}. The results are not affected, but wandb lacks numbers of {FOLD.directory}."
    ]


def test_a_tracker_that_is_not_installed_is_named_before_anything_is_done(corpus, encoders, monkeypatch):
    monkeypatch.setattr(tracking, "find_spec", lambda _: None)
    for command in (["train"], ["cv", "--systems", "wav2vec2"]):
        said = fail(*command, *encoders, "--epochs", 1, "--track", "mlflow")
        assert "--track mlflow requires the package mlflow" in said
        assert "pip install 'mmer-pipeline[mlflow]'" in said
    assert not RUN.parent.exists()


def test_cv_tracks_the_folds_in_its_jobs(corpus, encoders):
    from distributed import LocalCluster

    options = [*encoders, "--epochs", 1, "--alpha", 0, "--learning-rate", 1e-3, "--device", "cpu", "--fold", 1]
    cluster = {"n_workers": 1, "threads_per_worker": 1, "host": "127.0.0.1", "dashboard_address": ":0"}
    with LocalCluster(processes=False, protocol="tcp://", **cluster) as workers:
        here = ["--scheduler", workers.scheduler_address]
        succeed("cv", "--systems", "wav2vec2", *options, *here, "--track", "tensorboard")
    fold = paths.fold(Path("runs/wav2vec2"), 1)
    evaluation = json.loads(fold.evaluation.read_text())["metrics"]
    found = scalars(fold.directory / "tensorboard")
    assert found["evaluation/ua"][0] == pytest.approx(evaluation["ua"])
    assert found["held_out/ua"].popitem()[1] == pytest.approx(evaluation["ua"])


def test_evaluate_sends_the_scores_to_the_trackers_of_train(corpus, encoders):
    options = [*encoders, "--epochs", 1, "--alpha", 0, "--device", "cpu", "--fold", 1, "--track", "tensorboard"]
    succeed("train", *options, "evaluate")
    found = scalars()
    assert found["evaluation/wa"][0] == pytest.approx(next(iter(found["held_out/wa"].values())))


def test_weights_and_biases_continues_a_run_offline(corpus, settings, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    warnings = []
    tracked(settings, corpus, "wandb", warnings=warnings)
    run = json.loads(FOLD.tracking.read_text())["wandb"]
    tracking.track_evaluation(RUN, 1, {"metrics": {"ua": 0.5}}, warnings.append)
    assert json.loads(FOLD.tracking.read_text())["wandb"] == run
    assert not warnings
    directories = sorted(Path("runs/wandb").glob(f"offline-run-*-{run}"))
    assert directories
    for directory in directories:
        assert (directory / f"run-{run}.wandb").stat().st_size > 100


@pytest.mark.filterwarnings("ignore")  # MLflow uses what SQLAlchemy calls deprecated
def test_mlflow_continues_a_run_in_a_database_in_the_runs_directory(corpus, settings, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    pytest.importorskip("sqlalchemy")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    warnings = []
    tracked(settings, corpus, "mlflow", warnings=warnings)
    tracking.track_evaluation(RUN, 1, {"metrics": {"ua": 0.5}}, warnings.append)
    assert not warnings
    run = mlflow.MlflowClient(f"sqlite:///{Path('runs/mlflow.db').absolute()}").get_run(
        json.loads(FOLD.tracking.read_text())["mlflow"]
    )
    assert run.info.run_name == "mmer/fold-1"
    assert run.info.status == "FINISHED"
    assert {"run": "mmer", "system": "mmer", "seed": "1", "fold": "1"}.items() <= run.data.tags.items()
    assert run.data.params["alpha"] == "0.01"
    assert run.data.metrics["train/loss"] == pytest.approx(metrics()[1]["train"]["loss"])
    assert run.data.metrics["evaluation/ua"] == 0.5
