"""Shared parts of the pages: templates, style, and plots inside a page.

A page is one file, without scripts, fonts or pictures from elsewhere. It contains its styles and its plots, and the
plots use its colours, so that they are readable in light and dark.
"""

import re
from collections.abc import Mapping
from importlib.resources import files as package_files
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined, Template
from markupsafe import Markup, escape
from matplotlib.figure import Figure

from mmer_pipeline.pages.plotting import HUES, INK, svg

# `HUES` for a dark page.
DARK_HUES = ("#56b0ec", "#f08a4b", "#35c497", "#d98cc0", "#cfae3a", "#949eff")

SHORT_CODE = 30  # characters


def template(name: str, filters: Mapping[str, Any]) -> Template:
    """Load a template of the package with additional filters; values are escaped."""
    environment = Environment(
        loader=FunctionLoader(
            lambda name: package_files("mmer_pipeline.pages").joinpath("templates", name).read_text("utf-8")
        ),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= filters
    environment.globals["hues"] = list(zip(HUES, DARK_HUES, strict=True))
    return environment.get_template(name)


def inline(figure: Figure, name: str) -> Markup:
    """A plot as an element of the page, with the page's colours, unique ids, and no fixed size.

    The page must have a caption with the id `<name>-caption`.
    """
    document = svg(figure, "none")
    drawing = document[document.index("<svg") :]
    drawing = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", drawing, flags=re.DOTALL)  # it would style the page
    drawing = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>", "", drawing, flags=re.DOTALL)
    drawing = re.sub(r' (?:xmlns(?::xlink)?|version)="[^"]*"', "", drawing)
    box = re.search(r'viewBox="[^"]*"', drawing)
    assert box, "matplotlib writes a viewBox"
    drawing = re.sub(r"<svg[^>]*>", f'<svg {box[0]} role="img" aria-labelledby="{name}-caption">', drawing, count=1)
    used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', drawing))
    drawing = re.sub(r' id="([^"]*)"', lambda found: f' id="{name}-{found[1]}"' if found[1] in used else "", drawing)
    drawing = re.sub(r'(href="#|url\(#)', rf"\g<1>{name}-", drawing)
    drawing = drawing.replace(INK, "currentColor")
    for number, colour in enumerate(HUES, start=1):
        drawing = drawing.replace(colour, f"var(--hue-{number})")
    return Markup(re.sub(r"\n\s*", "\n", drawing))


def code(text: str) -> Markup:
    """Escaped text, with what is between backticks as code; a browser breaks no line in a short one (`--seeds 1,2`)."""

    def element(found: re.Match[str]) -> str:
        short = ' class="short"' if len(found[1]) <= SHORT_CODE else ""
        return f"<code{short}>{found[1]}</code>"

    return Markup(re.sub(r"`([^`]+)`", element, str(escape(text))))
