"""Every page of the documentation site in Chromium fits on screens of three widths and is readable in both themes."""

import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

import pytest
from web_pages import CONTRASTS, MIN_CONTRAST, open_chromium

pytestmark = pytest.mark.slow
BUILD = Path(__file__).resolve().parents[2] / "scripts" / "docs_site" / "build_site.py"
HEIGHT = 900
WIDTHS = (390, 768, 1280)  # pixels: a phone, a tablet, a laptop
FULL_WIDTH = 1280  # tables need not be scrolled here
LINK = re.compile(r'(?:href|src)="(?!\w+:)([^"#?]+)')
# The elements that reach beyond the right edge of the window and cannot be scrolled to.
LOST = """() => {
  const right = document.documentElement.clientWidth + 1;
  const scrolls = (it) =>
    it !== document.body && (/auto|scroll/.test(getComputedStyle(it).overflowX) || scrolls(it.parentElement));
  return [...document.querySelectorAll("article *")]
    .filter((it) => it.checkVisibility() && it.getBoundingClientRect().right > right && !scrolls(it.parentElement))
    .map((it) => `${it.tagName}.${it.className} ${it.textContent.slice(0, 30)}`);
}"""
SCROLLED = """() => [...document.querySelectorAll(".table-wrapper")]
  .filter((it) => it.scrollWidth > it.clientWidth + 1).map((it) => it.textContent.trim().slice(0, 30))"""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Build the site, and return the folder of its pages."""
    output = tmp_path_factory.mktemp("site")
    done = subprocess.run([sys.executable, BUILD, "--output", output], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return output / "html"


@pytest.fixture(scope="module")
def page():
    with open_chromium() as browser:
        yield browser.new_page()


def written_pages(site):
    """Return the pages without those of source files, which have the same layout, except the first one."""
    sources, others = [], []
    for path in sorted(site.rglob("*.html")):
        (sources if path.is_relative_to(site / "_modules" / "millpond") else others).append(path)
    return [*others, sources[0]]


def faults(page, width):
    """Return the texts of the open page that are lost or not readable at a width."""
    page.set_viewport_size({"width": width, "height": HEIGHT})
    lost = page.evaluate(LOST)
    if page.evaluate("document.documentElement.scrollWidth") > width:
        lost.append("the page scrolls to the side")
    scrolled = page.evaluate(SCROLLED) if width == FULL_WIDTH else []
    pale = [it for it in page.evaluate(CONTRASTS) if it[0] < MIN_CONTRAST]
    return [*lost[:5], *scrolled[:5], *pale[:5]]


def test_every_page_fits_and_is_readable_in_light_and_dark(site, page):
    faults_by_page = {}
    for path in written_pages(site):
        page.goto(path.as_uri())
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
            name = path.relative_to(site).as_posix()
            faults_by_page |= {(name, scheme, width): faults(page, width) for width in WIDTHS}
    assert len(faults_by_page) > 300
    assert {key: texts for key, texts in faults_by_page.items() if texts} == {}


def test_every_link_of_the_site_leads_to_a_file(site):
    dead = [
        (path.relative_to(site).as_posix(), target)
        for path in site.rglob("*.html")
        for target in set(LINK.findall(path.read_text(encoding="utf-8")))
        if not (path.parent / unquote(target)).exists()
    ]
    assert dead == []


def test_site_and_playground_have_the_same_logo(site):
    logo = BUILD.parents[2] / "plugins" / "millpond_playground" / "static" / "icon.svg"
    (sidebar,) = set(re.findall(r'class="sidebar-logo[^"]*" src="([^"?]+)', (site / "index.html").read_text("utf-8")))
    assert (site / sidebar).read_bytes() == logo.read_bytes()
