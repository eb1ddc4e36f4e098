"""The look of every plot, and how one is written.

A plot is a `Figure` as wide as a phone's screen, so that it reads at that width and two stand side by side on a
desktop. No pyplot: nothing global, no display. Text and axes are drawn in `INK`, all else in `HUES`, so that a page
can put its own colours in their place; the same data give the same bytes.
"""

import io
from typing import Any

from matplotlib import style
from matplotlib.figure import Figure

INK = "#101418"
# Okabe and Ito's colours for all kinds of sight, those kept and darkened that read on white.
HUES = ("#0072b2", "#c65102", "#00855f", "#a8518a", "#8a6d00", "#4a55b5")
WIDTH = 4.0  # inches
DPI = 150
_STYLE: dict[str, Any] = {
    "axes.edgecolor": (INK, 0.5),
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.labelcolor": INK,
    "axes.labelsize": 9.5,
    "axes.linewidth": 0.8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 9.5,
    "figure.facecolor": "white",
    "axes.facecolor": "none",
    "font.family": "DejaVu Sans",  # comes with matplotlib
    "font.size": 9.5,
    "grid.color": (INK, 0.13),
    "grid.linewidth": 0.7,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "savefig.dpi": DPI,
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "mmer-pipeline",
    "text.color": INK,
    "text.parse_math": False,  # a dollar in a name is a dollar
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
}
styled = style.context(["default", _STYLE])  # a decorator: no matplotlibrc of the user's has a say


def png(figure: Figure) -> bytes:
    """A figure as PNG, 150 dots an inch."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", metadata={"Software": None})
    return stream.getvalue()


@styled
def svg(figure: Figure, background: str = "white") -> str:
    """A figure as an SVG document; the same figure gives the same text. Background "none": what lies behind shows."""
    stream = io.StringIO()
    unsaid = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(stream, format="svg", metadata=unsaid, facecolor=background)
    return stream.getvalue()
