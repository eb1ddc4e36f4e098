"""The Markdown report: what stands in it, what stands loudly, and what a cell may hold."""

import re

import pytest
from helpers.report_example import report_example
from helpers.run_example import write_run

from mmer_pipeline import paths
from mmer_pipeline.report.formats import PAIRS_NOTE, chance, folds_line, protocol
from mmer_pipeline.report.markdown import markdown
from mmer_pipeline.report.markdown_text import cell
from mmer_pipeline.report.summary import make_report


@pytest.fixture
def report(tmp_path):
    return make_report([write_run(tmp_path / "a"), write_run(tmp_path / "b", alpha=0.5, flipped=2)])


@pytest.fixture
def everything():
    return {"notes": [], **report_example()}


def section(text, title):
    return text.partition(f"## {title}")[2].partition("\n## ")[0]


def tables(text):
    """Every table of a Markdown text: its lines, each cut into cells at what is no escaped bar."""
    found = re.findall(r"(?:^\|.*\n)+", text, flags=re.MULTILINE)
    return [[re.split(r"(?<!\\)\|", line)[1:-1] for line in table.splitlines()] for table in found]


def test_the_headline_has_every_system_with_mean_and_deviation(report):
    headline = section(markdown(report), "Results")
    assert "| MMER (α = 0.1) | roberta-base, facebook/wav2vec2-base | 3 | 12 | 77.78 ± 25.46 |" in headline
    assert "| MMER (α = 0.5) |" in headline
    assert "Guessing has a UA of 50.00" in headline


def test_pooled_values_stand_with_their_interval(report):
    assert re.search(r"\| MMER \(α = 0\.1\) \| 75\.00 \(\d+\.\d–\d+\.\d\) \|", markdown(report))


def test_the_oracle_stands_apart_with_its_gap(report):
    text = section(markdown(report), "Three numbers")
    assert "oracle − final WA" in text
    assert "| +22.22 |" in text
    assert "what choosing the epoch on the test fold would have added" in text
    assert "The oracle is not a result" in text
    assert "validated WA" not in text  # nobody asked for a validation part


def test_pairs_have_difference_interval_and_both_p_values(report):
    text = section(markdown(report), "Is the difference real?")
    assert re.search(
        r"\| MMER \(α = 0\.1\) − MMER \(α = 0\.5\) \| 12 \| 6 \| \+16\.67 \| \S+ … \S+ \| [01]\.\d+ \|", text
    )
    assert "WA p (Holm)" in text


def test_what_interval_and_p_are_about_stands_under_the_pairs(report):
    assert PAIRS_NOTE in section(markdown(report), "Is the difference real?")


def test_chance_counts_the_classes_that_occur(everything):
    assert chance(everything) == 1 / 4
    for entry in everything["systems"]:
        entry["per_class"]["sad"]["support"] = 0
    assert "Guessing has a UA of 33.33" in section(markdown(everything), "Results")


def test_of_imports_it_is_said_that_their_epoch_is_not_known(report, everything):
    assert "(imported) was chosen is not known" in section(markdown(everything), "Results")
    assert "imported" not in section(markdown(report), "Results")


def test_one_fold_is_one_held_out_part(report):
    report["systems"][0]["folds_expected"] = 1
    report["systems"][0]["selections"]["final"]["folds"] = [{}]
    assert folds_line(report["systems"][0]) == "one held-out part"
    assert (protocol([1]), protocol([5, 1, 10])) == (
        "one held-out part",
        "one held-out part or 5 or 10-fold cross-validation",
    )


def test_published_figures_stand_beside_ours_and_are_not_subtracted_from_another_corpus(report):
    text = section(markdown(report), "The paper's Table 1")
    assert "| MMER (α = 0.1) | 5-fold | a,t | 77.64 | 77.78 ± 25.46 | MMER (α = 0.1), made up, roberta-base," in text
    assert "they cannot be subtracted" in text
    assert "ours − published" not in text


def test_on_iemocap_the_difference_to_the_published_figure_stands_where_no_fold_is_missing(report):
    report["table_1"]["comparable"] = True
    assert re.search(r"\| 77\.64 \| 77\.78 .*\| \+0\.14 \|", markdown(report))
    report["systems"][0]["selections"]["final"]["folds"].pop()
    assert re.search(r"\| 77\.64 \| 77\.78 .*\| – \|", markdown(report))


def test_every_system_has_folds_classes_and_how_it_was_made(report):
    text = markdown(report)
    part = section(text, "a: MMER")
    assert "3 of 3 folds." in part
    assert "| 2 | 2 | 6 | 83.33 | 87.50 | 100.00 | 100.00 | 2 |" in part
    assert "| happy | 80.00 | 66.67 | 72.73 | 6 |" in part
    assert "| happy | 4 (66.7) | 2 (33.3) |" in part
    assert "| s2 | 6 | 83.33 | 87.50 |" in part
    assert "| learning_rate | 1e-05 |" in part
    assert "| a | 1 | 3 | 0:00:04 | 30.0 |" in part
    assert "Digests: manifest m, text_features t, speech_features s." in part
    assert "numpy 2; commit unknown" in part
    assert "## b: MMER (α = 0.5)" in text


def test_missing_folds_are_said_loudly_at_the_top(tmp_path):
    run = write_run(tmp_path / "r")
    paths.fold(run, 2).evaluation.unlink()
    paths.fold(run, 3).weights.unlink()
    text = markdown(make_report([run]))
    top, _, rest = text.partition("## Results")
    assert "**THE NUMBERS ARE NOT A CROSS-VALIDATION.** Missing:" in top
    assert "> - r, fold 3: not trained: mmer-pipe train --run r --fold 3" in top
    assert "1 of 3 folds: THE NUMBERS ARE NOT A CROSS-VALIDATION" in rest


def test_notes_stand_at_the_top(report):
    assert "Note: Transcripts and utterance lengths are unknown" in markdown(report).partition("## Results")[0]


def test_several_seeds_have_a_column_and_are_counted(tmp_path):
    report = make_report([write_run(tmp_path / "a"), write_run(tmp_path / "a-seed2", seed=2)])
    assert folds_line(report["systems"][0]) == "6 of 6 folds (3 × 2 seeds)"
    text = markdown(report)
    assert "| 2 | 3 | 3 | 2 | 100.00 |" in text
    assert "| 3 × 2 | 12 |" in text


def test_no_cell_breaks_its_table_whatever_stands_in_it(everything):
    everything["systems"][0]["title"] = "a|b"
    text = markdown(everything)
    for table in tables(text):
        assert len({len(line) for line in table}) == 1, table[0]
    assert "<script>" not in re.sub(r"\\<", "", text)


def test_a_cell_is_text_and_one_line():
    assert cell("a|b\n*c*  `d`") == "a\\|b \\*c\\* \\`d\\`"
    assert cell("<b>") == "\\<b>"
    assert cell("[x](http://y)") == "[x]\\(http://y)"
    assert cell("text_encoder") == "text_encoder"
    assert cell("_no_") == "\\_no\\_"


def test_pictures_stand_at_the_end(report):
    assert markdown(report, ["plots/systems.png"]).endswith("## Plots\n\n![systems](plots/systems.png)\n")
