"""cv: its list of systems, its jobs in worker processes, what becomes of those that fail, and going on after a kill."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import click
import pytest
from click.testing import CliRunner

from mmer_pipeline import crossval, paths
from mmer_pipeline.cluster import local_workers
from mmer_pipeline.crossval import CrossValidation, Done, Job, Outcome, Place
from mmer_pipeline.errors import Busy, UserError
from mmer_pipeline.runs import read_metrics
from mmer_pipeline.settings import Settings
from mmer_pipeline.systems import NAMED_LISTS
from stages import cv
from stages.cli import main

REPOSITORY = Path(__file__).resolve().parents[1]


def invoke(*arguments):
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def succeed(*arguments):
    result = invoke(*arguments)
    assert result.exit_code == 0, result.stderr
    return result


def fail(*arguments, code=1):
    result = invoke(*arguments)
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return result.stderr


# --- the list of systems --------------------------------------------------------------------------------------


def test_an_entry_is_a_system_with_options_of_train_behind_colons():
    entry = cv.Entry.parse("mmer:alpha=0.01:no-gate:pooled=speech")
    assert (entry.system, entry.run) == ("mmer", "mmer-alpha-0.01-no-gate-pooled-speech")
    assert entry.options == {"alpha": 0.01, "gate": False, "pooled": "speech"}
    assert cv.Entry.parse("roberta:finetune-text").options == {"finetune_text": True}
    assert cv.Entry.parse("mmer").options == {}
    assert cv.Entry.parse("wav2vec2:speech-encoder=some/model").run == "wav2vec2-speech-encoder-some-model"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("mmre", "there is no system 'mmre'"),
        ("mmer:alhpa=1", "No such option '--alhpa'"),
        ("mmer:alpha=much", "not a valid float"),
        ("mmer:alpha=-1", "not in the range"),
        ("mmer:pooled=all", "not one of"),
        ("mmer:alpha", "requires an argument"),
        ("mmer:no-gate=1", "does not take a value"),
        ("mmer:fold=2", "No such option"),
        ("mmer:seed=2", "No such option"),
        ("mmer:system=cai", "No such option"),
        ("mmer:run=a", "No such option"),
        ("mmer:device=cpu", "No such option"),
        ("mmer:help", "No such option"),
        ("mmer:", "nothing stands behind a colon"),
        ("cai:no-gate", "System cai has no setting gate"),
        ("wav2vec2:finetune-text", "roberta has it"),
    ],
)
def test_an_entry_that_train_would_refuse_is_a_usage_error_that_names_it(text, said):
    shown = " ".join(fail("cv", "--systems", f"roberta,{text}", code=2).replace("│", " ").split())
    assert said.lower() in shown.lower()
    assert repr(text) in shown


@pytest.mark.parametrize(
    ("systems", "said"),
    [
        ("mmer,mmer", "'mmer' stands there twice"),
        ("mmer:text-encoder=a/b,mmer:text-encoder=a-b", "would be the same run"),
        ("mmer,,cai", "nothing stands between two commas"),
    ],
)
def test_the_same_run_twice_is_refused(systems, said):
    assert said in fail("cv", "--systems", systems, code=2)


@pytest.mark.parametrize("seeds", ["1,1", "one", "-1", "1,", "1.5"])
def test_seeds_are_different_whole_numbers(seeds):
    assert "--seeds" in fail("cv", "--seeds", seeds, code=2)


def test_named_lists_stand_for_their_entries_and_share_some():
    both = cv._entries(None, None, "table-1,ablations")
    texts = [entry.text for entry in both]
    assert len(texts) == len(set(texts)) < sum(len(NAMED_LISTS[name].split(",")) for name in ("table-1", "ablations"))
    assert {"roberta:finetune-text", "mmer:no-r-branch", "mmer:alpha=0"} <= set(texts)


def test_options_that_do_not_go_together_are_usage_errors():
    assert "give one" in fail("cv", "--jobs", 2, "--scheduler", "tcp://127.0.0.1:9", code=2)
    assert "--resource is for" in fail("cv", "--resource", "GPU=1", code=2)
    assert "NAME=AMOUNT" in fail("cv", "--scheduler", "tcp://x", "--resource", "GPU", code=2)


def test_cv_inherits_the_settings_of_train_in_mmer_toml(monkeypatch):
    Path("mmer.toml").write_text(
        'runs-dir = "r"\n[train]\nepochs = 7\nalpha = 0.5\nsystem = "cai"\nrun = "x"\nseed = 9\n'
        '[cv]\nsystems = ["mmer", "cai:alpha=1"]\nseeds = [1, 2]\nalpha = 0.25\n'
    )
    found = {}

    def look(*_, **__):
        found.update(click.get_current_context().params)
        raise UserError("That was all.")

    monkeypatch.setattr("mmer_pipeline.manifest.read_manifest", look)
    assert "That was all" in fail("cv", "--batch-size", 4)
    assert (found["epochs"], found["alpha"], found["batch_size"], found["seeds"]) == (7, 0.25, 4, [1, 2])
    assert [entry.text for entry in found["entries"]] == ["mmer", "cai:alpha=1"]


def corpus_jobs(corpus, systems, seeds=(1,), numbers=(), **options):
    base = {"text_encoder": "roberta-base", "speech_encoder": "facebook/wav2vec2-base", "folds": "session"}
    return cv._jobs(cv._entries(None, None, systems), seeds, numbers, corpus, {**base, **options})


def test_every_fold_of_all_systems_comes_first_with_the_first_seed(tmp_path, tiny_corpus):
    jobs = corpus_jobs(tiny_corpus(tmp_path), "mmer:alpha=0,cai", seeds=[3, 1])
    assert [(job.run, job.settings.fold) for job in jobs] == [
        *(("mmer-alpha-0-seed3", 1), ("mmer-alpha-0-seed3", 2), ("cai-seed3", 1), ("cai-seed3", 2)),
        *(("mmer-alpha-0", 1), ("mmer-alpha-0", 2), ("cai", 1), ("cai", 2)),
    ]
    assert [job.settings.alpha for job in jobs[:3]] == [0.0, 0.0, 0.1]


def test_two_entries_with_the_same_settings_are_refused_and_so_is_a_fold_that_is_not_there(tmp_path, tiny_corpus):
    corpus = tiny_corpus(tmp_path)
    with pytest.raises(click.UsageError, match=r"'mmer:alpha=0\.1' and 'mmer' have the same settings"):
        corpus_jobs(corpus, "mmer,mmer:alpha=0.1")
    with pytest.raises(UserError, match="There is no fold 7"):
        corpus_jobs(corpus, "mmer", numbers=[7])


def test_a_job_names_encoder_directories_by_their_whole_path(tmp_path, tiny_corpus):
    Path("encoder").mkdir()
    job = corpus_jobs(tiny_corpus(tmp_path), "mmer:text-encoder=encoder")[0]
    assert job.settings.text_encoder == str(tmp_path / "encoder")
    assert job.settings.speech_encoder == "facebook/wav2vec2-base"


def test_a_system_without_a_ctc_head_has_no_alpha_of_its_own():
    with pytest.raises(click.BadParameter, match="wav2vec2 has no CTC head"):
        cv.Entry.parse("wav2vec2:alpha=0.5")


def test_a_fold_that_is_named_twice_is_one_job_and_a_repeated_seed_is_refused(tmp_path, tiny_corpus):
    assert len(corpus_jobs(tiny_corpus(tmp_path), "mmer", numbers=[2, 2])) == 1
    assert "a seed stands there twice" in invoke("cv", "--seeds", "1,01").stderr


def test_two_encoders_whose_features_would_lie_in_one_file_are_refused(tiny_corpus, tiny_text, tmp_path):
    tiny_corpus(tmp_path)
    for name in ("a", "b"):
        shutil.copytree(tiny_text, f"{name}/model")
    result = invoke("cv", "--systems", "roberta:text-encoder=a/model,roberta:text-encoder=b/model")
    assert result.exit_code == 1
    assert "would lie in the same file" in result.stderr


# --- jobs in worker processes, with another `do` --------------------------------------------------------------


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
        (Path.cwd() / "busy").unlink(missing_ok=True)

    def ended(self, outcome):
        self.events.append((outcome.state, outcome.job.name, outcome.job.settings.fold))

    def tick(self):
        pass

    def stop_is_asked(self):
        return sum(event[0] == "started" for event in self.events) == self.stop_after


def pretend(job, place, ticket):
    """Stands for `crossval.do` in a worker process: what it does is in the job's name."""
    from distributed import get_worker

    get_worker().log_event(place.ident, ticket)
    if job.name == "dies":
        time.sleep(0.2)
        os._exit(3)
    if job.name == "breaks":
        raise ZeroDivisionError("by nothing")
    if job.name == "refused":
        raise UserError("Not like this.\nBut like that.")
    if job.name == "busy" and (place.runs / "busy").exists():
        raise Busy("Another process is working.")
    if job.name == "long":
        while place.ident not in crossval._stopped:
            time.sleep(0.05)
        raise UserError("Stopped.")
    time.sleep(0.2)
    return Done(True, 0.5, 0.25, 1.0)


@pytest.fixture
def outcomes_of(monkeypatch, tmp_path):
    """A function that runs jobs of these names with `pretend`."""
    monkeypatch.setattr(crossval, "do", pretend)
    monkeypatch.setattr(crossval, "BUSY_SECONDS", 0.2)

    def run(client, *names, watcher=None):
        place = Place.at(
            Path("m.csv"), Path("c"), Path(), device="cpu", save_seconds=1, keep_state=False, restart=False
        )
        jobs = [Job(name, Settings(fold=number)) for number, name in enumerate(names, start=1)]
        return CrossValidation(client, place, watcher or Watcher(), resources={}).run(jobs)

    return run


def test_a_worker_that_dies_takes_its_own_job_with_it_and_no_other(workers, outcomes_of):
    outcomes = outcomes_of(workers, "dies", *["well"] * 6, "dies", "well")
    assert [outcome.state for outcome in sorted(outcomes, key=lambda outcome: outcome.job.settings.fold)] == [
        *("failed", *["done"] * 6, "failed", "done"),
    ]
    assert all("worker process died" in outcome.message for outcome in outcomes if outcome.state == "failed")


def test_what_nobody_foresaw_leaves_its_traceback_and_what_a_user_can_mend_its_message(workers, outcomes_of):
    broken, refused, well = sorted(
        outcomes_of(workers, "breaks", "refused", "well"), key=lambda outcome: outcome.job.settings.fold
    )
    log = Path("breaks/fold-1/failure.log")
    assert broken.message.startswith("ZeroDivisionError: by nothing\n")
    assert str(log) in broken.message
    assert "in pretend" in log.read_text()
    assert refused.message == "Not like this.\nBut like that."
    assert well == Outcome(well.job, "done", Done(True, 0.5, 0.25, 1.0))
    assert broken.as_dict() == {
        "run": "breaks", "system": "mmer", "seed": 1, "fold": 1, "state": "failed", "message": broken.message,
    }  # fmt: skip


def test_a_fold_on_which_another_process_works_is_tried_again_after_the_others(workers, outcomes_of):
    Path("busy").touch()
    watcher = Watcher()
    outcomes = outcomes_of(workers, "busy", "well", "well", watcher=watcher)
    assert {outcome.state for outcome in outcomes} == {"done"}
    assert outcomes[-1].job.name == "busy"
    assert [event[0] for event in watcher.events if event[1] == "busy"] == ["started", "waiting", "started", "done"]


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


# --- the command ----------------------------------------------------------------------------------------------

SYSTEMS = "mmer:no-gate,roberta,wav2vec2"


@pytest.fixture(scope="module")
def encoders(tiny_text, tiny_speech):
    return ["--text-encoder", str(tiny_text), "--speech-encoder", str(tiny_speech)]


@pytest.fixture(scope="module")
def options(encoders):
    return [*encoders, "--epochs", "2", "--learning-rate", "1e-3", "--alpha", "0.01", "--device", "cpu"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory, tiny_corpus, options):
    """A directory with a corpus and a cross-validation of it that nothing disturbed, and what that printed."""
    directory = tmp_path_factory.mktemp("finished")
    tiny_corpus(directory)
    places = ["--cache-dir", directory / "cache", "--runs-dir", directory / "runs"]
    result = succeed(*places, "--json", "cv", "--systems", SYSTEMS, *options)
    return SimpleNamespace(directory=directory, runs=directory / "runs", result=json.loads(result.stdout))


@pytest.fixture
def corpus(finished, tmp_path):
    """The same corpus with its features, and no runs, in the working directory."""
    shutil.copytree(finished.directory / "cache", "cache")  # the manifest says where the recordings are
    return tmp_path


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
    for name in ("report.md", "report.html", "report.json", "table.tex"):
        assert (Path(finished.result["report"]) / name).is_file()
    report = json.loads((finished.runs / "report" / "report.json").read_text())
    assert [system["name"] for system in report["systems"]] == ["mmer-no-gate", "roberta", "wav2vec2"]
    assert report["holes"] == []


def test_a_fold_trained_by_train_has_the_digits_of_one_trained_by_cv(finished, corpus, encoders, options):
    succeed("train", *options, "--no-gate", "--fold", 2, "--run", "mmer-no-gate")
    mine, theirs = (
        [{**line, "speed": None} for line in read_metrics(paths.fold(runs / "mmer-no-gate", 2).metrics)]
        for runs in (Path("runs"), finished.runs)
    )
    assert mine == theirs


def test_one_worker_computes_with_the_threads_that_train_has(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS")
    answer = subprocess.run(
        [sys.executable, "-c", "import torch; print(torch.get_num_threads())"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    with local_workers(1, devices=["0"]) as client:
        assert client.submit(about_this_process, 0).result().threads == int(answer.stdout)
    assert "OMP_NUM_THREADS" not in os.environ  # Dask writes it there when it is not kept from it


def test_failing_jobs_leave_the_others_alone_and_the_report_names_the_holes(finished, corpus, options):
    """Of three kinds: other settings in the fold's directory, a loss that is no number, no features."""
    shutil.copytree(finished.runs, "runs")
    shutil.rmtree("runs/roberta")
    succeed("train", "--system", "roberta", *options, "--batch-size", 3, "--fold", 1, "evaluate", "--run", "roberta")
    systems = f"{SYSTEMS},wav2vec2:learning-rate=1e30:batch-size=2,cai:dtype=float32"
    diverging, featureless = "wav2vec2-learning-rate-1e30-batch-size-2", "cai-dtype-float32"
    paths.speech_features(Path("cache"), Path("manifest.csv"), options[3], "float32").mkdir()
    result = invoke("--json", "cv", "--systems", systems, *options)
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
    assert "The loss is not a number" in result.stderr
    assert f"  {featureless}, folds 1, 2:\n    Speech features" in result.stderr
    report = json.loads(Path("runs/report/report.json").read_text())
    assert [system["name"] for system in report["systems"]] == ["mmer-no-gate", "roberta", "wav2vec2"]
    holes = {(hole["run"], hole["fold"]) for hole in report["holes"]}
    assert holes == {("roberta", 1), *((run, fold) for run in (diverging, featureless) for fold in (1, 2))}


def test_other_settings_are_refused_once_and_leave_the_report_alone_until_a_restart_is_asked_for(
    finished, corpus, options
):
    shutil.copytree(finished.runs, "runs")
    before = Path("runs/report/report.json").read_bytes()
    command = ["cv", "--systems", "roberta", *options, "--batch-size", 3]
    result = invoke(*command)
    assert result.exit_code == 1
    assert result.stderr.count("begin such folds again with --restart") == 1
    assert "roberta, folds 1, 2:" in result.stderr
    assert "No report is written" in result.stderr
    assert Path("runs/report/report.json").read_bytes() == before
    succeed(*command, "--restart")
    models = [paths.fold(Path("runs/roberta"), fold).weights.stat().st_mtime_ns for fold in (1, 2)]
    succeed(*command, "--restart")  # whose settings are those asked for now: nothing begins again
    assert [paths.fold(Path("runs/roberta"), fold).weights.stat().st_mtime_ns for fold in (1, 2)] == models


def test_a_running_scheduler_is_used_with_its_resources(finished, corpus, options):
    from distributed import LocalCluster

    shutil.copytree(finished.runs, "runs")
    for fold in (1, 2):
        shutil.rmtree(f"runs/roberta/fold-{fold}")
    cluster = {"n_workers": 1, "threads_per_worker": 2, "host": "127.0.0.1", "dashboard_address": ":0"}
    with LocalCluster(processes=False, protocol="tcp://", resources={"GPU": 1}, **cluster) as there:
        where = ["--scheduler", there.scheduler_address, "--resource", "GPU=1"]
        succeed("cv", "--systems", SYSTEMS, *options, *where)
    assert same_results(Path("runs"), finished.runs)


def start(*options, **how):
    return subprocess.Popen(
        [sys.executable, "-m", "stages.cli", "--json", "cv", "--systems", SYSTEMS, *options],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **how,
    )  # fmt: skip


@pytest.mark.slow
def test_killed_and_stopped_at_any_moment_it_gives_the_same_report_in_the_end(finished, corpus, options):
    fold, moment = paths.fold(Path("runs/mmer-no-gate"), 1), random.uniform(0, 3)  # seconds after its first job began
    with start(*options) as process:
        while process.poll() is None and not fold.settings.is_file():
            time.sleep(0.02)
        time.sleep(moment)
        process.kill()
        process.communicate()  # its workers hold these pipes: they have died with it
    for path in Path("runs").glob("*/fold-2"):
        shutil.rmtree(path)  # so that there is something left to stop
    with start(*options, start_new_session=True) as process:
        while process.poll() is None and not paths.fold(Path("runs/mmer-no-gate"), 2).settings.is_file():
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the workers too
        said = process.communicate(timeout=100)[1].decode()
    assert process.returncode == 1
    assert "The same command goes on from there" in said
    assert "Traceback" not in said
    succeed("cv", "--systems", SYSTEMS, *options)
    assert same_results(Path("runs"), finished.runs), f"killed {moment:.2f} s after the first job began"


@pytest.mark.slow
def test_two_at_once_on_the_same_directories_share_the_work(finished, corpus, options):
    shutil.rmtree("cache/features")
    both = [start(*options), start(*options)]
    answers = [json.loads(process.communicate(timeout=300)[0]) for process in both]
    assert [process.returncode for process in both] == [0, 0]
    for jobs in zip(*(answer["jobs"] for answer in answers), strict=True):
        assert "done" in {job["state"] for job in jobs} <= {"done", "was done"}
    assert same_results(Path("runs"), finished.runs)
