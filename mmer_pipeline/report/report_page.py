"""The report as one self-contained HTML page, drawn from its dict alone (the schema of `report.json`).

No script, no font and no picture from elsewhere: the styles and the plots stand in the page, and the plots take the
page's colours, so that light and dark both read.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import MISSING, fields
from itertools import groupby
from operator import itemgetter
from typing import Any

from mmer_pipeline.pages.page import code, inline, template
from mmer_pipeline.pages.plotting import HUES
from mmer_pipeline.report import report_plots
from mmer_pipeline.report.formats import (
    ALPHA_NOTE,
    MEANING,
    METRIC_NAMES,
    ONE_FOLD,
    PAIRS_NOTE,
    chance,
    counted,
    epoch_caveat,
    folds_and_seeds,
    folds_line,
    is_complete,
    mean_and_sd,
    not_comparable,
    p_value,
    percent,
    pooled,
    signed,
    signed_interval,
)
from mmer_pipeline.settings import Settings

TEMPLATE = "report.html.jinja"
PAPER = "https://arxiv.org/abs/2203.16794"
SIGNIFICANT = 0.05  # the level of Holm's correction that is marked in the table of pairs
_PER_RUN = ("seed",)  # settings that differ between the runs of a system
_ENVIRONMENT = ("device", "platform", "python", "git_commit")


def html(report: dict[str, Any]) -> str:
    """The whole page; the same report gives the same text."""
    filters = {
        "percent": percent,
        "mean_and_sd": mean_and_sd,
        "pooled": pooled,
        "signed": signed,
        "signed_interval": signed_interval,
        "p": p_value,
        "duration": _duration,
        "plain": _plain,
        "code": code,
        "counted": counted,
        "folds": _folds_of,
        "folds_line": folds_line,
    }
    slugs = report_plots.slugs(report)
    return template(TEMPLATE, filters).render(
        report,
        METRICS=METRIC_NAMES,
        MEANING=MEANING,
        PAPER=PAPER,
        SIGNIFICANT=SIGNIFICANT,
        ALPHA_NOTE=ALPHA_NOTE,
        ONE_FOLD=ONE_FOLD,
        PAIRS_NOTE=PAIRS_NOTE,
        chance=chance(report),
        epoch_caveat=epoch_caveat(report),
        not_comparable=not_comparable(report),
        complete={system["name"]: is_complete(system) for system in report["systems"]},
        slugs=slugs,
        hue_of={system["name"]: HUES.index(report_plots.hue(report, system)) + 1 for system in report["systems"]},
        system_of={system["name"]: system for system in report["systems"]},
        groups=[(name, list(rows)) for name, rows in groupby(report["table_1"]["rows"], itemgetter("group"))],
        encoders=_encoders(report),
        plots={name: inline(figure, name) for name, figure in report_plots.figures(report)},
        folds_of={system["name"]: _folds(system) for system in report["systems"]},
        significant={metric: _significant(report["pairs"], metric) for metric in ("wa", "ua")},
        settings=_matrix(report["systems"], "settings", _defaults()),
        inputs=_matrix(report["systems"], "inputs"),
        environment=_environment(report["systems"]),
        jobs=_jobs(report["systems"]),
    )


def _folds_of(system: dict[str, Any]) -> str:
    """ "5 folds", "5 × 2 folds and seeds", "4 of 5 folds", "one held-out part"."""
    if len(system["seeds"]) > 1:
        return f"{folds_and_seeds(system)} folds and seeds"
    return ONE_FOLD if system["folds_expected"] == 1 else f"{folds_and_seeds(system)} folds"


def _encoders(report: dict[str, Any]) -> dict[str, list[str]]:
    """Kind → the names of the encoders that any system uses."""
    used = {kind: [system["encoders"][kind] for system in report["systems"]] for kind in ("text", "speech")}
    return {kind: list(dict.fromkeys(filter(None, names))) for kind, names in used.items()}


def _folds(system: dict[str, Any]) -> list[dict[str, Any]]:
    """One row a fold and seed: its final numbers, and those of the other selections beside them."""
    others = {
        name: {(row["seed"], row["fold"]): row for row in selection["folds"]}
        for name, selection in system["selections"].items()
        if selection is not None
    }
    return [
        {name: rows[row["seed"], row["fold"]] for name, rows in others.items()}
        for row in system["selections"]["final"]["folds"]
    ]


def _significant(pairs: Sequence[dict[str, Any]], metric: str) -> int:
    found = [pair["metrics"][metric]["p_holm"] for pair in pairs]
    return sum(p is not None and p < SIGNIFICANT for p in found)


def _defaults() -> dict[str, Any]:
    return {field.name: field.default for field in fields(Settings) if field.default is not MISSING}


def _matrix(
    systems: Sequence[dict[str, Any]], part: str, defaults: dict[str, Any] | None = None
) -> list[dict[str, Any]]:
    """Settings or inputs as rows: name, default, the value of each trained system, whether one is not the default."""
    trained = [system["runs"][0][part] for system in systems if system["runs"]]
    names = [name for name in dict.fromkeys(name for values in trained for name in values) if name not in _PER_RUN]
    return [
        {
            "name": name,
            "default": (defaults or {}).get(name),
            "values": [values.get(name) for values in trained],
            "changed": defaults is not None and any(values.get(name) != defaults.get(name) for values in trained),
        }
        for name in names
    ]


def _environment(systems: Sequence[dict[str, Any]]) -> list[tuple[str, str]]:
    """Where the jobs ran and with what: name → value; several values with the number of jobs of each."""
    seen: dict[str, Counter[str]] = {}
    for _, _, fold in _jobs(systems):
        facts = fold["facts"]
        named = {name: facts.get(name) for name in _ENVIRONMENT} | facts.get("versions", {})
        for name, value in named.items():
            seen.setdefault(name.replace("_", " "), Counter())[_plain(value)] += 1
    return [
        (name, next(iter(values)) if len(values) == 1 else "; ".join(f"{v} ({n} jobs)" for v, n in values.items()))
        for name, values in seen.items()
    ]


def _jobs(systems: Sequence[dict[str, Any]]) -> list[tuple[dict[str, Any], dict[str, Any], dict[str, Any]]]:
    """System, run and fold of every trained fold."""
    return [(system, run, fold) for system in systems for run in system["runs"] for fold in run["folds"]]


def _duration(seconds: float) -> str:
    """4210.3 → "1 h 10 min"; 95 → "1 min 35 s"."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {rest:02} s" if minutes else f"{seconds:.1f} s"


def _plain(value: Any) -> str:
    """A setting's value as a reader would write it."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return " ".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
