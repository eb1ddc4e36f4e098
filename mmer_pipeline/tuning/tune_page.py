"""The page of a search, made from the content of `tune.json`."""

from collections.abc import Iterator
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mmer_pipeline.pages.page import code, inline, template
from mmer_pipeline.pages.plotting import HUES, INK, WIDTH, styled

TEMPLATE = "tune.html.jinja"


def html(results: dict[str, Any]) -> str:
    """Render the page; the same results give the same text."""
    filters = {"percent": _percent, "value": value_text, "code": code}
    plots = {name: inline(figure, name) for name, figure in figures(results)}
    return template(TEMPLATE, filters).render(results, plots=plots, tried=sum(results["counts"].values()))


def figures(results: dict[str, Any]) -> Iterator[tuple[str, Figure]]:
    """Every plot that there is data for, and its name in the page."""
    if results["best"]:
        yield "history", history(results)
    if results["importance"]:
        yield "importance", importance(results["importance"])


@styled
def history(results: dict[str, Any]) -> Figure:
    """The validation UA of each complete trial as a dot, and the best so far as a line."""
    rows = [row for row in results["trials"] if row["state"] == "complete"]
    figure = Figure(figsize=(WIDTH, 2.2), layout="constrained")
    axes = figure.subplots()
    numbers, scores = [row["trial"] for row in rows], [100 * row["ua"] for row in rows]
    best = [max(scores[: end + 1]) for end in range(len(scores))]
    axes.step(numbers, best, where="post", color=HUES[1], linewidth=1.4, label="best so far")
    axes.plot(numbers, scores, "o", color=HUES[0], markersize=3.6, label="trial")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="trial", ylabel="validation UA (%)")
    axes.legend(loc="lower right")
    return figure


@styled
def importance(shares: dict[str, float]) -> Figure:
    """The share of each setting in the variance of the scores, as bars."""
    figure = Figure(figsize=(WIDTH, 0.7 + 0.28 * len(shares)), layout="constrained")
    axes = figure.subplots()
    for y, share in enumerate(shares.values()):
        axes.barh(y, 100 * share, height=0.6, color=HUES[0])
        axes.text(100 * share + 1, y, f"{100 * share:.0f}", va="center", color=INK)
    axes.set_yticks(range(len(shares)), list(shares))
    axes.set(ylim=(len(shares) - 0.5, -0.5), xlim=(0, 110), xlabel="share of the variance of the UA (%)")
    axes.grid(visible=False, axis="y")
    return figure


def value_text(value: Any) -> str:
    """A setting's value in a table: 0.00012345 → "0.0001234", True → "on", None → "–"."""
    if value is None or isinstance(value, bool):
        return {None: "–", True: "on", False: "off"}[value]
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _percent(share: float | None) -> str:
    """0.6123 → "61.23"."""
    return "–" if share is None else f"{100 * share:.2f}"
