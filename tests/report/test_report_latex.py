"""table.tex and table-column.tex: rows that fit their columns, captions that say what the numbers are, and LaTeX that
compiles within its width whatever a system is called."""

import re
import shutil
import subprocess
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import pytest
from helpers.report_example import report_example, with_comparable, with_system
from helpers.run_example import write_run

from mmer_pipeline.report.build_report import make_report
from mmer_pipeline.report.latex import latex_column, latex_page
from mmer_pipeline.report.methods import methods_latex
from mmer_pipeline.report.published_results import with_ours
from mmer_pipeline.report.references import bibliography

EVIL = (
    'σ_Δ & 5 % of $x_1$ #2 {a} ~ ^ \\ <|> "é" [a_long_name/with_parts_and_no/place_to_break] '
    "α = 0.1 × – − ± … ß é 中 Ж 😀 σ̂"
)
TOO_WIDE = 2.0  # pt


def rows(text):
    body = text[text.index(r"\toprule") : text.index(r"\bottomrule")]
    return [line for line in body.splitlines() if line.endswith(r"\\") and r"\multicolumn" not in line]


def on_iemocap(report):
    return replace(with_comparable(report), corpus="iemocap")


@pytest.mark.parametrize("is_iemocap", [False, True])
@pytest.mark.parametrize("form", [latex_page, latex_column])
def test_every_row_has_as_many_cells_as_the_table_has_columns(form, is_iemocap):
    text = form(on_iemocap(report_example()) if is_iemocap else report_example())
    environments = text.split(r"\begin{table")[1:]
    assert len(environments) == 1 + is_iemocap
    for one in environments:
        columns = re.search(r"\\begin\{tabularx\}\{\\linewidth\}\{@\{\}>\{.*\}X(\w+)@\{\}\}", one).group(1)
        assert {len(re.findall(r"(?<!\\)&", row)) for row in rows(one)} == {len(columns)}
    assert text.count("{") - text.count(r"\{") == text.count("}") - text.count(r"\}")
    assert ("Diff." in text) == (is_iemocap and form is latex_page)


def test_a_row_has_folds_utterances_intervals_and_corrected_p_against_the_best(tmp_path, monkeypatch):
    monkeypatch.setattr("mmer_pipeline.report.comparisons.FEWEST_CLUSTERS", 2)
    report = make_report([write_run(tmp_path / "a", alpha=0.2), write_run(tmp_path / "b", alpha=0.5, flipped=2)])
    text = latex_page(report)
    best, other = report.systems
    low, high = (f"{100 * value:.1f}" for value in other.selections.final.summary["wa"].interval_95)
    p = f"{report.pairs[0].metrics['wa'].p_holm:.3f}"
    assert best.selections.final.summary["wa"].mean > other.selections.final.summary["wa"].mean
    of_best, of_other = rows(text)[1:]
    assert of_best.split(" & ")[1:3] == ["3", "12"]
    assert of_best.split(" & ")[5] == "--"
    pooled = f"{100 * other.selections.final.summary['wa'].pooled:.2f}"  # what the interval is of: not the mean
    assert f" & {pooled} & {low}--{high} & {p} & " in of_other
    assert "& Pooled & 95" in text
    assert "final: pooled over all predictions at the last epoch" in text
    assert r"p: against MMER ($\alpha$~=~0.2) (the best UA) for these trained models, corrected by Holm" in text
    caption = re.search(r"\\caption\{(.*)\}\n", text).group(1)
    assert "on made up in percent: 3-fold cross-validation, 1 seed;" in caption
    assert "missing" not in caption
    assert "Wu et al." not in text  # Table 1 is about IEMOCAP


def test_the_reference_is_that_of_against(tmp_path):
    runs = [write_run(tmp_path / "a", alpha=0.2), write_run(tmp_path / "b", alpha=0.5, flipped=2)]
    text = latex_page(make_report(runs, against="b"))
    assert r"p: against MMER ($\alpha$~=~0.5) (the reference)" in text
    assert "corrected by Holm for its comparisons" in text
    assert rows(text)[2].split(" & ")[5] == "--"


def test_four_folds_are_not_called_five(tmp_path):
    report = make_report([write_run(tmp_path / "a", alpha=0.2)])  # in the row of Table 1 that has five folds
    report = replace(report, corpus="iemocap")
    for form in (latex_page, latex_column):
        published = form(report).split(r"\begin{table")[2]
        (row,) = (line for line in rows(published) if "0.1) {" in line)
        assert [cell for cell in row.split(" & ") if cell in ("5", "3")] == ["5", "3"]
    row = next(row for row in report.table_1.rows if row.ours)
    same = with_ours(row, report.systems[0], comparable=True)
    assert (same.difference, with_ours(replace(row, folds=3), report.systems[0], comparable=True).difference) == (
        None, pytest.approx(1 - row.published),
    )  # fmt: skip


@pytest.mark.parametrize("form", [latex_page, latex_column])
def test_our_alpha_is_told_from_the_paper_s(tmp_path, form):
    report = replace(make_report([write_run(tmp_path / "a", alpha=0.1)]), corpus="iemocap")
    text = form(report)
    assert "our $\\alpha$ is twice the paper's: a published $\\alpha$ of 0.1 is 0.2 here".replace("\\\\", "\\") in text
    assert r"the paper's $\alpha$~=~0.05)" in text
    matched = replace(make_report([write_run(tmp_path / "b", alpha=0.2)]), corpus="iemocap")
    assert r"MMER ($\alpha$~=~0.1) {\scriptsize (ours: $\alpha$~=~0.2)}" in form(matched)
    assert "twice" not in form(make_report([write_run(tmp_path / "c", system="roberta", alpha=0.0)]))


def test_what_is_about_these_models_alone_is_marked_where_other_rows_are_about_systems():
    text = latex_page(report_example())
    of = {name: next(row for row in rows(text) if name in row) for name in ("MMER", "RoBERTa")}
    assert r"\dag{}" not in of["MMER"]
    assert of["RoBERTa"].count(r"\dag{}") == 4
    assert r"\dag{}: the value pooled over all predictions, with its interval for these trained models" in text
    pooled = report_example().system("roberta").selections.final.summary["wa"].pooled
    assert rf" & {100 * pooled:.2f}\dag{{}} & " in of["RoBERTa"]
    assert r" & 9/10 & " in of["RoBERTa"]
    assert r" & \textless{}0.001\dag{} & " in of["RoBERTa"]


def test_what_is_cited_is_in_the_bibliography_and_nothing_else():
    report = on_iemocap(report_example())
    texts = [latex_page(report), latex_column(report), methods_latex(report)]
    cited = {key for text in texts for keys in re.findall(r"\\cite\{(.*?)\}", text) for key in keys.split(",")}
    given = re.findall(r"^@\w+\{(.*),$", bibliography(texts), re.MULTILINE)
    assert set(given) == cited
    assert len(given) == len(set(given))
    assert {"iemocap", "mmer2022", "cai2021", "morais2022", "holm1979", "mmerpipeline"} <= cited
    assert "[31]" not in latex_page(report)


def test_the_software_is_cited_as_the_repository_asks():
    text = bibliography([r"\cite{mmerpipeline,mmer2022}"])
    citation = (Path(__file__).parents[2] / "CITATION.cff").read_text()
    assert re.search(r"^title: \"(.*)\"$", citation, re.MULTILINE).group(1) in text
    assert f"version {version('mmer-pipeline')}" in text
    assert "arXiv:2203.16794" in text


@pytest.fixture(scope="module")
def forms():
    """Both forms, as comparable and not, of a report of which a system has the worst name."""
    report = report_example()
    report = with_system(report, 4, lambda system: replace(system, title=EVIL))
    report = replace(report, corpus="my_corpus & σ 中")
    return {
        form: [form(one) for one in (report, on_iemocap(report))] for form in (latex_page, latex_column, methods_latex)
    }  # fmt: skip


@pytest.mark.parametrize(
    ("options", "used"),
    [("10pt", [latex_page, methods_latex]), ("10pt,twocolumn", [latex_page, latex_column, methods_latex])],
    ids=["one-column", "two-columns"],
)
def test_both_forms_compile_within_the_width_of_an_article(forms, tmp_path, options, used):
    """Fonts and page are those of LaTeX's article class, letters those of plain pdflatex."""
    if not (shutil.which("pdflatex") and shutil.which("kpsewhich")):
        pytest.skip("there is no pdflatex on this machine")
    if subprocess.run(["kpsewhich", "booktabs.sty", "tabularx.sty"], stdout=subprocess.DEVNULL, check=False).returncode:
        pytest.skip("there is no booktabs or tabularx on this machine")
    body = "\n".join(text for form in used for text in forms[form])
    (tmp_path / "article.tex").write_text(
        f"\\documentclass[{options}]{{article}}\n\\usepackage{{booktabs,tabularx}}\n\\begin{{document}}\nText.\n\n{body}\n"
        "\\end{document}\n",
        encoding="utf-8",
    )
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "article.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False, timeout=300)
    log = (tmp_path / "article.log").read_text(encoding="utf-8", errors="replace")
    assert done.returncode == 0, log[-2000:]
    too_wide = re.findall(r"Overfull \\hbox \(([\d.]+)pt too wide\)", log)
    assert [width for width in too_wide if float(width) > TOO_WIDE] == [], log
    for complaint in ("X Columns too narrow", "Float too large", "Missing character"):
        assert complaint not in log


@pytest.mark.parametrize("form", [latex_page, latex_column])
def test_missing_folds_are_said_in_the_caption(form, tmp_path):
    text = form(make_report([write_run(tmp_path / "a", folds=(1, 2))]))
    assert r"\textbf{Folds are missing: the numbers are not a cross-validation.}}" in text


@pytest.mark.parametrize("form", [latex_page, latex_column])
def test_a_note_says_what_is_not_known_of_an_import(form):
    report = report_example()
    assert r"(imported) was chosen is unknown." in form(report)
    ours = replace(report, systems=report.systems[:-1], pairs=())
    assert "imported" not in form(ours)


def test_one_held_out_part_is_no_cross_validation():
    report = report_example()
    report = replace(report, systems=tuple(replace(system, folds_expected=1) for system in report.systems))
    assert "in percent: one held-out part, 2 seeds;" in latex_page(report)


def test_a_part_of_iemocap_is_not_called_another_corpus():
    report = replace(report_example(), corpus="iemocap")
    assert "for IEMOCAP's 5,531 utterances in four classes, ours for others" in latex_page(report)
