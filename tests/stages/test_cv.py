"""The cv command: the files it leaves, jobs that fail, and continuing after Ctrl-C. Kills: see `faults`."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
from helpers.command_line import invoke, succeed
from helpers.sockets import listening

from mmer_pipeline import paths
from mmer_pipeline.features.speech_features import Frames
from mmer_pipeline.runs import read_metrics
from stages.cv_progress import CrossValidationProgress

REPOSITORY = Path(__file__).resolve().parents[2]


SYSTEMS = "mmer:no-gate,roberta,wav2vec2"


@pytest.fixture(scope="module")
def options(encoders):
    return [*encoders, "--epochs", "2", "--learning-rate", "1e-3", "--alpha", "0.01", "--device", "cpu"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory, tiny_corpus, options):
    """A directory with a corpus and a cross-validation of it that nothing disturbed, and what that printed."""
    directory = tmp_path_factory.mktemp("finished")
    tiny_corpus(directory)
    places = ["--cache-dir", directory / "cache", "--runs-dir", directory / "runs"]
    sockets, before, tick = set(), listening(os.getpid()), CrossValidationProgress.tick

    def watch(progress):
        sockets.update(listening(os.getpid()) - before)
        tick(progress)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CrossValidationProgress, "tick", watch)
        said = json.loads(succeed(*places, "--json", "cv", "--systems", SYSTEMS, *options).stdout)
    return SimpleNamespace(directory=directory, runs=directory / "runs", result=said, sockets=sockets)


@pytest.fixture
def features_only(finished, tmp_path):
    """The same corpus with its features, and no runs, in the working directory."""
    shutil.copytree(finished.directory / "cache", "cache")  # the manifest says where the recordings are
    return tmp_path


@pytest.fixture(scope="module")
def here():
    """The options that let jobs run in threads of this process, which needs no time to start."""
    from distributed import LocalCluster

    cluster = {"n_workers": 1, "threads_per_worker": 2, "host": "127.0.0.1", "dashboard_address": ":0"}
    with LocalCluster(processes=False, protocol="tcp://", resources={"GPU": 1}, **cluster) as workers:
        yield ["--scheduler", workers.scheduler_address, "--resource", "GPU=1"]


def what_it_says(report):
    """A report without times, places and what computed it."""
    if isinstance(report, dict):
        leave_out = {"facts", "training_seconds", "utterances_per_second"}
        return {key: what_it_says(value) for key, value in report.items() if key not in leave_out}
    return [what_it_says(value) for value in report] if isinstance(report, list) else report


def same_results(one, other):
    """Whether two directories of runs hold the same, digit for digit, apart from times."""
    names = sorted(str(path.relative_to(one)) for path in one.glob("*/fold-*/*.csv"))
    assert names == sorted(str(path.relative_to(other)) for path in other.glob("*/fold-*/*.csv"))
    for name in names:
        assert (one / name).read_bytes() == (other / name).read_bytes()
        lines = [
            [{**line, "speed": None} for line in read_metrics((root / name).with_name("metrics.jsonl"))]
            for root in (one, other)
        ]
        assert lines[0] == lines[1]
    reports = [what_it_says(json.loads((root / "report" / "report.json").read_text())) for root in (one, other)]
    assert reports[0] == reports[1]
    return True


def test_a_cross_validation_leaves_a_run_a_system_and_the_report(finished):
    assert {(job["run"], job["fold"], job["state"]) for job in finished.result["jobs"]} == {
        (run, fold, "done") for run in ("mmer-no-gate", "roberta", "wav2vec2") for fold in (1, 2)
    }
    for name in ("report.md", "report.html", "report.json", "table.tex", "table-column.tex"):
        assert (Path(finished.result["report"]) / name).is_file()
    report = json.loads((finished.runs / "report" / "report.json").read_text())
    assert sorted(system["name"] for system in report["systems"]) == ["mmer-no-gate", "roberta", "wav2vec2"]
    assert report["holes"] == []


def test_a_cross_validation_listens_on_the_loopback_alone(finished):
    """Seen several times a second while it ran."""
    assert {host for host, _ in finished.sockets} == {"127.0.0.1"}


def test_a_fold_trained_by_train_has_the_digits_of_one_trained_by_cv(finished, features_only, encoders, options):
    succeed("train", *options, "--no-gate", "--fold", 2, "--run", "mmer-no-gate")
    mine, theirs = (
        [{**line, "speed": None} for line in read_metrics(paths.fold(runs / "mmer-no-gate", 2).metrics)]
        for runs in (Path("runs"), finished.runs)
    )
    assert mine == theirs


def test_failing_jobs_leave_the_others_alone_and_the_report_names_the_holes(finished, features_only, options, here):
    """Of three kinds: other settings in the fold's directory, a loss that is no number, no features."""
    shutil.copytree(finished.runs, "runs")
    shutil.rmtree("runs/roberta")
    succeed("train", "--system", "roberta", *options, "--batch-size", 3, "--fold", 1, "evaluate", "--run", "roberta")
    systems = f"{SYSTEMS},wav2vec2:learning-rate=1e30:batch-size=2,cai:dtype=float32"
    diverging, featureless = "wav2vec2-learning-rate-1e30-batch-size-2", "cai-dtype-float32"
    Frames("speech", options[3], None, "float32").path(Path("cache"), Path("manifest.csv")).mkdir()
    result = invoke("--json", "cv", "--systems", systems, *options, *here)
    assert result.exit_code == 1
    states = {(job["run"], job["fold"]): job["state"] for job in json.loads(result.stdout)["jobs"]}
    assert states == {
        **{(run, fold): "was done" for run in ("mmer-no-gate", "wav2vec2") for fold in (1, 2)},
        **{("roberta", 1): "failed", ("roberta", 2): "done"},
        **{(run, fold): "failed" for run in (diverging, featureless) for fold in (1, 2)},
    }
    assert "5 of 10 jobs failed" in result.stderr
    assert "  roberta, fold 1:\n    " in result.stderr
    assert "other settings" in result.stderr
    assert "The loss or its gradient is not a number" in result.stderr
    assert f"  {featureless}, folds 1, 2:\n    Speech features" in result.stderr
    report = json.loads(Path("runs/report/report.json").read_text())
    assert sorted(system["name"] for system in report["systems"]) == ["mmer-no-gate", "roberta", "wav2vec2"]
    holes = {(hole["run"], hole["fold"]) for hole in report["holes"]}
    assert holes == {("roberta", 1), *((run, fold) for run in (diverging, featureless) for fold in (1, 2))}


def test_other_settings_are_refused_once_and_leave_the_report_alone_until_a_restart_is_asked_for(
    finished, features_only, options, here
):
    shutil.copytree(finished.runs, "runs")
    before = Path("runs/report/report.json").read_bytes()
    command = ["cv", "--systems", "roberta", *options, *here, "--batch-size", 3]
    result = invoke(*command)
    assert result.exit_code == 1
    assert result.stderr.count("Train such folds again with --restart") == 1
    assert "roberta, folds 1, 2:" in result.stderr
    assert "No report was written" in result.stderr
    assert Path("runs/report/report.json").read_bytes() == before
    succeed(*command, "--restart")
    models = [paths.fold(Path("runs/roberta"), fold).weights.stat().st_mtime_ns for fold in (1, 2)]
    succeed(*command, "--restart")  # whose settings are those asked for now: nothing begins again
    assert [paths.fold(Path("runs/roberta"), fold).weights.stat().st_mtime_ns for fold in (1, 2)] == models


def test_a_running_scheduler_is_used_with_its_resources(finished, features_only, options, here):
    shutil.copytree(finished.runs, "runs")
    for fold in (1, 2):
        shutil.rmtree(f"runs/roberta/fold-{fold}")
    succeed("cv", "--systems", SYSTEMS, *options, *here)
    assert same_results(Path("runs"), finished.runs)


def start(*options, **how):
    return subprocess.Popen(
        [sys.executable, "-m", "stages.cli", "--json", "cv", "--systems", SYSTEMS, *options],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **how,
    )  # fmt: skip


@pytest.mark.slow
def test_stopped_by_ctrl_c_it_gives_the_same_report_in_the_end(finished, features_only, options):
    heed = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # which programs in the background ignore
    with start(*options, start_new_session=True, preexec_fn=heed) as process:
        while process.poll() is None and not paths.fold(Path("runs/mmer-no-gate"), 1).settings.is_file():
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the workers too
        said = process.communicate(timeout=100)[1].decode()
    assert process.returncode == 1
    assert "The same command continues from there" in said
    assert "Traceback" not in said
    succeed("cv", "--systems", SYSTEMS, *options)
    assert same_results(Path("runs"), finished.runs)
