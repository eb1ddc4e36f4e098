"""The audit as files: `audit.json`, and one self-contained page that is drawn from it alone."""

from pathlib import Path
from typing import Any

from markupsafe import Markup

from mmer_pipeline import files, paths
from mmer_pipeline.audit.audit_plots import figures
from mmer_pipeline.audit.finding import SEVERITIES
from mmer_pipeline.audit.recurring import LONG
from mmer_pipeline.errors import UserError
from mmer_pipeline.pages.page import code, inline, template

TEMPLATE = "audit.html.jinja"
HTML, JSON = "audit.html", "audit.json"


def write_audit(audit: dict[str, Any], directory: Path) -> list[Path]:
    """Write audit.html and audit.json below a directory; returns the files.

    Raises:
        UserError: the disk is full, or audit.json there is what a manifest named audit.csv is read with.
    """
    page, facts = directory / HTML, directory / JSON
    if facts.resolve() == paths.manifest_facts(Path(audit["manifest"])).resolve():
        raise UserError(f"{facts} belongs to the manifest {audit['manifest']}. Give another place with --output.")
    files.write_text(page, html(audit))
    files.write_json(facts, audit)
    return [page, facts]


def html(audit: dict[str, Any]) -> str:
    """The whole page; the same audit gives the same text."""
    filters = {"percent": _percent, "count": _count, "number": _number, "cell": _cell, "prose": _prose}
    found = {name: [one for one in audit["findings"] if one["severity"] == name] for name in SEVERITIES}
    return template(TEMPLATE, filters).render(
        audit,
        SEVERITIES=SEVERITIES,
        LONG=LONG,
        found=found,
        name=Path(audit["manifest"]).name,
        plots={name: inline(figure, name) for name, figure in figures(audit)},
    )


def _prose(text: str) -> Markup:
    """A sentence: commands in it as code, and no percent sign alone on its line."""
    return code(text.replace(" %", "\u00a0%"))


def _percent(share: float) -> str:
    """0.4884 → "48.8"."""
    return f"{100 * share:.1f}"


def _count(value: int) -> str:
    """5531 → "5,531"."""
    return f"{value:,}"


def _number(value: float | None) -> str:
    """-23.42 → "−23.4", with a true minus; – where there is none."""
    return "–" if value is None else f"{value:.1f}".replace("-", "−")


def _cell(part: int, whole: int) -> str:
    """How many of how many, in percent; – where there are none."""
    return f"{100 * part / whole:.1f}" if whole else "–"
