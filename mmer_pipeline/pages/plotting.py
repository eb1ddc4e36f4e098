"""The style of every plot, and functions that write plots.

A plot is a `Figure` as wide as a column of a journal, with letters of 7 to 8 pt, so that it can be printed as it is.
A page shows it larger, as wide as a phone's screen, where it is readable; two fit side by side on a desktop. pyplot is
not used, so there is no global state and no display. Text and axes are drawn in `INK`, everything else in `HUES`, which
a page can replace with its own colours. The same data give the same bytes.
"""

import io
from typing import Any

from matplotlib import style
from matplotlib.figure import Figure

INK = "#101418"
# From Okabe and Ito's palette for colour-blind readers: the colours that work on white, darkened.
HUES = ("#0072b2", "#c65102", "#00855f", "#a8518a", "#8a6d00", "#4a55b5")
WIDTH = 3.35  # inches, 85 mm: a column of most journals and proceedings
DPI = 300  # of PNG files
MOST_PIXELS = 16_000  # height of a PNG file: browsers and viewers show little more
_STYLE: dict[str, Any] = {
    "axes.edgecolor": (INK, 0.5),
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.labelcolor": INK,
    "axes.labelsize": 8,
    "axes.linewidth": 0.7,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 8,
    "figure.facecolor": "white",
    "axes.facecolor": "none",
    "font.family": "DejaVu Sans",  # part of matplotlib
    "font.size": 8,
    "grid.color": (INK, 0.13),
    "grid.linewidth": 0.6,
    "legend.fontsize": 7.5,
    "legend.frameon": False,
    "pdf.fonttype": 42,  # TrueType, which journals ask for
    "savefig.dpi": DPI,
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "mmer-pipeline",
    "text.color": INK,
    "text.parse_math": False,  # a dollar sign in a name is not mathematics
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
}
styled = style.context(["default", _STYLE])  # a decorator that ignores the user's matplotlibrc


@styled
def png(figure: Figure) -> bytes:
    """A figure as PNG, 300 dots per inch, or fewer if it would be higher than `MOST_PIXELS`."""
    stream = io.BytesIO()
    dpi = min(DPI, MOST_PIXELS / figure.get_figheight())
    figure.savefig(stream, format="png", dpi=dpi, metadata={"Software": None})
    return stream.getvalue()


@styled
def pdf(figure: Figure) -> bytes:
    """A figure as PDF with embedded fonts; the same figure gives the same bytes."""
    stream = io.BytesIO()
    figure.savefig(stream, format="pdf", metadata=dict.fromkeys(("Creator", "Producer", "CreationDate")))
    return stream.getvalue()


@styled
def svg(figure: Figure, background: str = "white") -> str:
    """A figure as an SVG document; the same figure gives the same text. Background "none" is transparent."""
    stream = io.StringIO()
    omitted = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(stream, format="svg", metadata=omitted, facecolor=background)
    return stream.getvalue()
