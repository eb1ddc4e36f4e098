"""The report as one self-contained HTML page, drawn from its content alone.

No script, no font and no picture from elsewhere: the styles and the plots stand in the page, and the plots take the
page's colours, so that light and dark both read.
"""

from mmer_pipeline.pages.page import code, inline, template
from mmer_pipeline.pages.plotting import HUES
from mmer_pipeline.report import provenance_tables, report_plots, system_tables, tables
from mmer_pipeline.report.content import Report
from mmer_pipeline.report.wording import (
    MEANING,
    ONE_FOLD,
    PAIRS_NOTE,
    chance,
    percent,
)

TEMPLATE = "report.html.jinja"
PAPER = "https://arxiv.org/abs/2203.16794"


def html(report: Report) -> str:
    """The whole page; the same report gives the same text."""
    return template(TEMPLATE, {"percent": percent, "code": code}).render(
        report=report,
        tables=tables,
        system_tables=system_tables,
        provenance_tables=provenance_tables,
        MEANING=MEANING,
        ONE_FOLD=ONE_FOLD,
        PAIRS_NOTE=PAIRS_NOTE,
        PAPER=PAPER,
        chance=chance(report),
        encoders=_encoders(report),
        slugs=report_plots.slugs(report),
        hue_of={system.name: HUES.index(report_plots.hue(report, system)) + 1 for system in report.systems},
        plots={name: inline(figure, name) for name, figure in report_plots.figures(report)},
        jobs=sum(len(run.folds) for system in report.systems for run in system.runs),
    )


def _encoders(report: Report) -> dict[str, list[str]]:
    """Kind → the names of the encoders that any system uses."""
    used: dict[str, list[str]] = {"speech": [], "text": []}
    for system in report.systems:
        for kind, name in system.encoders.used.items():
            if name not in used[kind]:
                used[kind].append(name)
    return {kind: names for kind, names in used.items() if names}
