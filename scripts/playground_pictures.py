"""Take the pictures of docs/how-to/playground.md with all-MiniLM-L6-v2: python scripts/playground_pictures.py.

Needs Chromium and Playwright (`apt-get install chromium`, the extra `test-slow`), and the fonts of Debian's packages
`fonts-inter` and `fonts-jetbrains-mono`; with other fonts, the pictures look different.
"""

import io
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from PIL import Image
from playwright.sync_api import Browser, sync_playwright

from millpond_server.testing import running_server

IMAGES = Path(__file__).resolve().parents[1] / "docs" / "images"
MODEL = "sentence-transformers/all-MiniLM-L6-v2"
NUM_COLORS = 256
MIN_HEIGHT = 600
NUM_LOADS = 2  # the first requests after the start are slower than the others


@dataclass(frozen=True)
class Picture:
    """A picture: its file, the panel, the size in pixels, and the colours; by default it shows the whole page."""

    name: str
    panel: str
    width: int = 1200
    height: int | None = None
    color_scheme: Literal["light", "dark"] = "light"


PICTURES = (
    Picture("playground-similarity.png", "similarity"),
    Picture("playground-search.png", "search", color_scheme="dark"),
    Picture("playground-tokens.png", "maxsim"),
    Picture("playground-phone.png", "similarity", width=390, height=1180, color_scheme="dark"),
)


def take(browser: Browser, url: str, picture: Picture) -> bytes:
    """Return a picture of a panel with its results as PNG."""
    context = browser.new_context(
        viewport={"width": picture.width, "height": picture.height or MIN_HEIGHT},
        color_scheme=picture.color_scheme,
        reduced_motion="reduce",
    )
    page = context.new_page()
    for _ in range(NUM_LOADS):
        page.goto(f"{url}/playground#{picture.panel}")
        page.reload()
        page.locator(f"#panel-{picture.panel} .output[aria-busy=false] .results > *").first.wait_for()
    page.evaluate("document.fonts.ready")
    content = page.screenshot(full_page=picture.height is None)
    context.close()
    return content


def main() -> int:
    """Write all pictures."""
    chromium = shutil.which("chromium")
    if chromium is None:
        print("Chromium is not installed: apt-get install chromium", file=sys.stderr)
        return 1
    with running_server(MODEL) as server, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium)
        for picture in PICTURES:
            image = Image.open(io.BytesIO(take(browser, server.url, picture))).convert("RGB")  # without transparency
            image.quantize(NUM_COLORS).save(IMAGES / picture.name, optimize=True)
            print(f"wrote docs/images/{picture.name}")
        browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
