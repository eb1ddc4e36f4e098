"""The style of every plot, and functions that write plots.

A plot is a `Figure` as wide as a phone's screen: it is readable at that width, and two fit side by side on a desktop.
pyplot is not used, so there is no global state and no display. Text and axes are drawn in `INK`, everything else in
`HUES`, which a page can replace with its own colours. The same data give the same bytes.
"""

import io
from typing import Any

from matplotlib import style
from matplotlib.figure import Figure

INK = "#101418"
# From Okabe and Ito's palette for colour-blind readers: the colours that work on white, darkened.
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
    "font.family": "DejaVu Sans",  # part of matplotlib
    "font.size": 9.5,
    "grid.color": (INK, 0.13),
    "grid.linewidth": 0.7,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "savefig.dpi": DPI,
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "mmer-pipeline",
    "text.color": INK,
    "text.parse_math": False,  # a dollar sign in a name is not mathematics
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
}
styled = style.context(["default", _STYLE])  # a decorator that ignores the user's matplotlibrc


def png(figure: Figure) -> bytes:
    """A figure as PNG, 150 dots per inch."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", metadata={"Software": None})
    return stream.getvalue()


@styled
def svg(figure: Figure, background: str = "white") -> str:
    """A figure as an SVG document; the same figure gives the same text. Background "none" is transparent."""
    stream = io.StringIO()
    omitted = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(stream, format="svg", metadata=omitted, facecolor=background)
    return stream.getvalue()
