"""Few dialogues give no intervals, and a corpus that names no dialogues has speakers in their place."""

import re

import pytest
from helpers.run_example import TRUTH, write_fold, write_run

from mmer_pipeline import paths, sealed_json
from mmer_pipeline.digests import digest_of_result
from mmer_pipeline.report import comparison_tables, pair_table, report_plots
from mmer_pipeline.report.build_report import make_report
from mmer_pipeline.report.latex import latex_page
from mmer_pipeline.report.markdown import markdown
from mmer_pipeline.report.methods import methods_markdown
from mmer_pipeline.report.report_page import html


@pytest.mark.parametrize(("dialogues", "is_given"), [(19, False), (20, True)])
def test_intervals_that_cover_too_little_are_not_given_and_their_place_says_why(tmp_path, dialogues, is_given):
    truth = [0, 1] * dialogues
    for number, name in enumerate("ab"):
        said = [label if at % (5 + number) else 1 - label for at, label in enumerate(truth)]
        write_fold(tmp_path / name, 1, truth, [said], alpha=0.1 * number, facts={"folds": ["1"]})
    report = make_report([tmp_path / "a", tmp_path / "b"])
    intervals = [system.selections.final.summary["ua"].interval_95 for system in report.systems]
    assert [interval is not None for interval in intervals] == [is_given] * 2
    found = report.pairs[0].metrics["ua"]
    assert (found.interval_95 is not None, found.p is not None) == (is_given, True)
    table = comparison_tables.overview(report)
    assert table.columns[2].title == "UA pooled" + " (95\u00a0%)" * is_given
    assert pair_table.differences(report).columns[1].title == "difference" + " (95\u00a0%)" * is_given
    assert ("pooled: no interval, as there are too few dialogues." in table.caption) != is_given
    assert any("19 dialogues are too few for a bootstrap" in note for note in report.notes) != is_given


def run_without_dialogues(run, **settings):
    """Write a run in whose predictions every dialogue is the speaker, as in a corpus that names no dialogues."""
    write_run(run, **settings)
    for number in TRUTH:
        fold = paths.fold(run, number)
        fold.predictions.write_text(re.sub(rf"d{number}\d", f"s{number}", fold.predictions.read_text()))
        evaluation = sealed_json.read(fold.evaluation, "")
        sealed_json.write(fold.evaluation, {**evaluation, "predictions_digest": digest_of_result(fold.predictions)})
    return run


@pytest.mark.parametrize("fewest", [2, 20])
def test_a_corpus_without_dialogues_has_speakers_in_every_sentence(tmp_path, monkeypatch, fewest):
    monkeypatch.setattr("mmer_pipeline.report.comparisons.FEWEST_CLUSTERS", fewest)
    plots = ["systems", *(f"{name}-{kind}" for name in "ab" for kind in report_plots.PER_SYSTEM)]
    monkeypatch.setattr(report_plots, "figures", lambda _report: [(name, None) for name in plots])
    monkeypatch.setattr("mmer_pipeline.report.report_page.inline", lambda _figure, name: name)
    report = make_report([run_without_dialogues(tmp_path / "a"), run_without_dialogues(tmp_path / "b", alpha=0.5)])
    assert report.held_out.dialogues_are_speakers
    for written in (markdown(report), methods_markdown(report), latex_page(report), html(report)):
        for said in ("no dialogues (each speaker counts as one)", "The corpus names no dialogues"):
            written = written.replace(said, "")
        assert not re.findall("[^.]*dialogue[^.]*", written)
