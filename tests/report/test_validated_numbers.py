"""Validated models in the report: predictions, intervals and pairs; runs without them; notes on validation parts."""

import numpy as np
import pytest
from helpers.run_example import EPOCHS, TRUTH, write_fold, write_import, write_run
from sklearn.metrics import accuracy_score

from mmer_pipeline import paths
from mmer_pipeline.report import comparison_tables, pair_table, single_system_tables
from mmer_pipeline.report.build_report import make_report
from mmer_pipeline.report.imported_results import Import
from mmer_pipeline.report.markdown import markdown
from mmer_pipeline.report.methods import methods
from mmer_pipeline.report.report_content import Hole
from mmer_pipeline.report.report_page import html
from mmer_pipeline.report.table_rendering import as_markdown
from mmer_pipeline.scoring import statistics

CHOSEN_ON = [([0, 1], [0, 0]), ([0, 1], [0, 1]), ([0, 1], [1, 0])]  # the second epoch is the best
VALIDATED = {1: [0, 0, 0, 0], 2: [0, 1, 1, 1, 0, 0], 3: [1, 0]}  # unlike any epoch of metrics.jsonl


def write_validated(run, *, models=True, flipped=0, **settings):
    """Three folds with a validation part; the first `flipped` validated predictions of fold 2 say the other class."""
    for number in TRUTH:
        predicted = [1 - said if number == 2 and i < flipped else said for i, said in enumerate(VALIDATED[number])]
        write_fold(
            *(run, number, TRUTH[number], EPOCHS[number], CHOSEN_ON), validated=predicted if models else None,
            **{"validation": "speaker", **settings},
        )  # fmt: skip
    return run


def pooled(of):
    return [value for number in TRUTH for value in of[number]]


def test_validated_numbers_are_those_of_the_validated_predictions(tmp_path, monkeypatch):
    monkeypatch.setattr("mmer_pipeline.report.comparisons.FEWEST_CLUSTERS", 2)
    (system,) = make_report([write_validated(tmp_path / "r")]).systems
    validated = system.selections.validated
    assert [row.epoch for row in validated.folds] == [2, 2, 2]
    assert [row.wa for row in validated.folds] == [accuracy_score(TRUTH[k], VALIDATED[k]) for k in TRUTH]
    assert validated.summary["wa"].pooled == pytest.approx(accuracy_score(pooled(TRUTH), pooled(VALIDATED)))
    clusters = [f"{k}/d{k}{i // 2}" for k in TRUTH for i in range(len(TRUTH[k]))]
    counts = statistics.cluster_counts(np.array(pooled(TRUTH)), np.array(pooled(VALIDATED)), clusters, 2)
    assert validated.summary["wa"].interval_95 == statistics.bootstrap_intervals(counts)["wa"]
    assert validated.summary["wa"].interval_95 != system.selections.final.summary["wa"].interval_95


def test_an_average_of_epochs_is_told(tmp_path):
    report = make_report([write_validated(tmp_path / "r", average_best=3)])
    assert "mean of the weights after the 3 epochs of a fold with the highest validation WA" in markdown(report)
    protocol = dict(methods(report))["Data and protocol"]
    assert "“validated” results take the mean of the weights after the 3 epochs with its best WA." in protocol
    assert "mean of the weights" not in markdown(make_report([write_validated(tmp_path / "q")]))


def test_pairs_of_validated_models_where_every_system_has_them(tmp_path):
    first, second = write_validated(tmp_path / "a"), write_validated(tmp_path / "b", flipped=2, alpha=0.5)
    report = make_report([first, second])
    (pair,) = report.validated_pairs
    assert (pair.first, pair.second, pair.utterances) == ("a", "b", 12)
    difference = report.system("a").selections.validated.summary["wa"].pooled
    difference -= report.system("b").selections.validated.summary["wa"].pooled
    assert pair.metrics["wa"].difference == pytest.approx(difference)
    assert abs(difference) > 0
    assert report.pairs[0].metrics["wa"].difference == 0  # their last epochs agree
    assert make_report([first, write_run(tmp_path / "c", alpha=0.2)]).validated_pairs == ()
    imported = write_import(tmp_path / "theirs.csv")
    assert make_report([first, second], [Import(imported, "theirs")]).validated_pairs == ()


def test_every_format_shows_validated_intervals_and_pairs(tmp_path):
    runs = [write_validated(tmp_path / "a"), write_validated(tmp_path / "b", flipped=2, alpha=0.5)]
    report = make_report(runs)
    assert "validated WA pooled (95" in as_markdown(comparison_tables.selections(report))
    scores = as_markdown(single_system_tables.scores(report, report.systems[0]))
    assert "validated pooled (95" in scores
    assert "oracle pooled (95" not in scores
    table = pair_table.validated_pairs(report)
    assert "First − second, validated, in percentage points" in table.caption
    title = "The same differences between the validated models"
    assert title in markdown(report)
    assert title in html(report)
    assert report.as_json()["validated_pairs"][0]["metrics"]["wa"]["difference"] != 0
    without = make_report([write_run(tmp_path / "c")])
    assert title not in markdown(without)
    assert title not in html(without)


def test_runs_of_earlier_versions_keep_their_validated_numbers_and_name_the_command(tmp_path):
    report = make_report([write_validated(tmp_path / "r", models=False)])
    validated = report.systems[0].selections.validated
    assert [row.epoch for row in validated.folds] == [2, 2, 2]
    assert [row.wa for row in validated.folds] == [accuracy_score(TRUTH[k], EPOCHS[k][1]) for k in TRUTH]
    assert validated.summary["wa"].interval_95 is None
    (note,) = [note for note in report.notes if "not kept" in note]
    assert "`mmer-pipe train --run r --validation speaker --restart`" in note
    assert not [note for note in make_report([write_validated(tmp_path / "new")]).notes if "not kept" in note]


def test_predictions_of_a_validated_model_that_were_edited_make_a_hole(tmp_path):
    run = write_validated(tmp_path / "r")
    path = paths.fold(run, 2).validated_predictions
    path.write_text("edited")
    why = f"{path} has changed since it was written: mmer-pipe evaluate --run r --fold 2"
    assert make_report([run]).holes == (Hole("r", 2, why),)


def test_folds_that_ended_early_are_noted_and_show_their_last_epoch(tmp_path):
    settings = {"validation": "speaker", "patience": 1, "epochs": 3}
    for number, count in ((1, 2), (2, 3), (3, 2)):
        write_fold(tmp_path / "r", number, TRUTH[number], EPOCHS[number][:count], CHOSEN_ON[:count], **settings)
    report = make_report([tmp_path / "r"])
    assert [row.epoch for row in report.systems[0].selections.final.folds] == [2, 3, 2]
    note = "r: training ended early in 2 of 3 folds, after 2 to 3 of at most 3 epochs (`--patience 1`)"
    assert any(said.startswith(note) for said in report.notes)
    assert "final epoch" in as_markdown(single_system_tables.folds(report.systems[0]))
    whole = make_report([write_validated(tmp_path / "whole", epochs=3)])
    assert not [said for said in whole.notes if "ended early" in said]
    assert "final epoch" not in as_markdown(single_system_tables.folds(whole.systems[0]))


def test_validation_parts_that_share_dialogues_with_training_are_noted_once(tmp_path):
    facts = {"validation_overlap": {"dialogues": 28, "speakers": 0}}
    runs = [write_validated(tmp_path / name, facts=facts, alpha=alpha) for name, alpha in (("a", 0.1), ("b", 0.5))]
    (note,) = [note for note in make_report(runs).notes if "in common" in note]
    assert note.startswith("a, b: the validation part of a fold has up to 28 dialogues in common")
    apart = write_validated(tmp_path / "c", facts={"validation_overlap": {"dialogues": 0, "speakers": 0}})
    assert not [note for note in make_report([apart]).notes if "in common" in note]
    official = write_validated(tmp_path / "d", facts=facts, validation="session", folds="split")
    assert not [note for note in make_report([official]).notes if "in common" in note]


def test_a_system_without_validated_models_that_keeps_others_from_being_compared_is_named(tmp_path):
    validated = [write_validated(tmp_path / "a"), write_validated(tmp_path / "b", flipped=2, alpha=0.5)]
    imported = write_import(tmp_path / "theirs.csv")
    notes = make_report(validated, [Import(imported, "theirs")]).notes
    assert "Validated models are not compared with each other, because theirs has none." in notes
    assert not [note for note in make_report(validated).notes if "not compared with each other" in note]
    one = make_report(validated[:1], [Import(imported, "theirs")]).notes
    assert not [note for note in one if "not compared with each other" in note]
