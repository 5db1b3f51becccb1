"""The looks in Chromium: that they can be read, fit, and do nothing, whatever was said."""

from __future__ import annotations

import pytest

from agentkit import Transcript
from tests.looks.test_cards import REPORT, SHOP, done, hostile_values, in_stock, paused
from tests.looks.test_html import HOSTILE
from tests.serve.browser import CHROMIUM, Browser

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium, which is not installed"),
]
# Notebooks say by their text's colour whether they are dark, not by the system's wish: so here too.
THEMES = {"light": ("#ffffff", "rgba(0, 0, 0, 0.87)"), "dark": ("#111111", "#ffffff")}
# The contrast of each element that has text of its own with what is behind it, the lowest and where that is.
CONTRAST = """(() => {
  const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  const light = colors => {
    canvas.clearRect(0, 0, 1, 1);
    for (const color of colors) { canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1); }
    const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].map(
      part => part / 255 <= 0.04045 ? part / 255 / 12.92 : ((part / 255 + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const found = [];
  for (const node of document.querySelectorAll('.agentkit-look *')) {
    if (node.tagName === 'STYLE' || ![...node.childNodes].some(child => child.nodeType === 3 && child.data.trim()))
      continue;
    const behind = [];
    for (let each = node; each; each = each.parentElement) behind.unshift(getComputedStyle(each).backgroundColor);
    const [back, front] = [light(behind), light([...behind, getComputedStyle(node).color])];
    found.push([(Math.max(back, front) + 0.05) / (Math.min(back, front) + 0.05), node.className || node.tagName]);
  }
  return [found.length, ...found.sort((one, other) => one[0] - other[0])[0]];
})()"""


@pytest.fixture(scope="module")
def browser():
    with Browser() as one:
        yield one


def notebook(values, theme):
    """As a cell's outputs stand in a notebook."""
    back, front = THEMES[theme]
    shown = "".join(value._repr_html_() for value in values)
    return (
        '<!doctype html><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f'<body style="margin: 8px; background: {back}; color: {front}; font-size: 14px">{shown}</body>'
    )


@pytest.mark.parametrize("width", [1000, 360])
@pytest.mark.parametrize("theme", THEMES)
def test_it_can_be_read_and_fits(browser, tmp_path, theme, width):
    waiting = paused()
    endless = Transcript.load([{"role": "user", "content": "x" * 500}])
    values = [done(), endless, waiting, waiting.transcript, waiting.pending[0], in_stock, SHOP, REPORT]
    (tmp_path / "looks.html").write_text(notebook(values, theme), "utf-8")
    # the system wishes the other: a notebook's theme is its own
    browser.open((tmp_path / "looks.html").as_uri(), width=width, dark=theme == "light", phone=width < 500)
    browser.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true; })")
    count, lowest, where = browser.evaluate(CONTRAST)
    assert count > 100
    assert lowest >= 4.5, where
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    assert browser.problems == []


def test_hostile_text_does_nothing(browser, tmp_path):
    values = [value for text in HOSTILE for value in hostile_values(text)]
    (tmp_path / "looks.html").write_text(notebook(values, "light"), "utf-8", "replace")
    browser.open((tmp_path / "looks.html").as_uri(), width=800)
    browser.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true; })")
    assert browser.evaluate("document.querySelectorAll('.agentkit-look').length") == len(values)
    assert (
        browser.evaluate(
            "document.querySelectorAll('script, .agentkit-look img:not([src^=\"data:image/png\"])').length"
        )
        == 0
    )
    assert [url for url in browser.requests if not url.startswith("data:")] == [(tmp_path / "looks.html").as_uri()]
    assert browser.problems == []
