"""Text that tries to be more than text, on pages and in LaTeX, and checks that it is not."""

import html
import re
import xml.etree.ElementTree as ElementTree

from helpers.page_checks import Page

HOSTILE = (
    "</script></style></title><script>alert(1)</script><svg onload=alert(2)><img src=x onerror=alert(3)>"
    "\"'><iframe src=javascript:alert(4)> --><script>alert(5)</script><!-- ]]><a href='javascript:alert(6)'>x</a> "
    "[x](javascript:alert(7)) ![x](https://example.org/x.png) <javascript:alert(8)> `` ` ~~~ {{ 7*7 }} {% raw %} "
    "&lt;b&gt; "
    r"\input{/etc/passwd} \include{x} \write18{id} ^^5cinput{y} \csname input\endcsname % $ \end{table}"
)
_ACTIVE = ("script", "iframe", "object", "embed", "base", "form", "foreignObject", "animate", "set")
# A command of LaTeX that reads, writes or runs, which is not the name of one in a text (\textbackslash{}input).
_READS = re.compile(
    r"\\(input|include|openin|openout|read|write|immediate|catcode|csname|def|let|special|lstinputlisting)\b"
)


def assert_inert(source: str, *, links: bool = True) -> None:
    """Check that a page has nothing that runs or loads; `links` are allowed."""
    page = Page(source)
    assert not page.all(*_ACTIVE)
    assert not page.all("img", *(() if links else ("a",)))
    for tag, attributes in page.elements:
        assert not [name for name in attributes if name.startswith("on")], (tag, attributes)
        for name in ("href", "src", "xlink:href", "style"):
            value = html.unescape(attributes.get(name) or "").strip().lower()
            is_active = value.startswith(("javascript:", "data:", "vbscript:")) and value != "data:,"  # no icon
            assert not is_active, (tag, attributes)
            assert "url(" not in value or "url(#" in value, (tag, attributes)


def assert_inert_drawing(text: str) -> None:
    """Check the same of an SVG file."""
    for element in ElementTree.fromstring(text).iter():
        assert element.tag.rpartition("}")[2] not in (*_ACTIVE, "a", "image"), element.tag
        assert not [name for name in element.attrib if name.startswith("on")], element.attrib


def assert_inert_latex(text: str) -> None:
    """Check that LaTeX runs no command that reads or writes files, or that makes such a command."""
    assert _READS.findall(text) == []
    assert "^^" not in text
