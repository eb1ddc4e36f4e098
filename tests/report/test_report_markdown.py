"""The Markdown report: what stands in it, what stands loudly, and what a cell may hold."""

import json
import re
from dataclasses import replace

import pytest
from helpers.report_example import (
    published_with_folds,
    report_example,
    with_comparable,
    with_system,
    without_last_fold,
)
from helpers.run_example import edit_json, write_run

from mmer_pipeline import paths
from mmer_pipeline.report import pair_table
from mmer_pipeline.report.build_report import make_report
from mmer_pipeline.report.markdown import markdown
from mmer_pipeline.report.wording import ALPHA_NOTE, claims_note


@pytest.fixture
def report(tmp_path, monkeypatch):
    """Two systems; their six dialogues are enough for an interval here."""
    monkeypatch.setattr("mmer_pipeline.report.comparisons.FEWEST_CLUSTERS", 2)
    return make_report([write_run(tmp_path / "a"), write_run(tmp_path / "b", alpha=0.5, flipped=2)])


@pytest.fixture
def everything():
    return report_example()


def section(text, title):
    return text.partition(f"## {title}")[2].partition("\n## ")[0]


def tables(text):
    """Every table of a Markdown text: its lines, each cut into cells at what is no escaped bar."""
    found = re.findall(r"(?:^\|.*\n)+", text, flags=re.MULTILINE)
    return [[re.split(r"(?<!\\)\|", line)[1:-1] for line in table.splitlines()] for table in found]


def test_the_headline_has_every_system_with_mean_and_deviation(report):
    headline = section(markdown(report), "All metrics")
    assert re.search(r"\| MMER \(α = 0\.1\) \| 77\.78 ± 25\.46 \|.* \| 3 \| 12 \| roberta-base, facebook/", headline)
    assert "| MMER (α = 0.5) |" in headline
    assert "Guessing gives a UA of 50.00" in headline


def test_pooled_values_stand_with_their_interval(report):
    assert re.search(r"\| MMER \(α = 0\.1\) \| 75\.00 \(\d+\.\d–\d+\.\d\) \|", markdown(report))


def test_the_oracle_stands_apart_with_its_gap(report):
    text = section(markdown(report), "Final, validated and oracle")
    assert "oracle − final WA" in text
    assert "| +22.22 |" in text
    assert "what choosing the epoch on the test fold would have added" in text
    assert "The oracle is not a result" in text
    assert "validated WA" not in text  # nobody asked for a validation part


def test_pairs_have_difference_interval_and_both_p_values(report):
    text = section(markdown(report), "All pairs")
    row = r"\| MMER \(α = 0\.1\) − MMER \(α = 0\.5\) \| \+16\.67 \(\S+, \S+\) \| [01]\.\d+ \|.*\| 12 \| 6 \|"
    assert len(re.findall(row, text)) == 2  # WA and UA
    assert "these models p (Holm)" in text
    assert "trained again p" not in text  # one seed


def test_with_several_seeds_pairs_say_both_claims(everything):
    text = section(markdown(everything), "All pairs")
    assert "trained again difference (95 %) | trained again p | trained again p (Holm)" in text
    assert "trained again WA 95 %" in section(markdown(everything), "All metrics")


def test_what_interval_and_p_are_about_stands_under_the_pairs(report):
    assert claims_note(report) in section(markdown(report), "All pairs")


def test_of_imports_it_is_said_that_their_epoch_is_not_known(report, everything):
    assert "(imported) was chosen is unknown" in section(markdown(everything), "All metrics")
    assert "imported" not in section(markdown(report), "All metrics")


def test_published_figures_and_ours_of_the_same_kind_are_not_subtracted_on_another_corpus(tmp_path):
    run = write_run(tmp_path / "a", alpha=0.2, facts={"corpus": "iemocap"})
    text = section(markdown(make_report([run])), "The paper's Table 1")
    assert "ours on iemocap" in text
    kind = r"oracle UA \(sessions held out; likely: inferred\)"
    row = rf"\| MMER \(α = 0\.1\) / MMER \(α = 0\.2\) \| 77\.64 \| {kind} \| 100\.00 ± 0\.00 \| 77\.78 ± 25\.46 \|"
    assert re.search(row, text)
    assert "Not comparable" in text
    assert "ours − published" not in text


def test_on_iemocap_the_difference_is_that_of_the_same_kind_where_no_fold_is_missing(tmp_path, monkeypatch):
    monkeypatch.setattr("mmer_pipeline.report.published_results.TABLE_1", published_with_folds(3))
    report = make_report([write_run(tmp_path / "a", alpha=0.2, facts={"corpus": "iemocap"})])
    assert re.search(r"\| 77\.64 \|.*\| 100\.00 ± 0\.00 \| \+22\.36 oracle UA \|", markdown(with_comparable(report)))
    report = with_comparable(with_system(report, 0, without_last_fold))
    assert re.search(r"\| 77\.64 \|.*\| 100\.00 ± 0\.00 \| – \|", markdown(report))


def test_our_alpha_of_0_1_is_in_a_row_of_its_own_that_names_the_paper_s(report):
    text = section(markdown(replace(report, corpus="iemocap")), "The paper's Table 1")
    assert re.search(r"\| MMER \(α = 0\.1\) \| 77\.64 \|.*\| – \| – \| – \|", text)
    assert re.search(r"\| MMER \(α = 0\.1\) \(the paper's α = 0\.05\) \| – \| – \| – \| 77\.78 ± 25\.46 \|", text)
    assert ALPHA_NOTE in text


def test_every_system_has_scores_folds_classes_and_speakers(report):
    text = markdown(report)
    part = section(text, "a: MMER")
    assert "3 of 3 folds" in part
    assert re.search(r"\| WA \| 77\.78 ± 25\.46 \| 75\.00 \(\d+\.\d–\d+\.\d\) \| 100\.00 ± 0\.00 \| 100\.00 \|", part)
    assert "| 2 | 2 | 6 | 83.33 | 87.50 | 83.81 | 82.86 | 2 | 100.00 | 100.00 |" in part
    assert "| happy | 80.00 | 66.67 | 72.73 | 6 |" in part
    assert "| happy | 4 (66.7) | 2 (33.3) |" in part
    assert "| s2 | 6 | 83.33 | 87.50 |" in part
    assert "## b: MMER (α = 0.5)" in text


def test_the_report_says_how_it_was_made(report):
    part = section(markdown(report), "How the numbers were made")
    assert "| learning_rate | 1e-05 | 1e-05 | 1e-05 |" in part
    assert "| alpha | 0.1 | 0.1 | 0.5 |" in part
    assert "| manifest | m | m |" in part
    assert "| numpy | 2 |" in part
    assert "| git commit | – |" in part
    assert "| a | 1 | 3 | 0:00:04 | 30.0 | 3 | 2 | cpu |" in part


def test_gradient_norms_are_shown_for_runs_that_recorded_them(tmp_path, report):
    assert "| MMER (α = 0.1) | 4 | 1 | 3 | 2 | 1 | 3 | 25 |" in section(markdown(report), "Gradients")
    run = write_run(tmp_path / "of-version-0.1.0", epochs=3)
    for path in run.glob("fold-*/metrics.jsonl"):
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        path.write_text("".join(json.dumps({**line, "gradient_norm": None}) + "\n" for line in lines))
        edit_json(path.with_name("settings.json"), lambda record: record.pop("files"))
    assert "Gradients" not in markdown(make_report([run]))


def test_missing_folds_are_said_loudly_at_the_top(tmp_path):
    run = write_run(tmp_path / "r")
    paths.fold(run, 2).evaluation.unlink()
    paths.fold(run, 3).weights.unlink()
    text = markdown(make_report([run]))
    top, _, rest = text.partition("## Which system")
    assert "**THE NUMBERS ARE NOT A CROSS-VALIDATION.** Missing:" in top
    assert "> - r, fold 3: not trained: mmer-pipe train --run r --fold 3" in top
    assert "1 of 3 folds: THE NUMBERS ARE NOT A CROSS-VALIDATION" in rest


def test_notes_come_before_the_details(report):
    notes = section(markdown(report), "Before you quote a number")
    assert "- Transcripts and utterance lengths are unknown" in notes
    assert markdown(report).index("Before you quote") < markdown(report).index("## All metrics")


def test_published_figures_of_another_corpus_are_not_shown(report):
    assert "Table 1" not in markdown(report)


def test_systems_come_in_the_order_of_ua_with_chance_below_them(tmp_path):
    runs = [write_run(tmp_path / "a", flipped=2), write_run(tmp_path / "b", alpha=0.5)]
    text = section(markdown(make_report(runs)), "Which system is better?")
    order = [text.index(name) for name in ("| MMER (α = 0.5)", "| MMER (α = 0.1)", "| chance | 50.00 |")]
    assert order == sorted(order)
    text = section(markdown(make_report(runs)), "Are the differences real?")
    assert "Differences to MMER (α = 0.5), the best" in text
    assert len(re.findall(r"\| MMER \(α = 0\.1\) \| −\d", text)) == 2  # UA and WA
    table = pair_table.differences(make_report(runs))
    assert table.essential() == table  # nothing is left out where there is little room, as on a telephone
    assert [group.title for group in table.groups] == ["UA", "WA"]
    text = section(markdown(make_report(runs, against="a")), "Are the differences real?")
    assert "Differences to MMER (α = 0.1), the reference" in text
    assert len(re.findall(r"\| MMER \(α = 0\.5\) \| \+\d", text)) == 2


def test_no_interval_is_given_for_few_dialogues_and_the_reason_is_said(tmp_path):
    report = make_report([write_run(tmp_path / "a"), write_run(tmp_path / "b", alpha=0.5, flipped=2)])
    assert all(found.interval_95 is None for pair in report.pairs for found in pair.metrics.values())
    assert all(entry.selections.final.summary["ua"].interval_95 is None for entry in report.systems)
    assert "6 dialogues are too few for a bootstrap" in section(markdown(report), "Before you quote a number")
    assert "too few for an interval" in report.answer


def test_several_seeds_have_a_column_and_are_counted(tmp_path):
    report = make_report([write_run(tmp_path / "a"), write_run(tmp_path / "a-seed2", seed=2)])
    text = markdown(report)
    assert "6 of 6 folds (3 × 2 seeds)" in text
    assert "| 3 | 2 | 3 | 2 | 100.00 |" in text
    assert "| 3 × 2 | 12 |" in text


def test_no_cell_breaks_its_table_whatever_stands_in_it(everything):
    text = markdown(with_system(everything, 0, lambda system: replace(system, title="a|b")))
    for table in tables(text):
        assert len({len(line) for line in table}) == 1, table[0]
    assert "<script>" not in re.sub(r"\\<", "", text)


def test_pictures_stand_at_the_end(report):
    assert markdown(report, ["plots/systems.png"]).endswith("## Plots\n\n![systems](plots/systems.png)\n")
