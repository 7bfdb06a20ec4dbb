"""Chromium for tests of web pages, and measurements of a page that is open in it."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
MIN_CONTRAST = 4.5  # WCAG 2.2, level AA, for text of normal size

# The contrast of each visible element's own text with its background, and the element. Colours are drawn on a canvas,
# which converts them and blends transparent ones. Distinct pairs of colours are computed once.
CONTRASTS = """() => {
  const canvas = Object.assign(document.createElement("canvas"), { width: 1, height: 1 });
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  const known = new Map();
  const blended = (colors) => {
    const key = colors.join();
    if (!known.has(key)) {
      pen.clearRect(0, 0, 1, 1);
      for (const color of ["#fff", ...colors]) {
        pen.fillStyle = color;
        pen.fillRect(0, 0, 1, 1);
      }
      known.set(key, luminance([...pen.getImageData(0, 0, 1, 1).data]));
    }
    return known.get(key);
  };
  const linear = (value) => (value / 255 <= 0.04045 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4);
  const luminance = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
  const isOpaque = (color) => color.startsWith("rgb(") || /^(?!rgba)[^/]*$/.test(color);
  const backgrounds = (it) => {
    const colors = [];
    for (let parent = it; parent; parent = parent.parentElement) {
      const color = getComputedStyle(parent).backgroundColor;
      if (color !== "rgba(0, 0, 0, 0)") colors.unshift(color);
      if (colors.length && isOpaque(colors[0])) break;
    }
    return colors;
  };
  const hasText = (it) => [...it.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
  return [...document.body.querySelectorAll("*")]
    .filter((it) => hasText(it) && it.checkVisibility({ visibilityProperty: true }))
    .filter((it) => !it.closest(".skip, .hidden-label, .skip-to-content"))
    .map((it) => {
      const below = backgrounds(it);
      const levels = [blended([...below, getComputedStyle(it).color]), blended(below)].sort((a, b) => b - a);
      return [(levels[0] + 0.05) / (levels[1] + 0.05), `${it.tagName}.${it.className} ${it.textContent.slice(0, 30)}`];
    });
}"""


@contextmanager
def open_chromium() -> Iterator[object]:
    """Start Chromium without a window; skip the test where it is not installed.

    Playwright's event loop runs in this thread until the context ends, and tests of other modules run their own.
    """
    if CHROMIUM is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    from playwright.sync_api import sync_playwright  # only slow tests need it

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM)
        yield browser
        browser.close()
