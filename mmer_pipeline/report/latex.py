r"""Render the results as LaTeX, for \input where booktabs and tabularx are loaded.

`table.tex` is as wide as a page, `table-column.tex` as a column. Both stretch to the width that they find; the
narrowest is that of an article of 10 pt: 345 pt for a page (one column of text; two columns have 410 pt) and 200 pt for
a column.
On IEMOCAP, a second table has the figures of the MMER paper's Table 1.
"""

import re

from mmer_pipeline.report import paper_table, publication_tables, ranking
from mmer_pipeline.report.published_figures import CORPUS
from mmer_pipeline.report.references import MMER, OF_TABLE_1, cite, latex_cited, of_corpus, of_system
from mmer_pipeline.report.report_content import Report
from mmer_pipeline.report.shortcut_table import shared_speakers
from mmer_pipeline.report.table_rendering import Table, as_latex
from mmer_pipeline.report.wording import ALPHA_NOTE, epoch_caveat, not_comparable, protocol, unit

KIND = (
    f"Published: as in Table 1 of the MMER paper{cite(MMER)}, with what the figure most likely is; oracle: at the "
    "epoch that is best on the held-out part. Ours, same kind: our figure of that kind, for this comparison only."
)
_NEEDS = "% Needs \\usepackage{booktabs,tabularx} and \\bibliography{references}. "


def latex_page(report: Report) -> str:
    """Render `table.tex`: `table*` environments, as wide as the page."""
    head = f"{_NEEDS}As wide as the page; fits 345 pt (article, one column) and more."
    notes = [*_notes(report), "CV: folds, and seeds if there are several. n: utterances."]
    results = publication_tables.page_results(report)
    tables = [_environment("table*", head, "tab:results", _caption(report), results, notes)]
    if report.corpus == CORPUS:
        shared = [row.method for row in report.table_1.rows if row.kind and row.kind.split.value == "random"]
        notes = [
            KIND,
            "" if report.table_1.comparable else not_comparable(report),
            f"Mod.: a, speech; t, text. CV: folds, and seeds of ours. Known from {paper_table.SOURCE_LEGEND}",
            f"Speakers are in training and test: {', '.join(shared)}." if shared else "",
            ALPHA_NOTE,
        ]
        table = publication_tables.page_published(report)
        tables.append(_environment("table*", "", "tab:published", _published_caption(), table, notes))
    return "\n".join(tables)


def latex_column(report: Report) -> str:
    """Render `table-column.tex`: `table` environments, as wide as a column."""
    head = f"{_NEEDS}As wide as a column; fits 200 pt (article, two columns) and more."
    notes = [*_notes(report), "In brackets: folds, × seeds if there are several; n: utterances."]
    results = publication_tables.column_results(report)
    tables = [_environment("table", head, "tab:results-column", _caption(report), results, notes)]
    table = publication_tables.column_published(report)
    if report.corpus == CORPUS and table.rows:
        notes = [KIND, "" if report.table_1.comparable else not_comparable(report), ALPHA_NOTE]
        tables.append(_environment("table", "", "tab:published-column", _published_caption(), table, notes))
    return "\n".join(tables)


def _environment(name: str, head: str, label: str, caption: str, table: Table, notes: list[str]) -> str:
    """Render a table with its caption above and the notes below."""
    lines = [
        *([head] if head else []),
        rf"\begin{{{name}}}",
        r"  \centering",
        f"  \\caption{{{caption}}}",
        rf"  \label{{{label}}}",
        r"  \footnotesize",
        r"  \setlength{\tabcolsep}{2.5pt}",
        *(f"  {_with_citations(line)}" for line in as_latex(table)),
        r"  \par\smallskip",
        rf"  {{\raggedright {' '.join(_with_citations(latex_cited(note)) for note in notes if note)}\par}}",
        rf"\end{{{name}}}",
    ]
    return "\n".join(lines) + "\n"


def _with_citations(line: str) -> str:
    r"""Turn the numbers of the MMER paper's reference list, as in "Wu et al. [31]", into \cite."""
    return re.sub(
        r" \{\[\}(\d\d)\]",
        lambda match: rf"~\cite{{{OF_TABLE_1[int(match[1])]}}}" if int(match[1]) in OF_TABLE_1 else match[0],
        line,
    )


def _notes(report: Report) -> list[str]:
    """Say what the columns of our systems are, which publications they are from, and what is not known."""
    reference = ranking.reference(report)
    again = "of the mean, for these systems trained again with other seeds and tested on other speakers"
    models = f"for these trained models on other {unit(report)}s"
    summaries = [system.selections.final.summary["wa"] for system in report.systems]
    is_again = any(entry.trained_again is not None and entry.trained_again.interval_95 for entry in summaries)
    mixed = publication_tables.has_mixed_claims(report)
    notes = []
    if is_again or any(entry.interval_95 for entry in summaries):
        of_pooled = f"the value pooled over all predictions, with its interval {models}"
        said = f"interval {again}" if is_again else f"interval of the value pooled over all predictions, {models}"
        notes.append(f"95\u00a0%: {said}" + (f"; †: {of_pooled}." if mixed else "."))
    if report.pairs:
        best = "the reference" if report.against is not None else "the best UA"
        family = "its comparisons" if report.against is not None else "all pairs"
        about = "" if is_again else " for these trained models"
        notes.append(f"p: against {reference.title} ({best}){about}, corrected by Holm for {family}{cite('holm1979')}.")
    sources = [(system.title, of_system(system)) for system in report.systems]
    if any(keys for _, keys in sources):
        notes.append("; ".join(f"{title}{cite(*keys)}" for title, keys in sources if keys) + ".")
    has_alpha = any(publication_tables.paper_alpha(system) for system in report.systems)
    return [*notes, ALPHA_NOTE if has_alpha else "", epoch_caveat(report)]


def _caption(report: Report) -> str:
    seeds = sorted({len(system.seeds) for system in report.systems if system.seeds})
    how = protocol(system.folds_expected for system in report.systems)
    if seeds:
        how += f", {' or '.join(map(str, seeds))} {'seed' if seeds == [1] else 'seeds'}"
    is_pooled = publication_tables.estimate_name(report) == "pooled"
    estimate = "pooled over all predictions" if is_pooled else "mean ± standard deviation over folds and seeds"
    text = latex_cited(
        f"Speech emotion recognition on {report.corpus}{cite(*of_corpus(report.corpus))} in percent: {how}; final: "
        f"{estimate} at the last epoch, without selection."
    )
    if shared_speakers(report):
        text += " \\textbf{Speakers are shared between training and held-out parts: no results.}"
    if report.holes or not all(system.is_complete for system in report.systems):
        text += " \\textbf{Folds are missing: the numbers are not a cross-validation.}"
    return text


def _published_caption() -> str:
    return latex_cited(
        f"Published figures for IEMOCAP{cite('iemocap')} in percent, what each of them most likely is, and ours of "
        "the same kind."
    )
