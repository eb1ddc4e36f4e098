"""Rows of other corpora: means over models against a hand-made case, what is left out, and how a table shows them."""

from pathlib import Path

import pytest
from helpers.run_example import FACTS, LABELS, edit_json, predictions, write_run

from mmer_pipeline import paths, sealed_json
from mmer_pipeline.digests import digest_of_result
from mmer_pipeline.report.build_report import make_report
from mmer_pipeline.report.markdown import markdown
from mmer_pipeline.report.other_corpora_table import other_corpora
from mmer_pipeline.report.report_page import html
from mmer_pipeline.runs import RunRecord, trained_digests, write_predictions
from mmer_pipeline.scoring.metrics import score

TRUTH = [0, 0, 0, 1]  # in two dialogues


def write_scores(run, number, predicted, *, corpus="calls", truth=TRUTH, digest="m", manifest="/nowhere/calls.csv",
                 dialogue="d"):  # fmt: skip
    """Scores of a fold's made-up model on a made-up corpus."""
    fold = paths.fold(run, number)
    there = fold.on(corpus)
    there.directory.mkdir()
    rows = [
        [f"u{i}", str(number), f"s{i % 2}", f"{dialogue}{i % 2}", LABELS[right], LABELS[said],
         str(1 - said), str(said), ""]
        for i, (right, said) in enumerate(zip(truth, predicted, strict=True))
    ]  # fmt: skip
    write_predictions(there.predictions, LABELS, rows)
    evaluation = {
        "identity": RunRecord.read(fold.settings, "").digest,
        "labels": LABELS,
        "metrics": score(predictions(truth, predicted), LABELS),
        "corpus": corpus,
        "manifest": manifest,
        "inputs": {"manifest": digest},
        "classes": [LABELS[i] for i in sorted(set(truth))],
        "shared_speakers": [],
        "model_digest": digest_of_result(fold.weights),
        "predictions_digest": digest_of_result(there.predictions),
    }
    sealed_json.write(there.evaluation, evaluation)


@pytest.fixture
def run(tmp_path):
    """Three folds that were scored on two other corpora."""
    run = write_run(tmp_path / "mmer")
    for number, predicted in enumerate(([0, 0, 0, 1], [0, 0, 1, 1], [0, 0, 1, 0]), start=1):
        write_scores(run, number, predicted)
        write_scores(run, number, [1, 1, number % 2], corpus="read", truth=[0, 0, 0], dialogue="s")
    return run


def test_mean_and_deviation_are_over_models(run):
    calls, read = make_report([run]).other_corpora
    assert (calls.models, calls.utterances, calls.clusters, calls.classes) == (3, 4, 2, ("happy", "sad"))
    assert calls.summary["wa"].mean == pytest.approx((1 + 3 / 4 + 2 / 4) / 3)
    assert calls.summary["wa"].sd == pytest.approx(0.25)
    assert calls.summary["ua"].mean == pytest.approx((1 + (2 / 3 + 1) / 2 + (2 / 3) / 2) / 3)
    assert calls.recall == pytest.approx({"happy": 7 / 9, "sad": 2 / 3})
    assert read.classes == ("happy",)
    assert read.summary["ua"].mean == read.summary["wa"].mean == pytest.approx(1 / 9)


def test_the_numbers_of_the_folds_do_not_change(run, tmp_path):
    without = make_report([write_run(tmp_path / "elsewhere" / "mmer")])
    assert make_report([run]).systems == without.systems


def test_scores_of_other_weights_are_left_out_and_named(run):
    fold = paths.fold(run, 2)
    fold.weights.write_bytes(b"trained again")
    edit_json(fold.settings, lambda record: record.update(files=trained_digests(fold)))
    digest = digest_of_result(fold.weights)
    edit_json(fold.evaluation, lambda evaluation: evaluation.update(model_digest=digest))
    report = make_report([run])
    assert [row.models for row in report.other_corpora] == [2, 2]
    assert [row[1].text for row in other_corpora(report).rows] == ["2 of 3", "2 of 3"]
    assert any(
        "mmer: scores on calls are out of date; run `mmer-pipe evaluate --run mmer --manifest /nowhere/" in note
        for note in report.notes
    )


def test_scores_on_another_version_of_the_manifest_are_left_out(run, manifest):
    for number in (1, 2, 3):
        digest = manifest.digest if number < 3 else "before"
        write_scores(run, number, [0, 0, 0, 0], corpus="tones", digest=digest, manifest=str(manifest.path))
    report = make_report([run])
    assert [row.models for row in report.other_corpora if row.corpus == "tones"] == [2]
    assert any(f"evaluate --run mmer --manifest {manifest.path}`" in note for note in report.notes)


def test_the_model_that_holds_nothing_out_has_a_row_of_its_own(run):
    first = paths.fold(run, 1)
    record = RunRecord.read(first.settings, "")
    whole = paths.fold(run, 0)
    settings = type(record.settings)(**{**vars(record.settings), "fold": 0})
    RunRecord(settings, {**record.inputs, "held_out": ""}, FACTS).write(whole.settings)
    whole.model.mkdir()
    whole.weights.touch()
    write_scores(run, 0, [1, 1, 1, 1])
    rows = [row for row in make_report([run]).other_corpora if row.corpus == "calls"]
    assert [(row.trained_on, row.models, row.summary["wa"].sd) for row in rows] == [
        ("folds", 3, 0.25),
        ("everything", 1, None),
    ]


def test_the_table_says_what_the_other_corpus_lacks_and_gives_no_interval_from_two_dialogues(run):
    report = make_report([run])
    table = other_corpora(report)
    assert [group.title for group in table.groups] == [
        "calls: 4 utterances, 2 dialogues, 2 classes",
        "read: 3 utterances, 2 speakers, 1 class",  # it names no dialogues
    ]
    said = " ".join(table.notes)
    assert "calls: 2 dialogues are too few for an interval." in said
    assert "read: 2 speakers are too few for an interval." in said
    assert "read has only happy; the models also know sad, and predicting one of them is an error." in said
    assert "Guessing gives a UA of 50.00 on calls." in said
    assert [cell.text for cell in table.rows[0]][3] == "–"
    for page in (markdown(report), html(report)):
        assert "On other corpora" in page
        assert Path(report.other_corpora[0].manifest).name not in page  # a place, not a result
