"""Jobs in worker processes, with another `run_job`: deaths, failures, busy folds, stops, GPUs."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import dask
import pytest

from mmer_pipeline import cross_validation
from mmer_pipeline.cluster.connect import local_workers
from mmer_pipeline.cross_validation import CrossValidation, Job, JobResult, Outcome, Workspace
from mmer_pipeline.errors import Busy, UserError
from mmer_pipeline.settings import Settings
from stages.cli import main
from stages.cv_progress import CrossValidationProgress
from stages.shared_options import Common

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def workers():
    """Two worker processes."""
    with local_workers(2, devices=["7", "8"]) as client:
        yield client


class Watcher:
    """An observer that takes notes."""

    def __init__(self, stop_after=None):
        self.events, self.stop_after = [], stop_after

    def started(self, job):
        self.events.append(("started", job.name, job.settings.fold))

    def waiting(self, job):
        self.events.append(("waiting", job.name, job.settings.fold))

    def ended(self, outcome):
        self.events.append((outcome.state, outcome.job.name, outcome.job.settings.fold))

    def message(self, text):
        self.events.append(("message", text, None))

    def tick(self):
        pass

    def stop_requested(self):
        return sum(event[0] == "started" for event in self.events) == self.stop_after


def pretend(job, workspace):
    """Stands for `cross_validation.run_job` in a worker process: what it does is in the job's name."""
    if job.name == "dies":
        time.sleep(0.2)
        os._exit(3)
    if job.name == "dies-once" and not (workspace.runs / "died").exists():
        (workspace.runs / "died").touch()
        time.sleep(0.2)
        os._exit(3)
    if job.name == "breaks":
        raise ZeroDivisionError("by nothing")
    if job.name == "refused":
        raise UserError("Not like this.\nBut like that.")
    if job.name == "busy" and (workspace.runs / "busy").exists():
        raise Busy("Another process is working.")
    if job.name == "long":
        while workspace.cv_id not in cross_validation._stopped:
            time.sleep(0.05)
        raise UserError("Stopped.")
    time.sleep(0.2)
    return JobResult(True, 0.5, 0.25, 1.0)


@pytest.fixture
def outcomes_of(monkeypatch, tmp_path):
    """A function that runs jobs of these names with `pretend`."""
    monkeypatch.setattr(cross_validation, "run_job", pretend)
    monkeypatch.setattr(cross_validation, "RETRY_SECONDS", 0.2)

    def run(client, *names, watcher=None):
        workspace = Workspace.at(
            Path("m.csv"), Path("c"), Path(), device="cpu", save_seconds=1, keep_state=False, restart=False
        )
        jobs = [Job(name, Settings(fold=number)) for number, name in enumerate(names, start=1)]
        return CrossValidation(client, workspace, watcher or Watcher(), resources={}).run(jobs)

    return run


def test_a_job_whose_worker_died_is_tried_again_a_few_times(workers, outcomes_of):
    watcher = Watcher()
    outcomes = outcomes_of(workers, "dies", *["well"] * 6, "dies-once", "well", watcher=watcher)
    assert [outcome.state for outcome in sorted(outcomes, key=lambda outcome: outcome.job.settings.fold)] == [
        *("failed", *["done"] * 8),
    ]
    assert sum("was lost. Its work is given" in text for kind, text, _ in watcher.events if kind == "message") == 4
    log = Path("dies/fold-1/failure.log")
    [message] = [outcome.message for outcome in outcomes if outcome.state == "failed"]
    assert "worker process died, or could not be reached any more, 3 times" in message
    assert str(log) in message
    assert log.read_text().count(" was lost\n") == 3


def test_what_nobody_foresaw_leaves_its_traceback_and_what_a_user_can_mend_its_message(workers, outcomes_of):
    broken, refused, well = sorted(
        outcomes_of(workers, "breaks", "refused", "well"), key=lambda outcome: outcome.job.settings.fold
    )
    log = Path("breaks/fold-1/failure.log")
    assert broken.message.startswith("ZeroDivisionError: by nothing\n")
    assert str(log) in broken.message
    assert "in pretend" in log.read_text()
    assert refused.message == "Not like this.\nBut like that."
    assert well == Outcome(well.job, "done", JobResult(True, 0.5, 0.25, 1.0))
    assert broken.as_dict() == {
        "run": "breaks", "system": "mmer", "seed": 1, "fold": 1, "state": "failed", "message": broken.message,
    }  # fmt: skip


def refuse_or_break(job, workspace):
    """Stands for `cross_validation.run_job`: two kinds of errors, by the seed."""
    if job.settings.seed == 1:
        raise UserError("Not like this.")
    raise ZeroDivisionError("by nothing")


@pytest.mark.slow
def test_the_command_prints_no_traceback_of_an_error_in_a_worker_process(monkeypatch, capfd, corpus, encoders):
    """The worker starts as it does for a user, with Dask's own logging, and writes to the captured standard error."""
    monkeypatch.setattr(cross_validation, "run_job", refuse_or_break)
    with dask.config.set({"distributed.worker.multiprocessing-method": "spawn"}), pytest.raises(SystemExit):
        main.main(["cv", "--systems", "roberta", "--seeds", "1,2", "--fold", "1", *encoders])
    said = capfd.readouterr().err
    assert "Not like this." in said
    assert "ZeroDivisionError: by nothing\n    The traceback is in" in said
    assert "Traceback" not in said
    assert "Compute Failed" not in said


class OtherProcess(Watcher):
    """A watcher, and a process that works on the busy fold until two other jobs have ended."""

    def ended(self, outcome):
        super().ended(outcome)
        if sum(event[0] == "done" for event in self.events) == 2:
            Path("busy").unlink()


def test_a_fold_on_which_another_process_works_lets_the_others_pass_and_is_tried_again(workers, outcomes_of):
    """However long anything takes: the fold cannot end before the two others have ended."""
    Path("busy").touch()
    watcher = OtherProcess()
    outcomes = outcomes_of(workers, "busy", "well", "well", watcher=watcher)
    assert [(outcome.job.name, outcome.state) for outcome in outcomes] == [
        *[("well", "done")] * 2,
        ("busy", "done"),
    ]
    states = [event[0] for event in watcher.events if event[1] == "busy"]
    assert states[:2] == ["started", "waiting"]
    assert states == ["started", "waiting"] * (len(states) // 2 - 1) + ["started", "done"]


def test_a_stop_ends_running_jobs_and_begins_no_other(workers, outcomes_of):
    watcher = Watcher(stop_after=2)
    outcomes = outcomes_of(workers, "long", "long", "well", "well", watcher=watcher)
    assert [outcome.state for outcome in outcomes] == ["stopped"] * 4
    assert {outcome.job.name for outcome in outcomes[:2]} == {"well"}


def about_this_process(_):
    import torch

    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    return SimpleNamespace(
        pid=os.getpid(), threads=torch.get_num_threads(), device=os.environ["CUDA_VISIBLE_DEVICES"], handlers=handlers
    )


def test_every_worker_sees_a_gpu_of_its_own_and_leaves_ctrl_c_to_the_main_process(workers):
    workers.wait_for_workers(2)
    found = workers.gather([
        workers.submit(about_this_process, worker, workers=[worker], pure=False) for worker in workers.nthreads()
    ])  # fmt: skip
    assert sorted(worker.device for worker in found) == ["7", "8"]
    assert len({worker.pid for worker in found} | {os.getpid()}) == 3
    assert {handler for worker in found for handler in worker.handlers} == {signal.SIG_IGN}


def test_one_worker_computes_with_the_threads_that_train_has(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS")
    answer = subprocess.run(
        [sys.executable, "-c", "import torch; print(torch.get_num_threads())"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    new = dask.config.set({"distributed.worker.multiprocessing-method": "spawn"})  # it reads the variables at its start
    with new, local_workers(1, devices=["0"]) as client:
        assert client.submit(about_this_process, 0).result().threads == int(answer.stdout)
    assert "OMP_NUM_THREADS" not in os.environ  # Dask writes it there when it is not kept from it


def test_a_damaged_file_of_a_running_job_does_not_end_the_others(monkeypatch, tmp_path):
    monkeypatch.setattr("stages.cv_progress.interactive", lambda: True)
    job = Job("mmer", Settings(fold=1))
    metrics = job.paths(tmp_path).metrics
    metrics.parent.mkdir(parents=True)
    metrics.write_text('{"epoch": 1')
    with CrossValidationProgress(Common(tmp_path, tmp_path, "cpu", False, False, True), tmp_path, [job]) as progress:
        progress.started(job)
        assert not progress.bar.disable
        progress.tick()
