r"""Render the paper's Table 1 with our systems as LaTeX, for `\input` where booktabs and tabularx are loaded.

Both forms stretch to the width that they find; the narrowest is that of an article of 10 pt: 345 pt for a page (one
column of text; two columns have 410 pt) and 200 pt for a column.
"""

from mmer_pipeline.report import paper_table
from mmer_pipeline.report.latex_text import latex_prose
from mmer_pipeline.report.report_content import Report
from mmer_pipeline.report.table_rendering import Table, as_latex
from mmer_pipeline.report.wording import epoch_caveat, not_comparable, protocol

KIND = (
    "Published: as in Table 1 of the MMER paper, with what the figure most likely is; oracle: at the epoch that is "
    "best on the held-out part. Same kind: ours of that kind, for this comparison only."
)
ALPHA = "The α of a row with a published figure is the paper's, half of ours."


def latex_page(report: Report) -> str:
    """Render `table.tex`: a `table*` environment with all rows, as wide as the page."""
    shared = [row.method for row in report.table_1.rows if row.kind and row.kind.split.value == "random"]
    used = sorted({name for system in report.systems for name in system.encoders.used.values()})
    notes = [
        KIND,
        f"Mod.: a, speech; t, text. CV: folds. Known from {paper_table.SOURCE_LEGEND}",
        f"Speakers are in training and test: {', '.join(shared)}." if shared else "",
        ALPHA,
        f"Our encoders: {', '.join(used)}." if used else "",
    ]
    head = "% Needs \\usepackage{booktabs,tabularx}. As wide as the page; fits 345 pt (article, one column) and more."
    return _environment("table*", head, "tab:results", report, paper_table.page_table(report), notes)


def latex_column(report: Report) -> str:
    """Render `table-column.tex`: a `table` environment with the rows of our systems, as wide as a column."""
    head = "% Needs \\usepackage{booktabs,tabularx}. As wide as a column; fits 200 pt (article, two columns) and more."
    table = paper_table.column_table(report)
    return _environment("table", head, "tab:results-column", report, table, [KIND, ALPHA])


def _environment(name: str, head: str, label: str, report: Report, table: Table, notes: list[str]) -> str:
    """Render a table with its caption above and the notes below."""
    notes = [epoch_caveat(report), "" if report.table_1.comparable else not_comparable(report), *notes]
    lines = [
        head,
        rf"\begin{{{name}}}",
        r"  \centering",
        f"  \\caption{{{_caption(report)}}}",
        rf"  \label{{{label}}}",
        r"  \footnotesize",
        r"  \setlength{\tabcolsep}{2.5pt}",
        *(f"  {line}" for line in as_latex(table)),
        r"  \par\smallskip",
        rf"  {{\raggedright {' '.join(latex_prose(note) for note in notes if note)}\par}}",
        rf"\end{{{name}}}",
    ]
    return "\n".join(lines) + "\n"


def _caption(report: Report) -> str:
    seeds = sorted({len(system.seeds) for system in report.systems if system.seeds})
    how = protocol(system.folds_expected for system in report.systems)
    if seeds:
        how += f", {' or '.join(map(str, seeds))} {'seed' if seeds == [1] else 'seeds'}"
    text = latex_prose(
        f"Speech emotion recognition on {report.corpus} in percent: {how}; final: mean ± standard deviation over folds "
        "and seeds at the last epoch, without selection."
    )
    if report.holes or not all(system.is_complete for system in report.systems):
        text += " \\textbf{Folds are missing: the numbers are not a cross-validation.}"
    return text
