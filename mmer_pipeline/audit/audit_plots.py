"""The plots of an audit's page, drawn from the content of `audit.json`."""

from collections.abc import Iterator
from typing import Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mmer_pipeline.pages.plotting import HUES, INK, WIDTH, styled

Audit = dict[str, Any]


def figures(audit: Audit) -> Iterator[tuple[str, Figure]]:
    """Every plot that the audit has data for, and its name in the page."""
    yield "baselines", baselines(audit)
    if audit["recordings"] and any(row["recordings"] for row in audit["recordings"]["classes"]):
        yield "loudness", by_class(audit, "loudness_dbfs", "loudness (dBFS)", HUES[1])
        yield "seconds", by_class(audit, "seconds", "length (s)", HUES[0])


@styled
def by_class(audit: Audit, key: str, label: str, hue: str) -> Figure:
    """One number by class: 5 to 95 % as a thin line, the middle half as a thick one, the median as a dot."""
    rows = [row for row in audit["recordings"]["classes"] if row[key]]
    figure = Figure(figsize=(WIDTH, 0.92 + 0.3 * len(rows)), layout="constrained")
    axes = figure.subplots()
    for y, row in enumerate(rows):
        low, lower, median, upper, high = row[key]["quantiles"]
        axes.plot([low, high], [y, y], color=hue, linewidth=1.4)
        axes.plot([lower, upper], [y, y], color=hue, linewidth=8, alpha=0.45)
        axes.plot(median, y, "o", color=hue, markersize=5)
        axes.text(1.02, y, f"{median:.1f}".replace("-", "−"), transform=axes.get_yaxis_transform(), va="center")
    axes.set_yticks(range(len(rows)), [row["label"][:14] for row in rows])
    axes.set(ylim=(len(rows) - 0.5, -0.5), xlabel=label)
    axes.grid(visible=False, axis="y")
    return figure


@styled
def baselines(audit: Audit) -> Figure:
    """The UA of every baseline with its 95 % interval, the folds as small dots, guessing as a dashed line."""
    rows, chance = audit["baselines"]["rows"], 100 * audit["baselines"]["chance_ua"]
    figure = Figure(figsize=(WIDTH, 0.92 + 0.52 * len(rows)), layout="constrained")
    axes = figure.subplots()
    for number, row in enumerate(rows):
        y = 1.7 * number
        axes.text(0.01, y, row["name"], transform=axes.get_yaxis_transform(), va="center")
        if row["ua_interval"]:
            axes.plot([100 * end for end in row["ua_interval"]], [y + 0.7] * 2, color=HUES[0], linewidth=2.2)
        axes.plot(100 * row["ua"], y + 0.7, "D", color=HUES[0], markersize=4.6)
        folds = [100 * value for value in row["fold_ua"]]
        axes.plot(folds, [y + 0.98] * len(folds), "o", color=HUES[0], alpha=0.55, markersize=2, mew=0)
        axes.text(1.02, y + 0.7, f"{100 * row['ua']:.1f}", transform=axes.get_yaxis_transform(), va="center")
        axes.plot([chance] * 2, [y + 0.35, y + 1.05], color=INK, linewidth=1.2, linestyle=(0, (2, 1.2)))
    handles = [
        Line2D([], [], color=HUES[0], marker="D", linewidth=2, label="pooled, 95 % interval"),
        Line2D([], [], color=HUES[0], marker="o", linewidth=0, markersize=2, alpha=0.6, label="one fold"),
        Line2D([], [], color=INK, linewidth=1.2, linestyle=(0, (2, 1.2)), label=f"guessing ({chance:.0f})"),
    ]
    figure.legend(handles=handles, loc="outside upper left", ncols=2, handlelength=1.6, columnspacing=1.4)
    axes.set_yticks([])
    axes.margins(x=0.06)
    axes.set(ylim=(1.7 * len(rows) - 0.3, -0.6), xlabel="UA (%), balanced classes")
    return figure
