"""The search: what its trials are scored on, what it leaves, how it goes on, and how trials end."""

import json
import time
import tomllib
from pathlib import Path

import pytest
from helpers.command_line import fail, succeed
from helpers.page_checks import Page

from mmer_pipeline import cross_validation, files, paths
from mmer_pipeline.cluster.connect import connect
from mmer_pipeline.cross_validation import JobResult, Workspace
from mmer_pipeline.errors import UserError
from mmer_pipeline.runs import read_metrics
from mmer_pipeline.tuning.results import chosen_settings, results_of, write_results
from mmer_pipeline.tuning.search import PROBLEM, Plan, Search, open_study
from mmer_pipeline.tuning.space import Dimension

STUDY = Path("runs/tune")
RATES = Dimension("learning_rate", "1e-5:1e-3:log", low=1e-5, high=1e-3, log=True)
GATE = Dimension("gate", "on,off", choices=(True, False))

# A line of metrics.jsonl, and the scores in it.
SCORES = {"confusion": [[1]], "utterances": 1, "wer": None, "cer": None}
EPOCH = {"train": {"ce": 1.0, "ctc": None}, "held_out": None, "speed": {"seconds": 1.0, "utterances_per_second": 1.0}}


def plan(*space, folds=(1,), **options):
    prune = options.pop("prune", False)
    return Plan("tones", "0123", "mmer", {"validation": "speaker", **options}, space or (RATES,), folds, prune)


@pytest.fixture(scope="module")
def client():
    with connect("threads") as client:
        yield client


@pytest.fixture
def search(client, monkeypatch):
    """A function that runs a search whose jobs give what `score(settings)` says."""

    def run(score, trials, the_plan=None, *, stop=lambda: False):
        def pretend(job, workspace):
            assert not workspace.score_held_out
            ua = score(job, workspace)
            return JobResult(True, ua / 2, ua, 1.0)

        monkeypatch.setattr(cross_validation, "run_job", pretend)
        the_plan = the_plan or plan()
        study, ended = open_study(STUDY, the_plan), []
        workspace = Workspace.at(
            Path("m.csv"), Path("c"), STUDY, device="cpu", save_seconds=1, keep_state=True, restart=True
        )
        work = Search(
            study, the_plan, client, workspace, resources={}, ended=ended.append, message=print, stop_requested=stop
        )
        work.run(trials)
        return study, ended

    return run


def rate(job, _):
    return job.settings.learning_rate * 100


def test_trials_vary_what_is_searched_and_the_best_is_that_with_the_highest_mean_over_the_folds(search):
    def score(job, _):
        return 0.1 * job.settings.fold + (0.5 if job.settings.gate else 0)

    the_plan = plan(RATES, GATE, folds=(1, 3), epochs=7)
    study, ended = search(score, 6, the_plan)
    results = results_of(study, the_plan)
    assert [trial.number for trial in ended] == list(range(6))
    assert results["counts"] == {"complete": 6, "pruned": 0, "failed": 0}
    assert {row["settings"]["gate"] for row in results["trials"]} == {True, False}
    assert results["best"]["ua"] == pytest.approx(0.2 + 0.5)  # mean of folds 1 and 3
    assert results["best"]["wa"] == pytest.approx(0.35)
    with_gate = [row["trial"] for row in results["trials"] if row["settings"]["gate"]]
    assert results["best"]["trial"] == with_gate[0]  # of equals, the first
    assert results["tied"] == len(with_gate) - 1
    assert results["importance"]["gate"] > 0.9


def test_a_search_goes_on_to_more_trials_and_draws_none_twice(search):
    search(rate, 3)
    study, ended = search(rate, 5)
    assert [trial.number for trial in ended] == [3, 4]
    assert len({trial.params["learning_rate"] for trial in study.trials}) == 5
    _, ended = search(rate, 5)
    assert ended == []


def test_an_interrupted_trial_is_continued_with_its_settings(search):
    began = Path("began")

    def score(job, workspace):
        began.touch()
        while workspace.cv_id not in cross_validation._stopped:
            time.sleep(0.02)
        raise UserError("Stopped in epoch 1.")

    study, ended = search(score, 4, stop=began.exists)
    assert ended == []
    (before,) = study.trials
    study, ended = search(rate, 1)
    (after,) = study.trials
    assert after.params == before.params
    assert after.state.name == "COMPLETE"


def test_another_search_under_the_same_name_is_refused_and_the_difference_named(search):
    search(rate, 1)
    for other, change in ((plan(GATE), "search"), (plan(epochs=3), "epochs: 100 → 3"), (plan(folds=(2,)), "fold")):
        with pytest.raises(UserError, match=change):
            open_study(STUDY, other)


def test_a_trial_that_fails_is_recorded_and_the_others_go_on(search):
    def score(job, _):
        if job.name == "trial-1":
            raise UserError("The loss is not a number in epoch 1.")
        return rate(job, _)

    study, _ = search(score, 4)
    assert [trial.state.name for trial in study.trials] == ["COMPLETE", "FAIL", "COMPLETE", "COMPLETE"]
    assert study.trials[1].user_attrs[PROBLEM] == "The loss is not a number in epoch 1."
    results = results_of(study, plan())
    write_results(results, plan(), STUDY)
    page = Page((STUDY / paths.TUNE_HTML).read_text()).text
    assert "The best of 4 trials" in page
    assert "3 complete, 0 pruned, 1 failed" in page
    assert "The loss is not a number in epoch 1." in page
    assert "The best validation UA is optimistic." in page
    assert "say that 4 trials were tried" in page


def test_a_search_whose_first_trials_all_fail_ends_with_the_reason(search):
    def score(*_):
        raise UserError("No features.")

    with pytest.raises(UserError, match=r"first 3 trials failed.*\n  No features\."):
        search(score, 50)


def test_a_trial_below_the_median_of_the_others_is_pruned(search, monkeypatch):
    """Its job goes on until it is asked to stop; the others have told their epochs before they end."""

    def score(job, workspace):
        number = int(job.run.removeprefix("trial-"))
        ua = 0.1 if number == 7 else 0.5 + number / 100
        scores = {**SCORES, "wa": ua, "ua": ua}
        lines = [{**EPOCH, "epoch": epoch, "validation": scores} for epoch in (1, 2)]
        files.write_text(job.paths(workspace.runs).metrics, "".join(map(files.json_line, lines)))
        deadline = time.monotonic() + (60 if number == 7 else 1)
        while time.monotonic() < deadline:
            if not cross_validation._stopped.isdisjoint(cross_validation._JobObserver(workspace.cv_id, job.run).ids):
                raise UserError("Stopped in epoch 2.")
            time.sleep(0.02)
        return ua

    monkeypatch.setattr(cross_validation, "TICK_SECONDS", 0.05)
    study, _ = search(score, 8, plan(prune=True))
    assert study.trials[7].state.name == "PRUNED"
    assert study.trials[0].state.name == "COMPLETE"
    assert "below the median" in study.trials[7].user_attrs[PROBLEM]


@pytest.mark.parametrize(("patience", "kept"), [(0, False), (2, True)])
def test_the_chosen_settings_name_a_validation_part_only_if_training_ends_by_it(patience, kept):
    the_plan = plan(GATE, RATES, patience=patience, r_branch=False)
    best = {"trial": 2, "ua": 0.5, "settings": {"gate": False, "learning-rate": 3e-4}}
    text = chosen_settings({"best": best, "counts": {"complete": 3}}, the_plan)
    assert "among 3 trials" in text
    table = tomllib.loads(text)
    assert table["cv"]["systems"] == "mmer:no-gate:no-r-branch"
    assert table["train"]["gate"] is False
    assert table["train"]["learning-rate"] == 3e-4
    assert ("validation" in table["train"]) == kept


def test_tune_finds_settings_that_cv_reads_and_never_scores_the_held_out_part(tmp_path, tiny_corpus, encoders):
    tiny_corpus(tmp_path, sessions=3)
    here = ["--device", "cpu", "--scheduler", "threads"]
    options = [*encoders, "--epochs", 1, "--alpha", 0, "--validation", "speaker", *here]
    search = ["--search", "learning-rate=1e-4,1e-3,1e30", "--search", "batch-size=2,4"]
    said = json.loads(succeed("--json", "tune", *options, *search, "--trials", 4).stdout)
    assert sum(said["counts"].values()) == 4
    for row in said["trials"]:
        assert (row["state"] == "failed") == (row["settings"]["learning-rate"] == 1e30)
        fold = paths.fold(STUDY / f"trial-{row['trial']}", 1)
        assert [record["held_out"] for record in read_metrics(fold.metrics)] in ([None], [])
        assert not any(path.exists() for path in (fold.model, fold.evaluation, fold.predictions, fold.state))
        for record in read_metrics(fold.metrics):
            assert record["validation"]["ua"] == pytest.approx(row["ua"])
    config = STUDY / paths.CONFIG_NAME
    succeed("train", "--config", config, "--device", "cpu", "--fold", 1)
    settings = json.loads(paths.fold(Path("runs/mmer"), 1).settings.read_text())["settings"]
    assert settings["learning_rate"] == said["best"]["settings"]["learning-rate"]
    assert settings["batch_size"] == said["best"]["settings"]["batch-size"]
    assert settings["validation"] == "none"


def test_what_cannot_be_searched_is_refused_before_anything_is_computed(manifest, encoders):
    assert "add --validation speaker" in fail("tune", *encoders, "--search", "dropout=0:0.5", code=2)
    usual = [*encoders, "--validation", "speaker"]
    assert "has no setting gate" in fail("tune", "--system", "wav2vec2", *usual, "--search", "gate=on,off")
    assert "has no setting alpha" in fail("tune", "--system", "wav2vec2", *usual, "--search", "alpha=0:1")
    assert "fold" in fail("tune", *usual, "--search", "dropout=0:0.5", "--fold", 9)
    assert not STUDY.exists()
