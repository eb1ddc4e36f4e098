"""Checks shared by the tests of all pages: a strict parser, and questions to a real browser."""

import shutil
from contextlib import contextmanager
from html.parser import HTMLParser

import pytest

from mmer_pipeline.pages.page import DARK_HUES
from mmer_pipeline.pages.plotting import HUES

VOID = {"meta", "link", "br", "path", "use", "img", "rect", "circle", "line", "hr"}


class Page(HTMLParser):
    """The elements of a page; fails where a tag is closed that is not open."""

    def __init__(self, text):
        super().__init__()
        self.elements = []  # (tag, attributes)
        self.text = ""
        self._open = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self._open.pop() == tag, self.getpos()

    def handle_data(self, data):
        if not self._open or self._open[-1] != "style":
            self.text += data

    def all(self, *tags):
        return [attributes for tag, attributes in self.elements if tag in tags]


# JavaScript that a test evaluates in Chromium.

OVERFLOW = "() => [document.documentElement.scrollWidth, document.documentElement.clientWidth]"

TABLES = """() => [...document.querySelectorAll('table')].filter(table => {
  const box = table.closest('.scroll'), outer = box.getBoundingClientRect();
  const hidden = table.scrollWidth > box.clientWidth + 1 && getComputedStyle(box).overflowX !== 'auto';
  return hidden || outer.left < 0 || outer.right > document.documentElement.clientWidth + 1;
}).map(table => table.getAttribute('aria-labelledby'))"""

# Siblings whose boxes overlap by more than a pixel both ways.
OVERLAPS = """() => {
  const found = [];
  const parents = 'body, header, main, footer, section, nav ul, .inside, .figures, .table, ol, ol li, .bars, dl';
  for (const parent of document.querySelectorAll(parents)) {
    const boxes = [...parent.children].map(child => [child, child.getBoundingClientRect()])
      .filter(([child, box]) => box.width && box.height);
    for (let i = 0; i < boxes.length; i++) for (let j = i + 1; j < boxes.length; j++) {
      const [a, b] = [boxes[i][1], boxes[j][1]];
      if (Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1
          && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 1)
        found.push(boxes[i][0].textContent.slice(0, 40) + ' / ' + boxes[j][0].textContent.slice(0, 40));
    }
  }
  return found;
}"""

# Labels of plots that leave their picture, or lie on one another by more than the air around their letters.
LABELS_OF_PLOTS = """() => {
  const found = [];
  for (const svg of document.querySelectorAll('figure svg')) {
    const frame = svg.getBoundingClientRect();
    const boxes = [...svg.querySelectorAll('text')].map(text => [text, text.getBoundingClientRect()]);
    boxes.forEach(([text, box], i) => {
      if (box.left < frame.left - 1 || box.right > frame.right + 1 || box.top < frame.top - 1
          || box.bottom > frame.bottom + 1) found.push('cut off: ' + text.textContent);
      for (const [other, b] of boxes.slice(i + 1))
        if (Math.min(box.right, b.right) - Math.max(box.left, b.left) > 1
            && Math.min(box.bottom, b.bottom) - Math.max(box.top, b.top) > 0.35 * Math.min(box.height, b.height))
          found.push(text.textContent + ' / ' + other.textContent);
    });
  }
  return found;
}"""

# Text whose contrast to what is painted below it is under 4.5 (WCAG), and how dark the page is.
CONTRAST = """() => {
  const numbers = text => {
    const found = (text.match(/[\\d.]+/g) || [0, 0, 0, 0]).map(Number);
    return text.startsWith('rgb') ? [...found, 1].slice(0, 4) : [0, 0, 0, 0];
  };
  const over = (top, opacity, below) => below.map((value, i) => opacity * top[i] + (1 - opacity) * value);
  const light = colour => colour.map(value => value / 255)
    .map(value => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4)
    .reduce((sum, value, i) => sum + value * [0.2126, 0.7152, 0.0722][i], 0);
  const contrast = (a, b) => (Math.max(light(a), light(b)) + 0.05) / (Math.min(light(a), light(b)) + 0.05);
  const behind = element => {
    const colour = numbers(getComputedStyle(element).backgroundColor);
    return colour[3] === 1 ? colour.slice(0, 3) : behind(element.parentElement);
  };
  const found = [];
  const page = behind(document.body);
  for (const element of document.querySelectorAll('body *:not(svg *)')) {
    if (![...element.childNodes].some(node => node.nodeType === 3 && node.textContent.trim())) continue;
    if (!element.getBoundingClientRect().width) continue;
    const value = contrast(numbers(getComputedStyle(element).color).slice(0, 3), behind(element));
    if (value < 4.5) found.push(value.toFixed(2) + ' ' + element.textContent.slice(0, 40));
  }
  for (const svg of document.querySelectorAll('figure svg')) {
    const painted = [...svg.querySelectorAll('path')].map(path => [path, getComputedStyle(path)])
      .filter(([path, style]) => !path.closest('defs') && style.fill.startsWith('rgb'))
      .map(([path, style]) => [path.getBoundingClientRect(), numbers(style.fill), Number(style.opacity)]);
    for (const text of svg.querySelectorAll('text')) {
      const box = text.getBoundingClientRect(), x = (box.left + box.right) / 2, y = (box.top + box.bottom) / 2;
      let ground = page;
      for (const [area, fill, opacity] of painted)
        if (area.left < x && x < area.right && area.top < y && y < area.bottom) ground = over(fill, opacity, ground);
      const value = contrast(numbers(getComputedStyle(text).fill).slice(0, 3), ground);
      if (value < 4.5) found.push(value.toFixed(2) + ' plot: ' + text.textContent);
    }
  }
  return [found, light(page)];
}"""


def browser():
    """A headless Chromium of the system's; a test module makes a fixture of it."""
    playwright = pytest.importorskip("playwright.sync_api")
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        pytest.skip("there is no Chromium on this machine")
    quiet = ["--no-sandbox", "--disable-background-networking", "--disable-component-update", "--disable-sync",
             "--no-first-run"]  # fmt: skip
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=program, args=quiet)
        yield browser
        browser.close()


@contextmanager
def opened(chromium, file, source, size, scheme):
    """The page in the browser, everything unfolded; nothing but the file was asked for, nothing complained."""
    file.write_text(source, encoding="utf-8")
    context = chromium.new_context(viewport=dict(zip(("width", "height"), size, strict=True)), color_scheme=scheme)
    view = context.new_page()
    asked, said = [], []
    view.on("request", lambda request: asked.append(request.url))
    view.on("console", lambda message: said.append(message.text))
    view.on("pageerror", lambda error: said.append(str(error)))
    view.goto(file.as_uri())
    view.evaluate("() => document.querySelectorAll('details').forEach(one => one.open = true)")
    yield view
    context.close()
    assert [url for url in asked if not url.startswith("data:")] == [file.as_uri()]
    assert said == []


def in_all_windows(test):
    """Run a test on `size` and `scheme`: two phones and a desktop, light and dark."""
    sizes = pytest.mark.parametrize(
        "size", [(360, 780), (390, 844), (1280, 900)], ids=["small-phone", "phone", "desktop"]
    )
    return pytest.mark.parametrize("scheme", ["light", "dark"])(sizes(test))


def assert_readable(view, scheme):
    """Nothing overflows, overlaps or is too faint, and the colours are those of the scheme."""
    inside, window = view.evaluate(OVERFLOW)
    assert inside <= window
    assert view.evaluate(TABLES) == []
    assert view.evaluate(OVERLAPS) == []
    assert view.evaluate(LABELS_OF_PLOTS) == []
    faint, lightness = view.evaluate(CONTRAST)
    assert faint == []
    assert lightness < 0.02 if scheme == "dark" else lightness > 0.9
    hue = view.evaluate("() => getComputedStyle(document.documentElement).getPropertyValue('--hue-1')")
    assert hue.strip() == (DARK_HUES if scheme == "dark" else HUES)[0]
