"""The site: built strictly, and whole without a network."""

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FETCHED = {"script": "src", "link": "href", "img": "src", "iframe": "src", "source": "src", "object": "data"}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    directory = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", directory]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    built = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    return directory


class Fetches(HTMLParser):
    """Collects what a browser fetches to show a page."""

    def __init__(self):
        super().__init__()
        self.addresses = []
        self.classes = set()

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.classes.update((values.get("class") or "").split())
        if tag in FETCHED and values.get(FETCHED[tag]):
            self.addresses.append(values[FETCHED[tag]])


def test_no_page_fetches_anything_from_elsewhere(site):
    pages = list(site.rglob("*.html"))
    assert len(pages) > 30
    for page in pages:
        fetches = Fetches()
        fetches.feed(page.read_text(encoding="utf-8"))
        assert not [address for address in fetches.addresses if re.match(r"(https?:)?//", address)], page
        assert "mermaid" not in fetches.classes  # Material would load it from a CDN
    for style in site.rglob("*.css"):
        assert not re.findall(r"(?:url\(|@import\s+)[\"']?(?:https?:)?//", style.read_text(encoding="utf-8")), style


def test_what_is_made_from_other_files_is_there(site):
    assert "prepare" in (site / "commands.html").read_text(encoding="utf-8")
    assert "make_fold" in (site / "api" / "corpora.html").read_text(encoding="utf-8")
    assert "utterance_id" in (site / "cache.html").read_text(encoding="utf-8")
    assert (site / "from-manifest-to-report-1.png").stat().st_size > 1000
