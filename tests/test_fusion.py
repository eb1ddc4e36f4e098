"""Late fusion: weights, the command, what is refused, when it is out of date, and its row in the report."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import write_tiny_corpus
from helpers.command_line import fail, succeed
from helpers.pipeline import extract, extract_for, quick_settings, train
from helpers.run_example import EPOCHS, TRUTH, edit_json, write_fold, write_run
from scipy.optimize import minimize_scalar

from mmer_pipeline import paths
from mmer_pipeline.errors import UserError
from mmer_pipeline.fusion import combine, make_fusion, read_fusion
from mmer_pipeline.fusion_weights import fit_weights
from mmer_pipeline.report.build_report import make_report
from mmer_pipeline.report.markdown import markdown
from mmer_pipeline.report.methods import methods_latex
from mmer_pipeline.report.run_results import evaluated_runs
from mmer_pipeline.runs import RunRecord, read_predictions
from mmer_pipeline.systems.registry import settings_for
from mmer_pipeline.training.evaluation import evaluate_fold, score_fold

RUNS = Path("runs")


def fuse(*names, run="both", given=()):
    return make_fusion([RUNS / name for name in names], RUNS / run, cache=Path("cache"), device="cpu", given=given)


def two_runs(**second):
    """Two made-up runs; of fold 2, the second gets the first four utterances wrong."""
    write_run(RUNS / "a")
    write_run(RUNS / "b", flipped=4, **{"system": "roberta", "alpha": 0.0, **second})


def rows_of(run="both"):
    return read_predictions(paths.fused_predictions(RUNS / run))


def test_combine_is_the_weighted_mean():
    fused = combine([np.array([[0.9, 0.1], [0.4, 0.6]]), np.array([[0.2, 0.8], [0.3, 0.7]])], (0.75, 0.25))
    assert fused == pytest.approx(np.array([[0.725, 0.275], [0.375, 0.625]]))


def test_weights_are_where_the_derivative_of_the_cross_entropy_is_zero():
    first = np.array([[0.9, 0.1], [0.9, 0.1], [0.1, 0.9]])
    weights = fit_weights([first, np.full((3, 2), 0.5)], np.array([0, 0, 0]))
    # 2 · 0.4 / (0.5 + 0.4 w) = 0.4 / (0.5 − 0.4 w), so w = 0.5 / 1.2
    assert weights == pytest.approx((5 / 12, 7 / 12), abs=1e-6)


def test_weights_are_those_that_scipy_finds():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, 80)
    parts = [rng.dirichlet(np.ones(3) + 2 * bonus * np.eye(3)[label]) for bonus in (1, 2) for label in truth]
    first, second = np.array(parts[:80]), np.array(parts[80:])
    at = np.arange(80), truth
    best = minimize_scalar(
        lambda w: -np.log(w * first[at] + (1 - w) * second[at]).mean(), bounds=(0, 1), method="bounded",
        options={"xatol": 1e-9},
    ).x  # fmt: skip
    assert fit_weights([first, second], truth)[0] == pytest.approx(best, abs=1e-4)


def test_an_impossible_class_that_was_right_leaves_finite_weights():
    weights = fit_weights([np.array([[0.0, 1.0]]), np.array([[0.0, 1.0]])], np.array([0]))
    assert weights == pytest.approx((0.5, 0.5))


def test_equal_weights_give_the_mean_of_the_predictions_files():
    two_runs()
    found, computed = fuse("a", "b")
    assert computed
    assert found.fused.validation is None
    assert found.fused.weights == ((0.5, 0.5),) * 3
    rows = [row for row in rows_of() if row["fold"] == "2"]
    # Where both say the same, 0.8; where they differ, (0.8 + 0.2) / 2, and the first class.
    assert [float(row["probability_happy"]) for row in rows] == [0.5, 0.5, 0.5, 0.5, 0.8, 0.8]
    assert [row["prediction"] for row in rows] == ["happy"] * 6
    assert [row["utterance_id"] for row in rows] == [f"2u{i}" for i in range(6)]
    assert len(rows_of()) == sum(map(len, TRUTH.values()))


def test_fusing_again_is_up_to_date_until_a_member_or_the_list_changes():
    two_runs()
    fuse("a", "b")
    assert not fuse("a", "b")[1]
    write_run(RUNS / "b", flipped=1, system="roberta", alpha=0.0)
    with pytest.raises(UserError, match=r"b has been trained or evaluated again.*mmer-pipe fuse a b --run both"):
        read_fusion(RUNS / "both")
    assert fuse("a", "b")[1]
    assert fuse("b", "a")[1]
    paths.fused_predictions(RUNS / "both").write_text("")
    with pytest.raises(UserError, match="is missing or has changed"):
        read_fusion(RUNS / "both")
    assert fuse("b", "a")[1]


def test_given_weights_are_used_in_their_ratio_and_told():
    two_runs()
    fuse("a", "b")
    shown = succeed("fuse", "a", "b", "--run", "both", "--weights", "1.5,0.5")
    assert "given weights: MMER (α = 0.1) 0.75, RoBERTa (frozen) 0.25." in shown.output
    parts = [read_predictions(paths.fold(RUNS / name, 2).predictions) for name in "ab"]
    of_fold = [row for row in rows_of() if row["fold"] == "2"]
    for row, one, other in zip(of_fold, *parts, strict=True):
        expected = 0.75 * float(one["probability_happy"]) + 0.25 * float(other["probability_happy"])
        assert float(row["probability_happy"]) == pytest.approx(expected, abs=1e-6)
    assert not fuse("a", "b", given=(3, 1))[1]
    write_run(RUNS / "b", flipped=1, system="roberta", alpha=0.0)
    with pytest.raises(UserError, match=r"mmer-pipe fuse a b --run both --weights 0\.75,0\.25"):
        read_fusion(RUNS / "both")


def test_weights_that_are_not_given_any_more_are_equal_again():
    two_runs()
    assert fuse("a", "b", given=(1, 0.6))[1]
    found, computed = fuse("a", "b")
    assert computed
    assert found.fused.described == "equal weights"


@pytest.mark.parametrize("given", [(1,), (1, 2, 3), (1, -0.5), (0, 0), (float("nan"), 1)])
def test_weights_that_are_not_one_for_each_run_are_refused(given):
    two_runs()
    with pytest.raises(UserError, match=r"--weights: expected 2 numbers, one for each run.*--weights 1,0\.6"):
        fuse("a", "b", given=given)


def test_words_as_weights_are_refused():
    assert "expected numbers separated by commas, such as 1,0.6, found 'half'" in fail(
        "fuse", "a", "b", "--run", "both", "--weights", "half", code=2
    )


@pytest.mark.parametrize(
    ("second", "said"),
    [
        ({"seed": 2}, r"different seeds \(1 and 2\)\. .*\n  mmer-pipe train --run b .*--system roberta"),
        ({"folds": "speaker"}, r"different folds \(session and speaker\)"),
        ({"inputs": {"manifest": "other"}}, "different versions of the manifest"),
        ({"folds_trained": (1, 3)}, r"b lacks folds that the others have: 2\..*\n  mmer-pipe train --run b --fold 2"),
    ],
    ids=["seed", "folds", "manifest", "missing"],
)
def test_runs_that_do_not_match_are_refused_with_the_command(second, said):
    write_run(RUNS / "a")
    settings = {"system": "roberta", "alpha": 0.0, **second}
    for number in settings.pop("folds_trained", (1, 2, 3)):
        write_fold(RUNS / "b", number, TRUTH[number], EPOCHS[number], **settings)
    with pytest.raises(UserError, match=f"(?s){said}"):
        fuse("a", "b")
    assert not paths.fusion(RUNS / "both").exists()


def test_other_labels_are_refused():
    two_runs()
    for number in TRUTH:
        fold = paths.fold(RUNS / "b", number)
        for path in (fold.settings, fold.evaluation):
            edit_json(path, _reverse_labels)
        record = RunRecord.read(fold.settings, "")
        edit_json(fold.settings, lambda value, record=record: value.update(identity=record.digest))
        edit_json(fold.evaluation, lambda value, record=record: value.update(identity=record.digest))
    with pytest.raises(UserError, match=r"different labels \(happy, sad and sad, happy\)"):
        fuse("a", "b")


def _reverse_labels(value):
    value.get("inputs", value)["labels"].reverse()
    if "metrics" in value:
        value["metrics"]["confusion"] = [row[::-1] for row in value["metrics"]["confusion"][::-1]]


def test_held_out_parts_of_other_utterances_are_refused():
    two_runs()
    write_fold(RUNS / "b", 3, [1, 0, 1], [[1, 0, 1]], system="roberta", alpha=0.0)
    with pytest.raises(UserError, match=r"Fold 3 of b holds out other utterances or labels.*--fold 3.*--restart"):
        fuse("a", "b")


def test_the_command_refuses_what_is_no_pair_of_runs():
    two_runs()
    assert "at least two different runs, found: a, a" in fail("fuse", "a", "a", "--run", "both")
    assert "There is no run c in runs" in fail("fuse", "a", "c", "--run", "both")
    assert "is a trained run. Choose another --run" in fail("fuse", "a", "b", "--run", "b")
    (RUNS / "a" / "fold-1" / "evaluation.json").unlink()
    assert "mmer-pipe evaluate --run a --fold 1" in fail("fuse", "a", "b", "--run", "both")


@pytest.mark.parametrize(
    "command",
    [("predict", "x.wav", "--model", "both"), ("pack", "both"), ("evaluate", "--run", "both"),
     ("fuse", "a", "both", "--run", "all")],
    ids=lambda words: words[0],
)  # fmt: skip
def test_a_fusion_has_no_model(command):
    two_runs()
    fuse("a", "b")
    assert "is a fusion of runs, which has predictions but no model" in fail(*command)


@pytest.mark.parametrize(
    "command", [("train", "--run", "cai"), ("cv", "--systems", "roberta,cai")], ids=["train", "cv"]
)
def test_nothing_is_trained_into_a_fusion(command, manifest):
    two_runs()
    fuse("a", "b", run="cai")
    assert "runs/cai is a fusion of runs" in fail(*command)
    assert not (RUNS / "cai" / "fold-1").exists()


def test_the_report_shows_a_fusion_as_a_row_with_intervals_and_pairs(monkeypatch):
    monkeypatch.setattr("mmer_pipeline.report.comparisons.FEWEST_CLUSTERS", 2)
    two_runs()
    result = succeed("fuse", "a", "b", "--run", "both")
    assert "Fusion of MMER (α = 0.1) and RoBERTa (frozen): 3 folds, equal weights." in result.stdout
    report = make_report([RUNS / "both"])  # its members are added
    assert {system.name for system in report.systems} == {"a", "b", "both"}
    fused = report.system("both")
    assert fused.title == "Fusion of MMER (α = 0.1) and RoBERTa (frozen)"
    assert fused.imported is None
    assert fused.is_complete
    summary = fused.selections.final.summary["wa"]
    right = sum(row["truth"] == row["prediction"] for row in rows_of())
    assert summary.pooled == pytest.approx(right / len(rows_of()))
    assert summary.interval_95 is not None
    assert {frozenset((pair.first, pair.second)) for pair in report.pairs} >= {
        frozenset(("a", "both")), frozenset(("b", "both")),
    }  # fmt: skip
    text = markdown(report)
    assert "both: the mean of the probabilities of a, b, equal weights." in text
    assert "imported" not in text
    assert fused.title in text
    assert r"\cite{kittler1998}" in methods_latex(report)
    written = json.loads(json.dumps(report.as_json(), default=str))
    assert next(s for s in written["systems"] if s["name"] == "both")["fused"]["members"] == ["a", "b"]


def test_the_report_of_all_runs_names_the_command_for_a_fusion_that_is_out_of_date():
    two_runs()
    fuse("a", "b")
    write_run(RUNS / "a", flipped=2)
    assert evaluated_runs(RUNS) == ["a", "b", "both"]
    report = make_report([RUNS / name for name in evaluated_runs(RUNS)])
    assert {system.name for system in report.systems} == {"a", "b"}
    (hole,) = report.holes
    assert hole.run == "both"
    assert "mmer-pipe fuse a b --run both" in hole.why


def test_weights_are_fitted_on_the_validation_part_alone(tiny_text, tiny_speech):
    manifest = write_tiny_corpus(repeats=2)
    extract(manifest, tiny_text, tiny_speech)
    mmer = replace(quick_settings(tiny_text, tiny_speech), validation="speaker")
    shared = {name: getattr(mmer, name) for name in ("text_encoder", "speech_encoder", "fold", "validation")}
    runs = {"a": mmer, "b": settings_for("probe", **shared)}
    for name, settings in runs.items():
        extract_for(settings, manifest)
        train(settings, manifest, run=RUNS / name)
        evaluate_fold(RUNS / name, 1, cache=Path("cache"), device="cpu")
    found, _ = fuse("a", "b")
    assert found.fused.validation == "speaker"
    parts = []
    for name in runs:
        record = RunRecord.read(paths.fold(RUNS / name, 1).settings, "")
        scored = score_fold(RUNS / name, record, cache=Path("cache"), device="cpu", part="validation")
        assert scored.predictions.utterance_ids == tuple(
            manifest.utterances[position].utterance_id for position in scored.fold.validation
        )
        parts.append(scored.predictions)
    assert found.fused.weights == (fit_weights([part.probabilities for part in parts], parts[0].truth),)
    members = [read_predictions(paths.fold(RUNS / name, 1).predictions) for name in runs]
    for row, *of in zip(rows_of(), *members, strict=True):
        column = next(name for name in row if name.startswith("probability_"))
        expected = sum(w * float(cells[column]) for w, cells in zip(found.fused.weights[0], of, strict=True))
        assert float(row[column]) == pytest.approx(expected, abs=2e-6)


def test_without_the_same_validation_part_in_all_runs_weights_are_equal():
    chosen = [([0, 1], [0, 1])] * 3
    for name, validation in {"a": "speaker", "b": "0.1"}.items():
        for number in TRUTH:
            write_fold(RUNS / name, number, TRUTH[number], EPOCHS[number], chosen, validation=validation)
    assert fuse("a", "b")[0].fused.validation is None
