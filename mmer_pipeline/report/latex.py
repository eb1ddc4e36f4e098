r"""Render the paper's Table 1 with our systems as LaTeX, for `\input` where booktabs is loaded."""

from mmer_pipeline.report import comparison_tables
from mmer_pipeline.report.report_content import Report
from mmer_pipeline.report.table_rendering import as_latex, latex_text
from mmer_pipeline.report.wording import epoch_caveat, not_comparable, protocol


def latex(report: Report) -> str:
    """Render `table.tex`: a `table` environment with the label `tab:results`."""
    lines = [
        "% Needs \\usepackage{booktabs}.",
        r"\begin{table}",
        r"  \centering",
        f"  \\caption{{{_caption(report)}}}",
        r"  \label{tab:results}",
        *(f"  {line}" for line in as_latex(comparison_tables.table_1(report))),
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _caption(report: Report) -> str:
    seeds = sorted({len(system.seeds) for system in report.systems if system.seeds})
    how = protocol(system.folds_expected for system in report.systems)
    if seeds:
        how += f", {' or '.join(map(str, seeds))} {'seed' if seeds == [1] else 'seeds'}"
    used = sorted({name for system in report.systems for name in system.encoders.used.values()})
    text = [
        f"Speech emotion recognition on {latex_text(report.corpus)} in percent: {how};",
        "mean $\\pm$ standard deviation over folds and seeds, at the last epoch, without selection.",
    ]
    if caveat := epoch_caveat(report):
        text.append(latex_text(caveat))
    if used:
        text.append(f"Encoders: {latex_text(', '.join(used))}.")
    if report.table_1.comparable:
        text.append("Published figures as in Table 1 of the MMER paper.")
    else:
        text.append(latex_text(not_comparable(report)))
    if report.holes or not all(system.is_complete for system in report.systems):
        text.append("\\textbf{Folds are missing: the numbers are not a cross-validation.}")
    return " ".join(text)
