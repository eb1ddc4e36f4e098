"""table.tex: rows that fit their columns, a caption that says what the numbers are, nothing unescaped."""

import re
from dataclasses import replace

import pytest
from helpers.report_example import report_example, with_comparable
from helpers.run_example import write_run

from mmer_pipeline.report.build_report import make_report
from mmer_pipeline.report.latex import latex


def rows(text):
    body = text[text.index(r"\toprule") : text.index(r"\bottomrule")]
    return [line for line in body.splitlines() if line.endswith(r"\\") and r"\multicolumn" not in line]


@pytest.mark.parametrize("is_comparable", [False, True])
def test_every_row_has_as_many_cells_as_the_table_has_columns(is_comparable):
    report = with_comparable(report_example()) if is_comparable else report_example()
    text = latex(report)
    columns = re.search(r"\\begin\{tabular\}\{(\w+)\}", text).group(1)
    assert {len(re.findall(r"(?<!\\)&", row)) for row in rows(text)} == {len(columns) - 1}
    assert text.count("{") - text.count(r"\{") == text.count("}") - text.count(r"\}")
    assert ("Ours $-$ published" in text) == is_comparable


def test_ours_stand_beside_the_published_figures(tmp_path):
    report = make_report([write_run(tmp_path / "a"), write_run(tmp_path / "b", alpha=0.5, flipped=2)])
    text = latex(report)
    assert r"MMER ($\alpha$ = 0.1) & a,t & 5 & 77.64 & 77.78 $\pm$ 25.46 & " in text
    assert r"MMER ($\alpha$ = 0.5) & a,t & 3 & -- & " in text
    assert "Wu et al. {[}31] & a & 10 & 72.73 & -- & --" in text
    caption = re.search(r"\\caption\{(.*)\}\n", text).group(1)
    assert "on made up in percent: 3-fold cross-validation, 1 seed;" in caption
    assert "at the last epoch, without selection" in caption
    assert "Encoders: facebook/wav2vec2-base, roberta-base." in caption
    assert "published figures are for IEMOCAP, ours for made up" in caption
    assert "missing" not in caption


def test_missing_folds_are_said_in_the_caption(tmp_path):
    text = latex(make_report([write_run(tmp_path / "a", folds=(1, 2))]))
    assert r"\textbf{Folds are missing: the numbers are not a cross-validation.}" in text


def test_the_caption_says_what_is_not_known_of_an_import():
    report = report_example()
    assert r"(imported) was chosen is unknown." in latex(report)
    ours = replace(
        report,
        systems=report.systems[:-1],
        table_1=replace(report.table_1, rows=tuple(row for row in report.table_1.rows if row.method != "theirs")),
    )
    assert "unknown" not in latex(ours)


def test_one_held_out_part_is_no_cross_validation():
    report = report_example()
    report = replace(report, systems=tuple(replace(system, folds_expected=1) for system in report.systems))
    assert "in percent: one held-out part, 2 seeds;" in latex(report)


def test_a_part_of_iemocap_is_not_called_another_corpus():
    report = replace(report_example(), corpus="iemocap")
    assert "for IEMOCAP's 5,531 utterances in four classes, ours for others" in latex(report)
