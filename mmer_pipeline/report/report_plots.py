"""Draw the plots of a report.

Each system has a colour, in the report's order, starting over when they run out; each plot also names its system. The
same report gives the same bytes.
"""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from mmer_pipeline import files, paths
from mmer_pipeline.pages.plotting import HUES, INK, WIDTH, pdf, png, styled, svg
from mmer_pipeline.report.report_content import Curve, Report, System
from mmer_pipeline.report.wording import METRIC_NAMES, chance, gate, has_intervals, percent


def hue(report: Report, system: System) -> str:
    """Return the colour of a system, the same in every plot."""
    names = [entry.name for entry in report.systems]
    return HUES[names.index(system.name) % len(HUES)]


def slugs(report: Report) -> dict[str, str]:
    """Map system names to file names and anchors, unique even where case is ignored."""
    taken: dict[str, str] = {}
    for system in report.systems:
        base = slug = re.sub(r"[^A-Za-z0-9._=-]+", "-", system.name).strip("-.") or "system"
        number = 2
        while slug.casefold() in {other.casefold() for other in taken.values()}:
            slug, number = f"{base}-{number}", number + 1
        taken[system.name] = slug
    return taken


@styled
def systems(report: Report) -> Figure:
    """Draw pooled WA and UA of every system with the intervals of both claims, fold values and chance."""
    names = [system.name for system in report.systems]
    guessing = 100 * chance(report)
    figure = Figure(figsize=(WIDTH, 0.63 + 0.6 * len(names)), layout="constrained")
    axes = figure.subplots()
    ticks, has_again = [], False
    for number, system in enumerate(report.systems):
        top, colour = 3.4 * number, hue(report, system)
        axes.text(0.01, top, _short(system.title, 44), transform=axes.get_yaxis_transform(), va="center", weight="bold")
        final = system.selections.final
        for row, metric in enumerate(("wa", "ua"), start=1):
            y = top + row
            summary, marker = final.summary[metric], "o" if metric == "wa" else "D"
            ticks.append((y, METRIC_NAMES[metric]))
            again = summary.trained_again.interval_95 if summary.trained_again else None
            has_again = has_again or again is not None
            if again:
                of_mean = 100 * np.array([again[0], summary.mean, again[1]])
                axes.plot(of_mean, [y, y, y], "|-", color=colour, linewidth=0.7, markersize=4.2)
            if summary.interval_95:
                axes.plot(100 * np.array(summary.interval_95), [y, y], color=colour, linewidth=1.85)
            axes.plot(100 * summary.pooled, y, marker, color=colour, markersize=5)
            folds = [100 * getattr(fold, metric) for fold in final.folds]
            axes.plot(folds, np.full(len(folds), y + 0.36), "o", color=colour, alpha=0.55, markersize=2, mew=0)
            axes.text(
                1.015, y, percent(summary.pooled), transform=axes.get_yaxis_transform(), va="center", clip_on=False
            )
        axes.plot([guessing] * 2, [top + 1.6, top + 2.5], color=INK, linewidth=1, linestyle=(0, (2, 1.2)))
    axes.set_ylim(3.4 * len(names) - 0.6, -0.7)
    axes.set_yticks([y for y, _ in ticks], [name for _, name in ticks])
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("percent of the held-out utterances, final epoch")
    axes.margins(x=0.04)
    again_handle = Line2D(
        [], [], color=INK, marker="|", linewidth=0.7, markersize=4.2, label="mean and 95 %, trained again"
    )
    pooled = "pooled, 95 % interval" if has_intervals(report) else "pooled"
    handles = [
        Line2D([], [], color=INK, marker="o", linewidth=1.7 * has_intervals(report), label=pooled),
        *([again_handle] if has_again else []),
        Line2D([], [], color=INK, marker="o", linewidth=0, markersize=2, alpha=0.6, label="one fold and seed"),
        Line2D([], [], color=INK, linewidth=1, linestyle=(0, (2, 1.2)), label=f"chance, UA ({guessing:.0f})"),
    ]
    figure.legend(handles=handles, loc="outside upper left", ncols=2, handlelength=1.6, columnspacing=1.4)
    return figure


@styled
def confusion(report: Report, system: System) -> Figure:
    """Draw counts and shares of the true class, final, pooled; darker cells have higher shares."""
    counts = np.array(system.confusion)
    classes = len(counts)
    few = classes < 6
    labels = [_short(label, 14 if few else 10) for label in report.labels]
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure = Figure(figsize=(WIDTH, 2.7 if few else 3.35), layout="constrained")
    axes = figure.subplots()
    for truth in range(classes):
        for said in range(classes):
            share = shares[truth, said]
            # Light enough for the text on it, dark or light, to be readable.
            corner = (said - 0.48, truth - 0.48)
            axes.add_patch(
                Rectangle(corner, 0.96, 0.96, color=hue(report, system), alpha=0.04 + 0.5 * share, linewidth=0)
            )
            text = f"{counts[truth, said]}\n{100 * share:.1f}{' %' if few else ''}"
            axes.text(said, truth, text, ha="center", va="center", size=8 if few else 6, linespacing=1.35)
    axes.set(xlim=(-0.5, classes - 0.5), ylim=(classes - 0.5, -0.5), xlabel="predicted", ylabel="true")
    long = classes * max(map(len, labels)) > 40
    axes.set_xticks(range(classes), labels, rotation=35 if long else 0, ha="left" if long else "center")
    axes.set_yticks(range(classes), labels)
    axes.xaxis.set(label_position="top", ticks_position="top")
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    return figure


_EPOCH_MARKS = {"final": ("o", "final"), "oracle_epoch": ("D", "oracle"), "validated_epoch": ("v", "validated")}


def _marked(line: Curve, mark: str) -> int | None:
    """Return the epoch that a mark shows in the curve of one fold."""
    epoch: int | None = line.epochs[-1] if mark == "final" else getattr(line, mark)
    return epoch


@styled
def curves(report: Report, system: System) -> Figure | None:
    """Draw training losses and held-out WA and UA by epoch: a thin line per fold and seed, and their mean."""
    if not system.curves:
        return None
    lines, colour = system.curves, hue(report, system)
    with_ctc = all(line.ctc is not None for line in lines)
    figure = Figure(figsize=(WIDTH, 3.1), layout="constrained")
    panels = figure.subplot_mosaic("AB;CD" if with_ctc else "AA;CD", sharex=True)
    drawn = [("A", "ce", "CE loss, training"), ("C", "wa", "WA, held out (%)"), ("D", "ua", "UA, held out (%)")]
    if with_ctc:
        drawn.append(("B", "ctc", "CTC loss, training"))
    used = [mark for mark in _EPOCH_MARKS if all(_marked(line, mark) is not None for line in lines)]
    for place, key, title in drawn:
        axes, scale = panels[place], 100 if place in "CD" else 1
        for line in lines:
            axes.plot(line.epochs, scale * np.array(getattr(line, key)), color=colour, alpha=0.3, linewidth=0.7)
        shared = min(len(line.epochs) for line in lines)
        mean = np.mean([getattr(line, key)[:shared] for line in lines], axis=0)
        axes.plot(lines[0].epochs[:shared], scale * mean, "." if shared == 1 else "-", color=colour, linewidth=1.85)
        for mark in used if place in "CD" else ():
            sign, face = _EPOCH_MARKS[mark][0], colour if mark == "final" else "none"
            epochs = np.array([_marked(line, mark) for line in lines])
            values = [
                100 * getattr(line, key)[line.epochs.index(epoch)] for line, epoch in zip(lines, epochs, strict=True)
            ]
            axes.plot(epochs, values, sign, color=colour, mfc=face, markersize=3, mew=0.75, clip_on=False)
        axes.set_title(title)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(nbins=5))
    limits = [panels[place].get_ylim() for place in "CD"]
    for place in "CD":
        panels[place].set(xlabel="epoch", ylim=(min(low for low, _ in limits), max(high for _, high in limits)))
    handles = [
        Line2D([], [], color=colour, linewidth=1.85, label="mean"),
        Line2D([], [], color=colour, linewidth=0.7, alpha=0.5, label="one fold and seed"),
    ]
    for mark in used:
        sign, label = _EPOCH_MARKS[mark]
        face = colour if mark == "final" else "none"
        handles.append(
            Line2D([], [], color=colour, marker=sign, mfc=face, linewidth=0, markersize=3.4, label=f"{label} epoch")
        )
    figure.legend(handles=handles, loc="outside lower left", ncols=3, fontsize=7.2, handlelength=1.4, columnspacing=1.0)
    return figure


@styled
def reliability(report: Report, system: System) -> Figure | None:
    """Draw accuracy against confidence, and the number of predictions in each bin."""
    if system.reliability is None:
        return None
    bins, colour = system.reliability.bins, hue(report, system)
    figure = Figure(figsize=(WIDTH, 3.45), layout="constrained")
    axes, below = figure.subplots(2, 1, sharex=True, height_ratios=(2.4, 1))
    edges = 100 * np.array([[entry.lower, entry.upper] for entry in bins])
    middles, widths = edges.mean(axis=1), 0.92 * (edges[:, 1] - edges[:, 0])
    counts = [entry.utterances for entry in bins]
    axes.bar(middles, [100 * entry.accuracy for entry in bins], widths, color=colour, alpha=0.45, linewidth=0)
    points = 100 * np.array([[entry.confidence, entry.accuracy] for entry in bins])
    axes.plot(points[:, 0], points[:, 1], "o", color=colour, markersize=3.4, clip_on=False)
    axes.plot([0, 100], [0, 100], color=INK, linewidth=0.85, linestyle=(0, (3, 2)))
    ece = percent(system.reliability.ece)
    axes.set_title(f"ECE {ece} %; dashed: perfectly calibrated")
    axes.set(xlim=(0, 100), ylim=(0, 100), ylabel="right (%)")
    below.bar(middles, counts, widths, color=colour, alpha=0.45, linewidth=0)
    for x, count in zip(middles, counts, strict=True):
        below.text(x, count + 0.03 * max(counts), str(count), ha="center", va="bottom", rotation=90, size=7)
    below.set(xlabel="confidence: highest probability (%)", ylabel=system.counted, ylim=(0, 1.5 * max(counts)))
    below.yaxis.set_major_locator(MaxNLocator(nbins=3, integer=True))
    return figure


@styled
def lengths(report: Report, system: System) -> Figure | None:
    """Draw the error rate by utterance length, and the overall rate as a line."""
    if not system.lengths:
        return None
    bins, colour = system.lengths, hue(report, system)
    overall = 100 * (1 - system.selections.final.summary["wa"].pooled)
    rates = [100 * entry.error_rate for entry in bins]
    figure = Figure(figsize=(WIDTH, 0.84 + 0.25 * len(bins)), layout="constrained")
    axes = figure.subplots()
    axes.barh(range(len(bins)), rates, 0.72, color=colour, alpha=0.45, linewidth=0)
    axes.axvline(overall, color=INK, linewidth=0.85, linestyle=(0, (3, 2)))
    for y, (rate, entry) in enumerate(zip(rates, bins, strict=True)):
        text = f"{rate:.1f} % of {entry.utterances}"
        axes.text(1.02, y, text, transform=axes.get_yaxis_transform(), va="center", size=7.5)
    axes.set_yticks(range(len(bins)), [f"{entry.from_seconds:.1f}–{entry.to_seconds:.1f} s" for entry in bins])
    axes.set(ylim=(len(bins) - 0.4, -0.6), xlim=(0, max(*rates, overall, 1) * 1.05), xlabel="error rate (%)")
    axes.set_title(f"dashed: all utterances, {overall:.1f} %")
    axes.grid(visible=False, axis="y")
    return figure


@styled
def gates(report: Report, system: System) -> Figure | None:
    """Draw the acoustic gate by true class: a line from the 10th to the 90th percentile, a dot at the median."""
    if system.gates is None:
        return None
    classes, colour = system.gates.per_class, hue(report, system)
    figure = Figure(figsize=(WIDTH, 0.84 + 0.25 * len(classes)), layout="constrained")
    axes = figure.subplots()
    for y, entry in enumerate(classes.values()):
        axes.plot([entry.percentile_10, entry.percentile_90], [y, y], color=colour, alpha=0.6, linewidth=2.7)
        axes.plot(entry.median, y, "o", color=colour, markersize=5.5, clip_on=False)
        axes.text(1.02, y, gate(entry.median), transform=axes.get_yaxis_transform(), va="center", size=7.5)
    axes.set_yticks(range(len(classes)), [_short(label, 14) for label in classes])
    low = min(entry.percentile_10 for entry in classes.values())
    high = max(entry.percentile_90 for entry in classes.values())
    air = max(0.06 * (high - low), 0.01)
    axes.set(ylim=(len(classes) - 0.4, -0.6), xlim=(max(0, low - air), min(1, high + air)))
    axes.set_xlabel("gate (0: speech shut out, 1: passed on)")
    axes.xaxis.set_major_locator(MaxNLocator(nbins=5))
    axes.set_title("line: 10–90 % of the utterances; dot: median")
    axes.grid(visible=False, axis="y")
    return figure


# By kind; a function returns None if the system has nothing to draw.
PER_SYSTEM: dict[str, Callable[[Report, System], Figure | None]] = {
    "confusion": confusion,
    "curves": curves,
    "reliability": reliability,
    "lengths": lengths,
    "gates": gates,
}


def figures(report: Report) -> Iterator[tuple[str, Figure]]:
    """Yield file name (without suffix) and figure of every plot: `systems`, `<system>-confusion` and so on."""
    yield "systems", systems(report)
    for system in report.systems:
        slug = slugs(report)[system.name]
        for kind, draw in PER_SYSTEM.items():
            figure = draw(report, system)
            if figure is not None:
                yield f"{slug}-{kind}", figure


def write_plots(report: Report, directory: Path) -> list[Path]:
    """Write every plot as PNG, SVG and PDF on white to `plots/` in a directory; return the files in order."""
    written = []
    for name, figure in figures(report):
        contents = [(".png", png(figure))]
        figure.set_layout_engine("none")  # the layout of the first file serves for the others
        contents += [(".svg", svg(figure).encode()), (".pdf", pdf(figure))]
        for suffix, content in contents:
            path = directory / paths.PLOTS_NAME / f"{name}{suffix}"
            with files.replacing(path) as temporary:
                temporary.write_bytes(content)
            written.append(path)
    return written


@styled
def _short(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"
