"""The audit as files: `audit.json`, and a self-contained page made from its content."""

from pathlib import Path
from typing import Any

from markupsafe import Markup

from mmer_pipeline import files, paths
from mmer_pipeline.audit.audit_plots import figures
from mmer_pipeline.audit.finding import SEVERITIES, plural
from mmer_pipeline.audit.repeated_texts import LONG
from mmer_pipeline.audit.validation_parts import CHECKED_FOLDS
from mmer_pipeline.corpora.speaker_folds import fold_unit
from mmer_pipeline.errors import UserError
from mmer_pipeline.pages.page import code, inline, template

TEMPLATE = "audit.html.jinja"


def write_audit(audit: dict[str, Any], directory: Path) -> list[Path]:
    """Write audit.html and audit.json to a directory; returns the files.

    Raises:
        UserError: the disk is full, or audit.json in that directory belongs to a manifest named audit.csv.
    """
    page, facts = directory / paths.AUDIT_HTML, directory / paths.AUDIT_JSON
    if facts.resolve() == paths.manifest_facts(Path(audit["manifest"])).resolve():
        raise UserError(f"{facts} belongs to the manifest {audit['manifest']}. Give another directory with --output.")
    files.write_text(page, html(audit))
    files.write_json(facts, audit)
    return [page, facts]


def html(audit: dict[str, Any]) -> str:
    """Render the page; the same audit gives the same text."""
    filters = {
        "percent": _percent,
        "count": _count,
        "number": _number,
        "cell": _cell,
        "prose": _prose,
        "plural": plural,
    }
    found = {name: [entry for entry in audit["findings"] if entry["severity"] == name] for name in SEVERITIES}
    return template(TEMPLATE, filters).render(
        audit,
        SEVERITIES=SEVERITIES,
        LONG=LONG,
        CHECKED_FOLDS=CHECKED_FOLDS,
        found=found,
        unit=fold_unit(audit["folds"]),
        name=Path(audit["manifest"]).name,
        plots={name: inline(figure, name) for name, figure in figures(audit)},
    )


def _prose(text: str) -> Markup:
    """A sentence with its commands as code; a line never begins with a percent sign."""
    return code(text.replace(" %", "\u00a0%"))


def _percent(share: float) -> str:
    """0.4884 → "48.8"."""
    return f"{100 * share:.1f}"


def _count(value: int) -> str:
    """5531 → "5,531"."""
    return f"{value:,}"


def _number(value: float | None) -> str:
    """-23.42 → "−23.4", with a real minus sign; None → "–"."""
    return "–" if value is None else f"{value:.1f}".replace("-", "−")


def _cell(part: int, whole: int) -> str:
    """A part of a whole in percent; "–" if the whole is 0."""
    return f"{100 * part / whole:.1f}" if whole else "–"
