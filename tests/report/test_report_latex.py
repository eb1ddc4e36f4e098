"""table.tex and table-column.tex: rows that fit their columns, captions that say what the numbers are, and LaTeX that
compiles within its width whatever a system is called."""

import re
import shutil
import subprocess
from dataclasses import replace

import pytest
from helpers.report_example import report_example, with_comparable, with_system
from helpers.run_example import write_run

from mmer_pipeline.report.build_report import make_report
from mmer_pipeline.report.latex import latex_column, latex_page

EVIL = 'σ_Δ & 5 % of $x_1$ #2 {a} ~ ^ \\ <|> "é" [a_long_name/with_parts_and_no/place_to_break] α = 0.1 × – − ± …'
TOO_WIDE = 2.0  # pt


def rows(text):
    body = text[text.index(r"\toprule") : text.index(r"\bottomrule")]
    return [line for line in body.splitlines() if line.endswith(r"\\") and r"\multicolumn" not in line]


@pytest.mark.parametrize("is_comparable", [False, True])
@pytest.mark.parametrize("form", [latex_page, latex_column])
def test_every_row_has_as_many_cells_as_the_table_has_columns(form, is_comparable):
    text = form(with_comparable(report_example()) if is_comparable else report_example())
    columns = re.search(r"\\begin\{tabularx\}\{\\linewidth\}\{@\{\}>\{.*\}X(\w+)@\{\}\}", text).group(1)
    assert {len(re.findall(r"(?<!\\)&", row)) for row in rows(text)} == {len(columns)}
    assert text.count("{") - text.count(r"\{") == text.count("}") - text.count(r"\}")
    assert ("Diff." in text) == (is_comparable and form is latex_page)


def test_published_figures_have_their_kind_and_ours_of_that_kind(tmp_path):
    report = make_report([write_run(tmp_path / "a", alpha=0.2), write_run(tmp_path / "b", alpha=0.5, flipped=2)])
    text = latex_page(report)
    final = r"77.78\,{\scriptsize $\pm$25.46}"
    assert rf"MMER ($\alpha$~=~0.1) & a,t & 5 & 77.64 & oracle UA\,{{\scriptsize (I)}} & 100.00 & {final} & " in text
    assert r"MMER ($\alpha$~=~0.5) {\scriptsize (the paper's $\alpha$~=~0.25)} & a,t & 3 & -- & -- & -- & " in text
    assert r"Wu et al. {[}31] & a & 10 & 72.73 & WA\,{\scriptsize (A)} & -- & -- & --" in text
    caption = re.search(r"\\caption\{(.*)\}\n", text).group(1)
    assert "on made up in percent: 3-fold cross-validation, 1 seed;" in caption
    assert "at the last epoch, without selection" in caption
    assert "missing" not in caption
    assert r"Our encoders: facebook/\allowbreak{}wav2vec2-base, roberta-base." in text
    assert "published figures are for IEMOCAP, ours for made up" in text
    assert "Speakers are in training and test: Wang et al. {[}35]." in text


def test_the_short_form_has_our_rows_under_the_kind_of_the_published_figure(tmp_path):
    report = make_report([write_run(tmp_path / "a", alpha=0.2), write_run(tmp_path / "b", alpha=0.5, flipped=2)])
    text = latex_column(report)
    headings = re.findall(r"\\emph\{(.*?)\}\} \\\\", text)
    assert headings == ["Published: oracle UA (likely: inferred)", "Not in Table 1"]
    assert [row.split(" & ")[0].strip() for row in rows(text)[1:]] == [
        r"MMER ($\alpha$~=~0.1)",
        r"MMER ($\alpha$~=~0.5) {\scriptsize (the paper's $\alpha$~=~0.25)}",
    ]
    assert r"MMER ($\alpha$~=~0.1) & 77.64 & 100.00 & 77.78\,{\scriptsize $\pm$25.46} & " in text


@pytest.fixture(scope="module")
def forms():
    """Both forms, as comparable and not, of a report whose systems have the worst names."""
    report = report_example()
    for number in range(len(report.systems)):
        report = with_system(report, number, lambda system: replace(system, title=f"{EVIL} of {system.title}"))
    rows = tuple(row if row.kind else replace(row, method=EVIL) for row in report.table_1.rows)
    report = replace(report, corpus="my_corpus & more", table_1=replace(report.table_1, rows=rows))
    return {
        form: [form(one) for one in (report, with_comparable(report))] for form in (latex_page, latex_column)
    }  # fmt: skip


@pytest.mark.parametrize(
    ("options", "used"),
    [("10pt", [latex_page]), ("10pt,twocolumn", [latex_page, latex_column])],
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
    ours = replace(
        report,
        systems=report.systems[:-1],
        table_1=replace(report.table_1, rows=tuple(row for row in report.table_1.rows if row.method != "theirs")),
    )
    assert "imported" not in form(ours)


def test_one_held_out_part_is_no_cross_validation():
    report = report_example()
    report = replace(report, systems=tuple(replace(system, folds_expected=1) for system in report.systems))
    assert "in percent: one held-out part, 2 seeds;" in latex_page(report)


def test_a_part_of_iemocap_is_not_called_another_corpus():
    report = replace(report_example(), corpus="iemocap")
    assert "for IEMOCAP's 5,531 utterances in four classes, ours for others" in latex_page(report)
