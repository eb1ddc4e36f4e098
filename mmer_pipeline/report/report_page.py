"""Render the report as one self-contained HTML page.

The page loads no script, font or image: styles and plots are in it, and the plots take its colours, light and dark.
"""

from mmer_pipeline.pages.page import code, inline, template
from mmer_pipeline.pages.plotting import HUES
from mmer_pipeline.report import (
    comparison_tables,
    pair_table,
    paper_table,
    provenance_tables,
    report_plots,
    single_system_tables,
)
from mmer_pipeline.report.head import head
from mmer_pipeline.report.other_corpora_table import other_corpora
from mmer_pipeline.report.report_content import Report
from mmer_pipeline.report.shortcut_table import TITLE, shared_speakers, shortcuts
from mmer_pipeline.report.wording import (
    MEANING,
    chance,
    claims_note,
    has_intervals,
    has_published_figures,
    percent,
    pooled_interval,
    unit,
)

TEMPLATE = "report.html.jinja"
PAPER = "https://arxiv.org/abs/2203.16794"


def html(report: Report) -> str:
    """Render the page; the same report gives the same text."""
    return template(TEMPLATE, {"percent": percent, "code": code}).render(
        report=report,
        tables=comparison_tables,
        pair_table=pair_table,
        paper_table=paper_table,
        system_tables=single_system_tables,
        provenance_tables=provenance_tables,
        head=head(report),
        has_published_figures=has_published_figures(report),
        known=[name for name in MEANING if any(name in system.selections.known for system in report.systems)],
        MEANING=MEANING,
        claims_note=claims_note(report),
        other_corpora=other_corpora,
        shared_speakers=shared_speakers(report),
        shortcuts=shortcuts(report),
        SHORTCUTS=TITLE,
        PAPER=PAPER,
        chance=chance(report),
        unit=unit(report),
        pooled_interval=pooled_interval(report),
        has_intervals=has_intervals(report),
        slugs=report_plots.slugs(report),
        hue_of={system.name: HUES.index(report_plots.hue(report, system)) + 1 for system in report.systems},
        plots={name: inline(figure, name) for name, figure in report_plots.figures(report)},
        jobs=sum(len(run.folds) for system in report.systems for run in system.runs),
    )
